"""Find, save and remove the login of a registry in auth.json."""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TextIO

from .._oci.reference import strip_white_space
from ..errors import CredentialError
from .base import _HUB_ALIASES, Login, registry_of

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

_LOG = logging.getLogger("ocipush.credentials")
DEFAULT_AUTHFILE: Final = "/var/lib/ar/auth.json"


def default_authfile() -> Path:
    """``$OCIPUSH_AUTHFILE``, else ``/var/lib/ar/auth.json``."""
    return Path(os.environ.get("OCIPUSH_AUTHFILE") or DEFAULT_AUTHFILE)


def find_login(registry: str, *, authfile: str | os.PathLike[str] | None = None) -> Login | None:
    """The login saved for ``registry``; None where there is none, or its user name or password is empty (rules.md, 4).

    Raises:
        CredentialError: the file cannot be read, or is malformed.
    """
    path = Path(authfile) if authfile is not None else default_authfile()
    registries = _registries(_load(path), path)
    entry = next((registries[key] for key in _keys(registry) if key in registries), None)
    if entry is None:
        return None
    if not isinstance(entry, dict) or not all(_is_text(entry.get(key, "")) for key in ("username", "password")):
        raise CredentialError(f"{path}: the entry of {registry} is not a username and a password", source=str(path))
    username, password = entry.get("username", ""), entry.get("password", "")
    return Login(username, password) if username and password else None


def _is_text(value: object) -> bool:
    """Whether this is a string that has an encoding: JSON can spell half a surrogate pair."""
    return isinstance(value, str) and not any("\ud800" <= character <= "\udfff" for character in value)


def save_login(registry: str, login: Login, *, authfile: str | os.PathLike[str] | None = None) -> None:
    """Save a login: atomically, under a lock, mode 0600, unknown keys kept.

    Raises:
        CredentialError: the registry or the user name is empty, or the file cannot be read or written.
        InvalidReferenceError: no reference names this registry, so no push would look for the login.
    """
    key = strip_white_space(registry)
    if not key or not login.username.strip():
        raise CredentialError("a login needs a registry and a user name", hint="name both")
    if not (_is_text(login.username) and _is_text(login.password)):
        raise CredentialError("the user name or the password is not text", hint="is it UTF-8?")
    registry_of(key)

    def change(registries: dict[str, Any]) -> bool:
        registries[key] = {"username": login.username, "password": login.password}
        return True

    _update(authfile, change)


def remove_login(registry: str, *, authfile: str | os.PathLike[str] | None = None) -> bool:
    """Remove a login; False when there was none. Raises CredentialError like :func:`save_login`."""
    key = strip_white_space(registry)
    path = Path(authfile) if authfile is not None else default_authfile()
    if not _registries(_load(path), path):
        return False  # and nothing is made where nothing was

    def change(registries: dict[str, Any]) -> bool:
        found = [one for one in _keys(key) if one in registries]
        for one in found:
            del registries[one]
        return bool(found)

    return _update(path, change)


def _keys(registry: str) -> tuple[str, ...]:
    """Where a registry's login may stand: under its own name, or, for Docker Hub only, under another of its names."""
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
                _replace(
                    path,
                    json.dumps({**document, "registries": registries}, indent=2, ensure_ascii=False),
                    locked=locked,
                )
            return changed
    except (OSError, RuntimeError) as exc:  # RuntimeError: a loop of symbolic links
        raise CredentialError(f"{path} cannot be written: {exc}", source=str(path)) from exc


def _make_private(directory: Path) -> None:
    """Make a directory and its missing parents, each with mode 0700."""
    missing = [one for one in (directory, *directory.parents) if not one.exists()]
    for one in reversed(missing):
        one.mkdir(mode=0o700, exist_ok=True)


@contextmanager
def _locked(path: Path) -> Generator[bool]:
    """Lock a file beside ``path``: a rename would defeat a lock on the file itself. Gives whether there is a lock."""
    with open(path.with_name(path.name + ".lock"), "a", opener=lambda name, flags: os.open(name, flags, 0o600)) as lock:
        yield _flock(lock)


def _flock(file: TextIO) -> bool:
    """Wait for the lock on an open file. False where the system has none, such as Windows."""
    if sys.platform == "win32":
        return False
    try:
        import fcntl
    except ImportError:
        return False
    fcntl.flock(file, fcntl.LOCK_EX)
    return True


def _replace(path: Path, text: str, *, locked: bool) -> None:
    """Write a new file and put it in the place of ``path``. One that a crash left is taken away first: it holds logins.

    Without a lock, others may be writing theirs: each has a name of its own, and the last one stays.
    """
    new = path.with_name(path.name + (".new" if locked else f".{os.getpid()}-{threading.get_ident()}.new"))
    new.unlink(missing_ok=True)
    try:
        with open(new, "x", encoding="utf-8", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            if hasattr(os, "fchmod"):
                os.fchmod(file.fileno(), 0o600)  # whatever the umask
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
    with suppress(OSError):  # some file systems cannot; the login is saved all the same
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def _load(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text("utf-8")
        wide = path.stat().st_mode & 0o077
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "it is not UTF-8"
        raise CredentialError(f"{path} cannot be read: {reason}", source=str(path)) from exc
    if wide and os.name == "posix":
        _LOG.warning("%s can be read by others: its mode should be 0600", path)
    try:
        document = json.loads(text, object_pairs_hook=_unique)
    except json.JSONDecodeError as exc:  # its own text would show what stands there
        raise CredentialError(f"{path} is not JSON, at line {exc.lineno}", source=f"{path}:{exc.lineno}") from None
    except (ValueError, RecursionError) as exc:
        raise CredentialError(f"{path} is not a login file: {exc}", source=str(path)) from None
    if not isinstance(document, dict):
        raise CredentialError(f"{path} is not a JSON object", source=str(path))
    return document


def _registries(document: dict[str, Any], path: Path) -> dict[str, Any]:
    registries = document.get("registries")
    if registries is None:  # Go writes an empty map so
        return {}
    if not isinstance(registries, dict):
        raise CredentialError(f"{path}: 'registries' is not a JSON object", source=str(path))
    return registries


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key stands there twice")
    return value
