"""What to send, where to, and in which order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._oci.document import Contents, Index, Manifest
from .._oci.reference import Reference, shown, strip_white_space
from ..errors import DigestMismatchError, InvalidReferenceError, TargetRequiredError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .._oci.descriptor import Descriptor


def choose_target(target: str | Reference | None, recorded: str | None, *, where: str, root: Descriptor) -> Reference:
    """The target that was given, else the recorded reference (docs/matching.md, "Choosing the target").

    ``where`` names the source in messages.

    Raises:
        TargetRequiredError: there is neither, or what is recorded may be only a tag.
        InvalidReferenceError: it is not a valid reference.
        DigestMismatchError: it names a digest that is not the root's.
    """
    if target is None and not recorded:
        raise TargetRequiredError(f"{where} records no reference to push to", hint="name one with --target (target=)")
    if target is None and recorded is not None and not any(mark in recorded for mark in "/:@"):
        raise TargetRequiredError(
            f"{where} records {shown(recorded)}, which may be only a tag",
            hint="name the target with --target (target=)",
        )
    try:
        named = target if target is not None else recorded or ""
        reference = named if isinstance(named, Reference) else Reference.parse(strip_white_space(named))
    except InvalidReferenceError as exc:
        if target is not None:
            raise
        raise InvalidReferenceError(
            f"the reference recorded in {where} cannot be pushed to: {exc.message}",
            hint="name the target with --target (target=)",
        ) from exc
    if reference.digest and reference.digest != root.digest:
        raise DigestMismatchError(
            f"the target names {reference.digest}, but the image is {root.digest}", hint="name a tag, or that digest"
        )
    return reference


def in_sending_order(blobs: Iterable[Descriptor]) -> list[Descriptor]:
    """Largest first: a push ends when its last blob does, so the longest upload must not start last."""
    return sorted(blobs, key=lambda blob: blob.size, reverse=True)


def inventory_sources(remote: Manifest | Index | None, contents: Contents) -> list[Descriptor]:
    """The children of a remote index that probably share blobs with ``contents``: those of the same platforms."""
    ours = contents.root.content
    if not isinstance(remote, Index) or not isinstance(ours, Index):
        return []
    platforms = {str(child.platform) for child in ours.manifests if child.platform is not None}
    return [child for child in remote.manifests if child.platform is not None and str(child.platform) in platforms]
