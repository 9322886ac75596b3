"""TLS that fails, registries without TLS, and addresses without a registry: one error with a hint, and nothing is sent in the clear."""

from __future__ import annotations

import datetime as dt
import socket
import ssl
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from tests.scripted import reset, scripted_server, send

from ocipush import errors
from ocipush.testing import Request, Response

if TYPE_CHECKING:
    from pathlib import Path

    from tests.peers import Link
    from tests.scripted import Script
from tests.certificates import server_context, write_ca_file
from tests.push.user import User, check_error
from tests.registries import registry_in_thread


def test_unknown_ca_is_refused_with_a_hint_that_works(user: User, tmp_path: Path) -> None:
    with registry_in_thread(ssl_context=server_context()) as registry:
        check_error(user, user.push(registry.host), errors.TLSVerificationError, "not trusted", "ca_file=")
        assert registry.requests == []
        assert user.push(registry.host, ca_file=write_ca_file(tmp_path)).error is None


def test_any_certificate_is_accepted_when_verification_is_off(user: User) -> None:
    with registry_in_thread(ssl_context=server_context("elsewhere.example")) as registry:
        assert user.push(registry.host, tls_verify=False).error is None
        assert registry.repository("team/app").tags


@pytest.mark.parametrize(
    ("name", "not_after", "hint"),
    [
        ("elsewhere.example", None, "another"),
        ("127.0.0.1", dt.datetime(2020, 1, 1, tzinfo=dt.UTC), "has expired"),
    ],
    ids=["another name", "expired"],
)
def test_hint_says_what_is_wrong_with_a_certificate_that_no_ca_file_can_fix(
    user: User, tmp_path: Path, name: str, not_after: dt.datetime | None, hint: str
) -> None:
    with registry_in_thread(ssl_context=server_context(name, not_after=not_after)) as registry:
        outcome = user.push(registry.host, ca_file=write_ca_file(tmp_path))
        check_error(user, outcome, errors.TLSVerificationError, "not trusted", hint)
        assert registry.requests == []


def test_hint_mentions_the_client_certificate_that_a_registry_requires(user: User, tmp_path: Path) -> None:
    context = server_context()
    context.verify_mode = ssl.CERT_REQUIRED

    def shake_hands(link: Link) -> None:
        inward, outward = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(inward, outward, server_side=True)
        piece = link.buffer
        while piece:
            inward.write(piece)
            with suppress(ssl.SSLError):
                tls.do_handshake()
            link.send(outward.read())
            piece = link.sock.recv(65536)

    with scripted_server(send(b""), tls=shake_hands) as server:
        outcome = user.push(server.host, ca_file=write_ca_file(tmp_path))
        check_error(user, outcome, errors.ConnectFailedError, "TLS failed", "client certificate")
        assert server.heads == []


@pytest.fixture
def far_name(monkeypatch: pytest.MonkeyPatch) -> str:
    """A name that does not look like this machine, but resolves to it."""
    resolve = socket.getaddrinfo

    def getaddrinfo(host: Any, *args: Any, **options: Any) -> Any:
        return resolve("127.0.0.1" if host in {"far.example", b"far.example"} else host, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return "far.example"


def test_plain_http_to_another_machine_needs_tls_verify_false(user: User, far_name: str) -> None:
    with registry_in_thread() as registry:
        host = f"{far_name}:{registry.host.rpartition(':')[2]}"
        outcome = user.push(host)
        check_error(user, outcome, errors.ConnectFailedError, "does not speak TLS", "tls_verify=False")
        assert registry.requests == []
        assert user.push(host, tls_verify=False).error is None


def test_no_login_is_sent_to_a_tls_port_named_as_plain_http(user: User) -> None:
    with registry_in_thread(ssl_context=server_context()) as tls:
        challenge = {"WWW-Authenticate": f'Bearer realm="http://{tls.host}/token"'}

        async def intercept(_: Request) -> Response:
            return Response(401, challenge)

        with registry_in_thread(intercept=intercept) as registry:
            user.log_in(registry.host, "secret")
            outcome = user.push(registry.host)
        check_error(user, outcome, errors.ConnectionLostError, "GET http://", "cut the connection")
        assert tls.requests == []


@pytest.mark.parametrize("tls_verify", [True, False])
def test_refused_connection_is_an_error_with_a_hint(user: User, tls_verify: bool) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{bound.getsockname()[1]}"
        outcome = user.push(host, tls_verify=tls_verify)
    check_error(user, outcome, errors.ConnectFailedError, "connection refused", "name and port")


def test_unknown_name_is_an_error_with_a_hint(user: User) -> None:
    outcome = user.push("registry.invalid")
    check_error(user, outcome, errors.ConnectFailedError, "registry.invalid", "name and port")


ALERT = b"\x15\x03\x01\x00\x02\x02\x46"  # fatal: protocol version


@pytest.mark.parametrize(
    ("tls", "words", "hint"),
    [
        (send(ALERT), "TLS failed", "must support TLS 1.2 or later"),
        (send(b""), "HEAD https://", "may require a client certificate"),
        (reset, "HEAD https://", "may require a client certificate"),
    ],
    ids=["alert", "closed", "reset"],
)
def test_failed_tls_handshake_is_not_followed_by_plain_http(user: User, tls: Script, words: str, hint: str) -> None:
    with scripted_server(send(b""), tls=tls) as server:
        for tls_verify in (True, False):
            outcome = user.push(server.host, tls_verify=tls_verify)
            check_error(user, outcome, errors.ConnectFailedError, words, hint)
        assert server.heads == []
