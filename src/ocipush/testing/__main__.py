"""`python -m ocipush.testing`: a development registry on a port."""

from __future__ import annotations

import argparse
import errno
import ssl
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import anyio

from ocipush.testing._auth import BasicAuth, BearerAuth
from ocipush.testing._dialects import DIALECTS
from ocipush.testing._registry import Registry, in_url
from ocipush.testing._storage import prepare_blocking

if TYPE_CHECKING:
    from collections.abc import Sequence


class CannotListenError(Exception):
    """The registry cannot listen on its address."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Exit with one line; the usage is in `--help`."""
        self.exit(2, f"error: {message}\n")


def _parser() -> _Parser:
    parser = _Parser(prog="python -m ocipush.testing", description="Run a development registry.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=_port, default=5000, help="port to listen on, 0 for any (default: %(default)s)")
    parser.add_argument("--storage", metavar="DIR", help="directory to keep images in (default: memory)")
    parser.add_argument("--dialect", choices=DIALECTS, default="spec", help="registry to behave like")
    parser.add_argument(
        "--repository", action="append", default=[], help="create a repository, for dialects where a push does not"
    )
    parser.add_argument("--auth", choices=["basic", "bearer"], default="basic", help="how clients log in as --user")
    parser.add_argument("--user", help="user name that clients must log in with")
    parser.add_argument("--password", help="password of --user")
    parser.add_argument("--tls-cert", metavar="FILE", help="PEM file of the certificate chain; turns TLS on")
    parser.add_argument("--tls-key", metavar="FILE", help="PEM file of the private key")
    return parser


def parse(argv: Sequence[str] | None = None) -> Registry:
    """Parse the command line; SystemExit if it is wrong."""
    parser = _parser()
    options = parser.parse_args(argv)
    if (options.user is None) != (options.password is None):
        parser.error("--user and --password must be given together")
    if (options.tls_cert is None) != (options.tls_key is None):
        parser.error("--tls-cert and --tls-key must be given together")
    context = None
    if options.tls_cert is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        try:
            context.load_cert_chain(options.tls_cert, options.tls_key)
        except OSError as exc:  # ssl.SSLError is one
            parser.error(f"cannot use --tls-cert {options.tls_cert} with --tls-key {options.tls_key}: {_reason(exc)}")
    if options.storage is not None:
        try:
            prepare_blocking(Path(options.storage))
        except OSError as exc:
            parser.error(f"cannot use --storage {options.storage}: {_reason(exc)}")
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


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text} is not a port number between 0 and 65535")
    return int(text)


def _reason(exc: OSError) -> str:
    if isinstance(exc, FileExistsError):
        return "not a directory"
    text = exc.strerror or str(exc)
    return text[:1].lower() + text[1:]


def _hint(exc: OSError) -> str:
    return " (hint: choose another --port, or 0 for any free one)" if exc.errno == errno.EADDRINUSE else ""


async def serve(registry: Registry) -> None:
    """Print the address, and serve until cancelled."""
    async with AsyncExitStack() as stack:
        try:
            await stack.enter_async_context(registry)
        except OSError as exc:
            raise CannotListenError(
                f"cannot listen on {in_url(*registry._address)}: {_reason(exc)}{_hint(exc)}"
            ) from exc
        sys.stdout.write(f"{registry.host}\n")
        sys.stdout.flush()
        await anyio.sleep_forever()


def main(argv: Sequence[str] | None = None) -> None:
    """Serve until interrupted."""
    try:
        anyio.run(serve, parse(argv))
    except CannotListenError as exc:
        sys.exit(f"error: {exc}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
