"""A network of made-up addresses: names resolve to them, and connections to them end at servers on loopback."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

from ocipush._http import stream as _socket

if TYPE_CHECKING:
    import pytest


class _Told(socket.socket):
    """A socket that says it is connected to the address that was asked for."""

    told: tuple[Any, ...] = ()

    def getpeername(self) -> Any:
        return self.told


class Network:
    """Replaces what names resolve to, and where connections go.

    Attributes:
        names: addresses by ``host`` or ``host:port``.
        connected: every (address, port) that a connection was begun to.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **names: str) -> None:
        self.names: dict[str, list[str]] = {}
        self.connected: list[tuple[str, int]] = []
        monkeypatch.setattr(_socket, "_resolve", self._resolve)
        monkeypatch.setattr(_socket, "_connect_one", self._connect_one)

    async def _resolve(self, host: str, port: int) -> list[Any]:
        found = self.names.get(f"{host}:{port}") or self.names.get(host) or [host]
        return [(socket.AF_INET6 if ":" in one else socket.AF_INET, (one, port)) for one in found]

    async def _connect_one(self, address: Any) -> socket.socket:
        self.connected.append(address[1])
        sock = _Told(socket.AF_INET, socket.SOCK_STREAM)
        sock.told = address[1]
        try:
            sock.connect(("127.0.0.1", address[1][1]))
        except BaseException:
            sock.close()
            raise
        sock.setblocking(False)
        return sock

    def __contains__(self, address: str) -> bool:
        return any(address == one for one, _ in self.connected)
