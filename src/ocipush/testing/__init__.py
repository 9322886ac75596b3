"""A development registry for tests. May import: _auth, _dialects, _server, _registry. Never the engine."""

from ocipush.testing._auth import BasicAuth, BearerAuth
from ocipush.testing._dialects import DIALECTS, Dialect
from ocipush.testing._registry import RecordedRequest, Registry, UnexpectedRequestError
from ocipush.testing._server import Request, Response

__all__ = [
    "DIALECTS",
    "BasicAuth",
    "BearerAuth",
    "Dialect",
    "RecordedRequest",
    "Registry",
    "Request",
    "Response",
    "UnexpectedRequestError",
]
