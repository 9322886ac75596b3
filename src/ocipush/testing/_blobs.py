"""GET, HEAD and DELETE of blobs, and the storage service that a registry redirects to."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from html import escape
from typing import TYPE_CHECKING

from ocipush.testing._messages import Request, Response
from ocipush.testing._pages import HTML
from ocipush.testing._responses import error_response
from ocipush.testing._storage import NAME

if TYPE_CHECKING:
    from collections.abc import Callable

    from ocipush.testing._dialects import Dialect
    from ocipush.testing._storage import Storage

STORAGE = re.compile(rf"/storage/{NAME}/(?P<item>[^/]+)")
"""The paths of the storage service."""
_SIGNATURE = "X-Amz-Signature"


class BlobStorage:
    """A storage service such as S3: it sends blobs to requests with a signed URL, and accepts no login beside that.

    Args:
        base: returns the scheme and host of the service.
    """

    def __init__(self, storage: Storage, base: Callable[[Request], str]) -> None:
        self._storage = storage
        self._base = base
        self._key = secrets.token_bytes(32)

    def location(self, request: Request, name: str, digest: str) -> str:
        """Return the signed URL of a blob, for requests with the method of `request`."""
        path = f"/storage/{name}/{digest}"
        return f"{self._base(request)}{path}?{_SIGNATURE}={self._sign(request.method, path)}"

    async def respond(self, request: Request) -> Response:
        """Send a blob."""
        if "authorization" in request.headers:
            request.violations.append("it sends a login to the storage service")
            return _failure(400, "InvalidArgument")
        found = STORAGE.fullmatch(request.path)
        signature = request.query.get(_SIGNATURE, "")
        if found is None or not hmac.compare_digest(
            signature.encode(), self._sign(request.method, request.path).encode()
        ):
            return _failure(403, "SignatureDoesNotMatch")
        blob = (await self._storage.open(found["name"])).blobs.get(found["item"])
        if blob is None:
            return _failure(404, "NoSuchKey")
        return Response(200, {"Content-Type": "application/octet-stream"}, blob)

    def _sign(self, method: str, path: str) -> str:
        return hmac.new(self._key, f"{method} {path}".encode(), hashlib.sha256).hexdigest()


class Blobs:
    """Requests for whole blobs."""

    def __init__(self, storage: Storage, dialect: Dialect, service: BlobStorage) -> None:
        self._storage = storage
        self._dialect = dialect
        self._service = service

    async def get(self, request: Request, name: str, digest: str) -> Response:
        """Return a blob, or redirect to it."""
        blob = (await self._storage.open(name)).find(digest)
        if blob is None:
            return _unknown(name, digest)
        if status := self._dialect.blob_redirect:
            location = self._service.location(request, name, digest)
            body = f'<a href="{escape(location)}">Redirect</a>.\n'.encode() if request.method == "GET" else b""
            return Response(status, {"Location": location, "Content-Type": HTML}, body)
        headers = {"Docker-Content-Digest": digest, "Content-Type": "application/octet-stream"}
        return Response(200, headers, blob)

    async def delete(self, _: Request, name: str, digest: str) -> Response:
        """Delete a blob."""
        if not self._dialect.deletes:
            return error_response(405, "UNSUPPORTED", "blobs cannot be deleted")
        repository = await self._storage.open(name)
        if digest not in repository.blobs:
            return _unknown(name, digest)
        await repository.delete_blob(digest)
        return Response(202)


def _unknown(name: str, digest: str) -> Response:
    return error_response(404, "BLOB_UNKNOWN", f"{digest} is not in {name}")


def _failure(status: int, code: str) -> Response:
    return Response(status, {"Content-Type": "application/xml"}, f"<Error><Code>{code}</Code></Error>".encode())
