"""Descriptors and platforms (image-spec, "OCI Content Descriptors")."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Final

from pydantic_core import core_schema

from .digest import Digest
from .json import object_schema
from .media_types import _DROPPED, FOREIGN_LAYERS, IMAGE_INDEXES, IMAGE_MANIFESTS

REF_NAME: Final = "org.opencontainers.image.ref.name"


@dataclass(frozen=True, slots=True)
class Platform:
    """Where an image runs (image-spec, "Image Index"). ``str()`` gives ``os/architecture[/variant]``."""

    architecture: str = ""
    os: str = ""
    os_version: str | None = None
    variant: str | None = None

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part) or "unknown"


@dataclass(frozen=True, slots=True)
class Descriptor:
    """What a document says of the content it refers to (image-spec, "Content Descriptors").

    Attributes:
        size: bytes.
        data: the content itself, base64, where the document embeds it.
    """

    digest: Digest
    size: int
    media_type: str = ""
    urls: tuple[str, ...] | None = None
    annotations: dict[str, str] | None = None
    data: str | None = None
    platform: Platform | None = None
    artifact_type: str | None = None

    @property
    def ref_name(self) -> str | None:
        """The annotation ``org.opencontainers.image.ref.name``, or None where it is absent or empty."""
        return (self.annotations or {}).get(REF_NAME) or None

    @property
    def is_foreign(self) -> bool:
        """Whether this is a non-distributable layer, which is not uploaded unless asked for."""
        return self.media_type in FOREIGN_LAYERS

    def matches(self, content: bytes) -> bool:
        """Whether ``content`` has this descriptor's size and digest."""
        return len(content) == self.size and Digest.of(content, self.digest.algorithm) == self.digest

    def embedded(self) -> bytes | None:
        """The verified content of ``data``, or None where there is none or it is not what the descriptor says."""
        if self.data is None:
            return None
        try:
            content = base64.b64decode(self.data, validate=True)
        except (binascii.Error, ValueError):
            return None
        return content if self.matches(content) else None


_TEXT: Final = core_schema.str_schema()
_OPTIONAL: Final = core_schema.nullable_schema(_TEXT)
_TEXTS: Final = core_schema.nullable_schema(core_schema.dict_schema(_TEXT, _TEXT))
_PLATFORM: Final = object_schema(
    Platform, {"architecture": _TEXT, "os": _TEXT, "os.version": _OPTIONAL, "variant": _OPTIONAL}
)
_DESCRIPTOR: Final = object_schema(
    Descriptor,
    {
        "mediaType": _TEXT,
        "digest": core_schema.no_info_after_validator_function(Digest.parse, core_schema.str_schema(strict=True)),
        "size": core_schema.int_schema(strict=True, ge=0, lt=2**63),
        "urls": core_schema.nullable_schema(core_schema.tuple_variable_schema(_TEXT)),
        "annotations": _TEXTS,
        "data": _OPTIONAL,
        "platform": core_schema.nullable_schema(_PLATFORM),
        "artifactType": _OPTIONAL,
    },
)


def has_document(descriptor: Descriptor) -> bool:
    """Whether a child of an index is itself a manifest or index. Only another type that it names makes it a blob."""
    return descriptor.media_type in IMAGE_MANIFESTS | IMAGE_INDEXES | _DROPPED | {""}
