"""What to send, where to, and in which order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .._oci.document import Contents, Index, Manifest
from .._oci.reference import Reference, shown, strip_white_space
from ..errors import DigestMismatchError, InvalidReferenceError, TargetRequiredError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from .._oci.descriptor import Descriptor

_WORTH_ASKING: Final = 2  # blobs; to learn about fewer costs more requests than it saves


def choose_target(target: str | Reference | None, recorded: str | None, *, where: str, root: Descriptor) -> Reference:
    """The target that was given, else the recorded reference (docs/matching.md, "Choosing the target").

    ``where`` names the source in messages.

    Raises:
        TargetRequiredError: there is neither, or what is recorded may be only a tag.
        InvalidReferenceError: it is not a valid reference.
        DigestMismatchError: it names a digest that is not the root's.
    """
    if target is None and not recorded:
        raise TargetRequiredError(f"{where} records no reference to push to", hint="name one with target=")
    if target is None and recorded is not None and not any(mark in recorded for mark in "/:@"):
        raise TargetRequiredError(
            f"{where} records {shown(recorded)}, which may be only a tag",
            hint="name the target with target=",
        )
    try:
        named = target if target is not None else recorded or ""
        reference = named if isinstance(named, Reference) else Reference.parse(strip_white_space(named))
    except InvalidReferenceError as exc:
        if target is not None:
            raise
        raise InvalidReferenceError(
            f"the reference recorded in {where} cannot be pushed to: {exc.message}",
            hint="name the target with target=",
        ) from exc
    if reference.digest and reference.digest != root.digest:
        raise DigestMismatchError(
            f"the target names {reference.digest}, but the image is {root.digest}", hint="name a tag, or that digest"
        )
    return reference


def in_sending_order(blobs: Iterable[Descriptor]) -> list[Descriptor]:
    """Largest first: a push ends when its last blob does, so the longest upload must not start last."""
    return sorted(blobs, key=lambda blob: blob.size, reverse=True)


def children_of(document: Manifest | Index) -> frozenset[str]:
    """The digests of an index's children."""
    return frozenset(child.digest for child in document.manifests) if isinstance(document, Index) else frozenset()


def own_blobs(document: Manifest | Index) -> set[str]:
    """The digests of the blobs of a manifest in the registry, without those that need not be there."""
    return set() if isinstance(document, Index) else {blob.digest for blob in document.blobs if not blob.is_foreign}


def blobs_below(contents: Contents, known: Collection[str]) -> set[str]:
    """The blobs of our documents that the registry has, because it has an index that refers to the documents."""
    return set().union(*(own_blobs(one.content) for one in contents.documents if one.descriptor.digest in known))


def inventory_sources(remote: Manifest | Index, contents: Contents, held: Collection[str]) -> list[Descriptor]:
    """The children of a remote index that are worth a request: each may tell of more blobs than it costs requests.

    They are those of the same platforms as those of our children that have more than two blobs not known to be there.
    """
    ours = contents.root.content
    if not isinstance(remote, Index) or not isinstance(ours, Index):
        return []
    documents = {document.descriptor.digest: document.content for document in contents.documents}
    platforms = {
        str(child.platform)
        for child in ours.manifests
        if child.platform is not None
        and child.digest in documents
        and len(own_blobs(documents[child.digest]) - set(held)) > _WORTH_ASKING
    }
    return [
        child
        for child in remote.manifests
        if child.platform is not None and str(child.platform) in platforms and child.digest not in documents
    ]
