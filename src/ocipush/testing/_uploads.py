"""Upload sessions and mounts, in every dialect."""

from __future__ import annotations

import base64
import hashlib
import re
from typing import TYPE_CHECKING

from anyio import CancelScope

from ocipush.testing._dialects import MIB
from ocipush.testing._messages import Request, Response
from ocipush.testing._responses import error_response
from ocipush.testing._storage import DIGEST, NAME

if TYPE_CHECKING:
    from collections.abc import Callable

    from ocipush.testing._dialects import ContentRange, Dialect
    from ocipush.testing._storage import Mark, Repository, Storage, Upload

_CODES = {400: "NAME_INVALID", 401: "UNAUTHORIZED", 403: "DENIED"}


class UploadSessions:
    """POST opens an upload session, PATCH adds a chunk, PUT closes it, GET returns its state, DELETE cancels it.

    Args:
        base: returns the scheme and host of a request's URL.
    """

    def __init__(self, storage: Storage, dialect: Dialect, base: Callable[[Request], str]) -> None:
        self._storage = storage
        self._dialect = dialect
        self._base = base
        self._closing: set[tuple[str, str]] = set()

    async def post(self, request: Request, name: str, _: str) -> Response:
        """Mount a blob, upload it whole (with `digest`), or open a session."""
        repository = await self._storage.open(name)
        digest, source = request.query.get("mount", ""), request.query.get("from", "")
        if DIGEST.fullmatch(digest):
            if response := await self._mount(repository, name, digest, source):
                return response
        elif source and self._dialect.from_without_mount != 202:
            return error_response(self._dialect.from_without_mount, "UNSUPPORTED", "from without mount")
        whole = "digest" in request.query and self._dialect.single_post
        media_type = self._dialect.single_post_type
        if whole and media_type and request.headers.get("content-type") != media_type:
            return error_response(415, "UNSUPPORTED", f"the Content-Type of a blob must be {media_type}")
        upload = await repository.start()
        if whole:
            return await self._close(request, repository, name, upload)
        return self._progress(202, request, name, upload, self._dialect.posted_range)

    async def get(self, request: Request, name: str, item: str) -> Response:
        """Return the state of a session."""
        upload = await self._session(request, name, item)
        if isinstance(upload, Response):
            return upload
        if self._dialect.asked_status != 204:
            return error_response(self._dialect.asked_status, "NAME_INVALID", "invalid digest")
        response = self._progress(204, request, name, upload, self._dialect.asked_range)
        if not self._dialect.asked_location:
            del response.headers["Location"]
        return response

    async def delete(self, request: Request, name: str, item: str) -> Response:
        """Cancel a session."""
        upload = await self._session(request, name, item)
        if isinstance(upload, Response):
            return upload
        if self._dialect.deleted_status != 204:
            return error_response(self._dialect.deleted_status, "NAME_INVALID", "invalid digest")
        await (await self._storage.open(name)).drop(upload)
        return Response(204)

    async def patch(self, request: Request, name: str, item: str) -> Response:
        """Append a chunk."""
        dialect = self._dialect
        upload = await self._session(request, name, item)
        if isinstance(upload, Response):
            return upload
        if dialect.chunks == "refused":
            return error_response(405, "UNSUPPORTED", "chunked uploads are not supported")
        ranged = "content-range" in request.headers
        if ranged and 0 < dialect.max_ranged_patch < (request.length or 0):
            return _too_large(dialect.max_ranged_patch)
        error = await self._append(request, name, upload, dialect.patch_content_range)
        if error is not None:
            return error
        streamed = not ranged or request.length is None
        template = (dialect.streamed_range if streamed else "") or dialect.patched_range
        return self._progress(dialect.patch_status, request, name, upload, template)

    async def put(self, request: Request, name: str, item: str) -> Response:
        """Append the rest, and close the session."""
        upload = await self._session(request, name, item)
        if isinstance(upload, Response):
            return upload
        if request.length != 0 and not self._dialect.put_body:
            return error_response(404, "BLOB_UNKNOWN", "blob unknown to registry")
        if request.length == 0 and upload.size and not self._dialect.empty_put:
            return error_response(500, "UNKNOWN", "internal error")
        return await self._close(request, await self._storage.open(name), name, upload)

    async def _mount(self, repository: Repository, name: str, digest: str, source: str) -> Response | None:
        """Return the response to a mount; None to open a session instead."""
        dialect = self._dialect
        if not source and dialect.mount_without_from:
            source = name
        status = dialect.self_mount if source == name else dialect.cross_mount
        if status not in {201, 202}:
            return error_response(status, _CODES.get(status, "UNSUPPORTED"), f"no mount from {source}")
        if status == 202:
            return None
        if dialect.finds_blobs_anywhere:
            other = self._storage.holder(digest)
        else:
            other = await self._storage.open(source) if re.fullmatch(NAME, source) else None
        if other is None or other.find(digest) is None:
            return None
        self._hide(repository, digest)
        await repository.mount(other, digest)
        return _created(name, digest)

    async def _session(self, request: Request, name: str, item: str) -> Upload | Response:
        """Return the session of a request, or the error response."""
        repository = await self._storage.open(name)
        upload = repository.uploads.get(item)
        if upload is None:
            return error_response(404, "BLOB_UPLOAD_UNKNOWN", "no such upload session")
        query = self._dialect.location_query
        if not request.target.partition("?")[2].startswith(query):
            request.violations.append(f"its query does not start with {query}")
        state, mode = request.query.get("_state"), self._dialect.state
        if mode == "none" or state == _state(upload) or (mode == "guards" and request.method == "GET"):
            return upload
        if mode == "guards" and state is not None:
            return self._out_of_order(request, name, upload)
        if mode == "cancels":
            await repository.drop(upload)
        return error_response(404, "BLOB_UPLOAD_INVALID", "the _state is not the latest one")

    async def _append(self, request: Request, name: str, upload: Upload, check: ContentRange) -> Response | None:
        """Append a request's body to its session; return the error response if it does not fit there."""
        skipped = upload.size - _start(request, upload, check)
        if skipped < 0 or (skipped > 0 and self._dialect.overlap == "refused"):
            return self._out_of_order(request, name, upload)
        if request.length != 0 and any(size < self._dialect.min_chunk for size in upload.chunks):
            return error_response(
                400, "SIZE_INVALID", f"a chunk other than the last has less than {self._dialect.min_chunk} bytes"
            )
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
            return error_response(400, "BLOB_UPLOAD_INVALID", "blob upload invalid")
        self._closing.add((name, digest))
        try:
            error = await self._append(request, name, upload, self._dialect.put_content_range)
            return error or await self._commit(request, repository, name, upload, digest)
        finally:
            self._closing.discard((name, digest))

    async def _commit(
        self, request: Request, repository: Repository, name: str, upload: Upload, digest: str
    ) -> Response:
        garbled = self._dialect.chunks == "garbled" and len(upload.chunks) > 1
        if garbled or not DIGEST.fullmatch(digest) or not await upload.matches(digest):
            if self._dialect.mismatch_ends:
                await repository.drop(upload)
            return error_response(400, "DIGEST_INVALID", f"the content's digest is not {digest}")
        if self._dialect.size_of_last_body and request.body_size not in {0, upload.size}:
            request.violations.append(f"{digest} is recorded with {request.body_size} bytes, but has {upload.size}")
        self._hide(repository, digest)
        await repository.commit(upload, digest)
        return _created(name, digest)

    def _hide(self, repository: Repository, digest: str) -> None:
        repository.hide(digest, self._dialect.unseen_seconds, self._dialect.unseen_lookups)

    def _progress(self, status: int, request: Request, name: str, upload: Upload, template: str) -> Response:
        """Return a response with the Location of a session, and its Range in the format of `template`."""
        dialect = self._dialect
        # Where only complete bodies are kept, those that are still arriving do not count.
        size = sum(upload.chunks) if dialect.cut == "acknowledged" else upload.size
        chunks = upload.chunks or [size]
        last, chunk, first = (max(count - 1, 0) for count in (size, chunks[-1], chunks[0]))
        query = dialect.location_query
        if dialect.state != "none":
            query += f"{'&' if query else ''}_state={_state(upload)}"
        path = dialect.session_path.format(name=name)
        location = f"{self._base(request) if dialect.absolute_location else ''}{path}{upload.id}"
        headers = {"Location": f"{location}?{query}" if query else location}
        headers["Range"] = template.format(last=last, count=size, chunk_last=chunk, first_last=first)
        if status == 202 and dialect.min_chunk:
            headers["OCI-Chunk-Min-Length"] = str(dialect.min_chunk)
        return Response(status, headers)

    def _out_of_order(self, request: Request, name: str, upload: Upload) -> Response:
        response = error_response(416, "RANGE_INVALID", "the body does not start at the end of the upload")
        if template := self._dialect.refused_range:
            response.headers.update(self._progress(416, request, name, upload, template).headers)
        return response


def _start(request: Request, upload: Upload, check: ContentRange) -> int:
    """Return the offset of a request's body; one beyond the end of the upload if its headers contradict each other."""
    content_range = request.headers.get("content-range")
    if check == "ignored" or (check == "with length" and request.length is None):
        return upload.size
    if content_range is None:
        return 0 if check == "assumed" and request.length else upload.size
    found = re.fullmatch(r"(?:bytes )?([0-9]{1,19})-([0-9]{1,19})", content_range)
    if found is None or request.length not in {None, int(found[2]) - int(found[1]) + 1}:
        return upload.size + 1
    return int(found[1])


def _state(upload: Upload) -> str:
    """Return a token for the size of an upload: opaque, as distribution's, and without characters that need quoting."""
    return base64.urlsafe_b64encode(hashlib.sha256(f"{upload.id} {upload.size}".encode()).digest()).decode()


def _too_large(limit: int) -> Response:
    message = f"the request body is too large and exceeds the maximum permissible limit of {limit / MIB:.2f}MiB"
    return error_response(416, "REQUESTED_RANGE_NOT_SATISFIABLE", message)


def _created(name: str, digest: str) -> Response:
    location = f"/v2/{name}/blobs/{digest}"
    return Response(201, {"Location": location, "Docker-Content-Digest": digest})
