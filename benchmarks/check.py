"""Read back what a registry serves, and compare it byte for byte with what was to be pushed."""

from __future__ import annotations

import http.client
import ssl
from typing import TYPE_CHECKING, Final

from .layouts import MANIFEST, TAG

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from .layouts import Image

_PIECE: Final = 1024 * 1024


class MismatchError(Exception):
    """The registry serves something else."""


def check(port: int, ca_file: Path | None, images: Iterable[Image]) -> int:
    """Read all images back; how many bytes were compared. A blob that several repositories hold is read from each."""
    compared = 0
    if ca_file is None:
        connection = http.client.HTTPConnection("127.0.0.1", port)
    else:
        context = ssl.create_default_context(cafile=ca_file)
        connection = http.client.HTTPSConnection("127.0.0.1", port, context=context)
    try:
        for image in images:
            base = f"/v2/{image.repository}"
            compared += _compare(connection, f"{base}/manifests/{TAG}", image.blob(image.digest))
            for digest in image.blobs:
                compared += _compare(connection, f"{base}/blobs/{digest}", image.blob(digest))
    finally:
        connection.close()
    return compared


def _compare(connection: http.client.HTTPConnection, path: str, file: Path) -> int:
    connection.request("GET", path, headers={"Accept": MANIFEST})
    answer = connection.getresponse()
    if answer.status != 200:
        raise MismatchError(f"GET {path} answers {answer.status}")
    position = 0
    with file.open("rb") as expected:
        while piece := answer.read(_PIECE):
            if piece != expected.read(len(piece)):
                raise MismatchError(f"GET {path} differs from {file} after byte {position}")
            position += len(piece)
        if expected.read(1):
            raise MismatchError(f"GET {path} ends at byte {position}, {file} does not")
    return position
