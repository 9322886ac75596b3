"""How registries differ, as data.

The sources are the code of distribution, zot, Quay, Harbor and go-containerregistry, probes of distribution 2.8 and 3, and
reports of users of hosted registries (a comment names the issue where it is the only source). Behaviour that nobody has
reported follows the specification, which may be wrong; comments mark statuses and texts that are guesses.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from ocipush.testing._faults import Ending

MIB: Final = 1024 * 1024

ContentRange = Literal["checked", "with length", "assumed", "ignored"]
"""When Content-Range is checked: always; only together with Content-Length; always, and a missing one means 0-…; never."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """How a registry behaves: each field is one behaviour, and each default is what the specification asks for.

    The templates of Range may contain ``{last}`` and ``{count}`` (of all bytes received), ``{chunk_last}`` (of the latest
    body) and ``{first_last}`` (of the first body).
    """

    # Locations of upload sessions
    session_path: str = "/v2/{name}/blobs/uploads/"
    """The path of a session, without its ID."""
    absolute_location: bool = False
    """Location includes the scheme and host."""
    location_query: str = ""
    """A query in Location; a request that does not return it byte for byte is a violation."""
    state: Literal["none", "guards", "refuses", "cancels"] = "none"
    """Location has a ``_state``, and requests must use the latest one. With an older one, ``guards`` responds 416 to every
    request except GET, ``refuses`` 404 BLOB_UPLOAD_INVALID to every request, and ``cancels`` ends the session as well."""

    # Ranges of upload sessions
    posted_range: str = "0-0"
    """Range of a new session; ``0-0`` means both no byte and one byte."""
    patched_range: str = "0-{last}"
    """Range after a PATCH."""
    streamed_range: str = ""
    """Range after a PATCH that lacks Content-Length or Content-Range; empty: same as after any other PATCH."""
    asked_range: str = "0-{last}"
    """Range of the response to GET."""
    asked_status: int = 204
    """The status of GET; anything but 204 is an error."""
    asked_location: bool = True
    """The response to GET has a Location."""
    refused_range: str = "0-{last}"
    """Range of a 416; empty: a 416 has no Range and no Location."""

    # Request bodies
    cut: Literal["kept", "dropped", "acknowledged"] = "kept"
    """What happens when a body breaks off: its bytes are kept; the session ends; only earlier, complete bodies are kept."""
    mismatch_ends: bool = True
    """A wrong digest ends the session; if false, the session and its bytes remain."""
    deleted_status: int = 204
    """The status of DELETE of a session; anything but 204 is an error."""
    patch_status: int = 202
    """The status of a successful PATCH."""
    chunks: Literal["taken", "refused", "garbled"] = "taken"
    """PATCH is accepted; gets 405; is accepted, but a blob sent in several bodies ends in 400 DIGEST_INVALID."""
    patch_content_range: ContentRange = "checked"
    """When the Content-Range of a PATCH is checked."""
    put_content_range: ContentRange = "checked"
    """When the Content-Range of the closing PUT is checked."""
    overlap: Literal["refused", "skipped"] = "refused"
    """Bytes that the registry already has, according to Content-Range, are an error, or are skipped."""
    max_ranged_patch: int = 0
    """Maximum size in bytes of a PATCH with Content-Range (0: no limit); a larger one gets GHCR's 416."""
    min_chunk: int = 0
    """Minimum size in bytes of every chunk but the last, announced as OCI-Chunk-Min-Length (0: no minimum)."""
    put_body: bool = True
    """The closing PUT may have a body; if false, one with a body gets 404 BLOB_UNKNOWN."""
    empty_put: bool = True
    """The closing PUT may be empty after chunks; if false, an empty one gets 500."""
    size_of_last_body: bool = False
    """A blob is recorded with the Content-Length of its closing PUT, unless that is 0; a wrong size is a violation."""
    single_post: bool = True
    """POST with ``digest`` uploads a whole blob; if false, it opens a session and ignores the body."""
    single_post_type: str = ""
    """The Content-Type that POST with ``digest`` requires; any other gets 415. Empty: any."""
    same_blob_at_once: bool = True
    """Two sessions may be closed with the same digest at the same time; if false, the second gets 400 BLOB_UPLOAD_INVALID."""

    # Stored blobs
    blob_redirect: int = 0
    """The status (302, 303 or 307) of HEAD and GET of a blob, with a signed Location; 0: the registry sends blobs itself."""
    blob_storage: Literal["port", "path"] = "port"
    """Where that Location is: on another port, or on the same one, outside ``/v2/``."""
    unseen_seconds: float = 0.0
    """Seconds for which a new blob is not found after its 201."""
    unseen_lookups: int = 0
    """How many times a new blob is not found: by HEAD or GET, by a mount, or by the PUT of a manifest."""

    # Mounts
    self_mount: int = 201
    """The status of a mount from the same repository: 201, 202 (a session, even if the blob exists), or an error."""
    cross_mount: int = 201
    """The status of a mount from another repository: likewise."""
    finds_blobs_anywhere: bool = False
    """A mount finds the blob in any repository, whatever ``from`` says."""
    mount_without_from: bool = False
    """A mount without ``from`` is a mount from the same repository."""
    from_without_mount: int = 202
    """The status of a POST with ``from`` but without ``mount``."""

    # Manifests and repositories
    digest_header: bool = True
    """Responses about manifests have a Docker-Content-Digest."""
    referrers: bool = True
    """The registry has the referrers API and sends OCI-Subject; if false, the API is a plain-text 404."""
    tag_parameter: bool = False
    """PUT of a manifest by digest sets the tags in ``?tag=``, and confirms them in OCI-Tag."""
    immutable_tags: str = ""
    """A tag can be set once; a second PUT, even of the same manifest, gets the error of this registry: a name of
    `IMMUTABLE_TAGS`. Empty: tags can be set again."""
    missing_status: int = 404
    """The status of the PUT of a manifest with missing blobs."""
    missing_code: str = "MANIFEST_BLOB_UNKNOWN"
    """The code of that error."""
    missing_named: Literal["all", "first", "message", "none"] = "all"
    """What that error names: all missing blobs, each in a ``detail``; the first one in a ``detail``; the first one in the
    message; none."""
    html_ok: bool = False
    """The response to a successful PUT of a manifest is ``OK`` with the media type of HTML."""
    unknown_repository: Literal["made", "NAME_UNKNOWN", "DENIED"] = "made"
    """A push to a repository that does not exist creates it, or fails with this code."""
    deletes: bool = True
    """Manifests, tags and blobs can be deleted; if false, DELETE gets 405 UNSUPPORTED."""

    # Logins
    token_service: str = ""
    """The ``service`` of a Bearer challenge; overrides that of ``BearerAuth``."""
    challenge_scope: str = ""
    """The only scope in challenges; a token for it allows everything."""
    token_fields: tuple[str, ...] = ("token", "access_token", "expires_in")
    """The fields in a token service's response."""
    delete_scope: bool = False
    """DELETE requires a token with the action ``delete``."""

    # Headers, and a proxy in front of the registry
    max_body: int = 0
    """Maximum body in bytes (0: no limit): a larger one gets a web page at once, and the connection is closed."""
    max_body_status: int = 413
    """The status of that web page; web application firewalls and IIS send 400, 403, 404, 500 or 503."""
    time_limit: float = 0.0
    """Seconds that a request may take, from its head to its response (0: no limit)."""
    time_limit_of: Literal["all", "bodies"] = "all"
    """The time limit is for all requests, or for those with a body."""
    time_limit_status: int = 0
    """The status (408 or 504) of a web page that a request over the time limit gets; 0: no response."""
    time_limit_end: Ending = "close"
    """How the connection of a request over the time limit ends."""
    line_rate: int = 0
    """Bytes per second of all requests together, as over a slow line (0: no limit)."""
    takes_streams: bool = True
    """Bodies may use Transfer-Encoding: chunked; if false, such a body gets 400 CONTENT_LENGTH_INVALID."""
    strict_accept: bool = False
    """An Accept other than ``*/*`` gets 406, except for manifests."""
    cookie: str = ""
    """The name of a cookie that every response sets; a request that sends a cookie is a violation."""
    warning: str = ""
    """The text of a Warning header in every response."""

    def __post_init__(self) -> None:
        if self.immutable_tags not in {"", *IMMUTABLE_TAGS}:
            raise ValueError(f"immutable_tags must be one of {', '.join(IMMUTABLE_TAGS)}, not {self.immutable_tags!r}")


@dataclass(frozen=True, slots=True)
class TagRefusal:
    """How a registry refuses to move a tag; the message may contain ``{name}`` and ``{tag}``."""

    status: int
    code: str
    message: str
    detail: object = None


# Each as reported: hub-feedback#2466, kots#5940, kaniko#1095, acr#84, docker/cli#5873.
IMMUTABLE_TAGS: Final[dict[str, TagRefusal]] = {
    "acr": TagRefusal(
        405,
        "UNSUPPORTED",
        "The operation is disallowed on this registry, repository or image. The tag is locked.",
    ),
    "artifactory": TagRefusal(
        403,
        "MANIFEST_INVALID",
        "manifest invalid",
        {"description": "HTTP 403 Forbidden: Not enough permissions to delete/overwrite artifact"},
    ),
    "docker-hub": TagRefusal(403, "DENIED", "tag {tag} is immutable and cannot be overwritten"),
    "ecr": TagRefusal(
        400,
        "TAG_INVALID",
        "The image tag '{tag}' already exists in the '{name}' repository and cannot be overwritten because the tag is"
        " immutable.",
    ),
    "gar": TagRefusal(
        400,
        "MANIFEST_INVALID",
        'The request is attempting to modify the previously published manifest version/digest for tag "{tag}" while'
        " immutable tags are enabled",
    ),
    "harbor": TagRefusal(
        412, "PRECONDITION", "Failed to process request due to '{name}:{tag}' configured as immutable."
    ),
    "nexus": TagRefusal(
        400,
        "BLOB_UPLOAD_INVALID",
        "blob upload invalid",
        "Repository does not allow updating assets: docker-hosted",
    ),
    "ocir": TagRefusal(409, "CONFLICT", "tag already exists"),
}
"""The errors of registries whose tags are immutable, for `Dialect.immutable_tags`."""

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
    deletes=False,  # unless its configuration enables it
    delete_scope=True,
)
# After a byte of a body that broke off, the client's state is stale and it cannot get a newer one: the upload must be
# restarted. The registry tries to cancel the session, but closes it first, so that cancelling fails (2.8.2 and 2.8.3).
_DISTRIBUTION_2: Final = replace(_DISTRIBUTION_3, state="refuses", patch_content_range="ignored")

DIALECTS: Final[dict[str, Dialect]] = {
    "spec": _SPEC,
    # Without everything that the specification leaves optional.
    "minimal": Dialect(
        single_post=False,
        self_mount=202,
        cross_mount=202,
        digest_header=False,
        missing_named="none",
        referrers=False,
        deletes=False,
        refused_range="",
    ),
    "distribution-2.8": _DISTRIBUTION_2,
    "distribution-3": _DISTRIBUTION_3,
    # With storage in S3, GCS or Azure, as is the default with these drivers.
    "distribution-s3": replace(_DISTRIBUTION_3, blob_redirect=307),
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
    # Range: aws/containers-roadmap#2831; 201: openai/tart#273; empty PUT: openai/tart#159. Guesses: the minimum is announced,
    # the error for a part over the limit, and that a part that broke off is lost.
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
    # Chunks: dotnet/sdk-container-builds#472; scope: oras-project/oras#456. The status of a mount is a guess.
    "ecr-public": Dialect(chunks="garbled", challenge_scope="aws", self_mount=202, cross_mount=202),
    # Limit: oras-project/rust-oci-client#35; path: docker/build-push-action#251.
    "ghcr": Dialect(session_path="/v2/{name}/blobs/upload/", max_ranged_patch=4 * MIB),
    # Chunks: dotnet/sdk-container-builds#287 (the status is a guess); path: containers/skopeo#1101.
    "gar": Dialect(
        session_path="/artifacts-uploads/namespaces/{name}/uploads/", chunks="refused", mount_without_from=True
    ),
    # Streams: goharbor/harbor#23016; state: Azure/azure-sdk-for-python#29738. Its 413 for a body over about 20 MB
    # (goharbor/harbor#23015) does not affect every client, and is left out.
    "acr": Dialect(
        location_query="_nouploadcache=false",
        state="cancels",
        takes_streams=False,
        token_fields=("access_token",),
    ),
    # Because it is built on distribution: nothing is reported about resuming or POST with digest.
    "docker-hub": replace(_DISTRIBUTION_3, blob_redirect=307),
    "harbor": replace(
        _DISTRIBUTION_2,
        token_service="harbor-registry",  # noqa: S106
        cookie="sid",
        size_of_last_body=True,
        deletes=True,
        blob_redirect=307,  # unless its storage is a file system, or its configuration disables it
    ),
    "artifactory": Dialect(strict_accept=True),
    "artifactory-patch-only": Dialect(strict_accept=True, put_body=False),  # docker/buildx#196
    # Same blob at once: sonatype/nexus-public#967; mounts are reported to fail, the status is a guess.
    "nexus": Dialect(same_blob_at_once=False, self_mount=405, cross_mount=405),
    "aliyun": Dialect(  # regclient/regclient#627
        patched_range="0-{chunk_last}", asked_range="0-{chunk_last}", unknown_repository="DENIED"
    ),
    # Mount: estesp/manifest-tool#53; the rest because it is built on distribution.
    "gitlab": replace(_DISTRIBUTION_3, cross_mount=401, deletes=True),
    # `crane registry serve`. There, a blob is in all repositories at once; this is left out.
    "ggcr": Dialect(refused_range="", asked_status=400, deleted_status=400, self_mount=202, cross_mount=202),
    "pulp": Dialect(  # pulp/pulp_container#2199; blobs: its content app, on the same host unless CONTENT_ORIGIN says otherwise
        patch_status=204, self_mount=202, cross_mount=202, blob_redirect=302, blob_storage="path"
    ),
    "body-limit": replace(_DISTRIBUTION_3, max_body=MIB),  # the default of nginx
    "body-limit-403": replace(_DISTRIBUTION_3, max_body=MIB, max_body_status=403),  # distribution#2042
    # The default readTimeout of Traefik 3: traefik#10805, gitea#31865.
    "time-limit": replace(_DISTRIBUTION_3, time_limit=60),
    "time-limit-2.8": replace(_DISTRIBUTION_2, time_limit=60),
    # Replicas on eventually consistent storage: goharbor/harbor#17504. How long it takes is a guess.
    "eventual": Dialect(unseen_lookups=2),
}
"""Dialects by name; ``spec`` does exactly what the specification says."""
