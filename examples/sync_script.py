"""Push images from a blocking script, with ``ocipush.sync``.

    python examples/sync_script.py STORE PREFIX IMAGE...

The names and errors are those of the async API. Each error has a hint that says what to do.
"""

from __future__ import annotations

import argparse
import sys

from ocipush import errors, sync


def main(store: str, prefix: str, images: list[str]) -> int:
    with sync.Pusher(store=store) as pusher:
        for image in images:
            try:
                result = pusher.push(image, target=f"{prefix}/{image}:latest")
            except errors.ImageNotFoundError as error:
                print(f"no image {image}; similar names: {', '.join(error.available) or 'none'}", file=sys.stderr)
                return 1
            except errors.OcipushError as error:
                print(f"{image}: {error.message}\n  {error.hint or ''}", file=sys.stderr)
                return 1
            print(result.name_with_digest)
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("store")
    parser.add_argument("prefix")
    parser.add_argument("image", nargs="+")
    given = parser.parse_args()
    sys.exit(main(given.store, given.prefix, given.image))
