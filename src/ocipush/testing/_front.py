"""What a request meets before its route, and what an answer is sent out with. May import: _answers, _dialects, _server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocipush.testing._answers import refusal
from ocipush.testing._server import Request, Response

if TYPE_CHECKING:
    from ocipush.testing._dialects import Dialect

_TOO_LARGE = b"<html><head><title>413 Request Entity Too Large</title></head><body>413</body></html>"


def turned_away(request: Request, dialect: Dialect) -> Response | None:
    """Return the refusal of a request that does not get as far as its route."""
    headers = request.headers
    if dialect.cookie and "cookie" in headers:
        request.complaints.append("it brings a cookie")
    if 0 < dialect.max_body < (request.length or 0):
        return Response(413, {"Content-Type": "text/html", "Connection": "close"}, _TOO_LARGE)
    if not dialect.takes_streams and "transfer-encoding" in headers:
        return refusal(400, "CONTENT_LENGTH_INVALID", "Content-Length is needed")
    if dialect.strict_accept and headers.get("accept", "*/*") != "*/*" and "/manifests/" not in request.path:
        return refusal(406, "UNSUPPORTED", "not acceptable")
    return None


def dress(response: Response, dialect: Dialect) -> None:
    """Add what every answer carries."""
    if dialect.cookie:
        response.headers["Set-Cookie"] = f"{dialect.cookie}=0123456789abcdef; Path=/; HttpOnly"
    if dialect.warning:
        response.headers["Warning"] = f'299 - "{dialect.warning}"'
