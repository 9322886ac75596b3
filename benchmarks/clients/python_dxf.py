"""python-dxf, which has blobs and manifests but no layouts: push the blobs, then set the manifest."""

from __future__ import annotations

import sys

from benchmarks.jobs import Job, measure
from benchmarks.layouts import TAG
from dxf import DXF


def push(job: Job) -> None:
    """Push all images."""
    verify = str(job.ca_file) if job.ca_file else True
    for image in job.images:
        with DXF(job.host, image.repository, insecure=job.ca_file is None, tlsverify=verify) as registry:
            for digest in image.blobs:
                registry.push_blob(str(image.blob(digest)))
            registry.set_manifest(TAG, image.blob(image.digest).read_text())


if __name__ == "__main__":
    job = Job.load(sys.argv[1])
    measure(lambda: push(job))
