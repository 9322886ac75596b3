"""The content of the development registry, in memory or in a directory.

File I/O runs in worker threads, so that it does not block the server; functions that do it end in ``_blocking``.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import tempfile
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from anyio import Lock, current_time, to_thread

if TYPE_CHECKING:
    from collections.abc import Iterable
    from hashlib import _Hash

    Mark = tuple[int, _Hash]

NAME = r"(?P<name>[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*)"
"""A pattern for repository names, with one group, ``name``."""
DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")


def digest_of(data: bytes, algorithm: str = "sha256") -> str:
    """Return the digest of `data`."""
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"


@dataclass(frozen=True, slots=True)
class StoredManifest:
    """A manifest as it was uploaded."""

    media_type: str
    raw: bytes


class Upload:
    """An upload session: the bytes so far, in memory or in a file; `chunks` has the sizes of the complete bodies."""

    def __init__(self, path: Path | None) -> None:
        self.id: str = secrets.token_hex(16)
        self.size: int = 0
        self.path: Path | None = path / self.id if path else None
        self.data: bytearray = bytearray()
        self.chunks: list[int] = []
        self._sha256 = hashlib.sha256()

    def mark(self) -> Mark:
        """Return the current state, for `return_to`."""
        return self.size, self._sha256.copy()

    async def return_to(self, mark: Mark) -> None:
        """Drop the bytes received since `mark`."""
        self.size, self._sha256 = mark[0], mark[1].copy()
        if self.path:
            await to_thread.run_sync(os.truncate, self.path, self.size)
        else:
            del self.data[self.size :]

    async def write(self, piece: bytes) -> None:
        """Append `piece`."""
        if self.path:
            await to_thread.run_sync(self._append_blocking, self.path, piece)
        else:
            self.data += piece
            self._sha256.update(piece)
        self.size += len(piece)

    def _append_blocking(self, path: Path, piece: bytes) -> None:
        with path.open("ab") as file:
            file.write(piece)
        self._sha256.update(piece)

    async def matches(self, digest: str) -> bool:
        """Return whether the bytes received have this digest."""
        algorithm, _, value = digest.partition(":")
        if algorithm == "sha256":
            return self._sha256.hexdigest() == value
        return await to_thread.run_sync(self._hash_blocking, algorithm) == value

    def _hash_blocking(self, algorithm: str) -> str:
        if not self.path:
            return hashlib.new(algorithm, self.data).hexdigest()
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, algorithm).hexdigest()

    async def discard(self) -> None:
        """Remove the file."""
        if self.path:
            await to_thread.run_sync(self.path.unlink, True)


@dataclass(slots=True)
class Unseen:
    """A new blob that is not found yet: until a time, and for a number of lookups."""

    until: float
    lookups: int

    def misses(self) -> bool:
        """Count a lookup; return whether it does not find the blob."""
        self.lookups -= 1
        return self.lookups >= 0 or current_time() < self.until


@dataclass(slots=True)
class Repository:
    """The blobs, manifests and tags of one repository; `unseen` has the blobs that are not found yet."""

    path: Path | None = None
    blobs: dict[str, bytes | Path] = field(default_factory=dict[str, "bytes | Path"])
    manifests: dict[str, StoredManifest] = field(default_factory=dict[str, StoredManifest])
    tags: dict[str, str] = field(default_factory=dict[str, str])
    uploads: dict[str, Upload] = field(default_factory=dict[str, Upload])
    unseen: dict[str, Unseen] = field(default_factory=dict[str, Unseen], repr=False)
    _writing: Lock = field(default_factory=Lock, repr=False, compare=False)

    def load_blocking(self) -> None:
        """Read the directory that an earlier run wrote."""
        if self.path is None:
            return
        for name in ("_blobs", "_manifests", "_uploads"):
            (self.path / name).mkdir(parents=True, exist_ok=True)
        self.blobs = {p.name: p for p in (self.path / "_blobs").iterdir()}
        state = self.path / "_state.json"
        if state.exists():
            found = json.loads(state.read_text())
            self.tags = found["tags"]
            for digest, media_type in found["manifests"].items():
                raw = (self.path / "_manifests" / digest).read_bytes()
                self.manifests[digest] = StoredManifest(media_type, raw)

    def find(self, digest: str) -> bytes | Path | None:
        """Look a blob up, as requests do; None if it is not there, or not found yet."""
        unseen = self.unseen.get(digest)
        if unseen is not None and digest in self.blobs and unseen.misses():
            return None
        self.unseen.pop(digest, None)
        return self.blobs.get(digest)

    def hide(self, digest: str, seconds: float, lookups: int) -> None:
        """Do not find a blob that is about to be stored, for that long and that many times; not one that is there."""
        if digest not in self.blobs and (seconds or lookups):
            self.unseen[digest] = Unseen(current_time() + seconds, lookups)

    async def start(self) -> Upload:
        """Open an upload session."""
        upload = Upload(self.path / "_uploads" if self.path else None)
        if upload.path:
            await to_thread.run_sync(upload.path.touch)
        self.uploads[upload.id] = upload
        return upload

    async def drop(self, upload: Upload) -> None:
        """Remove an upload session."""
        self.uploads.pop(upload.id, None)
        await upload.discard()

    async def commit(self, upload: Upload, digest: str) -> None:
        """Make an upload a blob."""
        self.uploads.pop(upload.id, None)
        if self.path and upload.path:
            self.blobs[digest] = await to_thread.run_sync(upload.path.rename, self.path / "_blobs" / digest)
        else:
            self.blobs[digest] = bytes(upload.data)

    async def mount(self, source: Repository, digest: str) -> None:
        """Add a blob of another repository."""
        blob = source.blobs[digest]
        if self.path and isinstance(blob, Path):
            blob = await to_thread.run_sync(_link_blocking, blob, self.path / "_blobs" / digest)
        self.blobs[digest] = blob

    async def put(self, digest: str, manifest: StoredManifest, tags: Iterable[str]) -> None:
        """Store a manifest and set tags to it."""
        self.manifests[digest] = manifest
        self.tags.update(dict.fromkeys(tags, digest))
        if self.path:
            await to_thread.run_sync((self.path / "_manifests" / digest).write_bytes, manifest.raw)
            await self._save(self.path)

    async def delete_manifest(self, digest: str) -> None:
        """Delete a manifest and all its tags."""
        del self.manifests[digest]
        for tag in [tag for tag, target in self.tags.items() if target == digest]:
            del self.tags[tag]
        if self.path:
            await self._save(self.path)
            await to_thread.run_sync((self.path / "_manifests" / digest).unlink)

    async def delete_tag(self, tag: str) -> None:
        """Delete a tag, but not its manifest."""
        del self.tags[tag]
        if self.path:
            await self._save(self.path)

    async def delete_blob(self, digest: str) -> None:
        """Delete a blob."""
        blob = self.blobs.pop(digest)
        if isinstance(blob, Path):
            await to_thread.run_sync(blob.unlink)

    async def _save(self, path: Path) -> None:
        async with self._writing:
            types = {digest: manifest.media_type for digest, manifest in self.manifests.items()}
            state = json.dumps({"tags": self.tags, "manifests": types})
            await to_thread.run_sync(_save_blocking, path, state)


def _link_blocking(blob: Path, target: Path) -> Path:
    if not target.exists():
        target.hardlink_to(blob)
    return target


def _save_blocking(path: Path, state: str) -> None:
    (path / "_state.new").write_text(state)
    (path / "_state.new").replace(path / "_state.json")


def prepare_blocking(directory: Path) -> None:
    """Create a directory for `Storage`; OSError if nothing can be written to it."""
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=directory):
        pass


def _names_blocking(directory: Path) -> list[str]:
    return [path.parent.relative_to(directory).as_posix() for path in directory.rglob("_blobs")]


class Storage:
    """All repositories."""

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory
        self._repositories: dict[str, Repository] = {}
        self._loading = threading.Lock()

    async def prepare(self) -> None:
        """Create the directory, if there is one; OSError if nothing can be written to it."""
        if self._directory:
            await to_thread.run_sync(prepare_blocking, self._directory)

    async def names(self) -> list[str]:
        """Return the names of the repositories that have blobs or manifests."""
        if self._directory:
            for name in await to_thread.run_sync(_names_blocking, self._directory):
                await self.open(name)
        return [name for name, repository in self._repositories.items() if repository.blobs or repository.manifests]

    def holder(self, digest: str) -> Repository | None:
        """Return an open repository that has a blob."""
        return next((one for one in self._repositories.values() if digest in one.blobs), None)

    async def open(self, name: str) -> Repository:
        """Return a repository; read it in a worker thread the first time."""
        known = self._repositories.get(name)
        return await to_thread.run_sync(self.repository_blocking, name) if known is None else known

    def drop_uploads(self) -> None:
        """Remove all upload sessions."""
        for repository in self._repositories.values():
            repository.uploads.clear()

    def repository_blocking(self, name: str) -> Repository:
        """Return a repository; create it the first time."""
        if (known := self._repositories.get(name)) is not None:
            return known
        with self._loading:
            if name not in self._repositories:
                repository = Repository(self._directory / name if self._directory else None)
                repository.load_blocking()
                self._repositories[name] = repository
            return self._repositories[name]
