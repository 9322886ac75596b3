"""Options of the command: how they are read, what reaches the library, and wrong usage."""

from __future__ import annotations

import pytest
from tests.cli.doubles import FakePush, run

from ocipush._cli.commands import cli
from ocipush._cli.options import rewrite_tls_verify


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("push --tls-verify false a", "push --tls-verify=false a"),
        ("push a --tls-verify false", "push a --tls-verify=false"),
        ("image push --tls-verify true a", "image push --tls-verify=true a"),
        ("push --tls-verify false", "push --tls-verify=true false"),
        ("image push --tls-verify false", "image push --tls-verify=true false"),
        ("push --tls-verify a", "push --tls-verify=true a"),
        ("push --tls-verify 0 a", "push --tls-verify=true 0 a"),
        ("push --tls-verify=0 a", "push --tls-verify=0 a"),
        ("push --tls-verify false --target t", "push --tls-verify=true false --target t"),
        ("push --tls-verify false -- a", "push --tls-verify=false -- a"),
        ("push --tls-verify -- false", "push --tls-verify=true -- false"),
        ("push a --target --tls-verify", "push a --target --tls-verify"),
        ("login -u x --tls-verify false r", "login -u x --tls-verify=false r"),
        ("--ca-file c push --format json --tls-verify false", "--ca-file c push --format json --tls-verify=true false"),
        ("push -- --tls-verify", "push -- --tls-verify"),
        ("push a --target -- --tls-verify false b", "push a --target -- --tls-verify=false b"),
    ],
)
def test_tls_verify_without_a_value_takes_only_true_or_false_and_never_the_image(line: str, expected: str) -> None:
    assert rewrite_tls_verify(line.split(), cli) == expected.split()


def test_allowed_hosts_reach_the_library(fake_push: FakePush) -> None:
    run("push", "--allow-host", "other.example:5000", "--allow-host", "10.0.0.1", "--tls-verify", "app")
    ((source, options),) = fake_push.calls
    assert (source, options["allow_hosts"]) == ("app", ("other.example:5000", "10.0.0.1"))


@pytest.mark.parametrize("before", [True, False])
def test_global_options_are_accepted_before_and_after_the_subcommand(fake_push: FakePush, before: bool) -> None:
    given = ["--images-store-dir", "/s", "--authfile", "/a", "--ca-file", "/c", "--quiet"]
    done = run(*given, "push", "app") if before else run("push", "app", *given)
    assert done.exit_code == 0
    options = fake_push.calls[0][1]
    assert (options["store"], options["authfile"], options["ca_file"]) == ("/s", ("/a",), "/c")
    assert done.stderr == "warning: be careful\nwarning: the registry says: old\\x1b[2J\n"


@pytest.mark.parametrize("option", ["--images-store-dir", "--authfile", "--ca-file"])
def test_empty_option_is_a_usage_error(fake_push: FakePush, option: str) -> None:
    assert run("push", "app", option, "").exit_code == 2
    assert fake_push.calls == []


@pytest.mark.parametrize(
    ("words", "error", "hint"),
    [
        (["push"], "missing argument 'IMAGE'", "`ocipush push --help`"),
        (["image", "push", "app", "b"], "unexpected extra argument (b)", "`ocipush image push --help`"),
        (["push", "--nope", "app"], "'--nope'", "`ocipush push --help`"),
        (["frob"], "no such command 'frob'", "`ocipush --help`"),
        (["push", "--tls-verify=maybe", "app"], "'maybe' is neither true nor false", "`ocipush push --help`"),
        (["push", "app", "--progress", "x"], "'x' is not one of", "`ocipush push --help`"),
        (["push", "--ref"], "'--ref' requires an argument", "--help`"),
        (["login", "x", "-u", "a", "-p", "b", "--password-stdin"], "exclude each other", "`ocipush login --help`"),
        (["login", "x", "-u", "", "-p", "b"], "must not be empty", "`ocipush login --help`"),
    ],
)
def test_usage_error_exits_with_2_and_names_the_help(
    fake_push: FakePush, words: list[str], error: str, hint: str
) -> None:
    done = run(*words, prog_name="ocipush")
    assert (done.exit_code, done.stdout) == (2, "")
    first, second = [line for line in done.stderr.splitlines() if not line.startswith("warning: ")]
    assert first.startswith("error: ")
    assert error in first
    assert second.startswith("hint: ")
    assert hint in second
    assert fake_push.calls == []


@pytest.mark.parametrize(
    ("size", "read"),
    [("1", 1), ("5MB", 5_000_000), ("16MiB", 16 * 1024**2), ("4 mib", 4 * 1024**2), ("64k", 64_000), ("1GiB", 1024**3)],
)
def test_chunk_size_may_have_a_unit(fake_push: FakePush, size: str, read: int) -> None:
    assert run("push", "app", "--chunk-size", size).exit_code == 0
    assert fake_push.calls[0][1]["chunk_size"] == read


@pytest.mark.parametrize("size", ["0", "-1", "MiB", "1.5MiB", "16MiBs", "1e6"])
def test_invalid_chunk_size_is_a_usage_error(fake_push: FakePush, size: str) -> None:
    done = run("push", "app", f"--chunk-size={size}")
    assert done.exit_code == 2
    assert "is not a size such as 16MiB" in done.stderr
    assert not fake_push.calls


def test_push_options_reach_the_library(fake_push: FakePush) -> None:
    words = "push app --mount-from base --force --concurrency 3 --resume-dir /r --deadline 9.5 --allow-host h"
    assert run(*words.split()).exit_code == 0
    options = fake_push.calls[0][1]
    named = {"mount_from": "base", "force": True, "concurrency": 3, "resume_dir": "/r", "allow_hosts": ("h",)}
    assert {name: options[name] for name in named} == named
    assert options["retry"].deadline == 9.5


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ValueError("mount_from must be a repository such as a/b, not 'A B'"), "--mount-from must be a repository"),
        (TypeError("chunk_size must be int, not str"), "--chunk-size must be int, not str"),
    ],
)
def test_value_that_the_library_refuses_is_a_usage_error_that_names_the_option(
    fake_push: FakePush, error: Exception, message: str
) -> None:
    fake_push.raises = error
    done = run("push", "app", "--progress", "none")
    assert done.exit_code == 2
    assert done.stderr.splitlines()[-2].startswith(f"error: {message}")
    assert done.stderr.splitlines()[-1] == "hint: `ocipush push --help` shows the usage"


def test_options_that_are_not_given_keep_the_defaults_of_the_library(fake_push: FakePush) -> None:
    assert run("push", "app").exit_code == 0
    assert set(fake_push.calls[0][1]) == {"tls_verify", "on_event", "force", "follow_links", "include_foreign"}
