"""Hints of the library in the command line's words."""

from __future__ import annotations

import inspect

import click
import pytest

import ocipush
from ocipush._cli.commands import cli
from ocipush._cli.hints import LIBRARY_ONLY, OPTIONS, describe_invalid_option, rewrite_hint


@pytest.mark.parametrize(
    ("hint", "shown"),
    [
        ("name its CA with ca_file=, or use tls_verify=False", "name its CA with --ca-file, or use --tls-verify=false"),
        ("name its CA with `ca_file=`", "name its CA with `--ca-file`"),
        ("name its CA with `ca_file`", "name its CA with `--ca-file`"),
        ("fix it, or name another file with authfile= or OCIPUSH_AUTHFILE", "fix it, or name another file with --authfile or OCIPUSH_AUTHFILE"),
        ("name another file (authfile=)", "name another file (--authfile)"),
        ("name another store with store=DIRECTORY", "name another store with --images-store-dir DIRECTORY"),
        ("choose one with ref=: a reference, a tag or a digest", "choose one with --ref: a reference, a tag or a digest"),
        ('allow it with allow_hosts=["s3.example:443"]', "allow it with --allow-host s3.example:443"),
        ("allow it with allow_hosts=('a.example', 'b.example')", "allow it with --allow-host a.example b.example"),
        ("upload everything again with force=True", "upload everything again with --force"),
        ("allow more time with RetryPolicy(deadline=)", "allow more time with --deadline"),
        ("allow more time with `retry=RetryPolicy(deadline=60)`", "allow more time with `--deadline 60`"),
        ("save one with save_login(), or pass credentials=", "save one with `ocipush image login`, or pass `ocipush image login`"),
        ("`ocipush.list_images(store)` shows what there is", "`ocipush image list` shows what there is"),
        ("try smaller chunks with chunk_size=", "try smaller chunks with --chunk-size"),
    ],
)  # fmt: skip
def test_parameter_is_shown_as_the_option(hint: str, shown: str) -> None:
    assert rewrite_hint(hint) == shown


@pytest.mark.parametrize(
    ("hint", "shown"),
    [
        ("name its CA with --ca-file (ca_file=), or use --tls-verify=false", "name its CA with --ca-file, or use --tls-verify=false"),
        ("it needs --tls-verify=false (tls_verify=False)", "it needs --tls-verify=false"),
        ("name another with --authfile (authfile=, OCIPUSH_AUTHFILE)", "name another with --authfile (OCIPUSH_AUTHFILE)"),
        ("--allow-host s3.example (allow_hosts=) allows it", "--allow-host s3.example allows it"),
        ("`ocipush image login` (credentials=) takes it", "`ocipush image login` takes it"),
        ("--ref (ref=) can choose: a:1  linux/amd64; -  -", "--ref can choose: a:1  linux/amd64; -  -"),
    ],
)  # fmt: skip
def test_hint_that_names_both_keeps_the_option(hint: str, shown: str) -> None:
    assert rewrite_hint(hint) == shown


@pytest.mark.parametrize(
    ("hint", "shown"),
    [
        (None, None),
        ("timeouts= sets how long to wait", None),
        ("`timeouts=Timeouts(read=60)` waits longer", None),
        ("RetryPolicy(attempts=) sets how often", None),
        ("the network is slow; timeouts= sets how long to wait", "the network is slow"),
        ("is the port right? timeouts= sets how long to wait", "is the port right?"),
        ("timeouts= sets how long to wait; try again", "try again"),
        ("a client certificate is wanted (ssl_context=)", "a client certificate is wanted"),
    ],
)
def test_parameter_without_an_option_is_not_shown(hint: str | None, shown: str | None) -> None:
    assert rewrite_hint(hint) == shown


@pytest.mark.parametrize(
    "hint",
    [
        "it redirects to https://r.example/login?ref=main&store=3, and redirects are not followed",
        "copy the image with `cp -rL` (links are replaced)",
        "raise the limit (on Linux fs.file-max=10)",
        "did you mean 'force' or 'target'?",
    ],
)
def test_other_words_are_left_alone(hint: str) -> None:
    assert rewrite_hint(hint) == hint


def test_command_in_a_hint_names_the_given_store() -> None:
    hint = "`ocipush image list` shows what there is"
    assert rewrite_hint(hint) == hint
    shown = "`ocipush image list --images-store-dir '/my images'` shows what there is"
    assert rewrite_hint(hint, store="/my images") == shown


def test_every_parameter_of_the_library_has_an_option_or_is_known_to_have_none() -> None:
    parameters = set(inspect.signature(ocipush.push).parameters) - {"source"}
    assert parameters | set(inspect.signature(ocipush.RetryPolicy).parameters) == OPTIONS.keys() | LIBRARY_ONLY


def test_every_option_in_the_table_exists() -> None:
    push = cli.get_command(click.Context(cli), "push")
    assert push is not None
    existing = {name for parameter in push.params for name in parameter.opts}
    assert {option for option in OPTIONS.values() if option.startswith("--")} <= existing


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("chunk_size must be at least 1, not 0"), "--chunk-size must be at least 1, not 0"),
        (ValueError("user_agent must be printable ASCII"), None),
        (ValueError("credentials['r'] must be Login, not tuple"), None),
        (ValueError("nothing of the kind"), None),
    ],
)
def test_error_about_a_refused_value_names_the_option(error: Exception, text: str | None) -> None:
    assert describe_invalid_option(error, {}) == text
