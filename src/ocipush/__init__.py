"""Push container images from a local store of OCI image layouts to any registry.

Exports only; every name is imported on first use, so that a short command need not wait for httpx and pydantic.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from ._version import __version__

if TYPE_CHECKING:
    from . import errors
    from ._credentials import Login, remove_login, save_login
    from ._events import (
        BlobDone,
        BlobProgress,
        BlobResult,
        BlobStarted,
        Event,
        ManifestDone,
        PushDone,
        PushResult,
        PushStarted,
        PushWarning,
        RegistryWarning,
        RetryScheduled,
    )
    from ._reference import Reference, sanitize_image_name
    from ._retry import RetryPolicy
    from ._store import StoreImage, list_images
    from .errors import OcipushError

__all__ = [
    "BlobDone",
    "BlobProgress",
    "BlobResult",
    "BlobStarted",
    "Event",
    "Login",
    "ManifestDone",
    "OcipushError",
    "PushDone",
    "PushResult",
    "PushStarted",
    "PushWarning",
    "Reference",
    "RegistryWarning",
    "RetryPolicy",
    "RetryScheduled",
    "StoreImage",
    "__version__",
    "errors",
    "list_images",
    "remove_login",
    "sanitize_image_name",
    "save_login",
]

_HOMES = {
    "_credentials": ("Login", "remove_login", "save_login"),
    "_events": (
        "BlobDone",
        "BlobProgress",
        "BlobResult",
        "BlobStarted",
        "Event",
        "ManifestDone",
        "PushDone",
        "PushResult",
        "PushStarted",
        "PushWarning",
        "RegistryWarning",
        "RetryScheduled",
    ),
    "_reference": ("Reference", "sanitize_image_name"),
    "_retry": ("RetryPolicy",),
    "_store": ("StoreImage", "list_images"),
    "errors": ("OcipushError",),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    if name == "errors":
        return import_module(f".{name}", __name__)
    if (module := _HOME_OF.get(name)) is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{module}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
