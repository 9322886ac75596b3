"""`python -m ocipush.testing`: a development registry on a port. May import: ocipush.testing, anyio."""

from __future__ import annotations

import argparse
import ssl
import sys
from typing import TYPE_CHECKING

import anyio

from ocipush.testing import DIALECTS, BasicAuth, BearerAuth, Registry

if TYPE_CHECKING:
    from collections.abc import Sequence


def parse(argv: Sequence[str] | None = None) -> Registry:
    """Read the command line; SystemExit when it is wrong."""
    parser = argparse.ArgumentParser(prog="python -m ocipush.testing", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=5000, help="0: any free one; the address is printed")
    parser.add_argument("--storage", metavar="DIR", help="directory to keep images in (default: memory)")
    parser.add_argument("--dialect", choices=DIALECTS, default="spec", help="the registry to behave like")
    parser.add_argument("--repository", action="append", default=[], help="one that exists (where no push makes one)")
    parser.add_argument("--auth", choices=["basic", "bearer"], default="basic", help="how --user has to log in")
    parser.add_argument("--user")
    parser.add_argument("--password")
    parser.add_argument("--tls-cert", metavar="FILE", help="PEM file of the certificate chain; makes it speak TLS")
    parser.add_argument("--tls-key", metavar="FILE", help="PEM file of its private key")
    options = parser.parse_args(argv)
    if (options.user is None) != (options.password is None):
        parser.error("--user and --password go together")
    if (options.tls_cert is None) != (options.tls_key is None):
        parser.error("--tls-cert and --tls-key go together")
    context = None
    if options.tls_cert is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        try:
            context.load_cert_chain(options.tls_cert, options.tls_key)
        except OSError as exc:  # ssl.SSLError is one
            parser.error(f"{options.tls_cert} and {options.tls_key} cannot be used: {exc}")
    auth = None
    if options.user is not None:
        auth = {"basic": BasicAuth, "bearer": BearerAuth}[options.auth]({options.user: options.password})
    return Registry(
        dialect=options.dialect,
        repositories=options.repository,
        auth=auth,
        ssl_context=context,
        storage=options.storage,
        host=options.host,
        port=options.port,
    )


async def serve(registry: Registry) -> None:
    """Print the address, and answer until cancelled."""
    async with registry:
        sys.stdout.write(f"{registry.host}\n")
        sys.stdout.flush()
        await anyio.sleep_forever()


def main(argv: Sequence[str] | None = None) -> None:
    """Serve until interrupted."""
    try:
        anyio.run(serve, parse(argv))
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
