"""A development registry for tests. May import: _auth, _server, _registry. Never the engine."""

from ocipush.testing._auth import BasicAuth, BearerAuth
from ocipush.testing._registry import RecordedRequest, Registry, UnexpectedRequestError
from ocipush.testing._server import Request, Response

__all__ = ["BasicAuth", "BearerAuth", "RecordedRequest", "Registry", "Request", "Response", "UnexpectedRequestError"]
