"""A registry as one login sees it: which scheme it speaks, found out by the first request, and what it asks for.

May import: errors, _reference, _credentials, _http, _auth, anyio.
"""

from __future__ import annotations

import ipaddress
import socket
from typing import TYPE_CHECKING, TypeVar

import anyio

from ._auth import Authorizer
from ._http import is_refused_or_plain
from ._reference import DOCKER_HUB, is_loopback, split_port
from .errors import ConnectFailedError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ._credentials import Login

    Ask = Callable[[str, Authorizer], Awaitable["T"]]

T = TypeVar("T")


class Endpoint:
    """Where a registry is reached.

    Args:
        registry: as in a reference.
        login: the login for it, or None to stay anonymous.
        tls_verify: False allows plain HTTP to any host (rules.md, 3).
    """

    def __init__(self, registry: str, login: Login | None, *, tls_verify: bool) -> None:
        self._registry = registry
        self._host = "registry-1.docker.io" if registry == DOCKER_HUB else registry
        self._login = login
        self._tls_verify = tls_verify
        self._lock = anyio.Lock()
        self._known: tuple[str, Authorizer] | None = None

    async def ask(self, question: Ask[T], *, warn: Callable[[str], None]) -> T:
        """Ask ``question(base, authorizer)``, where ``base`` is ``scheme://host[:port]``.

        The first question is asked over TLS, and again over plain HTTP where that is allowed and the connection is
        refused or what answers is not TLS. Never after a certificate error, a time-out or a reset.
        """
        if self._known is None:
            async with self._lock:
                if self._known is None:
                    return await self._find_out(question, warn)
        return await question(*self._known)

    async def _find_out(self, question: Ask[T], warn: Callable[[str], None]) -> T:
        secure = f"https://{self._host}", Authorizer(self._login, plain_http=False)
        try:
            answer = await question(*secure)
        except ConnectFailedError as exc:
            if not is_refused_or_plain(exc) or not await self._may_be_plain():
                raise
            warn(f"{self._host} does not speak TLS: using plain HTTP")
            if self._login is not None:
                warn(f"the login for {self._host} may go over plain HTTP, readable to the network")
            plain = f"http://{self._host}", Authorizer(self._login, plain_http=True)
            answer = await question(*plain)
            self._known = plain
        else:
            self._known = secure
        return answer

    async def _may_be_plain(self) -> bool:
        """Whether plain HTTP was asked for, or every address the name resolves to is this machine's."""
        if not self._tls_verify:
            return True
        if not is_loopback(self._registry):
            return False
        host, port = split_port(self._registry)
        try:
            found = await anyio.getaddrinfo(host.strip("[]"), port or 80, type=socket.SOCK_STREAM)
        except OSError:
            return False
        return all(ipaddress.ip_address(address[4][0]).is_loopback for address in found)
