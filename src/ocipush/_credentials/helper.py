"""Ask a credential helper for a login, by Docker's protocol: run ``docker-credential-NAME get``.

What a helper prints is a secret, whatever it is: no error shows any of it.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

import anyio
import anyio.to_thread
from pydantic import BaseModel, ConfigDict, Field

from .._oci.json import quoted, read_json_object, validate
from ..errors import CredentialError
from .base import Login
from .documents import Text

if TYPE_CHECKING:
    from anyio.abc import ByteReceiveStream, ByteSendStream, Process

    from .docker import HelperChoice

TIMEOUT: Final = 30.0  # seconds; helpers of clouds ask their services
MAX_OUTPUT: Final = 64 * 1024  # bytes
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_NOT_FOUND: Final = b"credentials not found in native keychain"  # the protocol's words, for every system
_SUFFIXES: Final = (".exe", "") if os.name == "nt" else ("",)


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True)

    username: Text = Field(alias="Username")
    secret: Text = Field(alias="Secret", repr=False)


async def ask_helper(choice: HelperChoice) -> Login | None:
    """The login that a credential helper has; None if it says that it has none.

    Raises:
        CredentialError: it cannot be run, takes longer than 30 s, fails, or does not print a login.
    """
    if not _NAME.fullmatch(choice.name):
        raise CredentialError(
            f"{choice.where}: {quoted(choice.name)} is not the name of a credential helper", source=choice.source
        )
    executable = await anyio.to_thread.run_sync(find_executable, f"docker-credential-{choice.name}")
    if executable is None:
        raise _failure(choice, "is in no directory of PATH", "install it, or pass the login with credentials=")
    for server in choice.servers:
        if (login := await _get(executable, choice, server)) is not None:
            return login
    return None


def find_executable(name: str) -> Path | None:
    """The path of a program: in a directory of PATH, but never in one that is relative to the working directory."""
    for directory in os.environ.get("PATH", os.defpath).split(os.pathsep):
        for suffix in _SUFFIXES:
            path = Path(directory, name + suffix)
            if path.is_absolute() and path.is_file() and os.access(path, os.X_OK):
                return path
    return None


async def _get(executable: Path, choice: HelperChoice, server: str) -> Login | None:
    status, output = await _run(executable, choice, server)
    if status != 0:
        if output.strip() == _NOT_FOUND:
            return None
        how = f"failed with exit code {status}" if status > 0 else f"was killed by signal {-status}"
        hint = f"`printf {server} | {executable.name} get` shows why"
        raise _failure(choice, f"{how} for {server}", hint)
    answer: _Answer | None = None
    with suppress(ValueError):  # whose text may show what was read
        answer = validate(_Answer, read_json_object(output))
    if answer is None:
        raise _failure(choice, f"printed no login for {server}, but something else")
    if not (answer.username and answer.secret):
        raise _failure(choice, f"printed a login for {server} without a user name or a secret")
    return Login(answer.username, answer.secret, namespace=choice.namespace)


async def _run(executable: Path, choice: HelperChoice, server: str) -> tuple[int, bytes]:
    """Run a helper to its end, without a terminal. Returns its exit code and what it printed."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("OCIPUSH_")}
    process: Process | None = None
    try:
        with anyio.CancelScope(shield=True):  # a cancelled start would leave what the helper starts
            process = await anyio.open_process(
                [str(executable), "get"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environ,
                start_new_session=True,  # a process group of its own, without a terminal to ask on
            )
    except OSError as exc:
        raise _failure(choice, f"cannot be run: {exc.strerror}") from exc
    assert process is not None  # noqa: S101 - for the type checkers: a shielded scope does not end early
    output, ended = bytearray(), False
    try:
        with anyio.move_on_after(TIMEOUT):
            await _read(process, server, output)
            if len(output) <= MAX_OUTPUT:
                await process.wait()
                ended = True
    finally:
        if not ended:
            _kill(process)
        with anyio.CancelScope(shield=True):
            await process.aclose()
    if len(output) > MAX_OUTPUT:
        raise _failure(choice, f"printed more than 64 KiB for {server}")
    if not ended:
        raise _failure(
            choice, f"did not end within {TIMEOUT:g} s for {server}", "it may wait for input or for a network"
        )
    return process.returncode or 0, bytes(output)


async def _read(process: Process, server: str, output: bytearray) -> None:
    """Send the name of the server, and read what the helper prints until it is too long."""
    stdin, stdout = cast("ByteSendStream", process.stdin), cast("ByteReceiveStream", process.stdout)
    with suppress(anyio.BrokenResourceError):  # it reads nothing
        await stdin.send(server.encode())
    with suppress(anyio.BrokenResourceError):
        await stdin.aclose()
    async for piece in stdout:
        output += piece
        if len(output) > MAX_OUTPUT:
            return


def _kill(process: Process) -> None:
    """Kill a helper and what it has started."""
    with suppress(ProcessLookupError, PermissionError):
        if sys.platform == "win32":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)


def _failure(choice: HelperChoice, what: str, hint: str | None = None) -> CredentialError:
    return CredentialError(f"{choice.where}: docker-credential-{choice.name} {what}", hint=hint, source=choice.source)
