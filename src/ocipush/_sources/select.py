"""Choose the descriptor to push among those of a source (docs/matching.md, "Choosing the descriptor")."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .._oci.media_types import IMAGE_INDEXES
from ..errors import AmbiguousImageError, ManifestNotFoundError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._oci.descriptor import Descriptor

_SHOWN: Final = 10  # images that an error names
_NAME: Final = 120  # characters of their names


def select_descriptor(manifests: Sequence[Descriptor], ref: str | None, *, where: str) -> Descriptor:
    """The only image of ``manifests``, or the one that ``ref`` (a reference, a tag or a digest) selects.

    Several descriptors with one digest count as one image. The first is used.

    Raises:
        ManifestNotFoundError: there is none.
        AmbiguousImageError: there are several.
    """
    if not manifests:
        raise ManifestNotFoundError(f"{where} holds no image", path=where)
    found = [one for one in manifests if ref is None or _matches(one, ref)]
    if len({one.digest for one in found}) == 1:
        return found[0]
    candidates = tuple(_line(one) for one in (found or manifests))
    listed = "; ".join(candidates[:_SHOWN])
    if not found:
        raise ManifestNotFoundError(
            f"{where} holds no image that matches {(ref or '')[:_NAME]!r}",
            hint=f"choose one of these with ref=: {listed}",
            path=where,
        )
    raise AmbiguousImageError(
        f"{where} holds several images: {listed}",
        hint="choose one with ref=: a reference, a tag or a digest",
        candidates=candidates,
    )


def _line(one: Descriptor) -> str:
    kind = one.artifact_type or ("index" if one.media_type in IMAGE_INDEXES else "image")
    return f"{(one.full_name or '-')[:_NAME]}  {str(one.platform or '-')[:_NAME]}  {kind[:_NAME]}  {one.digest}"


def _matches(descriptor: Descriptor, ref: str) -> bool:
    """Whether ``ref`` is this descriptor's digest, a reference that is recorded for it, or the tag of one."""
    return ref == descriptor.digest or any(ref in {name, _tag(name)} for name in descriptor.names)


def _tag(name: str) -> str | None:
    _, colon, tag = name.rpartition(":")
    return tag if colon and "/" not in tag and "@" not in name else None
