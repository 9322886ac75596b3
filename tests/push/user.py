"""A user who pushes, by the library on asyncio or trio or by the command, and what the user gets to see."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
from click.testing import CliRunner

import ocipush
from ocipush import errors
from ocipush._cli.commands import cli
from ocipush._cli.hints import rewrite_hint

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

WAYS = ["asyncio", "trio", "command"]
ONCE = ocipush.RetryPolicy(attempts=1)
PATIENT = ocipush.Timeouts(connect=30, stall=30, answer=30, commit=30)
OPTIONS = {
    "store": "--images-store-dir",
    "authfile": "--authfile",
    "target": "--target",
    "ref": "--ref",
    "ca_file": "--ca-file",
    "tls_verify": "--tls-verify",
}


@dataclass
class Outcome:
    """What the user saw. The command does not show the class of an error: it is OcipushError then."""

    error: type[errors.OcipushError] | None
    message: str
    hint: str
    output: str


class User:
    """Has a login file and a store, and pushes images of it once, in one of three ways."""

    def __init__(self, way: str, store: Path, authfile: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.way, self.store, self.authfile = way, store, authfile
        self._monkeypatch = monkeypatch

    def log_in(self, host: str, password: str) -> None:
        ocipush.save_login(host, ocipush.Login("user", password), authfile=self.authfile)

    def push(self, host: str, **options: Any) -> Outcome:
        """Push the image ``app`` to a registry."""
        return self.push_image("app", target=f"{host}/team/app:1", **options)

    def push_image(self, image: str, *, timeouts: ocipush.Timeouts = PATIENT, **options: Any) -> Outcome:
        push = partial(ocipush.push, retry=ONCE, timeouts=timeouts)
        options = {"store": self.store, "authfile": self.authfile, **options}
        options = {name: value for name, value in options.items() if value is not None}
        return (
            self._by_command(push, image, options) if self.way == "command" else self._by_library(push, image, options)
        )

    def _by_library(self, push: Any, image: str, options: dict[str, Any]) -> Outcome:
        try:
            anyio.run(partial(push, image, **options), backend=self.way)
        except errors.OcipushError as exc:
            return Outcome(type(exc), exc.message, exc.hint or "", str(exc))
        return Outcome(None, "", "", "")

    def _by_command(self, push: Any, image: str, options: dict[str, Any]) -> Outcome:
        self._monkeypatch.setattr(ocipush, "push", push)
        words = [f"{OPTIONS[name]}={_text(value)}" for name, value in options.items()]
        done = CliRunner().invoke(cli, ["push", *words, "--", image])
        assert isinstance(done.exception, SystemExit | None)
        lines = [line.partition(": ") for line in done.stderr.splitlines()]
        messages = [text for kind, _, text in lines if kind == "error"]
        hints = [text for kind, _, text in lines if kind == "hint"]
        assert len(hints) <= len(messages) == done.exit_code == (1 if done.stdout == "" else 0), done.stderr
        return Outcome(errors.OcipushError if messages else None, "".join(messages), "".join(hints), done.stderr)


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def check_error(user: User, outcome: Outcome, error: type[errors.OcipushError], words: str, hint: str | None) -> None:
    """Check what the user saw. ``hint`` is part of the library's hint; the command shows it in its own words."""
    assert outcome.error is (errors.OcipushError if user.way == "command" else error), outcome.output
    assert words in outcome.message
    assert bool(outcome.hint) is (hint is not None)
    if user.way == "command":
        hint = rewrite_hint(hint) or ""
        assert "timeouts=" not in outcome.hint
    assert (hint or "") in outcome.hint
    assert len(outcome.message) < 2000
    assert outcome.message.isprintable()
