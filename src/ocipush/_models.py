"""OCI content: digests, descriptors, manifests and indexes, kept with the raw bytes they were parsed from.

Plain dataclasses, filled and checked by pydantic's core: its modelling layer on top takes longer to import than a push of an
unchanged image takes to find that out.

May import: errors, pydantic_core.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections import Counter
from dataclasses import MISSING, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Final, NoReturn

from pydantic_core import CoreSchema, SchemaValidator, ValidationError, core_schema

from .errors import InvalidLayoutError

if TYPE_CHECKING:
    from collections.abc import Sequence

OCI_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX: Final = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
IMAGE_MANIFESTS: Final = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
IMAGE_INDEXES: Final = frozenset({OCI_INDEX, DOCKER_INDEX})
# Kinds that were dropped from the specifications: pushed as anything else, the image could not be pulled.
_DROPPED: Final = frozenset(
    {
        "application/vnd.docker.distribution.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
        "application/vnd.oci.artifact.manifest.v1+json",
    }
)
# Layers that may only be fetched from their own URLs (image-spec, "Non-Distributable Layers").
FOREIGN_LAYERS: Final = frozenset(
    {
        "application/vnd.docker.image.rootfs.foreign.diff.tar",
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        "application/vnd.oci.image.layer.nondistributable.v1.tar",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
    }
)
REF_NAME: Final = "org.opencontainers.image.ref.name"
MAX_MANIFEST_SIZE: Final = 4 * 1024 * 1024  # distribution-spec: registries take manifests of at least 4 MiB

_DIGEST = re.compile(r"(sha256):([0-9a-f]{64})|(sha512):([0-9a-f]{128})")


class Digest(str):
    """A content digest, ``sha256:`` or ``sha512:`` with its lower-case hexadecimal digits.

    Only :meth:`parse` and :meth:`of` make one, so a ``Digest`` is always safe to build a path or an URL from.
    """

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Digest:
        """Check ``text``; raises ValueError when it is not a digest of a known algorithm."""
        if not _DIGEST.fullmatch(text):
            raise ValueError(
                f"{_shown(text)} is not a digest (sha256: and 64, or sha512: and 128 lower-case hexadecimal digits)"
            )
        return cls(text)

    @classmethod
    def of(cls, content: bytes, algorithm: str = "sha256") -> Digest:
        """The digest of ``content``."""
        return cls(f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}")

    @property
    def algorithm(self) -> str:
        """``sha256`` or ``sha512``."""
        return self.partition(":")[0]

    @property
    def encoded(self) -> str:
        """The hexadecimal digits."""
        return self.partition(":")[2]


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


def _object(model: type, members: dict[str, CoreSchema]) -> CoreSchema:
    """A JSON object with these members, of which any other is ignored, as a ``model``: mediaType is its media_type."""
    required = {one.name for one in fields(model) if one.default is MISSING}
    names = {key: re.sub(r"\.|(?=[A-Z])", "_", key).lower() for key in members}
    typed = {
        names[key]: core_schema.typed_dict_field(schema, required=names[key] in required, validation_alias=key)
        for key, schema in members.items()
    }
    return core_schema.no_info_after_validator_function(
        lambda values: model(**values), core_schema.typed_dict_schema(typed)
    )


def _list(items: CoreSchema) -> CoreSchema:
    """A JSON list as a tuple. Go writes an empty one as null."""
    return core_schema.no_info_before_validator_function(
        lambda value: () if value is None else value, core_schema.tuple_variable_schema(items)
    )


_TEXT: Final = core_schema.str_schema()
_OPTIONAL: Final = core_schema.nullable_schema(_TEXT)
_TEXTS: Final = core_schema.nullable_schema(core_schema.dict_schema(_TEXT, _TEXT))
_PLATFORM: Final = _object(
    Platform, {"architecture": _TEXT, "os": _TEXT, "os.version": _OPTIONAL, "variant": _OPTIONAL}
)
_DESCRIPTOR: Final = _object(
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
_DOCUMENT: Final[dict[str, CoreSchema]] = {
    "raw": core_schema.bytes_schema(),
    "schemaVersion": core_schema.nullable_schema(core_schema.literal_schema([2])),
    "mediaType": _OPTIONAL,
    "artifactType": _OPTIONAL,
    "subject": core_schema.nullable_schema(_DESCRIPTOR),
    "annotations": _TEXTS,
}
_MANIFEST: Final = SchemaValidator(
    _object(Manifest, {**_DOCUMENT, "config": _DESCRIPTOR, "layers": _list(_DESCRIPTOR)})
)
_INDEX: Final = SchemaValidator(_object(Index, {**_DOCUMENT, "manifests": _list(_DESCRIPTOR)}))


def has_document(descriptor: Descriptor) -> bool:
    """Whether a child of an index is itself a manifest or index. Only another type that it names makes it a blob."""
    return descriptor.media_type in IMAGE_MANIFESTS | IMAGE_INDEXES | _DROPPED | {""}


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


def parse_json_object(raw: bytes, *, where: str) -> dict[str, Any]:
    """Parse one JSON object without duplicate keys.

    Raises:
        InvalidLayoutError: it is anything else.
    """
    try:
        # Decoded here: json.loads would also take UTF-16, which no registry does.
        value = json.loads(raw.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_refuse)
    except RecursionError as exc:
        raise InvalidLayoutError(f"{where} nests too deep", path=where) from exc
    except ValueError as exc:  # JSONDecodeError, UnicodeDecodeError and _unique's own
        raise InvalidLayoutError(f"{where} is not JSON: {exc}", path=where) from exc
    if not isinstance(value, dict):
        raise InvalidLayoutError(f"{where} is not a JSON object", path=where)
    return value


def describe(error: ValidationError) -> str:
    """A pydantic error in one line: the first field at fault, and how many more there are."""
    problems = error.errors(include_url=False, include_input=False)
    first = problems[0]
    place = ".".join(str(part) for part in first["loc"])
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return f"{place}: {first['msg']}{more}"


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON number")


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise ValueError(f"the key {_shown(twice)} stands there twice")
    return value


def _shown(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= 160 else text[:160] + "…"
