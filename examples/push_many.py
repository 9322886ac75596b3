"""Push all images of a store concurrently with one ``Pusher``, each to PREFIX/NAME:latest.

    python examples/push_many.py STORE PREFIX

If one push fails, the others continue. The pushes share connections, tokens and what was learned about the registry. A
layer that several images share is uploaded once; the others mount it or wait for it. The ``Pusher`` limits how many blobs
are uploaded at a time, so the caller need not.
"""

from __future__ import annotations

import argparse
import sys

import anyio

import ocipush


async def main(store: str, prefix: str) -> int:
    images = await anyio.to_thread.run_sync(ocipush.list_images, store)
    results: dict[str, ocipush.PushResult] = {}
    failures: dict[str, ocipush.OcipushError] = {}

    async def push(name: str) -> None:
        try:
            results[name] = await pusher.push(name, target=f"{prefix}/{name}:latest")
        except ocipush.OcipushError as error:
            failures[name] = error

    async with ocipush.Pusher(store=store) as pusher, anyio.create_task_group() as tasks:
        for image in images:
            tasks.start_soon(push, image.name)

    for name, result in sorted(results.items()):
        print(f"{name}: {result.name_with_digest}, {result.sent} bytes sent")
    for name, error in sorted(failures.items()):
        print(f"{name}: {error}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("store")
    parser.add_argument("prefix")
    given = parser.parse_args()
    sys.exit(anyio.run(main, given.store, given.prefix))
