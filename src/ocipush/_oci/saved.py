"""``manifest.json`` of a ``docker save`` archive, and the image configs that it names."""

from __future__ import annotations

from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field

from ..errors import InvalidLayoutError
from .descriptor import Items, Platform
from .digest import Digest
from .json import parse_json_object, validate

_Model = TypeVar("_Model", bound=BaseModel)


class SavedImage(BaseModel):
    """One image of an archive: the names of the files it consists of."""

    model_config = ConfigDict(frozen=True)

    config: str = Field(alias="Config")
    tags: Items[str] = Field(default=(), alias="RepoTags")
    layers: Items[str] = Field(default=(), alias="Layers")


class _Saved(BaseModel):
    images: Items[SavedImage]


class RootFS(BaseModel):
    """What an image's file system is made of: the digests of its layers, uncompressed."""

    diff_ids: Items[Digest] = ()


class ImageConfig(Platform):
    """An image config (image-spec, "Image Configuration"): what a push has to know of it."""

    rootfs: RootFS = RootFS()

    @property
    def platform(self) -> Platform:
        """What the image runs on."""
        return Platform(architecture=self.architecture, os=self.os, variant=self.variant)


def parse_saved_images(raw: bytes, *, where: str) -> tuple[SavedImage, ...]:
    """Parse ``manifest.json``, a list of images.

    Raises:
        InvalidLayoutError: it is anything else.
    """
    # As the value of an object, because every JSON that is read is one.
    value = parse_json_object(b'{"images":' + raw + b"}", where=where)
    return _validate(_Saved, value, where, "list of saved images").images


def parse_config(raw: bytes, *, where: str) -> ImageConfig:
    """Parse an image config.

    Raises:
        InvalidLayoutError: it is not one.
    """
    return _validate(ImageConfig, parse_json_object(raw, where=where), where, "image config")


def _validate(model: type[_Model], value: object, where: str, kind: str) -> _Model:
    try:
        return validate(model, value)
    except ValueError as exc:
        raise InvalidLayoutError(f"{where} is not a valid {kind}: {exc}", path=where) from exc
