"""A development registry for tests. May import: its own modules, never the engine."""

from ocipush.testing._auth import BasicAuth, BearerAuth
from ocipush.testing._registry import RecordedRequest, Registry, UnexpectedRequestError

__all__ = ["BasicAuth", "BearerAuth", "RecordedRequest", "Registry", "UnexpectedRequestError"]
