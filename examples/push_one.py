"""Push one image from a store.

    python examples/push_one.py STORE IMAGE [TARGET]

Without TARGET, the image is pushed to the reference that it records. Logins are read from ``$OCIPUSH_AUTHFILE``.
"""

from __future__ import annotations

import argparse
import sys

import anyio

import ocipush


async def main(store: str, image: str, target: str | None) -> None:
    result = await ocipush.push(image, target=target, store=store)
    print(f"{result.reference} is {result.digest}")
    if result.unchanged:
        print("it was already there")
    for blob in result.blobs:
        print(f"  {blob.digest} {blob.size:>12} {blob.outcome}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("store")
    parser.add_argument("image")
    parser.add_argument("target", nargs="?")
    given = parser.parse_args()
    try:
        anyio.run(main, given.store, given.image, given.target)
    except ocipush.OcipushError as error:
        sys.exit(f"error: {error}")
