"""Find, save and remove the login of a registry in ``auth.json``, in the specification's form."""

from __future__ import annotations

import json
import os
import stat
import sys
import threading
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from .._oci.json import is_text, validate
from .._oci.reference import strip_white_space
from ..errors import CredentialError
from .base import HUB_ALIASES, Login, registry_of
from .documents import OTHER_FILE, TOOLS, Text, check_text, is_of_docker, load, names_of

if TYPE_CHECKING:
    from collections.abc import Callable, Generator


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True)

    username: Text = ""
    password: Text = Field(default="", repr=False)


class _AuthFile(BaseModel):
    """What is read of ``auth.json``. An entry is checked when its registry is looked up; other keys are only kept."""

    model_config = ConfigDict(frozen=True)

    registries: Annotated[dict[str, Any], BeforeValidator(lambda value: {} if value is None else value)] = Field(
        default_factory=dict  # Go writes an empty map as null
    )


def find_login(registry: str, *, authfile: str | os.PathLike[str] | None = None) -> Login | None:
    """The login saved for ``registry``; None if there is none, or if its user name or password is empty.

    Raises:
        CredentialError: the file cannot be read, or is malformed.
    """
    path = _path(authfile)
    return login_in(load(path), path, registry)


def login_in(document: dict[str, Any], path: Path, registry: str) -> Login | None:
    """The login for ``registry`` in what was read from ``path``, as for :func:`find_login`."""
    registries = _registries(document, path)
    found = next((registries[key] for key in _keys(registry) if key in registries), None)
    if found is None:
        return None
    try:
        entry = validate(_Entry, found)
    except ValueError as exc:
        raise CredentialError(f"{path}: the entry of {registry} is not valid: {exc}", source=str(path)) from exc
    return Login(entry.username, entry.password) if entry.username and entry.password else None


def save_login(registry: str, login: Login, *, authfile: str | os.PathLike[str] | None = None) -> None:
    """Save a login: atomically, under a lock, mode 0600, unknown keys kept.

    Raises:
        CredentialError: the registry or the user name is empty, or the file cannot be read or written.
        InvalidReferenceError: no reference names this registry, so no push would look for the login.
    """
    key = strip_white_space(registry)
    if not key or not login.username.strip():
        raise CredentialError("a login needs a registry and a user name", hint="name both")
    if not (is_text(login.username) and is_text(login.password)):
        raise CredentialError("the user name or the password is not text", hint="is it UTF-8?")
    registry_of(key)

    def change(registries: dict[str, Any]) -> bool:
        registries[key] = {"username": login.username, "password": login.password}
        return True

    _update(authfile, change)


def remove_login(registry: str, *, authfile: str | os.PathLike[str] | None = None) -> bool:
    """Remove a login; False if there was none. Raises CredentialError like :func:`save_login`."""
    key = strip_white_space(registry)
    path = _path(authfile)
    if not _registries(_load_own(path), path):
        return False  # without creating a directory or a lock file

    def change(registries: dict[str, Any]) -> bool:
        found = [one for one in _keys(key) if one in registries]
        for one in found:
            del registries[one]
        return bool(found)

    return _update(path, change)


def _keys(registry: str) -> tuple[str, ...]:
    """The keys under which a registry's login may be saved: its own name, and the other names of Docker Hub."""
    return tuple(dict.fromkeys((registry, *HUB_ALIASES))) if registry in HUB_ALIASES else (registry,)


def _path(authfile: str | os.PathLike[str] | None) -> Path:
    """The one file that logins are saved in."""
    name, *others = names_of(authfile)
    if others:
        raise CredentialError(
            f"OCIPUSH_AUTHFILE names {len(others) + 1} login files, and a login is saved in one",
            hint="name it with authfile=",
        )
    if name in TOOLS:
        raise _foreign(f"the login file of {name}", str(name))
    return Path(name)


def _load_own(path: Path) -> dict[str, Any]:
    document = load(path)
    if is_of_docker(document):
        raise _foreign(str(path), str(path))
    return document


def _foreign(what: str, source: str) -> CredentialError:
    """The error for a file that other tools write. ocipush would write another form, or clear text beside a helper."""
    return CredentialError(
        f"{what} has the form of Docker and Podman, which ocipush reads but does not write",
        hint="use `docker login` or `podman login`, or name another file with authfile=",
        source=source,
    )


def _update(authfile: str | os.PathLike[str] | None, change: Callable[[dict[str, Any]], bool]) -> bool:
    path = _path(authfile)
    try:
        path = path.resolve()  # a symlinked file stays a link
        _make_private(path.parent)
        with _locked(path) as locked:
            document = _load_own(path)
            registries = _registries(document, path)
            changed = change(registries)
            if changed:
                document = {**document, "registries": registries}
                text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)
                _replace(path, check_text(text), locked=locked)
            return changed
    # RuntimeError: a loop of symbolic links. ValueError: an unknown key contains 1e999, or half of a surrogate pair.
    except OSError as exc:
        problem = f"{path} cannot be written: {exc.strerror or exc}"
        raise CredentialError(problem, hint=OTHER_FILE, source=str(path)) from exc
    except (RuntimeError, ValueError) as exc:
        raise CredentialError(f"{path} cannot be written: {exc}", source=str(path)) from exc


def _make_private(directory: Path) -> None:
    """Create a directory and its missing parents, each with mode 0700."""
    missing = [one for one in (directory, *directory.parents) if not one.exists()]
    for one in reversed(missing):
        one.mkdir(mode=0o700, exist_ok=True)


@contextmanager
def _locked(path: Path) -> Generator[bool]:
    """Lock a file beside ``path``, because a rename would defeat a lock on the file itself. Yields whether it is locked."""
    flags = getattr(os, "O_NONBLOCK", 0)  # do not wait for the reader of a FIFO
    name = path.with_name(path.name + ".lock")
    with open(name, "a", opener=lambda name, mode: os.open(name, mode | flags, 0o600)) as lock:
        if not stat.S_ISREG(os.fstat(lock.fileno()).st_mode):
            raise OSError(f"{name} is not a regular file")
        yield _flock(lock)


def _flock(file: TextIO) -> bool:
    """Wait for the lock on an open file. False if the system has no such locks, as on Windows."""
    if sys.platform == "win32":
        return False
    try:
        import fcntl
    except ImportError:
        return False
    fcntl.flock(file, fcntl.LOCK_EX)
    return True


def _replace(path: Path, text: str, *, locked: bool) -> None:
    """Write a new file and replace ``path`` by it. One that a crash left is removed first, because it contains logins.

    Without a lock, other writers may be active. Each uses a name of its own, and the last one wins.
    """
    new = path.with_name(path.name + (".new" if locked else f".{os.getpid()}-{threading.get_ident()}.new"))
    new.unlink(missing_ok=True)
    try:
        with open(new, "x", encoding="utf-8", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            if hasattr(os, "fchmod"):
                os.fchmod(file.fileno(), 0o600)  # whatever the umask is
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
    with suppress(OSError):  # not every file system supports it, and the login is saved anyway
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def _registries(document: dict[str, Any], path: Path) -> dict[str, Any]:
    try:
        return validate(_AuthFile, document).registries
    except ValueError as exc:
        raise CredentialError(f"{path} is not a login file: {exc}", source=str(path)) from exc
