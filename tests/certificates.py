"""A certificate authority for the tests, and the TLS contexts of its servers and of clients."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import trustme

if TYPE_CHECKING:
    import datetime as dt
    from pathlib import Path

CA = trustme.CA()


def server_context(*names: str, authority: trustme.CA = CA, not_after: dt.datetime | None = None) -> ssl.SSLContext:
    """The context of a server with a certificate for ``names``, or for this machine and ``registry.test``."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(
        *(names or ("127.0.0.1", "::1", "localhost", "registry.test")), not_after=not_after
    ).configure_cert(context)
    return context


def client_context(*, trusted: bool = True) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if trusted:
        CA.configure_trust(context)
    return context


def write_ca_file(directory: Path) -> Path:
    path = directory / "ca.pem"
    CA.cert_pem.write_to_path(path)
    return path
