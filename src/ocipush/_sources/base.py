"""What a push needs of the place an image is read from."""

from __future__ import annotations

import os
from typing import Self


class BlobFile:
    """An open blob; an async context manager that closes it. ``descriptor`` is the file's, ``size`` in bytes."""

    def __init__(self, descriptor: int, size: int, path: str) -> None:
        self.descriptor = descriptor
        self.size = size
        self.path = path

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the file."""
        os.close(self.descriptor)
