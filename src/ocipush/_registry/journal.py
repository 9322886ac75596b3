"""Upload sessions on disk, so that another process can resume those of one that was killed."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import secrets
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlunsplit

import anyio
from pydantic import BaseModel, ConfigDict, Field

from .._http.urls import split_url
from .._oci.json import JSONError, read_json_object, validate
from .._threads import run_in_thread
from ..errors import OcipushError
from .session import Session

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from .._oci.descriptor import Descriptor


_LOG = logging.getLogger("ocipush")
_PATIENCE: Final = 2.0  # seconds that a disk may take, while a cancelled push waits for it
_LONGEST: Final = 256 * 1024  # bytes of a file that are read


class _Record(BaseModel):
    """What a file holds of a session; see :class:`Session`."""

    model_config = ConfigDict(frozen=True)

    location: str
    least: int = Field(ge=0)
    most: int | None = Field(ge=0)
    acknowledged: int


class Journal:
    """A directory with one file for each unfinished upload.

    An upload's Location can hold a signature, so the directory has mode 0700 and the files 0600. The process that uploads a blob
    locks its file meanwhile, and the process that resumes an upload removes the file first: two processes never use the
    same session. Where there is no ``flock`` (Windows), only those that start at the same time are kept apart.
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self._directory = Path(directory)

    def prepare(self) -> None:
        """Create the directory. Blocking.

        Raises:
            OcipushError: it cannot be created or written to.
        """
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self._directory):
                pass
        except OSError as exc:
            raise OcipushError(
                f"{self._directory} cannot keep upload sessions: {exc.strerror}",
                hint="name another directory with resume_dir=",
            ) from exc

    def session(self, repository_url: str, blob: Descriptor) -> SavedSession:
        """The file of one upload; ``repository_url`` tells registries and repositories apart."""
        name = hashlib.sha256(f"{repository_url} {blob.digest}".encode()).hexdigest()
        return SavedSession(self._directory / f"{name}.json", blob.size)


class SavedSession:
    """The file of one upload session. A problem with it costs the resume, but not the push.

    Attributes:
        problem: why the session cannot be saved, once that has failed.
    """

    def __init__(self, path: Path, size: int) -> None:
        self.problem: str | None = None
        self._path = path
        self._size = size
        self._lock: int | None = None  # the descriptor of the lock's file
        self._is_taken = False
        self._released = False

    async def claim(self) -> Session | None:
        """Lock the file, and take the session that another process left behind, if there is one.

        If another process has the lock, it is uploading the same blob. This upload is not saved then.
        """
        with anyio.move_on_after(_PATIENCE, shield=True):
            return await run_in_thread(self._claim)
        return None

    async def note(self, session: Session) -> None:
        """Save where the session is and how far it has come."""
        if not self._is_taken and self.problem is None:
            with anyio.move_on_after(_PATIENCE, shield=True):
                await run_in_thread(self._note, session)

    async def forget(self) -> None:
        """Remove the file: the upload has ended."""
        if not self._is_taken:
            with anyio.move_on_after(_PATIENCE, shield=True):
                await run_in_thread(self._forget)

    async def release(self) -> None:
        """Unlock the file. If it is still there, another process can take the session."""
        self._released = True
        if self._lock is not None:
            with anyio.move_on_after(_PATIENCE, shield=True):
                await run_in_thread(self._release)

    def _release(self) -> None:
        lock, self._lock = self._lock, None
        if lock is not None:
            with contextlib.suppress(OSError):
                self._path.with_suffix(".lock").unlink()
            os.close(lock)

    def _claim(self) -> Session | None:
        try:
            self._lock = _lock(self._path.with_suffix(".lock"))
        except BlockingIOError:
            self._is_taken = True
            return None
        except OSError as exc:
            self.problem = exc.strerror or str(exc)
        if self._released:  # it took too long
            self._release()
            return None
        return self._take()

    def _take(self) -> Session | None:
        claimed = self._unique()
        try:
            self._path.rename(claimed)
        except OSError:  # most often: there is none
            return None
        try:
            record = validate(_Record, read_json_object(_read_own(claimed)))
            return Session(
                urlunsplit(split_url(record.location)),
                self._size,
                least=record.least,
                most=record.most or None,
                acknowledged=min(max(record.acknowledged, 0), self._size),
                sent=self._size,  # nobody knows how much was sent after the last answer: the registry will say
            )
        except (OSError, ValueError) as exc:
            reason = f"it {exc}" if isinstance(exc, JSONError) else exc
            _LOG.warning("%s cannot be used to resume an upload: %s", self._path, reason)
            return None
        finally:
            with contextlib.suppress(OSError):
                claimed.unlink()

    def _note(self, session: Session) -> None:
        record = _Record(
            location=session.location, least=session.least, most=session.most, acknowledged=session.acknowledged
        )
        temporary = self._unique()
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)  # through no link
            with os.fdopen(descriptor, "w") as file:
                file.write(record.model_dump_json())
            temporary.replace(self._path)
        except OSError as exc:
            self.problem = exc.strerror or str(exc)
            with contextlib.suppress(OSError):
                temporary.unlink()

    def _unique(self) -> Path:
        """A name that no other process uses, though it may have the same number in another container."""
        return self._path.with_suffix(f".{os.getpid()}-{secrets.token_hex(8)}")

    def _forget(self) -> None:
        with contextlib.suppress(OSError):
            self._path.unlink()


def _lock(path: Path) -> int | None:
    """Lock a file; its descriptor, or None where files cannot be locked.

    Raises:
        BlockingIOError: another process has locked it.
    """
    if sys.platform == "win32" or fcntl is None:
        return None
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    while True:
        descriptor = os.open(path, flags, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and os.path.samestat(os.lstat(path), os.fstat(descriptor)):
                return descriptor
        except FileNotFoundError:
            pass
        except OSError:
            os.close(descriptor)
            raise
        os.close(descriptor)  # its last owner has removed it


def _read_own(path: Path) -> bytes:
    """Read a file that no other user can have written: it says where an image is sent."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if hasattr(os, "geteuid") and (status.st_uid != os.geteuid() or status.st_mode & 0o022):
            raise PermissionError("another user can have written it")
        return file.read(_LONGEST)
