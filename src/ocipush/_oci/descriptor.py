"""Descriptors and platforms (image-spec, "OCI Content Descriptors")."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Final, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, FailFast, Field

from .digest import Digest
from .json import is_text, quoted
from .media_types import _DROPPED, FOREIGN_LAYERS, IMAGE_INDEXES, IMAGE_MANIFESTS

REF_NAME: Final = "org.opencontainers.image.ref.name"
CONTAINERD_NAME: Final = "io.containerd.image.name"  # the full reference, of which REF_NAME is then only the tag
_Item = TypeVar("_Item")


def _null_as_empty(value: object) -> object:
    return () if value is None else value


def _null_as_no_text(value: object) -> object:
    return "" if value is None else value


def _check_texts(value: object) -> object:
    """Refuse the first item that is not made of strings, because FailFast is for lists alone. Null is an empty string."""
    if not isinstance(value, dict):
        return value
    for key, text in value.items():
        if not is_text(key):
            raise ValueError(f"the key {quoted(key)} is not a string")
        if text is not None and not is_text(text):
            raise ValueError(f"the value of {quoted(key)} is not a string")
    return {key: text or "" for key, text in value.items()}


# A list of a document: Go writes an empty one as null, and one bad item is enough to refuse it.
Items = Annotated[tuple[_Item, ...], FailFast(), BeforeValidator(_null_as_empty)]
_Text = Annotated[str, BeforeValidator(_null_as_no_text)]
Annotations = Annotated[dict[str, str] | None, BeforeValidator(_check_texts)]


class Platform(BaseModel):
    """What an image runs on (image-spec, "Image Index"). ``str()`` gives ``os/architecture[/variant]``."""

    model_config = ConfigDict(frozen=True)

    architecture: _Text = ""
    os: _Text = ""
    os_version: str | None = Field(default=None, alias="os.version")
    os_features: Items[str] = Field(default=(), alias="os.features")
    variant: str | None = None

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part) or "unknown"


class Descriptor(BaseModel):
    """What a document says of the content it refers to (image-spec, "Content Descriptors").

    Attributes:
        size: bytes.
        data: the content itself, base64, if the document embeds it.
    """

    model_config = ConfigDict(frozen=True)

    digest: Digest
    size: int = Field(strict=True, ge=0, lt=2**63)
    media_type: str = Field(default="", alias="mediaType")
    urls: Items[str] = ()
    annotations: Annotations = None
    data: str | None = None
    platform: Platform | None = None
    artifact_type: str | None = Field(default=None, alias="artifactType")

    @property
    def ref_name(self) -> str | None:
        """The annotation ``org.opencontainers.image.ref.name``, or None if it is absent or empty."""
        return (self.annotations or {}).get(REF_NAME) or None

    @property
    def names(self) -> tuple[str, ...]:
        """The references that are recorded for the content: by :attr:`ref_name`, and by containerd."""
        annotations = self.annotations or {}
        return tuple(dict.fromkeys(filter(None, map(annotations.get, (REF_NAME, CONTAINERD_NAME)))))

    @property
    def full_name(self) -> str | None:
        """The one of :attr:`names` that says most: containerd's, if the other is not a reference but a tag."""
        name = self.ref_name
        if self.names and (name is None or not {"/", ":"} & {*name}):
            return self.names[-1]
        return name

    @property
    def is_foreign(self) -> bool:
        """Whether this is a non-distributable layer, which is not uploaded unless asked for."""
        return self.media_type in FOREIGN_LAYERS

    def matches(self, content: bytes) -> bool:
        """Whether ``content`` has this descriptor's size and digest."""
        return len(content) == self.size and Digest.of(content, self.digest.algorithm) == self.digest

    def embedded(self) -> bytes | None:
        """The verified content of ``data``, or None if there is none or it is not what the descriptor says."""
        if self.data is None:
            return None
        try:
            content = base64.b64decode(self.data, validate=True)
        except (binascii.Error, ValueError):
            return None
        return content if self.matches(content) else None


def has_document(descriptor: Descriptor) -> bool:
    """Whether a child of an index is a manifest or index itself: it is, unless it names a media type of another kind."""
    return descriptor.media_type in IMAGE_MANIFESTS | IMAGE_INDEXES | _DROPPED | {""}


def is_dropped(descriptor: Descriptor) -> bool:
    """Whether this is a kind of manifest that was removed from the specifications."""
    return descriptor.media_type in _DROPPED
