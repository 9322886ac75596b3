"""A development registry for tests. May import: _auth, _dialects, _faults, _server, _registry. Never the engine."""

from ocipush.testing._auth import BasicAuth, BearerAuth
from ocipush.testing._dialects import DIALECTS, Dialect
from ocipush.testing._faults import (
    Cut,
    Drip,
    Duplicate,
    EarlyAnswer,
    ExpireTokens,
    Fault,
    RateLimit,
    Refuse,
    Restart,
    Stall,
)
from ocipush.testing._registry import RecordedRequest, Registry, UnexpectedRequestError
from ocipush.testing._server import Request, Response

__all__ = [
    "DIALECTS",
    "BasicAuth",
    "BearerAuth",
    "Cut",
    "Dialect",
    "Drip",
    "Duplicate",
    "EarlyAnswer",
    "ExpireTokens",
    "Fault",
    "RateLimit",
    "RecordedRequest",
    "Refuse",
    "Registry",
    "Request",
    "Response",
    "Restart",
    "Stall",
    "UnexpectedRequestError",
]
