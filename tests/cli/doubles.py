"""Stand-ins for what the command calls in the library, and how tests run the command."""

from __future__ import annotations

import inspect
import logging
import signal
from typing import TYPE_CHECKING, Any

import anyio
from click.testing import CliRunner, Result

import ocipush
from ocipush import _events as events
from ocipush import errors
from ocipush._cli.commands import cli

if TYPE_CHECKING:
    import pytest

DIGEST = "sha256:" + "a" * 64
RESULT = events.PushResult("r.example/team/app:1", DIGEST, "m", 5, (), False, 3, 5, 0.1)
EVENTS: list[events.Event] = [
    events.PushStarted("p", "/s", "r.example/team/app:1", DIGEST, 1, 5),
    events.BlobStarted("p", DIGEST, 5, "m"),
    events.BlobProgress("p", DIGEST, 3, 5),
    events.RetryScheduled("p", "blob", "lost", 2, 0.5),
    events.BlobDone("p", DIGEST, 5, "uploaded"),
    events.PushWarning("p", "be careful"),
    events.RegistryWarning("p", "old\x1b[2J"),
    events.PushDone("p", RESULT),
]


class FakePush:
    """Replaces ``ocipush.push``, and accepts the same options."""

    signature = inspect.signature(ocipush.push)

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.signal: signal.Signals | None = None
        self.log = ""
        self.logs = False
        self.raises: BaseException | None = None
        self.result = RESULT

    async def push(self, source: str, **options: Any) -> events.PushResult:
        self.signature.bind(source, **options)
        self.calls.append((source, options))
        logging.getLogger("ocipush").info("%s", self.log)
        for event in EVENTS:
            if self.logs:
                self.write_log(event)
            options["on_event"](event)
        if self.raises is not None:
            raise self.raises
        if self.signal is not None:
            signal.raise_signal(self.signal)
            await anyio.sleep_forever()
        return self.result

    @staticmethod
    def write_log(event: events.Event) -> None:
        """As the library does: warnings and retries are logged too."""
        match event:
            case events.RetryScheduled():
                logging.getLogger("ocipush").info("%s; attempt %d", event.reason, event.attempt)
            case events.PushWarning():
                logging.getLogger("ocipush").warning("%s", event.text)
            case _:
                pass


def run(*argv: str, **options: Any) -> Result:
    return CliRunner().invoke(cli, list(argv), **options)


PUSHER = inspect.signature(ocipush.Pusher)


class FakeLogins:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.saved: dict[str, tuple[str, str, str]] = {}
        self.checked: list[str] = []
        monkeypatch.setattr(ocipush, "Login", self.login)
        monkeypatch.setattr(ocipush, "save_login", self.save)
        monkeypatch.setattr(ocipush, "remove_login", self.remove)
        monkeypatch.setattr(ocipush, "Pusher", self.open)

    @staticmethod
    def login(name: str, secret: str) -> tuple[str, str]:
        return name, secret

    def open(self, **options: Any) -> FakeLogins:
        PUSHER.bind(**options)
        return self

    def save(self, registry: str, login: tuple[str, str], *, authfile: str) -> None:
        self.saved[registry] = (*login, authfile)

    def remove(self, registry: str, *, authfile: str) -> bool:
        assert authfile == "/a"
        return self.saved.pop(registry, None) is not None

    async def __aenter__(self) -> FakeLogins:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def check_login(self, registry: str, *, login: tuple[str, str]) -> bool:
        self.checked.append(registry)
        if login[1] == "bad":
            raise errors.AuthenticationError("no", hint="log in with `ocipush image login r.example`")
        return registry != "anonymous.example"
