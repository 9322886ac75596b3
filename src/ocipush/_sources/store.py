"""The store: list the layouts of a directory, and match a user's IMAGE against them.

Annotations are objects here, not strings: ``StoreImage`` says ``ocipush`` as its module, where ``Path`` is no name.
"""

import difflib
import logging
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .._oci.descriptor import Descriptor
from .._oci.reference import Reference, sanitize_image_name, shown, strip_white_space
from ..errors import AmbiguousImageError, ImageNotFoundError, InvalidReferenceError, LayoutError
from .layout import Layout

_LOG = logging.getLogger("ocipush.store")
DEFAULT_STORE: Final = "/var/lib/ar/images"


@dataclass(frozen=True, slots=True)
class StoreImage:
    """One image of a store.

    Attributes:
        name: the layout's directory name.
        path: the layout's directory.
        ref: the recorded reference of the layout's first descriptor, or None.
        digest, media_type: of the first descriptor, or None where there is none.
        size: bytes of all files of the layout, where asked for.
    """

    name: str
    path: Path
    ref: str | None
    digest: str | None
    media_type: str | None
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Match:
    """The image that IMAGE names; ``descriptor`` where IMAGE is the recorded reference of one of several."""

    image: StoreImage
    ref: str | None
    descriptor: Descriptor | None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Entry:
    image: StoreImage
    manifests: tuple[Descriptor, ...]


def list_images(store: str | os.PathLike[str] = DEFAULT_STORE, *, sizes: bool = False) -> list[StoreImage]:
    """List a store's images by name. Blocking. A missing store holds none (rules.md, 1).

    Args:
        store: a directory whose direct child directories are OCI layouts.
        sizes: also add up each image's files.
    """
    entries, _ = _scan(Path(store), sizes=sizes)
    return [entry.image for entry in entries]


def match_image(store: str | os.PathLike[str], image: str) -> Match:
    """Find IMAGE: by exact name, else by recorded reference, else by its sanitized name (spec.md, step 2).

    Raises:
        ImageNotFoundError: with near names.
        AmbiguousImageError: several images record that reference.
        LayoutError: the one asked for cannot be read.
    """
    wanted = strip_white_space(image)
    entries, broken = _scan(Path(store))
    if wanted in broken:
        raise broken[wanted]
    for entry in entries:
        if entry.image.name == wanted:
            return Match(entry.image, entry.image.ref, None)
    if (match := _match_recorded(entries, wanted)) is not None:
        return match
    name = sanitize_image_name(wanted)
    if name and name in broken:
        raise broken[name]
    for entry in entries:
        if entry.image.name == name:
            return Match(entry.image, entry.image.ref, None, _disagreement(wanted, entry.image.ref))
    raise _not_found(store, wanted, entries)


def _match_recorded(entries: list[_Entry], wanted: str) -> Match | None:
    recorded = [(entry, one) for entry in entries for one in entry.manifests if wanted and one.ref_name == wanted]
    if not recorded:
        return None
    entry, descriptor = recorded[0]
    names = tuple(dict.fromkeys(one.image.name for one, _ in recorded))
    if len(names) > 1:
        raise AmbiguousImageError(
            f"several images record the reference {shown(wanted)}: {', '.join(names)}",
            hint="name the directory",
            candidates=names,
        )
    if len({one.digest for _, one in recorded}) > 1:
        digests = tuple(one.digest for _, one in recorded)
        raise AmbiguousImageError(
            f"{entry.image.name} records the reference {shown(wanted)} for several images: {', '.join(digests)}",
            hint="name the directory, and choose one by its digest with ref=",
            candidates=digests,
        )
    return Match(entry.image, wanted, descriptor)


def _not_found(store: str | os.PathLike[str], wanted: str, entries: list[_Entry]) -> ImageNotFoundError:
    text = f"在本地镜像存储目录中未找到指定镜像: no image {shown(wanted)} in the store {os.fspath(store)}"
    if not Path(store).is_dir():
        return ImageNotFoundError(text, hint="there is no such directory; name one with store=")
    if not entries:
        return ImageNotFoundError(text, hint="the store is empty; name another with store=")
    names = [word for entry in entries for word in (entry.image.name, entry.image.ref) if word]
    near = difflib.get_close_matches(wanted, names, n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(map(repr, near))}?" if near else "`ocipush image list` shows what there is"
    return ImageNotFoundError(text, hint=hint, available=tuple(near or (entry.image.name for entry in entries)))


def _disagreement(wanted: str, ref: str | None) -> tuple[str, ...]:
    """A match by sanitized name drops the tag: warn where that loses what IMAGE said (rules.md, 1)."""
    try:
        asked = Reference.parse(wanted)
        bare = not any(mark in (ref or "") for mark in "/:@")  # other tools record the tag alone
        recorded = ref if bare else Reference.parse(ref or "").identifier
    except InvalidReferenceError:
        return ()
    explicit = "@" in wanted or ":" in wanted.rpartition("/")[2]
    if not explicit or recorded is None or asked.identifier == recorded:
        return ()
    return (f"{wanted!r} matches the stored image by its name only; what is stored is {ref!r}",)


def _scan(store: Path, *, sizes: bool = False) -> tuple[list[_Entry], dict[str, LayoutError]]:
    entries: list[_Entry] = []
    broken: dict[str, LayoutError] = {}
    try:
        found = sorted(os.scandir(store), key=lambda entry: os.fsencode(entry.name))
    except (FileNotFoundError, NotADirectoryError):
        return entries, broken
    except OSError as exc:
        raise LayoutError(
            f"the store {store} cannot be read: {exc.strerror}",
            hint="run as a user who may read it, or name another with store=",
            path=str(store),
        ) from exc
    for child in found:
        if child.name.startswith(".") or not child.is_dir(follow_symlinks=False):
            continue
        path = store / child.name
        try:
            layout = Layout.open_blocking(path)
        except LayoutError as exc:
            _LOG.warning("skipped: %s", exc)
            broken[child.name] = exc
            continue
        layout.close()
        first = layout.index.manifests[0] if layout.index.manifests else None
        image = StoreImage(
            name=child.name,
            path=path,
            ref=first.ref_name if first else None,
            digest=first.digest if first else None,
            media_type=first.media_type if first else None,
            size=_size(path) if sizes else None,
        )
        entries.append(_Entry(image, layout.index.manifests))
    return entries, broken


def _size(path: Path) -> int:
    total = 0
    for where, _, names in os.walk(path, followlinks=False):
        for name in names:
            with suppress(FileNotFoundError):  # removed since its directory was read
                total += (Path(where) / name).lstat().st_size
    return total
