"""Upload sessions and mounts of the development registry. May import: _answers, _server, _storage."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ocipush.testing._answers import refusal
from ocipush.testing._server import Request, Response
from ocipush.testing._storage import DIGEST, NAME, Storage, Upload

if TYPE_CHECKING:
    from ocipush.testing._storage import Repository


class UploadSessions:
    """The requests of an upload: POST opens a session, PATCH and PUT fill it, PUT closes it, GET asks, DELETE ends it."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    async def post(self, request: Request, name: str, _: str) -> Response:
        """Mount a blob, or open a session; with `digest`, take the whole blob at once."""
        repository = await self._storage.open(name)
        digest, source = request.query.get("mount", ""), request.query.get("from", "")
        if DIGEST.fullmatch(digest) and re.fullmatch(NAME, source):
            other = await self._storage.open(source)
            if digest in other.blobs:
                await repository.mount(other, digest)
                return _created(name, digest)
        upload = await repository.start()
        if "digest" in request.query:
            return await self._close(request, repository, name, upload)
        return _progress(202, name, upload)

    async def get(self, _: Request, name: str, item: str) -> Response:
        """Tell how much has arrived."""
        upload = await self._find(name, item)
        return _progress(204, name, upload) if upload else _no_upload()

    async def delete(self, _: Request, name: str, item: str) -> Response:
        """Give the session up."""
        upload = await self._find(name, item)
        if upload is None:
            return _no_upload()
        (await self._storage.open(name)).uploads.pop(item)
        await upload.discard()
        return Response(204)

    async def patch(self, request: Request, name: str, item: str) -> Response:
        """Take a chunk."""
        upload = await self._find(name, item)
        if upload is None:
            return _no_upload()
        if not _in_order(request, upload):
            return _progress(416, name, upload)
        while piece := await request.receive():
            await upload.write(piece)
        return _progress(202, name, upload)

    async def put(self, request: Request, name: str, item: str) -> Response:
        """Take what is left, and close the session."""
        upload = await self._find(name, item)
        if upload is None:
            return _no_upload()
        if not _in_order(request, upload):
            return _progress(416, name, upload)
        return await self._close(request, await self._storage.open(name), name, upload)

    async def _find(self, name: str, item: str) -> Upload | None:
        return (await self._storage.open(name)).uploads.get(item)

    async def _close(self, request: Request, repository: Repository, name: str, upload: Upload) -> Response:
        digest = request.query.get("digest", "")
        while piece := await request.receive():
            await upload.write(piece)
        repository.uploads.pop(upload.id, None)
        if not DIGEST.fullmatch(digest) or not await upload.matches(digest):
            await upload.discard()
            return refusal(400, "DIGEST_INVALID", f"the content's digest is not {digest}")
        await repository.commit(upload, digest)
        return _created(name, digest)


def _in_order(request: Request, upload: Upload) -> bool:
    stated = request.headers.get("content-range")
    if stated is None:
        return True
    found = re.fullmatch(r"(?:bytes )?([0-9]{1,19})-([0-9]{1,19})", stated)
    if found is None or int(found[1]) != upload.size:
        return False
    length = request.headers.get("content-length")
    return length is None or int(found[2]) - int(found[1]) + 1 == int(length)


def _no_upload() -> Response:
    return refusal(404, "BLOB_UPLOAD_UNKNOWN", "no such upload session")


def _progress(status: int, name: str, upload: Upload) -> Response:
    headers = {"Location": f"/v2/{name}/blobs/uploads/{upload.id}"}
    return Response(status, {**headers, "Range": f"0-{max(upload.size - 1, 0)}"})


def _created(name: str, digest: str) -> Response:
    location = f"/v2/{name}/blobs/{digest}"
    return Response(201, {"Location": location, "Docker-Content-Digest": digest})
