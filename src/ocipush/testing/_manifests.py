"""Manifests, tags and referrers, in every dialect. May import: _answers, _dialects, _server, _storage."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from ocipush.testing._answers import refusal, reply
from ocipush.testing._server import Request, Response
from ocipush.testing._storage import DIGEST, StoredManifest, digest_of

if TYPE_CHECKING:
    from ocipush.testing._dialects import Dialect
    from ocipush.testing._storage import Repository, Storage

_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_LIMIT = 4 * 1024 * 1024
_INDEX = "application/vnd.oci.image.index.v1+json"


class Manifests:
    """The requests about manifests: GET, HEAD and PUT, by tag or digest, and the lists of tags and referrers."""

    def __init__(self, storage: Storage, dialect: Dialect) -> None:
        self._storage = storage
        self._dialect = dialect

    async def get(self, _: Request, name: str, identifier: str) -> Response:
        """Give a manifest."""
        repository = await self._storage.open(name)
        digest = repository.tags.get(identifier, identifier)
        manifest = repository.manifests.get(digest)
        if manifest is None:
            return refusal(404, "MANIFEST_UNKNOWN", f"{identifier} is not in {name}")
        return Response(200, {**self._named(digest), "Content-Type": manifest.media_type}, manifest.raw)

    async def put(self, request: Request, name: str, identifier: str) -> Response:
        """Check a manifest, keep it, and tag it."""
        repository = await self._storage.open(name)
        raw = await request.read(_LIMIT)
        by_digest = DIGEST.fullmatch(identifier) is not None
        if not by_digest and not _TAG.fullmatch(identifier):
            return refusal(400, "MANIFEST_INVALID", f"{identifier} is neither a tag nor a digest")
        digest = digest_of(raw, identifier.partition(":")[0] if by_digest else "sha256")
        if by_digest and digest != identifier:
            return refusal(400, "DIGEST_INVALID", f"the body's digest is {digest}")
        found = self._read(raw, request.headers.get("content-type", ""), repository)
        if isinstance(found, Response):
            return found
        tags = self._parameters(request) if by_digest else [identifier]
        if self._dialect.immutable_tags and (fixed := [tag for tag in tags if tag in repository.tags]):
            return refusal(400, "TAG_INVALID", _fixed(name, fixed[0]))
        manifest, subject = found
        await repository.put(digest, manifest, tags)
        headers = {"Location": f"/v2/{name}/manifests/{digest}", **self._named(digest)}
        if subject is not None and self._dialect.referrers:
            headers["OCI-Subject"] = subject
        if by_digest and tags:
            headers["OCI-Tag"] = ", ".join(tags)
        if self._dialect.html_ok:
            return Response(201, {**headers, "Content-Type": "text/html; charset=utf-8"}, b"OK")
        return Response(201, headers)

    async def referrers(self, request: Request, name: str, subject: str) -> Response:
        """List the manifests that name a subject."""
        if not self._dialect.referrers:
            return Response(404, {"Content-Type": "text/plain; charset=utf-8"}, b"404 page not found\n")
        wanted = request.query.get("artifactType")
        found: list[dict[str, Any]] = []
        for digest, manifest in (await self._storage.open(name)).manifests.items():
            content = json.loads(manifest.raw)
            if content.get("subject", {}).get("digest") != subject:
                continue
            kind = content.get("artifactType") or content.get("config", {}).get("mediaType")
            if wanted in {None, kind}:
                entry = {"mediaType": manifest.media_type, "digest": digest}
                found.append({**entry, "size": len(manifest.raw), "artifactType": kind})
        return reply({"schemaVersion": 2, "mediaType": _INDEX, "manifests": found}, _INDEX)

    async def tags(self, request: Request, name: str, _: str) -> Response:
        """List tags, a page at a time."""
        known = (await self._storage.open(name)).tags
        tags = [tag for tag in sorted(known) if tag > request.query.get("last", "")]
        if re.fullmatch("[0-9]{1,9}", limit := request.query.get("n", "")):
            tags = tags[: int(limit)]
        return reply({"name": name, "tags": tags})

    def _read(
        self, raw: bytes, media_type: str, repository: Repository
    ) -> tuple[StoredManifest, str | None] | Response:
        """Return a manifest and its subject, or why it is refused."""
        try:
            content = json.loads(raw)
            stated = content.get("mediaType", media_type)
            missing = _missing(content, repository)
            subject = str(content["subject"]["digest"]) if "subject" in content else ""
        except (ValueError, AttributeError, KeyError, TypeError, RecursionError):
            return refusal(400, "MANIFEST_INVALID", "the body is not a manifest")
        if not media_type or stated != media_type:
            return refusal(400, "MANIFEST_INVALID", "Content-Type is not the manifest's mediaType")
        if missing:
            named = [{"detail": digest} for digest in missing] if self._dialect.missing_detail else [{}]
            error = {"code": "MANIFEST_BLOB_UNKNOWN", "message": "blob unknown to registry"}
            return reply({"errors": [{**error, **detail} for detail in named]}, status=self._dialect.missing_status)
        return StoredManifest(media_type, raw), subject if DIGEST.fullmatch(subject) else None

    def _parameters(self, request: Request) -> list[str]:
        if not self._dialect.tag_parameter:
            return []
        stated = parse_qs(request.target.partition("?")[2]).get("tag", [])
        return [tag for tag in stated if _TAG.fullmatch(tag)]

    def _named(self, digest: str) -> dict[str, str]:
        return {"Docker-Content-Digest": digest} if self._dialect.digest_header else {}


def _fixed(name: str, tag: str) -> str:
    return f"The image tag '{tag}' already exists in the '{name}' repository and cannot be overwritten"


def _missing(content: dict[str, Any], repository: Repository) -> list[str]:
    blobs = [*content.get("layers", ()), *([content["config"]] if "config" in content else ())]
    missing = [b["digest"] for b in blobs if b["digest"] not in repository.blobs and not b.get("urls")]
    children = [m["digest"] for m in content.get("manifests", ())]
    return missing + [d for d in children if d not in repository.manifests]
