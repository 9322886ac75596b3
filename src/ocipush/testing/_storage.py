"""What the development registry holds, in memory or in a directory. May import: the standard library."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from dataclasses import dataclass, field
from pathlib import Path

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
    """An upload session: bytes so far, in memory or in a file."""

    def __init__(self, path: Path | None) -> None:
        self.id = secrets.token_hex(16)
        self.size = 0
        self.path = path / self.id if path else None
        self.data = bytearray()
        self._hashes = {"sha256": hashlib.sha256(), "sha512": hashlib.sha512()}
        if self.path:
            self.path.touch()

    def write(self, piece: bytes) -> None:
        """Append `piece`."""
        self._hashes["sha256"].update(piece)
        self._hashes["sha512"].update(piece)
        self.size += len(piece)
        if self.path:
            with self.path.open("ab") as file:
                file.write(piece)
        else:
            self.data += piece

    def matches(self, digest: str) -> bool:
        """Say whether what arrived has this digest."""
        algorithm, _, value = digest.partition(":")
        return self._hashes[algorithm].hexdigest() == value

    def discard(self) -> None:
        """Forget what arrived."""
        if self.path:
            self.path.unlink(missing_ok=True)


@dataclass(slots=True)
class Repository:
    """The blobs, manifests and tags of one repository."""

    path: Path | None = None
    blobs: dict[str, bytes | Path] = field(default_factory=dict[str, "bytes | Path"])
    manifests: dict[str, StoredManifest] = field(default_factory=dict[str, StoredManifest])
    tags: dict[str, str] = field(default_factory=dict[str, str])
    uploads: dict[str, Upload] = field(default_factory=dict[str, Upload])

    def load(self) -> None:
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

    def start(self) -> Upload:
        """Open an upload session."""
        upload = Upload(self.path / "_uploads" if self.path else None)
        self.uploads[upload.id] = upload
        return upload

    def commit(self, upload: Upload, digest: str) -> None:
        """Turn an upload into a blob."""
        if self.path and upload.path:
            self.blobs[digest] = upload.path.rename(self.path / "_blobs" / digest)
        else:
            self.blobs[digest] = bytes(upload.data)

    def mount(self, source: Repository, digest: str) -> None:
        """Take a blob over from another repository."""
        blob = source.blobs[digest]
        if self.path and isinstance(blob, Path):
            target = self.path / "_blobs" / digest
            if not target.exists():
                target.hardlink_to(blob)
            blob = target
        self.blobs[digest] = blob

    def put(self, digest: str, manifest: StoredManifest, tag: str | None) -> None:
        """Keep a manifest, and the tag that names it."""
        self.manifests[digest] = manifest
        if tag:
            self.tags[tag] = digest
        if self.path:
            (self.path / "_manifests" / digest).write_bytes(manifest.raw)
            types = {d: m.media_type for d, m in self.manifests.items()}
            state = json.dumps({"tags": self.tags, "manifests": types})
            (self.path / "_state.json").write_text(state)


class Storage:
    """All repositories."""

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory
        self._repositories: dict[str, Repository] = {}

    def repository(self, name: str) -> Repository:
        """Return a repository, made when first asked for."""
        if name not in self._repositories:
            path = self._directory / name if self._directory else None
            repository = Repository(path)
            repository.load()
            self._repositories[name] = repository
        return self._repositories[name]
