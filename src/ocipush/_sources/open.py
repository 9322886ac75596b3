"""Open the image that a path or a name stands for."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio.from_thread

from .layout import Layout
from .store import match_image
from .threads import open_in_thread

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncGenerator

    from .._oci.descriptor import Descriptor
    from .base import Source


@dataclass(frozen=True, slots=True)
class Found:
    """An image in an open source.

    Attributes:
        root: the descriptor to push.
        warnings: those of the source, and of how IMAGE matched.
    """

    source: Source
    root: Descriptor
    warnings: tuple[str, ...]


@asynccontextmanager
async def open_source(
    image: str | os.PathLike[str], *, ref: str | None, store: str | os.PathLike[str]
) -> AsyncGenerator[Found]:
    """Open what ``image`` stands for: a path (``PathLike``), or the name or reference of an image in ``store`` (``str``).

    ``ref`` chooses among several images of one source: a recorded reference, a tag, or a digest.

    Raises:
        ImageNotFoundError: the store holds no such image.
        AmbiguousImageError: several images match.
        LayoutError: the source cannot be read.
    """
    if not isinstance(image, str):
        async with await Layout.open(image) as layout:
            root = layout.select(ref)
            yield Found(layout, root, layout.warnings)
        return
    match = await open_in_thread(lambda: match_image(store, image, check_cancelled=anyio.from_thread.check_cancelled))
    async with match.layout as layout:
        root = match.descriptor if ref is None and match.descriptor is not None else layout.select(ref)
        yield Found(layout, root, (*match.warnings, *layout.warnings))
