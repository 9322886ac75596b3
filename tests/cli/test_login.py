"""`ocipush login` and `ocipush logout`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.cli.doubles import FakeLogins, run

import ocipush
from ocipush._credentials.authfile import find_login

if TYPE_CHECKING:
    from pathlib import Path


def test_login_file_that_others_can_read_causes_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "auth.json"
    path.write_text("{}")
    path.chmod(0o644)
    done = run("login", "r.example", "-u", " me ", "--password-stdin", "--authfile", str(path), input="pw\n\n")
    assert done.exit_code == 0
    assert done.stderr.startswith(f"warning: {path} can be read by others")
    assert ocipush.Login("me", "pw") == find_login("r.example", authfile=path)
    assert path.stat().st_mode & 0o777 == 0o600


def test_password_that_is_not_utf_8_is_a_usage_error(fake_logins: FakeLogins) -> None:
    done = run("login", "r.example", "-u", "me", "--password-stdin", "--authfile", "/a", input=b"\xff")
    assert (done.exit_code, fake_logins.saved) == (2, {})
    assert "not UTF-8" in done.stderr


@pytest.mark.parametrize("given", [[], ["-u", "me"]])
def test_login_without_a_terminal_to_prompt_on_is_a_usage_error(fake_logins: FakeLogins, given: list[str]) -> None:
    done = run("login", "r.example", "--authfile", "/a", *given, input="")
    assert (done.exit_code, fake_logins.saved) == (2, {})
    assert "no terminal to prompt on" in done.stderr


@pytest.mark.parametrize(
    ("line", "stdin"),
    [
        ("-u me --password-stdin", "pw\n"),
        ("-u me --password-stdin --check", "pw\r\n"),
        ("-u me -p pw", ""),
        ("", "me\npw\n"),
    ],
)
def test_login_is_saved_to_the_authfile_and_nothing_is_printed_on_stdout(
    fake_logins: FakeLogins, line: str, stdin: str
) -> None:
    done = run("image", "login", "r.example", "--authfile", "/a", *line.split(), input=stdin)
    assert (done.exit_code, done.stdout) == (0, "")
    assert fake_logins.saved == {"r.example": ("me", "pw", "/a")}
    assert ("warning: " in done.stderr) is ("-p" in line.split())
    assert bool(fake_logins.checked) is ("--check" in line)


def test_login_that_the_registry_refuses_is_not_saved(fake_logins: FakeLogins) -> None:
    done = run("login", "r.example", "--authfile", "/a", "-u", "me", "-p", "bad", "--check")
    assert (done.exit_code, fake_logins.saved) == (1, {})
    assert done.stderr.endswith("error: no\nhint: check the username and the password\n")


@pytest.mark.parametrize("line", ["-u me -p x --password-stdin", "--password-stdin", "-u me --password-stdin"])
def test_contradictory_or_empty_login_options_are_usage_errors(fake_logins: FakeLogins, line: str) -> None:
    done = run("login", "r.example", "--authfile", "/a", *line.split(), input="")
    assert (done.exit_code, fake_logins.saved) == (2, {})


def test_logout_says_whether_there_was_a_login(fake_logins: FakeLogins) -> None:
    fake_logins.saved["r.example"] = ("me", "pw", "/a")
    assert "login removed" in run("logout", "r.example", "--authfile", "/a").stderr
    assert "no login for r.example" in run("image", "logout", "r.example", "--authfile", "/a").stderr
