"""Registries whose answers are not HTTP, are cut off or never come: one error with a hint, at the latest after a timeout."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest
from tests import layouts
from tests.scripted import fall_silent, reset, scripted_server, send, send_endlessly

import ocipush
from ocipush import errors

if TYPE_CHECKING:
    from tests.peers import Link
    from tests.scripted import Script

    from ocipush.testing import Request, Response
from tests.push.user import User, check_error
from tests.registries import registry_in_thread

HASTY = ocipush.Timeouts(connect=0.2, stall=0.2, answer=0.2, commit=0.2)


OK = b"HTTP/1.1 200 OK\r\n"


LOST = errors.ConnectionLostError
SCRIPTS = [
    ("headers without end", send_endlessly(OK, b"X-More: of the same\r\n"), LOST, "HTTP response", "address of a registry"),
    ("header line without end", send_endlessly(OK, b"x" * 1000), LOST, "HTTP response", "address of a registry"),
    ("status line without end", send_endlessly(b"", b"H" * 1000), LOST, "HTTP response", "address of a registry"),
    ("closed at once", send(b""), LOST, "HTTP response", "cut the connection"),
    ("closed in the status line", send(b"HTTP/1."), LOST, "HTTP response", "cut the connection"),
    ("closed in the headers", send(OK + b"Content-Le"), LOST, "HTTP response", "cut the connection"),
    ("SSH", send(b"SSH-2.0-OpenSSH_9.2\r\n"), LOST, "HTTP response", "address of a registry"),
    ("noise", send(bytes(range(256))), LOST, "HTTP response", "address of a registry"),
    ("two lengths", send(OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n"), LOST, "HTTP response", "address of"),
    ("length below zero", send(OK + b"Content-Length: -1\r\n\r\n"), LOST, "HTTP response", "address of"),
    ("reset", reset, LOST, "lost", "try again"),
    ("Location of bytes", send(b"HTTP/1.1 202 A\r\nLocation: /\xff\r\n\r\n"), errors.UnexpectedResponseError, "404", "a path outside of team/app"),
    (
        "errors without end",
        send_endlessly(b"HTTP/1.1 400 No\r\nTransfer-Encoding: chunked\r\n\r\n", b"5\r\nwords\r\n"),
        errors.RegistryError,
        "400: words",
        None,
    ),
]  # fmt: skip


def on(method: bytes, script: Script) -> Script:
    """Play ``script`` to one method, and say to HEAD that nothing is there."""

    def play(link: Link) -> None:
        if link.buffer.startswith(method):
            script(link)
        else:
            link.send(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    return play


@pytest.mark.parametrize(
    ("script", "error", "words", "hint"), [row[1:] for row in SCRIPTS], ids=[row[0] for row in SCRIPTS]
)
def test_answer_that_is_not_http_is_an_error_with_a_hint(
    user: User, script: Script, error: type[errors.OcipushError], words: str, hint: str | None
) -> None:
    with scripted_server(on(b"POST", script)) as server:
        check_error(user, user.push(server.host), error, words, hint)


def test_answer_cut_off_in_its_body_is_an_error_with_a_hint(user: User) -> None:
    cut = send(b"HTTP/1.1 400 No\r\nContent-Length: 100\r\n\r\nwords")
    with scripted_server(on(b"POST", cut)) as server:
        check_error(user, user.push(server.host), LOST, "HTTP response", "cut the connection")


SILENCES = [
    ("after the request", {"plain": on(b"HEAD", fall_silent())}),
    ("after the status line", {"plain": on(b"POST", fall_silent(OK))}),
    ("in the body", {"plain": on(b"POST", fall_silent(OK + b"Content-Length: 9\r\n\r\n1"))}),
    ("instead of TLS", {"plain": send(b""), "tls": fall_silent()}),
]  # fmt: skip


@pytest.mark.parametrize("scripts", [row[1] for row in SILENCES], ids=[row[0] for row in SILENCES])
def test_silent_registry_runs_into_a_timeout(user: User, scripts: dict[str, Any]) -> None:
    with scripted_server(**scripts) as server:
        check_error(user, user.push(server.host, timeouts=HASTY), errors.StalledError, server.host, "timeouts=")


def test_endless_interim_answers_are_an_error(user: User) -> None:
    with scripted_server(plain=on(b"POST", send_endlessly(b"", b"HTTP/1.1 100 Continue\r\n\r\n"))) as server:
        check_error(user, user.push(server.host), errors.ConnectionLostError, "without end", "address of a registry")


@pytest.mark.parametrize("reads", [True, False], ids=["after the blob", "in mid-blob"])
def test_registry_that_falls_silent_during_a_blob_runs_into_a_timeout(user: User, reads: bool) -> None:
    image = user.store / "app"
    layouts.write_layout(image, [layouts.add_manifest(image, [b"x" * 20_000_000])])

    async def intercept(request: Request) -> Response | None:
        if request.method == "PUT":
            while reads and await request.receive():
                pass
            await anyio.sleep_forever()
        return None

    with registry_in_thread(intercept=intercept) as registry:
        outcome = user.push(registry.host, timeouts=ocipush.Timeouts(stall=0.5, answer=5, commit=0.5))
        check_error(user, outcome, errors.StalledError, "PUT", "timeouts=")
        assert not registry.repository("team/app").tags
