"""What a proxy in front of the registry does: checks before routing, and headers of every response."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocipush.testing._messages import Request, Response
from ocipush.testing._pages import HTML, web_page
from ocipush.testing._responses import error_response

if TYPE_CHECKING:
    from ocipush.testing._dialects import Dialect


def rejected(request: Request, dialect: Dialect) -> Response | None:
    """Return the response to a request that is rejected before it is routed, else None."""
    headers = request.headers
    if dialect.cookie and "cookie" in headers:
        request.violations.append("it sends a cookie")
    if 0 < dialect.max_body < (request.length or 0):
        status = dialect.max_body_status
        return Response(status, {"Content-Type": HTML, "Connection": "close"}, web_page(status, too_large=True))
    if not dialect.takes_streams and "transfer-encoding" in headers:
        return error_response(400, "CONTENT_LENGTH_INVALID", "Content-Length is required")
    if dialect.strict_accept and headers.get("accept", "*/*") != "*/*" and "/manifests/" not in request.path:
        return error_response(406, "UNSUPPORTED", "not acceptable")
    return None


def add_headers(response: Response, dialect: Dialect) -> None:
    """Add the headers that every response of a dialect has."""
    if dialect.cookie:
        response.headers["Set-Cookie"] = f"{dialect.cookie}=0123456789abcdef; Path=/; HttpOnly"
    if dialect.warning:
        response.headers["Warning"] = f'299 - "{dialect.warning}"'
