"""Manifests and indexes, and the bytes they were parsed from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from ..errors import InvalidLayoutError
from .descriptor import Annotations, Descriptor, Items
from .json import parse_json_object, quoted, validate
from .media_types import _DROPPED, IMAGE_INDEXES, IMAGE_MANIFESTS

MAX_MANIFEST_SIZE: Final = 4 * 1024 * 1024  # distribution-spec: registries take manifests of at least 4 MiB
MAX_DESCRIPTORS: Final = 20_000  # in one list of a document


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True)

    schema_version: Literal[2] | None = Field(default=None, alias="schemaVersion")
    media_type: str | None = Field(default=None, alias="mediaType")
    artifact_type: str | None = Field(default=None, alias="artifactType")
    subject: Descriptor | None = None
    annotations: Annotations = None


class Manifest(_Document):
    """An image manifest (image-spec, "Image Manifest")."""

    config: Descriptor
    layers: Items[Descriptor] = Field(default=(), max_length=MAX_DESCRIPTORS)

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        """The layers, then the config."""
        return (*self.layers, self.config)


class Index(_Document):
    """An image index (image-spec, "Image Index"), or a Docker manifest list."""

    manifests: Items[Descriptor] = Field(default=(), max_length=MAX_DESCRIPTORS)


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


def parse_document(raw: bytes, *, where: str, media_type: str = "", index: bool = False) -> Manifest | Index:
    """Parse a manifest or an index. Call it in a worker thread if ``raw`` may be large.

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
    _check_media_type(value, media_type, where=where, is_index=is_index)
    try:
        return validate(Index, value) if is_index else validate(Manifest, value)
    except ValueError as exc:
        kind = "index" if is_index else "manifest"
        raise InvalidLayoutError(f"{where} is not a valid {kind}: {exc}", path=where) from exc


def parse_layout_index(raw: bytes, *, where: str) -> tuple[Index, tuple[str, ...]]:
    """Parse a layout's ``index.json``. A descriptor that is wrong spoils only itself.

    Returns the index of those that are right, and what is wrong with the others.

    Raises:
        InvalidLayoutError: as for :func:`parse_document`, or no descriptor is right.
    """
    try:
        index = parse_document(raw, where=where, index=True)
    except InvalidLayoutError as failure:
        value = parse_json_object(raw, where=where)
        listed = value.get("manifests")
        if not isinstance(listed, list) or not 1 < len(listed) <= MAX_DESCRIPTORS:
            raise
        good, problems = _sort_out(listed)
        if not good or not problems:
            raise
        value["manifests"] = good
        try:
            return validate(Index, value), tuple(problems)
        except ValueError:
            raise failure from None
    if not isinstance(index, Index):
        raise InvalidLayoutError(f"{where} is not an image index", path=where)
    return index, ()


def _sort_out(listed: list[object]) -> tuple[list[object], list[str]]:
    good: list[object] = []
    problems: list[str] = []
    for number, one in enumerate(listed):
        try:
            validate(Descriptor, one)
        except ValueError as exc:
            problems.append(f"manifests.{number}: {exc}")
        else:
            good.append(one)
    return good, problems


def _check_media_type(value: dict[str, Any], media_type: str, *, where: str, is_index: bool) -> None:
    own = value.get("mediaType")
    if not isinstance(own, str | None):
        raise InvalidLayoutError(f"{where} has a mediaType that is not a string", path=where)
    if own and media_type and own != media_type:
        raise InvalidLayoutError(
            f"{where} has the media type {quoted(own)}, but its descriptor says {quoted(media_type)}", path=where
        )
    known = own or media_type
    if known in _DROPPED:
        raise InvalidLayoutError(
            f"{where} has the media type {known}, which registries no longer accept",
            hint="re-create the image with a current tool",
            path=where,
        )
    if known in (IMAGE_MANIFESTS if is_index else IMAGE_INDEXES):
        holds = "an index" if is_index else "a manifest" if {"layers", "config"} & value.keys() else "neither"
        raise InvalidLayoutError(f"{where} has the media type {known}, but holds {holds}", path=where)
