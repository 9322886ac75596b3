"""Manifests and indexes, kept with the bytes they were parsed from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from pydantic_core import CoreSchema, SchemaValidator, ValidationError, core_schema

from ..errors import InvalidLayoutError
from .descriptor import _DESCRIPTOR, _OPTIONAL, _TEXTS, Descriptor
from .json import _shown, describe, list_schema, object_schema, parse_json_object
from .media_types import _DROPPED, IMAGE_INDEXES, IMAGE_MANIFESTS


@dataclass(frozen=True, slots=True)
class Document:
    """A manifest or index as it is sent: ``raw`` unchanged, with ``media_type`` as its Content-Type."""

    descriptor: Descriptor
    media_type: str
    raw: bytes
    content: Manifest | Index


@dataclass(frozen=True, slots=True)
class Contents:
    """All that a root refers to.

    Attributes:
        documents: manifests and indexes, each digest once, children before parents, the root last.
        blobs: layers and configs, each digest once, in order of first appearance; foreign ones included.
    """

    documents: tuple[Document, ...]
    blobs: tuple[Descriptor, ...]

    @property
    def root(self) -> Document:
        """The document that the reference will name."""
        return self.documents[-1]

    @property
    def size(self) -> int:
        """Bytes of all documents and blobs."""
        return sum(len(document.raw) for document in self.documents) + sum(blob.size for blob in self.blobs)


MAX_MANIFEST_SIZE: Final = 4 * 1024 * 1024  # distribution-spec: registries take manifests of at least 4 MiB


@dataclass(frozen=True, slots=True, kw_only=True)
class _Document:
    raw: bytes = field(default=b"", repr=False)
    schema_version: int | None = None
    media_type: str | None = None
    artifact_type: str | None = None
    subject: Descriptor | None = None
    annotations: dict[str, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest(_Document):
    """An image manifest; ``raw`` holds the bytes it was parsed from."""

    config: Descriptor
    layers: tuple[Descriptor, ...] = ()

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        """The layers, then the config."""
        return (*self.layers, self.config)


@dataclass(frozen=True, slots=True, kw_only=True)
class Index(_Document):
    """An image index, or a Docker manifest list; ``raw`` holds the bytes it was parsed from."""

    manifests: tuple[Descriptor, ...] = ()


_DOCUMENT: Final[dict[str, CoreSchema]] = {
    "raw": core_schema.bytes_schema(),
    "schemaVersion": core_schema.nullable_schema(core_schema.literal_schema([2])),
    "mediaType": _OPTIONAL,
    "artifactType": _OPTIONAL,
    "subject": core_schema.nullable_schema(_DESCRIPTOR),
    "annotations": _TEXTS,
}
_MANIFEST: Final = SchemaValidator(
    object_schema(Manifest, {**_DOCUMENT, "config": _DESCRIPTOR, "layers": list_schema(_DESCRIPTOR)})
)
_INDEX: Final = SchemaValidator(object_schema(Index, {**_DOCUMENT, "manifests": list_schema(_DESCRIPTOR)}))


def parse_document(raw: bytes, *, where: str, media_type: str = "", index: bool = False) -> Manifest | Index:
    """Parse a manifest or an index.

    Args:
        raw: the document's bytes, whose digest the caller has checked.
        where: names the document in errors (a path or URL).
        media_type: its descriptor's media type, which the document must not contradict (CVE-2021-41190). Empty: unknown.
        index: it is a layout's ``index.json``, which may leave ``manifests`` out.

    Raises:
        InvalidLayoutError: it is not JSON, has duplicate keys, is manifest and index at once, or breaks the image-spec.
    """
    value = parse_json_object(raw, where=where)
    is_manifest = "layers" in value or "config" in value
    is_index = "manifests" in value or (index and not is_manifest)
    if is_index and is_manifest:
        raise InvalidLayoutError(
            f"{where} is an image manifest and an image index at once",
            hint="registries disagree on what it is",
            path=where,
        )
    own = value.get("mediaType")
    if not isinstance(own, str | None):
        raise InvalidLayoutError(f"{where} has a media type that is no string", path=where)
    if own and media_type and own != media_type:
        raise InvalidLayoutError(
            f"{where} calls itself {_shown(own)}, its descriptor says {_shown(media_type)}", path=where
        )
    known = own or media_type
    if known in _DROPPED:
        raise InvalidLayoutError(
            f"{where} is of a kind that registries no longer take: {known}",
            hint="write the image anew with a current tool",
            path=where,
        )
    if known in (IMAGE_MANIFESTS if is_index else IMAGE_INDEXES):
        kind = "an index" if is_index else "a manifest" if is_manifest else "neither"
        raise InvalidLayoutError(f"{where} has the media type {known}, but holds {kind}", path=where)
    try:
        document: Manifest | Index = (_INDEX if is_index else _MANIFEST).validate_python({**value, "raw": raw})
    except ValidationError as exc:
        kind = "index" if is_index else "manifest"
        raise InvalidLayoutError(f"{where} is not a valid {kind}: {describe(exc)}", path=where) from exc
    return document
