"""GET, HEAD and DELETE of blobs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocipush.testing._messages import Request, Response
from ocipush.testing._responses import error_response

if TYPE_CHECKING:
    from ocipush.testing._dialects import Dialect
    from ocipush.testing._storage import Storage


class Blobs:
    """Requests for whole blobs."""

    def __init__(self, storage: Storage, dialect: Dialect) -> None:
        self._storage = storage
        self._dialect = dialect

    async def get(self, _: Request, name: str, digest: str) -> Response:
        """Return a blob."""
        blob = (await self._storage.open(name)).blobs.get(digest)
        if blob is None:
            return _unknown(name, digest)
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
