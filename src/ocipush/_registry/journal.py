"""Upload sessions on disk, so that another process can resume those of one that was killed."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlunsplit

import anyio.to_thread
from pydantic import BaseModel, ConfigDict, Field

from .._http.urls import split_url
from .._oci.json import JSONError, read_json_object, validate
from ..errors import OcipushError
from .session import Session

if TYPE_CHECKING:
    from .._oci.descriptor import Descriptor


_LOG = logging.getLogger("ocipush")
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

    An upload's Location can hold a signature, so the directory has mode 0700 and the files 0600. The process that resumes
    an upload removes its file first, so two processes never resume the same one.
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
    """The file of one upload session. A problem with it is logged: it costs the resume, but not the push."""

    def __init__(self, path: Path, size: int) -> None:
        self._path = path
        self._size = size

    async def claim(self) -> Session | None:
        """Take the session that another process left behind, if there is one. No other process can take it then."""
        return await anyio.to_thread.run_sync(self._claim)

    async def note(self, session: Session) -> None:
        """Save where the session is and how far it has come."""
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self._note, session)

    async def forget(self) -> None:
        """Remove the file: the upload has ended."""
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self._forget)

    def _claim(self) -> Session | None:
        claimed = self._path.with_suffix(f".{os.getpid()}")
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
        temporary = self._path.with_suffix(f".{os.getpid()}")
        try:
            temporary.unlink(missing_ok=True)
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)  # through no link
            with os.fdopen(descriptor, "w") as file:
                file.write(record.model_dump_json())
            temporary.replace(self._path)
        except OSError as exc:
            _LOG.warning("%s cannot be written, so this upload cannot be resumed later: %s", self._path, exc)

    def _forget(self) -> None:
        with contextlib.suppress(OSError):
            self._path.unlink()


def _read_own(path: Path) -> bytes:
    """Read a file that no other user can have written: it says where an image is sent."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if hasattr(os, "geteuid") and (status.st_uid != os.geteuid() or status.st_mode & 0o022):
            raise PermissionError("another user can have written it")
        return file.read(_LONGEST)
