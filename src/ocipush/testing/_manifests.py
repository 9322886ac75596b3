"""Manifests, tags and referrers, in every dialect."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from ocipush.testing._dialects import IMMUTABLE_TAGS
from ocipush.testing._messages import Request, Response
from ocipush.testing._responses import error_response, json_response, page_response
from ocipush.testing._storage import DIGEST, StoredManifest, digest_of

if TYPE_CHECKING:
    from ocipush.testing._dialects import Dialect
    from ocipush.testing._storage import Repository, Storage

_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_LIMIT = 4 * 1024 * 1024
_INDEX = "application/vnd.oci.image.index.v1+json"


class Manifests:
    """GET, HEAD, PUT and DELETE of manifests by tag or digest, and the lists of tags and referrers."""

    def __init__(self, storage: Storage, dialect: Dialect) -> None:
        self._storage = storage
        self._dialect = dialect

    async def get(self, _: Request, name: str, identifier: str) -> Response:
        """Return a manifest."""
        repository = await self._storage.open(name)
        digest = repository.tags.get(identifier, identifier)
        manifest = repository.manifests.get(digest)
        if manifest is None:
            return _unknown(name, identifier)
        return Response(200, {**self._digest_header(digest), "Content-Type": manifest.media_type}, manifest.raw)

    async def put(self, request: Request, name: str, identifier: str) -> Response:
        """Check a manifest, store it and tag it."""
        repository = await self._storage.open(name)
        raw = await request.read(_LIMIT)
        by_digest = DIGEST.fullmatch(identifier) is not None
        if not by_digest and not _TAG.fullmatch(identifier):
            return error_response(400, "MANIFEST_INVALID", f"{identifier} is neither a tag nor a digest")
        digest = digest_of(raw, identifier.partition(":")[0] if by_digest else "sha256")
        if by_digest and digest != identifier:
            return error_response(400, "DIGEST_INVALID", f"the body's digest is {digest}")
        found = self._read(raw, request.headers.get("content-type", ""), repository)
        if isinstance(found, Response):
            return found
        tags = self._tag_parameters(request) if by_digest else [identifier]
        if self._dialect.immutable_tags and (immutable := [tag for tag in tags if tag in repository.tags]):
            return _immutable(self._dialect, name, immutable[0])
        manifest, subject = found
        await repository.put(digest, manifest, tags)
        headers = {"Location": f"/v2/{name}/manifests/{digest}", **self._digest_header(digest)}
        if subject is not None and self._dialect.referrers:
            headers["OCI-Subject"] = subject
        if by_digest and tags:
            headers["OCI-Tag"] = ", ".join(tags)
        if self._dialect.html_ok:
            return Response(201, {**headers, "Content-Type": "text/html; charset=utf-8"}, b"OK")
        return Response(201, headers)

    async def delete(self, _: Request, name: str, identifier: str) -> Response:
        """Delete a tag, or a manifest and its tags."""
        if not self._dialect.deletes:
            return error_response(405, "UNSUPPORTED", "manifests and tags cannot be deleted")
        repository = await self._storage.open(name)
        if identifier in repository.manifests:
            await repository.delete_manifest(identifier)
        elif identifier in repository.tags:
            await repository.delete_tag(identifier)
        else:
            return _unknown(name, identifier)
        return Response(202)

    async def referrers(self, request: Request, name: str, subject: str) -> Response:
        """List the manifests with a subject."""
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
        return json_response({"schemaVersion": 2, "mediaType": _INDEX, "manifests": found}, _INDEX)

    async def tags(self, request: Request, name: str, _: str) -> Response:
        """List a page of the tags."""
        return page_response(request, "tags", (await self._storage.open(name)).tags, name=name)

    def _read(
        self, raw: bytes, media_type: str, repository: Repository
    ) -> tuple[StoredManifest, str | None] | Response:
        """Return a manifest and its subject, or the error response."""
        try:
            content = json.loads(raw)
            stated = content.get("mediaType", media_type)
            missing = _missing(content, repository)
            subject = str(content["subject"]["digest"]) if "subject" in content else ""
        except (ValueError, AttributeError, KeyError, TypeError, RecursionError):
            return error_response(400, "MANIFEST_INVALID", "the body is not a manifest")
        if not media_type or stated != media_type:
            return error_response(400, "MANIFEST_INVALID", "Content-Type is not the manifest's mediaType")
        if missing:
            return _lacking(self._dialect, missing)
        return StoredManifest(media_type, raw), subject if DIGEST.fullmatch(subject) else None

    def _tag_parameters(self, request: Request) -> list[str]:
        if not self._dialect.tag_parameter:
            return []
        tags = parse_qs(request.target.partition("?")[2]).get("tag", [])
        return [tag for tag in tags if _TAG.fullmatch(tag)]

    def _digest_header(self, digest: str) -> dict[str, str]:
        return {"Docker-Content-Digest": digest} if self._dialect.digest_header else {}


def _unknown(name: str, identifier: str) -> Response:
    return error_response(404, "MANIFEST_UNKNOWN", f"{identifier} is not in {name}")


def _immutable(dialect: Dialect, name: str, tag: str) -> Response:
    refusal = IMMUTABLE_TAGS[dialect.immutable_tags]
    message = refusal.message.format(name=name, tag=tag)
    return error_response(refusal.status, refusal.code, message, refusal.detail)


def _lacking(dialect: Dialect, missing: list[str]) -> Response:
    """Return the error response for a manifest whose blobs are missing."""
    if dialect.missing_named == "message":
        message = f"unknown blob {missing[0]}"
        return error_response(dialect.missing_status, dialect.missing_code, message, {})
    error = {"code": dialect.missing_code, "message": "blob unknown to registry"}
    named = {"all": missing, "first": missing[:1], "none": []}[dialect.missing_named]
    errors = [{**error, "detail": digest} for digest in named] or [error]
    return json_response({"errors": errors}, status=dialect.missing_status)


def _missing(content: dict[str, Any], repository: Repository) -> list[str]:
    blobs = [*content.get("layers", ()), *([content["config"]] if "config" in content else ())]
    missing = [b["digest"] for b in blobs if not b.get("urls") and repository.find(b["digest"]) is None]
    children = [m["digest"] for m in content.get("manifests", ())]
    return missing + [d for d in children if d not in repository.manifests]
