"""Read a login file: which file that is, and the JSON in it."""

from __future__ import annotations

import logging
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import AfterValidator

from .._oci.json import JSONError, is_text, read_json_object
from ..errors import CredentialError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    AuthFile = str | os.PathLike[str]
    AuthFiles = AuthFile | Sequence[AuthFile] | None

_LOG = logging.getLogger("ocipush.credentials")
DEFAULT_AUTHFILE: Final = "/var/lib/ar/auth.json"
MAX_AUTHFILE: Final = 4 * 1024 * 1024  # bytes
TOOLS: Final = ("docker", "podman")  # names that stand for the login files of these tools
OTHER_FILE: Final = "name another login file with authfile= or OCIPUSH_AUTHFILE"
_DOCKER_KEYS: Final = frozenset({"auths", "credHelpers", "credsStore"})


def check_text(text: str) -> str:
    """A string that UTF-8 can encode. Raises ValueError."""
    if not is_text(text):
        raise ValueError("not text that UTF-8 can encode")
    return text


Text = Annotated[str, AfterValidator(check_text)]


def names_of(authfile: AuthFiles) -> tuple[AuthFile, ...]:
    """The login files that an option names; by default those of ``$OCIPUSH_AUTHFILE``, separated as in PATH."""
    if isinstance(authfile, str | os.PathLike):
        return (authfile,)
    if authfile is not None:
        return tuple(authfile)
    named = os.environ.get("OCIPUSH_AUTHFILE", "").split(os.pathsep)
    return tuple(filter(None, named)) or (DEFAULT_AUTHFILE,)


def paths_of(authfile: AuthFile) -> tuple[Path, ...]:
    """The paths that a login file's name stands for: ``docker`` and ``podman`` as these tools look them up, else itself."""
    if authfile not in TOOLS:
        return (Path(authfile),)
    environ = os.environ
    try:
        home = Path.home()
    except RuntimeError:  # this user has none
        home = Path("/nonexistent")
    if authfile == "docker":
        return (Path(environ.get("DOCKER_CONFIG") or home / ".docker") / "config.json",)
    if named := environ.get("REGISTRY_AUTH_FILE"):
        return (Path(named),)
    runtime = environ.get("XDG_RUNTIME_DIR")
    ours = Path(runtime, "containers") if runtime else Path(f"/run/containers/{getattr(os, 'getuid', int)()}")
    config = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    return (ours / "auth.json", config / "containers" / "auth.json")


def is_of_docker(document: Mapping[str, Any]) -> bool:
    """Whether a login file has the form of Docker or Podman, and not that of the specification."""
    return "registries" not in document and not _DOCKER_KEYS.isdisjoint(document)


def load(path: Path) -> dict[str, Any]:
    """The JSON object in a login file; empty if there is no such file.

    Raises:
        CredentialError: it is not a regular file, cannot be read, is larger than 4 MiB, or is not a JSON object.
    """
    try:
        # Without waiting for the writer of a FIFO.
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | getattr(os, "O_NONBLOCK", 0))) as file:
            mode = os.fstat(file.fileno()).st_mode
            raw = file.read(MAX_AUTHFILE + 1) if stat.S_ISREG(mode) else None
    except FileNotFoundError:
        return {}
    except OSError as exc:
        raise CredentialError(f"{path} cannot be read: {exc.strerror}", hint=OTHER_FILE, source=str(path)) from exc
    if raw is None:
        raise CredentialError(f"{path} cannot be read: not a regular file", source=str(path))
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
