"""Upload sessions and mounts, in every dialect. May import: _answers, _dialects, _server, _storage, anyio."""

from __future__ import annotations

import base64
import hashlib
import re
from typing import TYPE_CHECKING

from anyio import CancelScope

from ocipush.testing._answers import refusal
from ocipush.testing._dialects import MIB
from ocipush.testing._server import Request, Response
from ocipush.testing._storage import DIGEST, NAME

if TYPE_CHECKING:
    from collections.abc import Callable

    from ocipush.testing._dialects import ContentRange, Dialect
    from ocipush.testing._storage import Mark, Repository, Storage, Upload

_REFUSALS = {400: "NAME_INVALID", 401: "UNAUTHORIZED", 403: "DENIED"}


class UploadSessions:
    """The requests of an upload: POST opens a session, PATCH and PUT fill it, PUT closes it, GET asks, DELETE ends it.

    Args:
        base: tells the scheme and host that a request came to.
    """

    def __init__(self, storage: Storage, dialect: Dialect, base: Callable[[Request], str]) -> None:
        self._storage = storage
        self._dialect = dialect
        self._base = base
        self._closing: set[tuple[str, str]] = set()

    async def post(self, request: Request, name: str, _: str) -> Response:
        """Mount a blob, or open a session; with `digest`, take the whole blob at once."""
        repository = await self._storage.open(name)
        digest, source = request.query.get("mount", ""), request.query.get("from", "")
        if DIGEST.fullmatch(digest):
            if answer := await self._mount(repository, name, digest, source):
                return answer
        elif source and self._dialect.from_without_mount != 202:
            return refusal(self._dialect.from_without_mount, "UNSUPPORTED", "from without mount")
        whole = "digest" in request.query and self._dialect.single_post
        media_type = self._dialect.single_post_type
        if whole and media_type and request.headers.get("content-type") != media_type:
            return refusal(415, "UNSUPPORTED", f"a blob is {media_type}")
        upload = await repository.start()
        if whole:
            return await self._close(request, repository, name, upload)
        return self._progress(202, request, name, upload, self._dialect.posted_range)

    async def get(self, request: Request, name: str, item: str) -> Response:
        """Tell how much has arrived."""
        upload = await self._session(request, name, item)
        if isinstance(upload, Response):
            return upload
        if self._dialect.asked_status != 204:
            return refusal(self._dialect.asked_status, "NAME_INVALID", "invalid digest")
        answer = self._progress(204, request, name, upload, self._dialect.asked_range)
        if not self._dialect.asked_location:
            del answer.headers["Location"]
        return answer

    async def delete(self, request: Request, name: str, item: str) -> Response:
        """Give the session up."""
        upload = await self._session(request, name, item)
        if isinstance(upload, Response):
            return upload
        if self._dialect.deleted_status != 204:
            return refusal(self._dialect.deleted_status, "NAME_INVALID", "invalid digest")
        await (await self._storage.open(name)).drop(upload)
        return Response(204)

    async def patch(self, request: Request, name: str, item: str) -> Response:
        """Take a chunk."""
        dialect = self._dialect
        upload = await self._session(request, name, item)
        if isinstance(upload, Response):
            return upload
        if dialect.chunks == "refused":
            return refusal(405, "UNSUPPORTED", "chunked uploads are not supported")
        ranged = "content-range" in request.headers
        if ranged and 0 < dialect.max_ranged_patch < (request.length or 0):
            return _too_large(dialect.max_ranged_patch)
        refused = await self._fill(request, name, upload, dialect.patch_content_range)
        if refused is not None:
            return refused
        streamed = not ranged or request.length is None
        form = (dialect.streamed_range if streamed else "") or dialect.patched_range
        return self._progress(dialect.patch_status, request, name, upload, form)

    async def put(self, request: Request, name: str, item: str) -> Response:
        """Take what is left, and close the session."""
        upload = await self._session(request, name, item)
        if isinstance(upload, Response):
            return upload
        if request.length != 0 and not self._dialect.put_body:
            return refusal(404, "BLOB_UNKNOWN", "blob unknown to registry")
        if request.length == 0 and upload.size and not self._dialect.empty_put:
            return refusal(500, "UNKNOWN", "internal error")
        return await self._close(request, await self._storage.open(name), name, upload)

    async def _mount(self, repository: Repository, name: str, digest: str, source: str) -> Response | None:
        """Return the answer to a mount; None to open a session instead."""
        dialect = self._dialect
        if not source and dialect.mount_without_from:
            source = name
        status = dialect.self_mount if source == name else dialect.cross_mount
        if status not in {201, 202}:
            return refusal(status, _REFUSALS.get(status, "UNSUPPORTED"), f"no mount from {source}")
        if status == 202:
            return None
        if dialect.finds_blobs_anywhere:
            other = self._storage.holder(digest)
        else:
            other = await self._storage.open(source) if re.fullmatch(NAME, source) else None
        if other is None or digest not in other.blobs:
            return None
        await repository.mount(other, digest)
        return _created(name, digest)

    async def _session(self, request: Request, name: str, item: str) -> Upload | Response:
        """Return the session of a request, or why there is none for it."""
        repository = await self._storage.open(name)
        upload = repository.uploads.get(item)
        if upload is None:
            return refusal(404, "BLOB_UPLOAD_UNKNOWN", "no such upload session")
        query = self._dialect.location_query
        if not request.target.partition("?")[2].startswith(query):
            request.complaints.append(f"its query does not begin with {query}")
        state, mode = request.query.get("_state"), self._dialect.state
        if mode == "none" or state == _state(upload) or (mode == "guards" and request.method == "GET"):
            return upload
        if mode == "guards" and state is not None:
            return self._out_of_order(request, name, upload)
        if mode == "cancels":
            await repository.drop(upload)
        return refusal(404, "BLOB_UPLOAD_INVALID", "the state is not that of the upload")

    async def _fill(self, request: Request, name: str, upload: Upload, reading: ContentRange) -> Response | None:
        """Append a request's body to its session; return the refusal of one that does not fit there."""
        skipped = upload.size - _start(request, upload, reading)
        if skipped < 0 or (skipped > 0 and self._dialect.overlap == "refused"):
            return self._out_of_order(request, name, upload)
        if request.length != 0 and any(size < self._dialect.min_chunk for size in upload.chunks):
            return refusal(400, "SIZE_INVALID", f"a chunk before the last is under {self._dialect.min_chunk} bytes")
        before = upload.mark()
        done = False
        try:
            while piece := await request.receive():
                await upload.write(piece[skipped:])
                skipped = max(skipped - len(piece), 0)
            done = True
        finally:
            if not done:
                with CancelScope(shield=True):
                    await self._broken_off(name, upload, before)
        if request.body_size:
            upload.chunks.append(request.body_size)
        return None

    async def _broken_off(self, name: str, upload: Upload, before: Mark) -> None:
        if self._dialect.cut == "dropped":
            await (await self._storage.open(name)).drop(upload)
        elif self._dialect.cut == "acknowledged":
            await upload.return_to(before)

    async def _close(self, request: Request, repository: Repository, name: str, upload: Upload) -> Response:
        digest = request.query.get("digest", "")
        if (name, digest) in self._closing and not self._dialect.same_blob_at_once:
            await repository.drop(upload)
            return refusal(400, "BLOB_UPLOAD_INVALID", "blob upload invalid")
        self._closing.add((name, digest))
        try:
            refused = await self._fill(request, name, upload, self._dialect.put_content_range)
            return refused or await self._commit(request, repository, name, upload, digest)
        finally:
            self._closing.discard((name, digest))

    async def _commit(
        self, request: Request, repository: Repository, name: str, upload: Upload, digest: str
    ) -> Response:
        garbled = self._dialect.chunks == "garbled" and len(upload.chunks) > 1
        if garbled or not DIGEST.fullmatch(digest) or not await upload.matches(digest):
            if self._dialect.mismatch_ends:
                await repository.drop(upload)
            return refusal(400, "DIGEST_INVALID", f"the content's digest is not {digest}")
        if self._dialect.size_of_last_body and request.body_size not in {0, upload.size}:
            request.complaints.append(f"{digest} is recorded with {request.body_size} bytes, and has {upload.size}")
        await repository.commit(upload, digest)
        return _created(name, digest)

    def _progress(self, status: int, request: Request, name: str, upload: Upload, form: str) -> Response:
        """Tell where the session is, and what it holds, in a form of Range."""
        dialect = self._dialect
        chunks = upload.chunks or [upload.size]
        last, chunk, first = (max(size - 1, 0) for size in (upload.size, chunks[-1], chunks[0]))
        query = dialect.location_query
        if dialect.state != "none":
            query += f"{'&' if query else ''}_state={_state(upload)}"
        path = dialect.session_path.format(name=name)
        location = f"{self._base(request) if dialect.absolute_location else ''}{path}{upload.id}"
        headers = {"Location": f"{location}?{query}" if query else location}
        headers["Range"] = form.format(last=last, count=upload.size, chunk_last=chunk, first_last=first)
        if status == 202 and dialect.min_chunk:
            headers["OCI-Chunk-Min-Length"] = str(dialect.min_chunk)
        return Response(status, headers)

    def _out_of_order(self, request: Request, name: str, upload: Upload) -> Response:
        answer = refusal(416, "RANGE_INVALID", "the bytes are not those that come next")
        if form := self._dialect.refused_range:
            answer.headers.update(self._progress(416, request, name, upload, form).headers)
        return answer


def _start(request: Request, upload: Upload, reading: ContentRange) -> int:
    """Return where a request's body begins, by what it says; beyond the end of the session when it contradicts itself."""
    stated = request.headers.get("content-range")
    if reading == "ignored" or (reading == "with length" and request.length is None):
        return upload.size
    if stated is None:
        return 0 if reading == "assumed" and request.length else upload.size
    found = re.fullmatch(r"(?:bytes )?([0-9]{1,19})-([0-9]{1,19})", stated)
    if found is None or request.length not in {None, int(found[2]) - int(found[1]) + 1}:
        return upload.size + 1
    return int(found[1])


def _state(upload: Upload) -> str:
    """Return a token of how far a session is, as opaque as distribution's, and in need of no quoting."""
    return base64.urlsafe_b64encode(hashlib.sha256(f"{upload.id} {upload.size}".encode()).digest()).decode()


def _too_large(limit: int) -> Response:
    message = f"the request body is too large and exceeds the maximum permissible limit of {limit / MIB:.2f}MiB"
    return refusal(416, "REQUESTED_RANGE_NOT_SATISFIABLE", message)


def _created(name: str, digest: str) -> Response:
    location = f"/v2/{name}/blobs/{digest}"
    return Response(201, {"Location": location, "Docker-Content-Digest": digest})
