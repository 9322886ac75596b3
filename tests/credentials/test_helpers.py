"""Credential helpers: real programs on PATH, by Docker's protocol, and whatever they do instead."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from ocipush import Login, errors
from ocipush._credentials import helper as helpers
from ocipush._credentials.files import LoginFiles

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.anyio
SECRET = "hunter2-and-more"


class Helpers:
    """A directory of helpers at the front of PATH, and the file that names them.

    Attributes:
        calls: a file with one line for each call.
    """

    def __init__(self, directory: Path) -> None:
        self.bin = directory / "bin"
        self.bin.mkdir()
        self.calls = directory / "calls"
        self.config = directory / "config.json"

    def add(self, name: str, body: str) -> Path:
        """Write a helper. Its ``server`` is what it was asked for."""
        path = self.bin / f"docker-credential-{name}"
        path.write_text(
            f"#!{sys.executable} -IS\n"
            "import json, os, subprocess, sys, time\n"
            "server = sys.stdin.read()\n"
            f"open({str(self.calls)!r}, 'a').write(f'{{sys.argv[1:]}} {{server}}\\n')\n"
            f"{body}\n"
        )
        path.chmod(0o700)
        return path

    def configure(self, **document: Any) -> LoginFiles:
        self.config.write_text(json.dumps(document))
        self.config.chmod(0o600)
        return LoginFiles(self.config)

    def seen(self) -> list[str]:
        return self.calls.read_text().splitlines() if self.calls.exists() else []


@pytest.fixture
def on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Helpers:
    made = Helpers(tmp_path)
    monkeypatch.setenv("PATH", f"{made.bin}{os.pathsep}{os.environ['PATH']}")
    return made


def prints(username: str = "user", secret: str = SECRET) -> str:
    return f"print(json.dumps({{'ServerURL': server, 'Username': {username!r}, 'Secret': {secret!r}}}))"


NOT_FOUND = "print('credentials not found in native keychain'); sys.exit(1)"
AUTHS = {"r.example": {"username": "saved", "password": "saved"}}


async def test_helper_is_called_with_the_protocol_of_docker(on_path: Helpers) -> None:
    on_path.add("mine", prints())
    files = on_path.configure(credHelpers={"r.example:5000": "mine"})
    assert await files.login("r.example:5000", "team/app") == Login("user", SECRET)
    assert await files.login("other.example") is None
    assert on_path.seen() == ["['get'] r.example:5000"]


async def test_user_name_of_a_token_marks_an_identity_token(on_path: Helpers) -> None:
    on_path.add("mine", prints("<token>"))
    login = await on_path.configure(credsStore="mine").login("r.example")
    assert login is not None
    assert login.identity_token == SECRET


async def test_login_for_docker_hub_is_fetched_as_docker_and_then_as_podman_does(on_path: Helpers) -> None:
    on_path.add("mine", f"if server == 'docker.io':\n    {prints()}\nelse:\n    {NOT_FOUND}")
    assert await on_path.configure(credsStore="mine").login("index.docker.io") == Login("user", SECRET)
    assert on_path.seen() == ["['get'] https://index.docker.io/v1/", "['get'] docker.io"]


@pytest.mark.parametrize(
    ("document", "user"),
    [
        ({"credHelpers": {"r.example": "mine"}, "credsStore": "store", "auths": AUTHS}, "mine"),
        ({"credHelpers": {"r.example": "none"}, "credsStore": "store", "auths": AUTHS}, "store"),
        ({"credHelpers": {"other.example": "mine"}, "credsStore": "store", "auths": AUTHS}, "store"),
        ({"credHelpers": {"r.example": "none"}, "credsStore": "none", "auths": AUTHS}, "saved"),
        ({"credHelpers": {"r.example": ""}, "credsStore": "store", "auths": AUTHS}, "saved"),
        ({"credHelpers": {"r.example": "none"}, "credsStore": "none"}, None),
    ],
)
async def test_helper_of_the_registry_wins_over_the_store_and_that_over_auths(
    on_path: Helpers, document: dict[str, Any], user: str | None
) -> None:
    for name in ("mine", "store"):
        on_path.add(name, prints(name))
    on_path.add("none", NOT_FOUND)
    login = await on_path.configure(**document).login("r.example")
    assert (login and login.username) == user


BAD: dict[str, tuple[str, str]] = {
    "fails": (f"print({SECRET!r}); print({SECRET!r}, file=sys.stderr); sys.exit(3)", "failed with exit code 3"),
    "killed": ("os.kill(os.getpid(), 9)", "was killed by signal 9"),
    "garbage": (f"print('{{{SECRET}')", "printed no login"),
    "list": (f"print(json.dumps([{SECRET!r}]))", "printed no login"),
    "wrong type": (f"print(json.dumps({{'Username': 5, 'Secret': {SECRET!r}}}))", "printed no login"),
    "duplicate": (f"""print('{{"Username": "u", "Secret": "{SECRET}", "Secret": "b"}}')""", "printed no login"),
    "nothing": ("pass", "printed no login"),
    "binary": (r"sys.stdout.buffer.write(bytes(range(256)))", "printed no login"),
    "no user": (prints(""), "printed a login for r.example without a user name or a secret"),
    "no secret": (prints("user", ""), "printed a login for r.example without a user name or a secret"),
    "much": (f"print({SECRET!r} * 65536)", "printed more than 64 KiB"),
    "endless": (f"while True: print({SECRET!r} * 100)", "printed more than 64 KiB"),
}


@pytest.mark.parametrize("name", BAD)
async def test_misbehaving_helper_is_an_error_that_shows_none_of_its_output(on_path: Helpers, name: str) -> None:
    body, problem = BAD[name]
    on_path.add("bad", body)
    files = on_path.configure(credHelpers={"r.example": "bad"}, auths=AUTHS)
    with pytest.raises(errors.CredentialError) as caught:
        await files.login("r.example")
    start = f"{on_path.config}, credHelpers, 'r.example': docker-credential-bad {problem}"
    assert str(caught.value).startswith(start)
    assert caught.value.source == str(on_path.config)
    error: BaseException | None = caught.value
    while error is not None:
        assert SECRET not in f"{error} {vars(error)!r}"
        error = error.__cause__ or error.__context__


HANGS: dict[str, str] = {
    "sleeps": "sleep 600",
    "closes its output": "exec >&- 2>&-; sleep 600",
    "leaves a child": "sleep 600 &",
}


@pytest.mark.parametrize("name", HANGS)
async def test_helper_that_hangs_is_killed_with_its_children(
    on_path: Helpers, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(helpers, "TIMEOUT", 1.5)
    pid = on_path.bin / "pid"
    on_path.add("slow", "").write_text(f"#!/bin/sh\necho $$ >{pid}\n{HANGS[name]}\n")
    with pytest.raises(errors.CredentialError, match=r"credsStore: docker-credential-slow did not end within 1\.5 s"):
        await on_path.configure(credsStore="slow").login("r.example")
    await assert_group_is_gone(int(pid.read_text()))


async def assert_group_is_gone(group: int) -> None:
    for _ in range(500):
        if not members(group):
            break
        await anyio.sleep(0.01)
    assert members(group) == []


def members(group: int) -> list[str]:
    """The processes of a group that still run; one that nobody has waited for yet does not."""
    found: list[str] = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _parent, of = stat.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if int(of) == group and state != "Z":
            found.append(stat.parent.name)
    return found


async def test_cancelled_push_kills_its_helper(on_path: Helpers) -> None:
    pid = on_path.bin / "pid"
    on_path.add("slow", "").write_text(f"#!/bin/sh\necho $$ >{pid}\nsleep 600\n")
    files = on_path.configure(credsStore="slow")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(files.login, "r.example")
        while not (pid.exists() and pid.read_text()):
            await anyio.sleep(0.01)
        tasks.cancel_scope.cancel()
    await assert_group_is_gone(int(pid.read_text()))


async def test_helper_has_no_terminal_and_a_process_group_of_its_own(on_path: Helpers) -> None:
    on_path.add(
        "asks",
        "try:\n    open('/dev/tty')\nexcept OSError:\n    alone = os.getpgid(0) == os.getsid(0) == os.getpid()\n"
        "    print(json.dumps({'Username': str(alone), 'Secret': 'x'}))",
    )
    assert await on_path.configure(credsStore="asks").login("r.example") == Login("True", "x")


async def test_helper_does_not_see_the_variables_of_the_command(
    on_path: Helpers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OCIPUSH_PASSWORD", SECRET)
    monkeypatch.setenv("AWS_PROFILE", "mine")
    on_path.add(
        "env",
        "seen = [name for name in os.environ if name.startswith(('OCIPUSH', 'AWS_PROFILE'))]\n"
        "print(json.dumps({'Username': ' '.join(seen), 'Secret': 'x'}))",
    )
    assert await on_path.configure(credsStore="env").login("r.example") == Login("AWS_PROFILE", "x")


@pytest.mark.parametrize("name", ["../mine", "a/b", "/bin/true", "-x", ".x", "a b", "a\n", "", "ä"])
async def test_invalid_name_of_a_helper_is_refused(on_path: Helpers, name: str) -> None:
    files = on_path.configure(credHelpers={"r.example": name or "\0"})
    with pytest.raises(errors.CredentialError, match="is not the name of a credential helper"):
        await files.login("r.example")
    assert on_path.seen() == []


async def test_missing_helper_is_an_error_and_not_an_anonymous_push(on_path: Helpers) -> None:
    (on_path.bin / "docker-credential-data").write_text("no program")
    (on_path.bin / "docker-credential-folder").mkdir()
    for name in ("absent", "data", "folder"):
        with pytest.raises(errors.CredentialError, match=f"docker-credential-{name} is in no directory of PATH"):
            await on_path.configure(credsStore=name, auths=AUTHS).login("r.example")


async def test_helper_in_a_relative_directory_is_never_run(on_path: Helpers, monkeypatch: pytest.MonkeyPatch) -> None:
    on_path.add("mine", prints())
    monkeypatch.chdir(on_path.bin)
    for path in ("", ".", "../bin", f"{os.pathsep}.{os.pathsep}"):
        monkeypatch.setenv("PATH", path)
        with pytest.raises(errors.CredentialError, match="is in no directory of PATH"):
            await on_path.configure(credsStore="mine").login("r.example")
    assert on_path.seen() == []


async def test_helper_that_cannot_be_started_is_an_error(on_path: Helpers) -> None:
    path = on_path.add("mine", "")
    path.write_text("#!/nonexistent/interpreter\n")
    with pytest.raises(errors.CredentialError, match=r"docker-credential-mine cannot be run: "):
        await on_path.configure(credsStore="mine").login("r.example")


async def at_once(files: LoginFiles, number: int) -> list[Login | errors.CredentialError | None]:
    results: list[Login | errors.CredentialError | None] = []

    async def one() -> None:
        try:
            results.append(await files.login("r.example"))
        except errors.CredentialError as exc:
            results.append(exc)

    async with anyio.create_task_group() as tasks:
        for _ in range(number):
            tasks.start_soon(one)
    return results


async def test_fifty_pushes_make_one_call_and_later_ones_none(on_path: Helpers) -> None:
    on_path.add("mine", f"time.sleep(0.2)\n{prints()}")
    files = on_path.configure(credHelpers={"r.example": "mine"})
    assert await at_once(files, 50) == [Login("user", SECRET)] * 50
    assert await files.login("r.example") == Login("user", SECRET)
    assert len(on_path.seen()) == 1


async def test_fifty_pushes_share_one_failure_and_the_next_one_asks_again(on_path: Helpers) -> None:
    on_path.add("mine", "time.sleep(0.2)\nsys.exit(1)")
    files = on_path.configure(credHelpers={"r.example": "mine"})
    found = await at_once(files, 50)
    assert {type(one) for one in found} == {errors.CredentialError}
    assert len(on_path.seen()) == 1
    on_path.add("mine", prints())
    assert await files.login("r.example") == Login("user", SECRET)


async def test_waiting_push_takes_over_from_a_cancelled_one(on_path: Helpers) -> None:
    started = on_path.bin / "started"
    first = f"if not os.path.exists({str(started)!r}):\n    open({str(started)!r}, 'w').close()\n    time.sleep(600)\n"
    on_path.add("mine", first + prints())
    files = on_path.configure(credsStore="mine")
    found: list[Login | None] = []

    async def wait() -> None:
        found.append(await files.login("r.example"))

    async with anyio.create_task_group() as tasks, anyio.create_task_group() as cancelled:
        cancelled.start_soon(files.login, "r.example")
        while not started.exists():
            await anyio.sleep(0.01)
        tasks.start_soon(wait)
        await anyio.sleep(0.05)
        cancelled.cancel_scope.cancel()
    assert found == [Login("user", SECRET)]


async def test_helper_is_called_again_when_its_login_was_refused(on_path: Helpers) -> None:
    on_path.add(
        "mine",
        f"print(json.dumps({{'Username': 'user', 'Secret': str(len(open({str(on_path.calls)!r}).readlines()))}}))",
    )
    files = on_path.configure(credsStore="mine")
    first = await files.login("r.example")
    assert first == Login("user", "1")
    second = await files.login("r.example", refused=first)
    assert second == Login("user", "2")
    assert await files.login("r.example", refused=first) == second
    assert len(on_path.seen()) == 2


async def test_answer_of_a_helper_expires(on_path: Helpers, monkeypatch: pytest.MonkeyPatch) -> None:
    on_path.add("mine", prints())
    files = on_path.configure(credsStore="mine")
    await files.login("r.example")
    now: Callable[[], float] = anyio.current_time
    monkeypatch.setattr(anyio, "current_time", lambda: now() + 601)
    await files.login("r.example")
    assert len(on_path.seen()) == 2


async def test_other_tasks_run_while_a_helper_does(on_path: Helpers) -> None:
    done = on_path.bin / "done"
    on_path.add("waits", f"while not os.path.exists({str(done)!r}): time.sleep(0.01)\n{prints()}")
    files = on_path.configure(credsStore="waits")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(files.login, "r.example")
        started = time.monotonic()
        while not on_path.seen():
            await anyio.sleep(0.01)
            assert time.monotonic() - started < 20
        done.touch()
