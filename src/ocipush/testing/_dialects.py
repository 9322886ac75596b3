"""What registries do differently, as data. May import: the standard library alone.

Read from the source of distribution, zot, Quay, Harbor and go-containerregistry, probed on distribution 3, or reported by
users of the hosted ones (the issue is named where that is all there is). What nobody has reported of a registry is as the
specification says, which need not be so; comments say where a status or a word is a guess.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal

MIB: Final = 1024 * 1024

ContentRange = Literal["checked", "with length", "assumed", "ignored"]
"""How Content-Range is read: always; only beside a Content-Length; as 0-… where it is missing from a body; never."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """How a registry behaves: each field is one behaviour, and each default is what the specification asks for.

    Forms of Range may name ``{last}`` and ``{count}`` (of all bytes that arrived), ``{chunk_last}`` (of the latest body) and
    ``{first_last}`` (of the first one).
    """

    # Where an upload session is
    session_path: str = "/v2/{name}/blobs/uploads/"
    """The path of a session, without its id."""
    absolute_location: bool = False
    """Location names scheme and host."""
    location_query: str = ""
    """A query in Location; a request that does not bring it back byte for byte is a complaint."""
    state: Literal["none", "guards", "refuses", "cancels"] = "none"
    """A ``_state`` in Location, which must be that of the latest Location. With a stale one, all requests but GET are answered
    416; or all requests, GET included, 404 BLOB_UPLOAD_INVALID; or likewise, and the session is gone."""

    # How it tells what has arrived
    posted_range: str = "0-0"
    """Range of a session just opened; ``0-0`` means empty, and one byte."""
    patched_range: str = "0-{last}"
    """Range after a PATCH."""
    streamed_range: str = ""
    """Range after a PATCH without both Content-Length and Content-Range; empty: as after any other."""
    asked_range: str = "0-{last}"
    """Range of the answer to GET."""
    asked_status: int = 204
    """The status of GET; another one is a refusal."""
    asked_location: bool = True
    """The answer to GET has a Location."""
    refused_range: str = "0-{last}"
    """Range of a 416; empty: a 416 has neither Range nor Location."""

    # How it takes bodies
    cut: Literal["kept", "dropped", "acknowledged"] = "kept"
    """After a body that broke off: its bytes are kept; the session is gone; only bodies that were answered are kept."""
    mismatch_ends: bool = True
    """A digest that is not the content's ends the session; else its bytes stay there."""
    deleted_status: int = 204
    """The status of DELETE; another one is a refusal."""
    patch_status: int = 202
    """The status of a PATCH that went well."""
    chunks: Literal["taken", "refused", "garbled"] = "taken"
    """PATCH is taken; answered 405; taken, but a blob that came in several bodies ends in 400 DIGEST_INVALID."""
    patch_content_range: ContentRange = "checked"
    """How a PATCH's Content-Range is read."""
    put_content_range: ContentRange = "checked"
    """How the closing PUT's Content-Range is read."""
    overlap: Literal["refused", "skipped"] = "refused"
    """What becomes of bytes that were sent before, by their Content-Range."""
    max_ranged_patch: int = 0
    """Bytes that a PATCH with Content-Range may have (0: any number); more is answered 416 in GHCR's words."""
    min_chunk: int = 0
    """Bytes that every chunk but the last must have, announced as OCI-Chunk-Min-Length (0: any number)."""
    put_body: bool = True
    """The closing PUT may have a body; else it is answered 404 BLOB_UNKNOWN."""
    empty_put: bool = True
    """The closing PUT may be empty when chunks came before it; else it is answered 500."""
    size_of_last_body: bool = False
    """A blob's size is taken from the closing PUT's Content-Length, unless that is 0; a wrong size is a complaint."""
    single_post: bool = True
    """POST with ``digest`` takes the whole blob; else it opens a session, and the body is lost."""
    single_post_type: str = ""
    """The Content-Type without which a single POST is answered 415."""
    same_blob_at_once: bool = True
    """Two sessions may close with the same digest at once; else the second is answered 400 BLOB_UPLOAD_INVALID."""

    # Mounts
    self_mount: int = 201
    """The answer to a mount from the repository itself: 201, 202 (a session, also for a blob that is there), or a refusal."""
    cross_mount: int = 201
    """The answer to a mount from another repository, likewise."""
    finds_blobs_anywhere: bool = False
    """A mount takes the blob from wherever it is, whatever ``from`` says."""
    mount_without_from: bool = False
    """A mount without ``from`` asks for a blob of the repository itself."""
    from_without_mount: int = 202
    """The answer to ``from`` without ``mount``."""

    # Manifests and repositories
    digest_header: bool = True
    """Answers about manifests have a Docker-Content-Digest."""
    referrers: bool = True
    """The referrers API is there, and OCI-Subject is said; else it is answered 404 in plain text."""
    tag_parameter: bool = False
    """A manifest put by its digest is tagged with ``?tag=``, and OCI-Tag says so."""
    immutable_tags: bool = False
    """A tag is put once; the same manifest again is refused like any other."""
    missing_status: int = 404
    """The status of a manifest whose blobs are not there."""
    missing_detail: bool = True
    """Its error names them, one each in ``detail``."""
    html_ok: bool = False
    """The answer to a manifest that was taken is ``OK``, and calls itself HTML."""
    unknown_repository: Literal["made", "NAME_UNKNOWN", "DENIED"] = "made"
    """What a push to a repository that does not exist does, or the code that it is refused with."""

    # Logins
    token_service: str = ""
    """The ``service`` of a Bearer challenge, instead of that of ``BearerAuth``."""
    challenge_scope: str = ""
    """The one scope that challenges name and tokens are issued for."""
    token_fields: tuple[str, ...] = ("token", "access_token", "expires_in")
    """What a token service's answer has."""
    delete_scope: bool = False
    """DELETE of a session needs a token with the action ``delete``."""

    # Manners, and what stands in front
    max_body: int = 0
    """Bytes that a request may have (0: any number): more gets 413 with a web page at once, and the connection is closed."""
    takes_streams: bool = True
    """Bodies may come with Transfer-Encoding: chunked; else they are answered 400 CONTENT_LENGTH_INVALID."""
    strict_accept: bool = False
    """An Accept other than ``*/*`` is answered 406, but for manifests."""
    cookie: str = ""
    """The name of a cookie that every answer sets; a request that brings cookies is a complaint."""
    warning: str = ""
    """The text of a Warning that every answer carries."""


_SPEC: Final = Dialect()
_DISTRIBUTION_3: Final = Dialect(
    absolute_location=True,
    state="guards",
    patch_content_range="with length",
    put_content_range="ignored",
    refused_range="",
    mismatch_ends=False,
    single_post=False,
    missing_status=400,
    referrers=False,
    delete_scope=True,
)
# Once a byte of a broken body has arrived, the state in hand is stale, and there is no other: the blob has to start anew. It
# means to cancel the session, but closes it first, which makes that fail (2.8.2 and 2.8.3).
_DISTRIBUTION_2: Final = replace(_DISTRIBUTION_3, state="refuses", patch_content_range="ignored")

DIALECTS: Final[dict[str, Dialect]] = {
    "spec": _SPEC,
    # What the specification leaves to a registry, left out.
    "minimal": Dialect(
        single_post=False,
        self_mount=202,
        cross_mount=202,
        digest_header=False,
        missing_detail=False,
        referrers=False,
        refused_range="",
    ),
    "distribution-2.8": _DISTRIBUTION_2,
    "distribution-3": _DISTRIBUTION_3,
    "zot": Dialect(
        cut="dropped",
        patch_content_range="with length",
        put_content_range="assumed",
        streamed_range="0-{chunk_last}",
        single_post_type="application/octet-stream",
        finds_blobs_anywhere=True,
        from_without_mount=405,
        tag_parameter=True,
    ),
    "quay": Dialect(
        overlap="skipped",
        posted_range="bytes=0--1",
        asked_range="bytes=0-{count}",
        asked_location=False,
        refused_range="0-{count}",
        html_ok=True,
    ),
    # Range: aws/containers-roadmap#2831; 201: openai/tart#273; empty PUT: openai/tart#159. That the minimum is announced,
    # how a part over the limit is refused, and that a broken part is lost, are guesses.
    "ecr": Dialect(
        cut="acknowledged",
        patch_status=201,
        patched_range="0-{first_last}",
        asked_range="0-{first_last}",
        min_chunk=5 * MIB,
        max_ranged_patch=20_000_000,
        empty_put=False,
        self_mount=202,
        cross_mount=202,
        unknown_repository="NAME_UNKNOWN",
    ),
    # Chunks: dotnet/sdk-container-builds#472; scope: oras-project/oras#456. How a mount fails is a guess.
    "ecr-public": Dialect(chunks="garbled", challenge_scope="aws", self_mount=202, cross_mount=202),
    # Limit: oras-project/rust-oci-client#35; path: docker/build-push-action#251.
    "ghcr": Dialect(session_path="/v2/{name}/blobs/upload/", max_ranged_patch=4 * MIB),
    # Chunks: dotnet/sdk-container-builds#287 (the status is a guess); path: containers/skopeo#1101.
    "gar": Dialect(
        session_path="/artifacts-uploads/namespaces/{name}/uploads/", chunks="refused", mount_without_from=True
    ),
    # Streams: goharbor/harbor#23016; state: Azure/azure-sdk-for-python#29738. Its 413 for one body over about 20 MB
    # (goharbor/harbor#23015) does not meet every client, and is left out.
    "acr": Dialect(
        location_query="_nouploadcache=false",
        state="cancels",
        takes_streams=False,
        token_fields=("access_token",),
    ),
    # By its origin: neither its resumption nor its single POST is reported.
    "docker-hub": _DISTRIBUTION_3,
    "harbor": replace(_DISTRIBUTION_2, token_service="harbor-registry", cookie="sid", size_of_last_body=True),  # noqa: S106
    "artifactory": Dialect(strict_accept=True),
    "artifactory-patch-only": Dialect(strict_accept=True, put_body=False),  # docker/buildx#196
    # At once: sonatype/nexus-public#967; that mounts fail is reported, the status is a guess.
    "nexus": Dialect(same_blob_at_once=False, self_mount=405, cross_mount=405),
    "aliyun": Dialect(  # regclient/regclient#627
        patched_range="0-{chunk_last}", asked_range="0-{chunk_last}", unknown_repository="DENIED"
    ),
    # Mount: estesp/manifest-tool#53; the rest is by its origin.
    "gitlab": replace(_DISTRIBUTION_3, cross_mount=401),
    # `crane registry serve`. That a blob is in all its repositories at once is left out.
    "ggcr": Dialect(refused_range="", asked_status=400, deleted_status=400, self_mount=202, cross_mount=202),
    "pulp": Dialect(patch_status=204, self_mount=202, cross_mount=202),  # pulp/pulp_container#2199
    "body-limit": replace(_DISTRIBUTION_3, max_body=MIB),  # nginx as it comes
}
"""Dialects by name; ``spec`` is a registry without oddities."""
