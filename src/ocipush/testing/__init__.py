"""A development registry for tests, with faults and with the habits of real registries. Never imports the engine.

- ``_registry``: ``Registry``, its lifetime, and the record of its requests. Start here. ``_routes``: its endpoints.
- ``_server_task``: the task that serves it. ``_server``: HTTP/1.1. ``_connection``: bytes, and the faults that hit them.
  ``_line``: how fast bytes arrive.
- ``_gateway``: checks before routing. ``_auth``: Basic and Bearer. ``_uploads``, ``_blobs``, ``_manifests``: what they do.
- ``_messages``: requests and responses. ``_responses``: JSON, errors and lists in pages.
  ``_pages``: the web pages of proxies. ``_storage``: repositories, in memory or in a directory.
- ``_dialects``: how registries differ, as data. ``_faults``: what goes wrong with which request, as data.
- ``__main__``: the registry as a command. ``pytest_plugin``: the registry as a fixture.

Every name is imported on first use, because pytest imports this package, for its fixture, wherever ocipush is installed.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ocipush.testing._auth import BasicAuth, BearerAuth
    from ocipush.testing._dialects import DIALECTS, IMMUTABLE_TAGS, Dialect, TagRefusal
    from ocipush.testing._faults import (
        Cut,
        Drip,
        Duplicate,
        EarlyAnswer,
        ExpireTokens,
        Fault,
        GatewayTimeout,
        RateLimit,
        Refuse,
        Restart,
        Stall,
        WebPage,
    )
    from ocipush.testing._messages import RecordedRequest, Request, Response
    from ocipush.testing._registry import Registry, UnexpectedRequestError

__all__ = [
    "DIALECTS",
    "IMMUTABLE_TAGS",
    "BasicAuth",
    "BearerAuth",
    "Cut",
    "Dialect",
    "Drip",
    "Duplicate",
    "EarlyAnswer",
    "ExpireTokens",
    "Fault",
    "GatewayTimeout",
    "RateLimit",
    "RecordedRequest",
    "Refuse",
    "Registry",
    "Request",
    "Response",
    "Restart",
    "Stall",
    "TagRefusal",
    "UnexpectedRequestError",
    "WebPage",
]

_MODULES = ("_registry", "_faults", "_auth", "_dialects", "_messages")


def __getattr__(name: str) -> object:
    if name in __all__:
        for module in _MODULES:
            value = getattr(import_module(f".{module}", __name__), name, None)
            if value is not None:
                globals()[name] = value
                return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
