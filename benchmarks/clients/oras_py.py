"""oras-py (PyPI ``oras``), by its own way to push a layout."""

from __future__ import annotations

import sys

from benchmarks.jobs import Job, measure
from benchmarks.layouts import TAG
from oras.layout import Layout
from oras.provider import Registry


def push(job: Job) -> None:
    """Push all images."""
    verify = str(job.ca_file) if job.ca_file else True
    registry = Registry(hostname=job.host, insecure=job.ca_file is None, tls_verify=verify)
    for image in job.images:
        Layout(str(image.path)).push_to_registry(registry, f"{job.host}/{image.repository}:{TAG}", tag=TAG)


if __name__ == "__main__":
    job = Job.load(sys.argv[1])
    measure(lambda: push(job))
