"""Find, save and remove the login of a registry in auth.json."""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, TextIO

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from .._oci.json import JSONError, is_text, read_json_object, validate
from .._oci.reference import strip_white_space
from ..errors import CredentialError
from .base import _HUB_ALIASES, Login, registry_of

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

_LOG = logging.getLogger("ocipush.credentials")
DEFAULT_AUTHFILE: Final = "/var/lib/ar/auth.json"
MAX_AUTHFILE: Final = 4 * 1024 * 1024  # bytes


def _check_text(text: str) -> str:
    if not is_text(text):
        raise ValueError("not text that UTF-8 can encode")
    return text


_Text = Annotated[str, AfterValidator(_check_text)]


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True)

    username: _Text = ""
    password: _Text = Field(default="", repr=False)


class _AuthFile(BaseModel):
    """What is read of ``auth.json``. An entry is checked when its registry is looked up; other keys are only kept."""

    model_config = ConfigDict(frozen=True)

    registries: Annotated[dict[str, Any], BeforeValidator(lambda value: {} if value is None else value)] = Field(
        default_factory=dict  # Go writes an empty map as null
    )


def default_authfile() -> Path:
    """``$OCIPUSH_AUTHFILE``, else ``/var/lib/ar/auth.json``."""
    return Path(os.environ.get("OCIPUSH_AUTHFILE") or DEFAULT_AUTHFILE)


def find_login(registry: str, *, authfile: str | os.PathLike[str] | None = None) -> Login | None:
    """The login saved for ``registry``; None if there is none, or if its user name or password is empty.

    Raises:
        CredentialError: the file cannot be read, or is malformed.
    """
    path = Path(authfile) if authfile is not None else default_authfile()
    registries = _registries(_load(path), path)
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
    path = Path(authfile) if authfile is not None else default_authfile()
    if not _registries(_load(path), path):
        return False  # without creating a directory or a lock file

    def change(registries: dict[str, Any]) -> bool:
        found = [one for one in _keys(key) if one in registries]
        for one in found:
            del registries[one]
        return bool(found)

    return _update(path, change)


def _keys(registry: str) -> tuple[str, ...]:
    """The keys under which a registry's login may be saved: its own name, and the other names of Docker Hub."""
    return tuple(dict.fromkeys((registry, *_HUB_ALIASES))) if registry in _HUB_ALIASES else (registry,)


def _update(authfile: str | os.PathLike[str] | None, change: Callable[[dict[str, Any]], bool]) -> bool:
    path = Path(authfile) if authfile is not None else default_authfile()
    try:
        path = path.resolve()  # a symlinked file stays a link
        _make_private(path.parent)
        with _locked(path) as locked:
            document = _load(path)
            registries = _registries(document, path)
            changed = change(registries)
            if changed:
                document = {**document, "registries": registries}
                text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)
                _replace(path, _check_text(text), locked=locked)
            return changed
    # RuntimeError: a loop of symbolic links. ValueError: an unknown key contains 1e999, or half of a surrogate pair.
    except (OSError, RuntimeError, ValueError) as exc:
        raise CredentialError(f"{path} cannot be written: {exc}", source=str(path)) from exc


def _make_private(directory: Path) -> None:
    """Create a directory and its missing parents, each with mode 0700."""
    missing = [one for one in (directory, *directory.parents) if not one.exists()]
    for one in reversed(missing):
        one.mkdir(mode=0o700, exist_ok=True)


@contextmanager
def _locked(path: Path) -> Generator[bool]:
    """Lock a file beside ``path``, because a rename would defeat a lock on the file itself. Yields whether it is locked."""
    with open(path.with_name(path.name + ".lock"), "a", opener=lambda name, flags: os.open(name, flags, 0o600)) as lock:
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


def _load(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_AUTHFILE + 1)
            mode = os.fstat(file.fileno()).st_mode
    except FileNotFoundError:
        return {}
    except OSError as exc:
        raise CredentialError(f"{path} cannot be read: {exc.strerror}", source=str(path)) from exc
    if mode & 0o077 and os.name == "posix":
        _LOG.warning("%s can be read by others: its mode should be 0600", path)
    if len(raw) > MAX_AUTHFILE:
        raise CredentialError(f"{path} is larger than 4 MiB", source=str(path))
    try:
        return read_json_object(raw)
    except JSONError as exc:
        at, source = (f", at line {exc.line}", f"{path}:{exc.line}") if exc.line else ("", str(path))
        problem = exc.problem
    raise CredentialError(f"{path} {problem}{at}", source=source)  # not the whole text: it may show a part of the file


def _registries(document: dict[str, Any], path: Path) -> dict[str, Any]:
    try:
        return validate(_AuthFile, document).registries
    except ValueError as exc:
        raise CredentialError(f"{path} is not a login file: {exc}", source=str(path)) from exc
