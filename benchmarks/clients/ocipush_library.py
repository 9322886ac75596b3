"""ocipush as a library, with its defaults: one ``Pusher``, every image at once."""

from __future__ import annotations

import sys

import anyio
from benchmarks.jobs import Job, measure
from benchmarks.layouts import TAG

from ocipush import Pusher


async def push(job: Job) -> None:
    """Push all images."""
    authfile = job.scratch / "auth.json"
    async with Pusher(authfile=authfile, ca_file=job.ca_file) as pusher, anyio.create_task_group() as tasks:

        async def one(number: int) -> None:
            image = job.images[number]
            await pusher.push(image.path, target=f"{job.host}/{image.repository}:{TAG}")

        for number in range(len(job.images)):
            tasks.start_soon(one, number)


if __name__ == "__main__":
    job = Job.load(sys.argv[1])
    anyio.run(anyio.sleep, 0)  # anyio imports its backend only now
    measure(lambda: anyio.run(push, job))
