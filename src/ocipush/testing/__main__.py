"""`python -m ocipush.testing`: a development registry on a port. May import: ocipush.testing."""

from __future__ import annotations

import argparse
import sys

import anyio

from ocipush.testing import BasicAuth, Registry


async def _serve(options: argparse.Namespace) -> None:
    auth = BasicAuth({options.user: options.password}) if options.user else None
    async with Registry(auth=auth, storage=options.storage, host=options.host, port=options.port) as registry:
        sys.stdout.write(f"{registry.host}\n")
        sys.stdout.flush()
        await anyio.sleep_forever()


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(prog="python -m ocipush.testing", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=5000)
    parser.add_argument("--storage", help="directory to keep images in (default: memory)")
    parser.add_argument("--user")
    parser.add_argument("--password")
    options = parser.parse_args()
    if (options.user is None) != (options.password is None):
        parser.error("--user and --password go together")
    try:
        anyio.run(_serve, options)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
