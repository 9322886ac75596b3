"""The store: list the images of a directory, and match a person's IMAGE against them (docs/matching.md).

Annotations are objects here, not strings: ``StoreImage`` says ``ocipush`` as its module, where ``Path`` is no name.
"""

import difflib
import errno
import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .._oci.descriptor import Descriptor
from .._oci.reference import Reference, sanitize_image_name, shown, strip_white_space
from ..errors import (
    AmbiguousImageError,
    ImageNotFoundError,
    InvalidLayoutError,
    InvalidReferenceError,
    LayoutError,
    OcipushError,
)
from .archive import Archive
from .base import Tree
from .docker import DockerArchive
from .files import Directory, too_many_files, unreadable
from .layout import Layout, SkopeoDirectory

_LOG = logging.getLogger("ocipush.store")
DEFAULT_STORE: Final = "/var/lib/ar/images"
# Their file systems open `app` as `APP` or `app.` too: a name counts only if it is listed.
_INEXACT: Final = sys.platform in {"win32", "darwin"}
_ABSENT: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG})


Image = Layout | DockerArchive
_ARCHIVE: Final = ".tar"


@dataclass(frozen=True, slots=True)
class StoreImage:
    """One image of a store.

    Attributes:
        name: the name of the layout's directory, or of an archive without ``.tar``.
        path: the directory or the archive.
        ref: the recorded reference of the layout's first descriptor, or None.
        digest, media_type: of the first descriptor, or None if there is none, as in an archive of ``docker save``.
        size: bytes of all files of the layout, or of the archive, if they were asked for.
    """

    name: str
    path: Path
    ref: str | None
    digest: str | None
    media_type: str | None
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Match:
    """The image that IMAGE names.

    Attributes:
        layout: the layout or archive that matched, still open. The caller closes it.
        descriptor: the descriptor that records IMAGE as its reference, if that is how it matched.
        warnings: how IMAGE and the image differ.
    """

    layout: Image
    descriptor: Descriptor | None = None
    warnings: tuple[str, ...] = ()

    def close(self) -> None:
        """Close the layout."""
        self.layout.close()


def list_images(store: str | os.PathLike[str] = DEFAULT_STORE, *, sizes: bool = False) -> list[StoreImage]:
    """List a store's images by name. Blocking. A store that does not exist holds none.

    Args:
        store: a directory whose direct children are images: directories, and archives whose names end with ``.tar``.
        sizes: also add up each image's files.
    """
    directory = _open_store(Path(store))
    if directory is None:
        return []
    images: list[StoreImage] = []
    with directory:
        for layout in _images(directory):
            with closing(layout):
                images.append(_describe(layout, sizes=sizes))
    return images


def match_image(
    store: str | os.PathLike[str],
    image: str,
    *,
    follow_links: bool = False,
    check_cancelled: Callable[[], None] = lambda: None,
) -> Match:
    """Open the image that IMAGE names (docs/matching.md, "Finding the image"). Blocking.

    ``follow_links``: in a layout, follow links that lead out of the store, too. ``check_cancelled`` is called before each layout of the store is read. What it raises ends the search.

    Raises:
        ImageNotFoundError: with near names.
        AmbiguousImageError: several images record that reference.
        LayoutError: the one asked for cannot be read.
    """
    path, wanted = Path(store), strip_white_space(image)
    directory = _open_store(path, follow_links=follow_links)
    if directory is None:
        raise _not_found(path, wanted, [], f"there is no directory {path}")
    with directory:
        if (layout := _open_child(directory, wanted)) is not None:
            return Match(layout)
        listed: list[StoreImage] = []
        if (match := _match_recorded(directory, wanted, listed, check_cancelled)) is not None:
            return match
        if (layout := _open_child(directory, sanitize_image_name(wanted))) is not None:
            return Match(layout, warnings=_disagreement(wanted, _describe(layout).ref))
        problem = None if listed else _why_empty(directory)
    raise _not_found(path, wanted, listed, problem)


def _open_store(path: Path, *, follow_links: bool = False) -> Directory | None:
    """Open a store; None if there is no such directory."""
    try:
        return Directory.open(path, follow_links=follow_links)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as exc:
        raise _no_store(path, exc) from exc


def _no_store(path: Path, exc: OSError) -> OcipushError:
    what = f"the store {path} cannot be read"
    hint = "run as a user who may read it, or name another with store="
    return too_many_files(what, exc) or LayoutError(f"{what}: {exc.strerror}", hint=hint, path=str(path))


def read_image(tree: Tree) -> Image:
    """Read what is in an open directory or archive, whatever kind it is. It closes the tree, at once if it raises."""
    if tree.has("index.json") or not tree.has("manifest.json"):
        return Layout.read(tree)
    if tree.has("version"):
        return SkopeoDirectory.read(tree)
    try:
        return DockerArchive.read(tree)
    except BaseException:
        tree.close()
        raise


def _open_child(store: Directory, name: str) -> Image | None:
    """Open the image of exactly this name; None if there is no such directory or archive.

    Raises:
        LayoutError: there is one, and it is not a readable layout.
    """
    if not name or name.startswith(".") or "/" in name or "\0" in name:
        return None
    if _INEXACT and name not in _names(store):
        return None
    for opening in (_open_directory, _open_archive):
        try:
            return opening(store, name)
        except UnicodeEncodeError:  # half of a surrogate pair: no file has such a name
            return None
        except InvalidLayoutError as exc:
            if not isinstance(exc.__cause__, OSError) or exc.__cause__.errno not in _ABSENT:
                raise
    return None


def _open_directory(store: Directory, name: str) -> Image:
    try:
        directory = store.open_directory(name)
    except OSError as exc:
        path = store.path / name
        raise unreadable(InvalidLayoutError, f"{path} cannot be read as a layout", exc, path=str(path)) from exc
    return read_image(directory)


def _open_archive(store: Directory, name: str) -> Image:
    path = store.path / f"{name}{_ARCHIVE}"
    try:
        descriptor = store.open_file(path.name)
    except OSError as exc:
        raise unreadable(InvalidLayoutError, f"{path} cannot be read", exc, path=str(path)) from exc
    return read_image(Archive.read(path, descriptor))


def _name(image: Image) -> str:
    return image.path.name if image.path.is_dir() else image.path.name.removesuffix(_ARCHIVE)


def _names(store: Directory) -> dict[str, Callable[[Directory, str], Image]]:
    """The names of the images, sorted, and how each is opened. A directory hides an archive of the same name."""
    try:
        archives = [name.removesuffix(_ARCHIVE) for name in store.list_files(_ARCHIVE)]
        found = dict.fromkeys(archives, _open_archive) | dict.fromkeys(store.list_directories(), _open_directory)
    except OSError as exc:
        raise _no_store(store.path, exc) from exc
    return {name: found[name] for name in sorted(found, key=os.fsencode) if name and not name.startswith(".")}


def _images(store: Directory, check_cancelled: Callable[[], None] = lambda: None) -> Iterator[Image]:
    """Open the images of a store one after another, by name. The caller closes each. Others are logged."""
    for name, opening in _names(store).items():
        check_cancelled()
        try:
            layout = opening(store, name)
        except LayoutError as exc:
            _LOG.warning("skipped: %s", exc)
        else:
            yield layout


def _match_recorded(
    store: Directory, wanted: str, listed: list[StoreImage], check_cancelled: Callable[[], None]
) -> Match | None:
    """Find the image that records ``wanted`` as its reference. Adds every image of the store to ``listed``."""
    kept: Image | None = None
    found: list[tuple[str, Descriptor]] = []
    with ExitStack() as closing_kept:
        for layout in _images(store, check_cancelled):
            listed.append(_describe(layout))
            recorded = [one for one in layout.descriptors if wanted and wanted in one.names]
            found += [(_name(layout), one) for one in recorded]
            if recorded and kept is None:
                kept = layout
                closing_kept.callback(kept.close)
            else:
                layout.close()
        _check_unambiguous(found, wanted)
        closing_kept.pop_all()
    return Match(kept, found[0][1]) if kept is not None else None


def _check_unambiguous(found: Sequence[tuple[str, Descriptor]], wanted: str) -> None:
    names = tuple(dict.fromkeys(name for name, _ in found))
    if len(names) > 1:
        raise AmbiguousImageError(
            f"several images record the reference {shown(wanted)}: {', '.join(names)}",
            hint="use the name of the directory instead",
            candidates=names,
        )
    digests = tuple(dict.fromkeys(one.digest for _, one in found))
    if len(digests) > 1:
        raise AmbiguousImageError(
            f"{found[0][0]} records the reference {shown(wanted)} for several images: {', '.join(digests)}",
            hint="use the name of the directory, and choose one by its digest with ref=",
            candidates=digests,
        )


def _why_empty(store: Directory) -> str:
    if store.has("index.json"):
        return f"{store.path} is itself an image, not a store of images"
    return "the store holds no readable layout" if _names(store) else "the store is empty"


def _not_found(store: Path, wanted: str, images: Sequence[StoreImage], problem: str | None) -> ImageNotFoundError:
    text = f"no image {shown(wanted)} in the store {store}"
    if problem is not None:
        return ImageNotFoundError(text, hint=f"{problem}; name another store with store=")
    names = [word for image in images for word in (image.name, image.ref) if word]
    near = difflib.get_close_matches(wanted, names, n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(map(repr, near))}?" if near else "`ocipush image list` shows what there is"
    return ImageNotFoundError(text, hint=hint, available=tuple(near or (image.name for image in images)))


def _describe(layout: Image, *, sizes: bool = False) -> StoreImage:
    first = layout.descriptors[0] if layout.descriptors else None
    has_digest = first is not None and isinstance(layout, Layout)
    return StoreImage(
        name=_name(layout),
        path=layout.path,
        ref=first.full_name if first else None,
        digest=first.digest if first and has_digest else None,
        media_type=first.media_type if first and has_digest else None,
        size=_size(layout.path) if sizes else None,
    )


def _disagreement(wanted: str, ref: str | None) -> tuple[str, ...]:
    """A match by sanitized name drops the tag and the digest: warn if that loses what IMAGE said."""
    try:
        asked = Reference.parse(wanted)
        bare = not any(mark in (ref or "") for mark in "/:@")  # other tools record the tag alone
        recorded = ref if bare else Reference.parse(ref or "").identifier
    except InvalidReferenceError:
        return ()
    explicit = "@" in wanted or ":" in wanted.rpartition("/")[2]
    if not explicit or recorded is None or asked.identifier == recorded:
        return ()
    return (f"{wanted!r} matches the stored image by its name only; its recorded reference is {ref!r}",)


def _size(path: Path) -> int:
    total = path.lstat().st_size if path.is_file() else 0
    for where, _, names in os.walk(path, followlinks=False):
        for name in names:
            with suppress(FileNotFoundError):  # removed since its directory was read
                total += (Path(where) / name).lstat().st_size
    return total
