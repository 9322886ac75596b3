"""The endpoints of a registry: which path and method leads where, and who may use it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ocipush.testing._auth import CATALOG, BasicAuth, BearerAuth, Scope
from ocipush.testing._blobs import STORAGE, Blobs, BlobStorage
from ocipush.testing._gateway import rejected
from ocipush.testing._manifests import Manifests
from ocipush.testing._responses import error_response, json_response, page_response
from ocipush.testing._storage import NAME
from ocipush.testing._uploads import UploadSessions

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from ocipush.testing._dialects import Dialect
    from ocipush.testing._messages import Request, Response
    from ocipush.testing._storage import Storage

    Answer = Callable[[Request, str, str], Awaitable[Response]]

_ROUTES = (
    ("tags", re.compile(rf"/v2/{NAME}/tags/list")),
    ("uploads", re.compile(rf"/v2/{NAME}/blobs/uploads/?")),
    ("blob", re.compile(rf"/v2/{NAME}/blobs/(?P<item>[^/]+)")),
    ("manifest", re.compile(rf"/v2/{NAME}/manifests/(?P<item>[^/]+)")),
    ("referrers", re.compile(rf"/v2/{NAME}/referrers/(?P<item>[^/]+)")),
)
_SESSION = "(?P<item>[0-9a-f]{32})"


class Routes:
    """Finds the endpoint of a request.

    Args:
        storage: the content of the registry.
        dialect: how it behaves.
        auth: how clients must log in; None: not at all.
        repositories: repositories that exist from the start.
        service: the storage service that it redirects to.
        base: returns the scheme and host of a request's URL.
        url: returns the scheme and host of the registry.
    """

    def __init__(
        self,
        storage: Storage,
        dialect: Dialect,
        auth: BasicAuth | BearerAuth | None,
        repositories: Sequence[str],
        service: BlobStorage,
        base: Callable[[Request], str],
        url: Callable[[], str],
    ) -> None:
        self._storage = storage
        self._dialect = dialect
        self._auth = auth
        self._repositories = frozenset(repositories)
        self._service = service
        self._url = url
        sessions = dialect.session_path.format(name=NAME) + _SESSION
        self._routes = (("upload", re.compile(sessions)), *_ROUTES)
        blobs = Blobs(storage, dialect, service)
        uploads = UploadSessions(storage, dialect, base)
        manifests = Manifests(storage, dialect)
        self.endpoints: dict[tuple[str, str], Answer] = {
            ("POST", "uploads"): uploads.post,
            ("GET", "upload"): uploads.get,
            ("PATCH", "upload"): uploads.patch,
            ("PUT", "upload"): uploads.put,
            ("DELETE", "upload"): uploads.delete,
            ("GET", "blob"): blobs.get,
            ("HEAD", "blob"): blobs.get,
            ("DELETE", "blob"): blobs.delete,
            ("GET", "manifest"): manifests.get,
            ("HEAD", "manifest"): manifests.get,
            ("PUT", "manifest"): manifests.put,
            ("DELETE", "manifest"): manifests.delete,
            ("GET", "tags"): manifests.tags,
            ("GET", "referrers"): manifests.referrers,
        }

    async def answer(self, request: Request) -> Response:
        """Respond to a request."""
        return rejected(request, self._dialect) or await self._route(request)

    async def _route(self, request: Request) -> Response:
        if isinstance(self._auth, BearerAuth) and request.path == "/token":
            return self._auth.issue(request, request.scopes)
        if request.path == "/v2/":
            return self._forbidden(request, []) or _not_allowed(request, "GET", "HEAD") or json_response({})
        if request.path == "/v2/_catalog":
            error = self._forbidden(request, [CATALOG]) or _not_allowed(request, "GET")
            return error or page_response(request, "repositories", {*await self._storage.names(), *self._repositories})
        if self._dialect.blob_redirect and self._dialect.blob_storage == "path" and STORAGE.fullmatch(request.path):
            return await self._service.respond(request)
        for route, pattern in self._routes:
            if found := pattern.fullmatch(request.path):
                return await self._in_repository(request, route, found["name"], found.groupdict().get("item", ""))
        request.violations.append("there is no such endpoint")
        return error_response(404, "UNSUPPORTED", "no such endpoint")

    async def _in_repository(self, request: Request, route: str, name: str, item: str) -> Response:
        action = "pull" if request.method in {"GET", "HEAD"} else "push"
        scopes = [(f"repository:{name}", action)]
        if action == "push" and re.fullmatch(NAME, source := request.query.get("from", "")):
            scopes.append((f"repository:{source}", "pull"))
        if request.method == "DELETE" and self._dialect.delete_scope:
            scopes.append((f"repository:{name}", "delete"))
        if error := self._forbidden(request, scopes) or self._unknown(name):
            return error
        await self._storage.open(name)
        if error := _not_allowed(request, *(method for method, other in self.endpoints if other == route)):
            return error
        response = await self.endpoints[request.method, route](request, name, item)
        if response.status == 401 and self._auth:
            response.headers["WWW-Authenticate"] = self._auth.challenge(scopes, self._url())
        return response

    def _forbidden(self, request: Request, scopes: Sequence[Scope]) -> Response | None:
        return self._auth.check(request, scopes, self._url()) if self._auth else None

    def _unknown(self, name: str) -> Response | None:
        """Return the error response for a repository that does not exist, if a push does not create it."""
        code = self._dialect.unknown_repository
        if code == "made" or name in self._repositories:
            return None
        return error_response(404 if code == "NAME_UNKNOWN" else 403, code, f"{name} does not exist")


def _not_allowed(request: Request, *methods: str) -> Response | None:
    """Return the error response to a request whose method is not one of these."""
    if request.method in methods:
        return None
    request.violations.append("its method is not allowed")
    return error_response(405, "UNSUPPORTED", f"{request.method} is not allowed here", Allow=", ".join(methods))
