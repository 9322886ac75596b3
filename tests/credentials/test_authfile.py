"""auth.json stays complete and private through crashes, full disks and concurrent logins."""

from __future__ import annotations

import errno
import json
import logging
import os
import resource
import stat
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

import ocipush
from ocipush import errors
from ocipush._credentials.authfile import find_login

if TYPE_CHECKING:
    from pathlib import Path

OLD = {"registries": {"old.example": {"username": "u", "password": "old-password"}}, "kept": [1]}
LOGIN = ocipush.Login("user", "new-password")


@pytest.fixture
def authfile(authfile: Path) -> Path:
    """A login file with a login, and with a key that ocipush does not know."""
    authfile.write_text(json.dumps(OLD))
    authfile.chmod(0o600)
    return authfile


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def leftovers(authfile: Path) -> set[str]:
    return {path.name for path in authfile.parent.iterdir()} - {"auth.json", "auth.json.lock"}


def run(script: str, *arguments: object) -> str:
    """Run a script that forks in an interpreter of its own."""
    words = [sys.executable, "-c", script, *map(str, arguments)]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True, timeout=60)
    return done.stdout


@pytest.mark.parametrize("umask", [0o000, 0o077, 0o777])
@pytest.mark.parametrize("before", [None, 0o644, 0o666, 0o600])
def test_saved_file_has_mode_0600_whatever_mode_it_had(
    authfile: Path, caplog: pytest.LogCaptureFixture, before: int | None, umask: int
) -> None:
    authfile.unlink() if before is None else authfile.chmod(before)
    old = os.umask(umask if before is not None else umask & 0o077)
    try:
        ocipush.save_login("new.example", LOGIN, authfile=authfile)
    finally:
        os.umask(old)
    assert mode(authfile) == 0o600
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert bool(warnings) == (before in {0o644, 0o666})
    assert leftovers(authfile) == set()


CRASH = """
import json, os, signal, sys
import ocipush, ocipush._credentials.authfile as credentials

path = sys.argv[1]
old = open(path).read()
ocipush.save_login("new.example", ocipush.Login("user", "new-password"), authfile=path)
new = open(path).read()
seen = {"old": 0, "new": 0}
line = 0
while True:
    line += 1
    with open(path, "w") as file:
        file.write(old)
    child = os.fork()
    if child == 0:
        left = line

        def trace(frame, event, argument):
            global left
            if frame.f_code.co_filename != credentials.__file__:
                return None
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return trace

        sys.settrace(trace)
        ocipush.save_login("new.example", ocipush.Login("user", "new-password"), authfile=path)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    text = open(path).read()
    assert text in (old, new), (line, text)
    assert os.stat(path).st_mode & 0o777 == 0o600
    seen["old" if text == old else "new"] += 1
    if os.WIFEXITED(status):
        assert status == 0 and text == new
        break
    assert os.WTERMSIG(status) == signal.SIGKILL
print(json.dumps([line, seen, sorted(os.listdir(os.path.dirname(path)))]))
"""


def test_process_killed_at_any_line_leaves_the_old_file_or_the_new_one(authfile: Path) -> None:
    lines, seen, left = json.loads(run(CRASH, authfile))
    assert lines > 30
    assert seen["old"] > 20
    assert seen["new"] > 1
    assert left == ["auth.json", "auth.json.lock"]


AT_ONCE = """
import json, os, sys
import ocipush
from ocipush._credentials.authfile import find_login

path, count = sys.argv[1], int(sys.argv[2])
start, go = os.pipe()
children = []
for number in range(count + 5):
    child = os.fork()
    if child == 0:
        os.close(go)
        os.read(start, 1)
        if number < count:
            ocipush.save_login(f"host{number}.example", ocipush.Login("user", f"password{number}"), authfile=path)
        else:
            for _ in range(50):
                assert find_login("old.example", authfile=path).password == "old-password"
        os._exit(0)
    children.append(child)
os.close(go)
print(json.dumps([os.waitpid(child, 0)[1] for child in children]))
"""


def test_fifty_concurrent_logins_are_all_saved_and_no_reader_sees_half_a_file(authfile: Path) -> None:
    assert set(json.loads(run(AT_ONCE, authfile, 50))) == {0}
    document = json.loads(authfile.read_text())
    expected = {f"host{number}.example": {"username": "user", "password": f"password{number}"} for number in range(50)}
    assert document == {"registries": OLD["registries"] | expected, "kept": [1]}  # type: ignore[operator]
    assert mode(authfile) == 0o600
    assert leftovers(authfile) == set()


@pytest.mark.parametrize("call", ["fsync", "fchmod", "replace", "open"])
@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_failing_disk_leaves_the_old_file_and_raises_an_error(
    authfile: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise OSError(number, os.strerror(number))

    def fail_for_new(name: Any, *rest: int) -> int:
        return int(fail()) if str(name).endswith(".new") else opened(name, *rest)

    opened = os.open
    with monkeypatch.context() as patch:
        if call == "fsync":
            patch.setattr(os, "fsync", fail)
        elif call == "replace":
            patch.setattr(os, "replace", fail)
        elif call == "fchmod":
            patch.setattr(os, "fchmod", fail)
        else:
            patch.setattr(os, "open", fail_for_new)
        with pytest.raises(errors.CredentialError, match="cannot be written") as caught:
            ocipush.save_login("new.example", LOGIN, authfile=authfile)
    assert json.loads(authfile.read_text()) == OLD
    assert "new-password" not in str(caught.value)
    assert leftovers(authfile) == set()


def test_login_file_that_may_not_be_written_hints_at_another_one(
    authfile: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> int:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        with pytest.raises(errors.CredentialError) as caught:
            ocipush.save_login("new.example", LOGIN, authfile=authfile)
    assert caught.value.message == f"{authfile} cannot be written: Permission denied"
    assert caught.value.hint == "name another login file with authfile= or OCIPUSH_AUTHFILE"
    ocipush.save_login("new.example", LOGIN, authfile=authfile.with_name("other.json"))
    assert "new.example" in authfile.with_name("other.json").read_text()


def test_full_disk_leaves_the_old_file(authfile: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16, hard))
    try:
        with pytest.raises(errors.CredentialError, match="cannot be written"):
            ocipush.save_login("new.example", LOGIN, authfile=authfile)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert json.loads(authfile.read_text()) == OLD
    assert leftovers(authfile) == set()


def test_temporary_file_left_by_a_crash_is_removed_and_never_followed(authfile: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    authfile.with_name("auth.json.new").symlink_to(victim)
    ocipush.save_login("new.example", LOGIN, authfile=authfile)
    assert victim.read_text() == "untouched"
    assert leftovers(authfile) == {"victim"}


def test_created_directories_are_private(tmp_path: Path) -> None:
    authfile = tmp_path / "a" / "b" / "auth.json"
    old = os.umask(0)
    try:
        ocipush.save_login("new.example", LOGIN, authfile=authfile)
    finally:
        os.umask(old)
    assert [mode(path) for path in (authfile.parent, authfile.parent.parent)] == [0o700, 0o700]
    assert mode(authfile.with_name("auth.json.lock")) == 0o600


SECRET = "hunter2-and-more"
ENTRY = {"username": "u", "password": SECRET}


def entries(**of: Any) -> str:
    return json.dumps({"registries": {"host.example": {**ENTRY, **of}}})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not JSON, at line 1"),
        (f'{{"registries":\n{{"{SECRET}"}}', "is not JSON, at line 2"),
        (f'{{"registries": {{"host.example": {{"password": "{SECRET}\n"}}}}}}', "is not JSON, at line 1"),
        (entries()[:-2], "is not JSON, at line 1"),
        (json.dumps([SECRET]), "is not a JSON object"),
        (f'{{"registries": {{}}, "registries": {{"{SECRET}": 1}}}}', "has a duplicate key"),
        (f'{{"{SECRET}": 1, "{SECRET}": 2}}', "has a duplicate key"),
        (f'{{"registries": {{"host.example": {{"password": "a", "password": "{SECRET}"}}}}}}', "has a duplicate key"),
        ("[" * 100_000 + SECRET, "is nested more than 100 levels deep"),
        (f'{{"{SECRET}": [{"0," * 200_000}0]}}', "has more than 200,000 values"),
        (f'{{"{SECRET}": {"9" * 1000}}}', "has an integer of more than 600 digits"),
        (f'{{"{SECRET}": NaN}}', "is not JSON"),
        (json.dumps({"a": SECRET * 300_000}), "is larger than 4 MiB"),
        (f"{SECRET}\udcff", "is not UTF-8"),
        (json.dumps({"registries": [SECRET]}), "is not a login file: registries: Input should be an object"),
        (json.dumps({"registries": SECRET}), "is not a login file: registries: Input should be an object"),
    ],
)
def test_invalid_file_is_refused_in_one_line_that_shows_none_of_its_content(
    authfile: Path, text: str, message: str
) -> None:
    authfile.write_bytes(text.encode("utf-8", "surrogateescape"))
    for ask in (
        lambda: find_login("host.example", authfile=authfile),
        lambda: ocipush.save_login("new.example", LOGIN, authfile=authfile),
        lambda: ocipush.remove_login("host.example", authfile=authfile),
    ):
        with pytest.raises(errors.CredentialError) as caught:
            ask()
        assert caught.value.message == f"{authfile} {message}"
        assert_hidden(caught.value)
    assert authfile.read_bytes() == text.encode("utf-8", "surrogateescape")


def assert_hidden(error: BaseException | None) -> None:
    while error is not None:
        assert SECRET not in str(error)
        assert SECRET not in repr(vars(error))
        error = error.__cause__ or error.__context__


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (json.dumps({"registries": {"host.example": [SECRET]}}), "Input should be an object"),
        (entries(password=[SECRET]), "password: Input should be a valid string"),
        (entries(username=1), "username: Input should be a valid string"),
        (entries(username=None), "username: Input should be a valid string"),
        (entries(password=f"{SECRET}\ud800"), "password: not text that UTF-8 can encode"),
    ],
)  # fmt: skip
def test_invalid_entry_is_refused_when_its_registry_is_looked_up(authfile: Path, text: str, problem: str) -> None:
    authfile.write_text(text)
    assert find_login("other.example", authfile=authfile) is None
    with pytest.raises(errors.CredentialError) as caught:
        find_login("host.example", authfile=authfile)
    assert caught.value.message == f"{authfile}: the entry of host.example is not valid: {problem}"
    assert_hidden(caught.value)
    ocipush.save_login("host.example", LOGIN, authfile=authfile)
    assert find_login("host.example", authfile=authfile) == LOGIN


@pytest.mark.parametrize(
    "entry", [None, {}, {"username": "u"}, {"password": "p"}, {"username": "", "password": ""}, {"auth": "dTpw"}]
)
def test_entry_without_a_user_name_and_a_password_is_not_a_login(authfile: Path, entry: Any) -> None:
    authfile.write_text(json.dumps({"registries": {"host.example": entry}}))
    assert find_login("host.example", authfile=authfile) is None


@pytest.mark.parametrize("text", ["{}", '{"registries": null}', '{"registries": {}}'])
def test_login_can_be_saved_to_a_file_without_logins(authfile: Path, text: str) -> None:
    authfile.write_text(text)
    assert find_login("host.example", authfile=authfile) is None
    assert not ocipush.remove_login("host.example", authfile=authfile)
    ocipush.save_login("host.example", LOGIN, authfile=authfile)
    assert find_login("host.example", authfile=authfile) == LOGIN


def test_unknown_keys_are_kept_at_every_level(authfile: Path) -> None:
    other = {**ENTRY, "email": "镜@example", "more": {"list": [1, 2.5, None, True, "\x00"]}}
    document = {"model_config": {}, "registries": {"other.example": other, "odd.example": 1}, "copy": 10**100, "": []}
    authfile.write_text(json.dumps(document, ensure_ascii=False), "utf-8")
    ocipush.save_login("new.example", LOGIN, authfile=authfile)
    assert ocipush.remove_login("new.example", authfile=authfile)
    assert json.loads(authfile.read_text("utf-8")) == document


@pytest.mark.parametrize("value", ["1e999", '"\\ud800"'])
def test_file_with_a_value_that_cannot_be_written_back_is_left_unchanged(authfile: Path, value: str) -> None:
    text = f'{{"registries": {{}}, "other": {value}}}'
    authfile.write_text(text)
    with pytest.raises(errors.CredentialError, match="cannot be written"):
        ocipush.save_login("new.example", LOGIN, authfile=authfile)
    assert authfile.read_text() == text
    assert leftovers(authfile) == set()
