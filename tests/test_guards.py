"""The guards of ``conftest.py`` hold: no test reaches another machine, or asks one about a name."""

from __future__ import annotations

import signal
import socket

import pytest


@pytest.mark.parametrize("name", ["registry.invalid", "registry.example.", "host.test"])
def test_reserved_name_is_unknown_without_a_query(name: str) -> None:
    with pytest.raises(socket.gaierror, match="not known") as caught:
        socket.getaddrinfo(name, 443)
    assert caught.value.errno == socket.EAI_NONAME


def test_public_name_is_not_resolved() -> None:
    with pytest.raises(AssertionError, match="tried to resolve registry"):
        socket.getaddrinfo("registry-1.docker.io", 443)


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "127.1", "::1"])
def test_this_machine_is_resolved(name: str) -> None:
    assert socket.getaddrinfo(name, 80, type=socket.SOCK_STREAM)


@pytest.mark.parametrize("connect", ["connect", "connect_ex"])
def test_connection_to_another_machine_is_refused(connect: str) -> None:
    with socket.socket() as one, pytest.raises(AssertionError, match="tried to connect"):
        getattr(one, connect)(("192.0.2.1", 80))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_no_signal_is_ignored(number: signal.Signals) -> None:
    assert signal.getsignal(number) != signal.SIG_IGN
