"""The web pages that proxies, firewalls and content delivery networks send instead of a registry's responses."""

from __future__ import annotations

from typing import Final

HTML: Final = "text/html; charset=utf-8"
_TITLES: Final[dict[int, str]] = {
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    408: "Request Time-out",
    413: "Request Entity Too Large",
    499: "Client Closed Request",
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Time-out",
    520: "Web server is returning an unknown error",
    522: "Connection timed out",
    524: "A timeout occurred",
}
# What nginx, mod_security, IIS and Traefik say of a body over their limit.
_TOO_LARGE: Final[dict[int, str]] = {
    400: "Bad Request - Request body too large",
    404: "Not Found - The request filtering module is configured to deny a request that exceeds the content length",
}


def web_page(status: int, *, too_large: bool = False) -> bytes:
    """Return a web page with this status as its title; `too_large`: it is about the size of a request."""
    words = (_TOO_LARGE.get(status) if too_large else None) or _TITLES.get(status, "Error")
    title = f"{status} {words}"
    return f"<html><head><title>{title}</title></head><body><center><h1>{title}</h1></center></body></html>\n".encode()
