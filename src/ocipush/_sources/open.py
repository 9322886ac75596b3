"""Open the image that a path or a name stands for."""

from __future__ import annotations

import sys
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from .._oci.document import Manifest
from .._threads import check_cancelled, run_in_thread
from ..errors import BlobMissingError
from .docker import DockerArchive
from .layout import Layout, open_tree
from .store import match_image, read_image
from .threads import open_in_thread
from .walk import read_contents

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncGenerator

    from .._oci.descriptor import Descriptor
    from .base import Source
    from .docker import Compression


_MOST_SOURCES: Final = 64


def most_sources() -> int:
    """How many sources may be open at once, so that files and connections stay within the limit of this process.

    A source has up to five descriptors open while it is read. The others are for blobs and connections.
    """
    if sys.platform == "win32" or resource is None:
        return _MOST_SOURCES
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return _MOST_SOURCES if soft == resource.RLIM_INFINITY else min(_MOST_SOURCES, max(4, (soft - 176) // 5))


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
    image: str | os.PathLike[str],
    *,
    ref: str | None,
    store: str | os.PathLike[str],
    compression: Compression = "gzip",
    follow_links: bool = False,
) -> AsyncGenerator[Found]:
    """Open what ``image`` stands for: a path (``PathLike``), or the name or reference of an image in ``store`` (``str``).

    ``ref`` chooses among several images of one source: a recorded reference, a tag, or a digest. ``compression`` is for
    layers of ``docker save`` archives. ``follow_links``: follow links that lead out of a layout, too.

    Raises:
        ImageNotFoundError: the store holds no such image.
        AmbiguousImageError: several images match.
        LayoutError: the source cannot be read.
    """
    if isinstance(image, str):
        match = await open_in_thread(
            lambda: match_image(store, image, follow_links=follow_links, check_cancelled=check_cancelled)
        )
        opened, chosen, warnings = match.layout, match.descriptor if ref is None else None, match.warnings
    else:
        path = Path(image)
        opened = await open_in_thread(lambda: read_image(open_tree(path, check_cancelled, follow_links=follow_links)))
        chosen, warnings = None, ()
    with closing(opened):
        if chosen is None:
            chosen = await run_in_thread(opened.select, ref)
        if isinstance(opened, Layout):
            problem = await _why_incomplete(opened, chosen)
            if problem is None:
                left = await run_in_thread(opened.count_referrers, chosen)
                if left:
                    warnings = (*warnings, f"{opened.where}: signatures, SBOMs and the like are not pushed: {left}")
                yield Found(opened, chosen, (*warnings, *opened.warnings))
                return
            warnings = (*warnings, f"{problem}; the image is made from manifest.json, so its digest differs")
            opened = await run_in_thread(DockerArchive.read, opened.tree)
            chosen = opened.select(ref)
        async with await opened.convert(chosen, compression) as source:
            yield Found(source, source.select(), warnings)


async def _why_incomplete(layout: Layout, root: Descriptor) -> str | None:
    """What the layout in a ``docker save`` archive lacks that ``manifest.json`` has; None if it is whole."""
    if not (layout.tree.has("manifest.json") and layout.tree.has("index.json")):
        return None
    try:
        contents = await read_contents(layout, root)
    except BlobMissingError as exc:
        return exc.message
    empty = isinstance(contents.root.content, Manifest) and not contents.root.content.layers
    return f"{layout.locate(root)} lists no layers" if empty else None
