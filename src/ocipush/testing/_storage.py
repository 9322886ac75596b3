"""What the development registry holds, in memory or in a directory. May import: anyio.

File I/O is done in worker threads, so that the server goes on answering: the names that end in ``_blocking`` run there.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from anyio import Lock, to_thread

if TYPE_CHECKING:
    from collections.abc import Iterable
    from hashlib import _Hash

    Mark = tuple[int, _Hash]

NAME = r"(?P<name>[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*)"
"""A repository's name, as a pattern with one group, ``name``."""
DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")


def digest_of(data: bytes, algorithm: str = "sha256") -> str:
    """Return the digest of `data`."""
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"


@dataclass(frozen=True, slots=True)
class StoredManifest:
    """A manifest as it was put."""

    media_type: str
    raw: bytes


class Upload:
    """An upload session: bytes so far, in memory or in a file; `chunks` has the sizes of the bodies that came whole."""

    def __init__(self, path: Path | None) -> None:
        self.id: str = secrets.token_hex(16)
        self.size: int = 0
        self.path: Path | None = path / self.id if path else None
        self.data: bytearray = bytearray()
        self.chunks: list[int] = []
        self._sha256 = hashlib.sha256()

    def mark(self) -> Mark:
        """Return a point to come back to."""
        return self.size, self._sha256.copy()

    async def return_to(self, mark: Mark) -> None:
        """Forget what arrived since."""
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
        """Say whether what arrived has this digest."""
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
        """Forget what arrived."""
        if self.path:
            await to_thread.run_sync(self.path.unlink, True)


@dataclass(slots=True)
class Repository:
    """The blobs, manifests and tags of one repository."""

    path: Path | None = None
    blobs: dict[str, bytes | Path] = field(default_factory=dict[str, "bytes | Path"])
    manifests: dict[str, StoredManifest] = field(default_factory=dict[str, StoredManifest])
    tags: dict[str, str] = field(default_factory=dict[str, str])
    uploads: dict[str, Upload] = field(default_factory=dict[str, Upload])
    _writing: Lock = field(default_factory=Lock, repr=False, compare=False)

    def load_blocking(self) -> None:
        """Read what an earlier run left in the directory."""
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

    async def start(self) -> Upload:
        """Open an upload session."""
        upload = Upload(self.path / "_uploads" if self.path else None)
        if upload.path:
            await to_thread.run_sync(upload.path.touch)
        self.uploads[upload.id] = upload
        return upload

    async def drop(self, upload: Upload) -> None:
        """Give an upload session up."""
        self.uploads.pop(upload.id, None)
        await upload.discard()

    async def commit(self, upload: Upload, digest: str) -> None:
        """Turn an upload into a blob."""
        self.uploads.pop(upload.id, None)
        if self.path and upload.path:
            self.blobs[digest] = await to_thread.run_sync(upload.path.rename, self.path / "_blobs" / digest)
        else:
            self.blobs[digest] = bytes(upload.data)

    async def mount(self, source: Repository, digest: str) -> None:
        """Take a blob over from another repository."""
        blob = source.blobs[digest]
        if self.path and isinstance(blob, Path):
            blob = await to_thread.run_sync(_link_blocking, blob, self.path / "_blobs" / digest)
        self.blobs[digest] = blob

    async def put(self, digest: str, manifest: StoredManifest, tags: Iterable[str]) -> None:
        """Keep a manifest, and the tags that name it."""
        self.manifests[digest] = manifest
        self.tags.update(dict.fromkeys(tags, digest))
        if self.path:
            async with self._writing:
                types = {d: m.media_type for d, m in self.manifests.items()}
                state = json.dumps({"tags": self.tags, "manifests": types})
                await to_thread.run_sync(_keep_blocking, self.path, digest, manifest.raw, state)


def _link_blocking(blob: Path, target: Path) -> Path:
    if not target.exists():
        target.hardlink_to(blob)
    return target


def _keep_blocking(path: Path, digest: str, raw: bytes, state: str) -> None:
    (path / "_manifests" / digest).write_bytes(raw)
    (path / "_state.new").write_text(state)
    (path / "_state.new").replace(path / "_state.json")


class Storage:
    """All repositories."""

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory
        self._repositories: dict[str, Repository] = {}
        self._loading = threading.Lock()

    def holder(self, digest: str) -> Repository | None:
        """Return an opened repository that holds a blob."""
        return next((one for one in self._repositories.values() if digest in one.blobs), None)

    async def open(self, name: str) -> Repository:
        """Return a repository, read in a worker thread when first asked for."""
        known = self._repositories.get(name)
        return await to_thread.run_sync(self.repository_blocking, name) if known is None else known

    def drop_uploads(self) -> None:
        """Lose every upload session."""
        for repository in self._repositories.values():
            repository.uploads.clear()

    def repository_blocking(self, name: str) -> Repository:
        """Return a repository, made when first asked for."""
        if (known := self._repositories.get(name)) is not None:
            return known
        with self._loading:
            if name not in self._repositories:
                repository = Repository(self._directory / name if self._directory else None)
                repository.load_blocking()
                self._repositories[name] = repository
            return self._repositories[name]
