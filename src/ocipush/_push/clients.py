"""The HTTP clients of a ``Pusher``, made from its options when they are needed."""

# pyright: reportTypedDictNotRequiredAccess=false
# The options are complete here: see options.complete().

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import anyio.to_thread

from .._http.certificates import CertificateFiles, directory_for
from .._http.client import Client
from .._http.proxy import ProxyRules
from .._http.timeouts import Timeouts
from .._version import __version__

if TYPE_CHECKING:
    import ssl
    from os import PathLike

    from .options import PusherOptions


class Clients:
    """One client for all registries, one more for those that are not verified, and one for each directory of certificates.

    Args:
        options: all of them.

    Raises:
        ValueError: two options exclude each other.
    """

    def __init__(self, options: PusherOptions) -> None:
        self._options = options
        self._clients: dict[tuple[bool, Path | None], Client] = {}
        if options["key"] is not None and options["cert"] is None:
            raise ValueError("key must not be given without cert")
        if options["ssl_context"] is not None and not (options["cert"] is None and options["cert_dir"] is None):
            raise ValueError("ssl_context must not be given with cert or cert_dir: load the certificates into it")

    async def get(self, registry: str, *, verify: bool) -> Client:
        """The client for a registry.

        Raises:
            OcipushError: a file with certificates cannot be used.
        """
        cert_dir = _path(self._options["cert_dir"])
        directory = cert_dir and await anyio.to_thread.run_sync(directory_for, cert_dir, registry)
        if (client := self._clients.get((verify, directory))) is not None:
            return client
        context = await self._context(directory, verify=verify)
        if (client := self._clients.get((verify, directory))) is None:  # another push has not made it meanwhile either
            client = self._clients[verify, directory] = self._new_client(context)
        return client

    async def _context(self, directory: Path | None, *, verify: bool) -> ssl.SSLContext:
        options = self._options
        # The caller's own context is not made to accept any certificate: it may be in use elsewhere.
        if verify and options["ssl_context"] is not None:
            return options["ssl_context"]
        files = CertificateFiles(_path(options["ca_file"]), _path(options["cert"]), _path(options["key"]), directory)
        if files == CertificateFiles():  # there is nothing to read
            return files.context(verify=verify)
        return await anyio.to_thread.run_sync(partial(files.context, verify=verify))

    def _new_client(self, context: ssl.SSLContext) -> Client:
        return Client(
            verify=context,
            timeouts=self._options["timeouts"] or Timeouts(),
            user_agent=" ".join(filter(None, (self._options["user_agent"], f"ocipush/{__version__}"))),
            transport=self._options["transport"],
            rules=ProxyRules.chosen(self._options["proxy"], self._options["no_proxy"]),
        )

    async def aclose(self) -> None:
        """Close every connection."""
        clients = {id(client.transport): client for client in self._clients.values()}
        self._clients.clear()
        for client in clients.values():
            await client.aclose()


def _path(option: str | PathLike[str] | None) -> Path | None:
    return None if option is None else Path(option)
