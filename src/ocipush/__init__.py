"""Push container images from a local store of OCI image layouts to any registry.

``await ocipush.push("alpine-3_18_0")`` pushes one image; :class:`Pusher` pushes many on shared connections;
:mod:`ocipush.sync` has the same names for code that does not await. Exports only; every name is imported on first use,
so that ``ocipush --version`` need not wait for httpx and pydantic. May import: all below.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from ._version import __version__

if TYPE_CHECKING:
    from . import errors, sync
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
    from ._http import Timeouts
    from ._pusher import Pusher, push
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
    "Pusher",
    "Reference",
    "RegistryWarning",
    "RetryPolicy",
    "RetryScheduled",
    "StoreImage",
    "Timeouts",
    "__version__",
    "errors",
    "list_images",
    "push",
    "remove_login",
    "sanitize_image_name",
    "save_login",
    "sync",
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
    "_http": ("Timeouts",),
    "_pusher": ("Pusher", "push"),
    "_reference": ("Reference", "sanitize_image_name"),
    "_retry": ("RetryPolicy",),
    "_store": ("StoreImage", "list_images"),
    "errors": ("OcipushError",),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    if name in {"errors", "sync"}:
        return import_module(f".{name}", __name__)
    if (module := _HOME_OF.get(name)) is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{module}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
