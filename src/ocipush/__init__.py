"""Push container images from a local store of OCI image layouts to any registry.

``await ocipush.push("alpine-3_18_0")`` pushes one image; :class:`Pusher` pushes many over shared connections;
:mod:`ocipush.sync` has blocking versions of both. This module only exports names. Each is imported on first use, so
that ``ocipush --version`` does not load httpx and pydantic.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING

from ._version import __version__

if TYPE_CHECKING:
    from . import errors, sync
    from ._credentials.authfile import remove_login, save_login
    from ._credentials.base import Login
    from ._events import (
        BlobDone,
        BlobProgress,
        BlobResult,
        BlobStarted,
        Event,
        ManifestDone,
        OnEvent,
        PushDone,
        PushResult,
        PushStarted,
        PushWarning,
        RegistryWarning,
        RetryScheduled,
    )
    from ._http.timeouts import Timeouts
    from ._oci.reference import Reference, sanitize_image_name
    from ._push.batch import Job, JobReport, PushReport
    from ._push.options import AllOptions, PusherOptions, PushOptions
    from ._push.pusher import Pusher, push, push_many
    from ._registry.retry import RetryPolicy
    from ._sources.store import StoreImage, list_images
    from .errors import OcipushError

__all__ = [
    "AllOptions",
    "BlobDone",
    "BlobProgress",
    "BlobResult",
    "BlobStarted",
    "Event",
    "Job",
    "JobReport",
    "Login",
    "ManifestDone",
    "OcipushError",
    "OnEvent",
    "PushDone",
    "PushOptions",
    "PushReport",
    "PushResult",
    "PushStarted",
    "PushWarning",
    "Pusher",
    "PusherOptions",
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
    "push_many",
    "remove_login",
    "sanitize_image_name",
    "save_login",
    "sync",
]

_HOMES = {
    "_credentials.authfile": ("remove_login", "save_login"),
    "_credentials.base": ("Login",),
    "_events": (
        "BlobDone",
        "BlobProgress",
        "BlobResult",
        "BlobStarted",
        "Event",
        "ManifestDone",
        "OnEvent",
        "PushDone",
        "PushResult",
        "PushStarted",
        "PushWarning",
        "RegistryWarning",
        "RetryScheduled",
    ),
    "_http.timeouts": ("Timeouts",),
    "_oci.reference": ("Reference", "sanitize_image_name"),
    "_push.batch": ("Job", "JobReport", "PushReport"),
    "_push.options": ("AllOptions", "PushOptions", "PusherOptions"),
    "_push.pusher": ("Pusher", "push", "push_many"),
    "_registry.retry": ("RetryPolicy",),
    "_sources.store": ("StoreImage", "list_images"),
    "errors": ("OcipushError",),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    if name in {"errors", "sync"}:
        return import_module(f".{name}", __name__)
    if (module := _HOME_OF.get(name)) is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{module}", __name__), name)
    _make_public()
    globals()[name] = value
    return value


def _make_public() -> None:
    """Let the public classes and functions that are loaded by now say ``ocipush`` as their module."""
    for module, names in _HOMES.items():
        home = sys.modules.get(f"{__name__}.{module}")
        for value in [getattr(home, name, None) for name in names]:
            if getattr(value, "__module__", "").startswith(f"{__name__}._"):
                value.__module__ = __name__


def __dir__() -> list[str]:
    return sorted(__all__)
