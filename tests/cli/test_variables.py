"""Options that variables of the environment set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
import pytest
from click.testing import CliRunner, Result

import ocipush
from ocipush._cli.commands import cli
from ocipush._credentials.authfile import find_login

if TYPE_CHECKING:
    from pathlib import Path

# Options that say what is pushed, where to, and what a command does, are given each time.
WITHOUT = {
    "--target",
    "--ref",
    "--mount-from",
    "--force",
    "--allow-nondistributable",
    "--password-stdin",
    "--check",
    "--version",
    "--help",
    "--compress",
    "--follow-links",
}
SET = {
    "OCIPUSH_IMAGES_STORE_DIR": ("store", "/s", "/s"),
    "OCIPUSH_CA_FILE": ("ca_file", "/ca.pem", "/ca.pem"),
    "OCIPUSH_CERT": ("cert", "/cert.pem", "/cert.pem"),
    "OCIPUSH_KEY": ("key", "/key.pem", "/key.pem"),
    "OCIPUSH_CERT_DIR": ("cert_dir", "/certs.d", "/certs.d"),
    "OCIPUSH_PROXY": ("proxy", "http://proxy.example", "http://proxy.example"),
    "OCIPUSH_NO_PROXY": ("no_proxy", "a.example,b.example", "a.example,b.example"),
    "OCIPUSH_TLS_VERIFY": ("tls_verify", "false", False),
    "OCIPUSH_ALLOW_HOST": ("allow_hosts", "a.example b.example:5000", ("a.example", "b.example:5000")),
    "OCIPUSH_CONCURRENCY": ("concurrency", "7", 7),
    "OCIPUSH_CHUNK_SIZE": ("chunk_size", "16MiB", 16 * 1024 * 1024),
    "OCIPUSH_RESUME_DIR": ("resume_dir", "/resume", "/resume"),
}


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the command passes to ``ocipush.push``."""
    options: dict[str, Any] = {}

    async def push(source: str, **given: Any) -> ocipush.PushResult:
        options.update(given)
        return ocipush.PushResult("r.example/a:1", "sha256:" + "a" * 64, "m", 1, (), False, 1, 1, 0.1)

    monkeypatch.setattr(ocipush, "push", push)
    return options


def run(*words: str, env: dict[str, str], **options: Any) -> Result:
    return CliRunner().invoke(cli, list(words), env=env, **options)


@pytest.mark.parametrize("variable", SET)
def test_variable_sets_its_option(given: dict[str, Any], variable: str) -> None:
    name, text, value = SET[variable]
    assert run("push", "app", env={variable: text}).exit_code == 0
    assert given[name] == value


@pytest.mark.parametrize("words", [["--ca-file", "/mine", "push", "app"], ["push", "app", "--ca-file", "/mine"]])
def test_command_line_counts_more_than_the_variable(given: dict[str, Any], words: list[str]) -> None:
    assert run(*words, env={"OCIPUSH_CA_FILE": "/theirs", "OCIPUSH_CONCURRENCY": "7"}).exit_code == 0
    assert (given["ca_file"], given["concurrency"]) == ("/mine", 7)


def test_variables_choose_what_is_shown(given: dict[str, Any]) -> None:
    done = run("push", "app", env={"OCIPUSH_FORMAT": "json", "OCIPUSH_QUIET": "1"})
    assert done.stdout.startswith('{"reference"')
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("variable", "text", "problem"),
    [
        ("OCIPUSH_CONCURRENCY", "many", "'many' is not a valid integer range"),
        ("OCIPUSH_CONCURRENCY", "0", "0 is not in the range"),
        ("OCIPUSH_TLS_VERIFY", "maybe", "'maybe' is neither true nor false"),
        ("OCIPUSH_CHUNK_SIZE", "big", "'big' is not a size such as 16MiB"),
        ("OCIPUSH_PROGRESS", "loud", "'loud' is not one of"),
        ("OCIPUSH_DEBUG", "perhaps", "'perhaps' is not a valid boolean"),
        ("OCIPUSH_DEADLINE", "-1", "-1.0 is not in the range"),
    ],
)
def test_wrong_value_is_reported_of_the_variable(variable: str, text: str, problem: str) -> None:
    done = run("push", "app", env={variable: text})
    assert done.exit_code == 2
    assert f"invalid value for {variable}: {problem}" in done.stderr


@pytest.mark.parametrize(("variable", "text"), [("OCIPUSH_PROXY", "ftp://p"), ("OCIPUSH_ALLOW_HOST", "http://foo")])
def test_value_that_the_library_refuses_is_reported_of_the_variable(variable: str, text: str) -> None:
    done = run("push", "app", env={variable: text})
    assert done.exit_code == 2
    assert done.stderr.startswith(f"error: {variable} must ")


@pytest.mark.parametrize("option", ["--concurrency", "--deadline"])
def test_wrong_value_on_the_command_line_is_reported_of_the_option(option: str) -> None:
    done = run("push", "app", option, "many", env={})
    assert f"invalid value for '{option}': " in done.stderr
    assert "OCIPUSH" not in done.stderr


def test_login_can_come_from_variables_and_is_not_called_visible(tmp_path: Path) -> None:
    authfile = tmp_path / "auth.json"
    env = {"OCIPUSH_USERNAME": "me", "OCIPUSH_PASSWORD": "secret-password", "OCIPUSH_AUTHFILE": str(authfile)}
    done = run("login", "r.example", env=env)
    assert (done.exit_code, done.stderr) == (0, "login saved for r.example\n")
    assert find_login("r.example", authfile=authfile) == ocipush.Login("me", "secret-password")
    run("login", "r.example", "--password-stdin", env=env, input="other")
    assert find_login("r.example", authfile=authfile) == ocipush.Login("me", "other")


def test_help_shows_the_variable_of_each_option_but_of_those_that_are_given_each_time() -> None:
    context = click.Context(cli)
    for name in cli.list_commands(context):
        text = " ".join(run(name, "--help", env={}).stdout.split())
        options = {option for one in cli.commands[name].params for option in one.opts if option.startswith("--")}
        for option in options - WITHOUT:
            assert f"OCIPUSH_{option[2:].replace('-', '_').upper()}" in text, (name, option)
