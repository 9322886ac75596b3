"""Responses that every part of the development registry gives."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from ocipush.testing._messages import Request, Response

if TYPE_CHECKING:
    from collections.abc import Iterable


def error_response(status: int, code: str, message: str, detail: object = None, **headers: str) -> Response:
    """Return an error in the format of the specification (distribution-spec, "Error Codes")."""
    error = {"code": code, "message": message}
    errors = [error if detail is None else {**error, "detail": detail}]
    response = json_response({"errors": errors}, status=status)
    response.headers.update(headers)
    return response


def json_response(value: object, media_type: str = "application/json", *, status: int = 200) -> Response:
    """Return a JSON document as a response."""
    return Response(status, {"Content-Type": media_type}, json.dumps(value).encode())


def page_response(request: Request, key: str, names: Iterable[str], **fields: str) -> Response:
    """Return the page of `names` that a request asks for with ``n`` and ``last``, with a Link to the next page."""
    left = sorted(name for name in names if name > request.query.get("last", ""))
    limit = request.query.get("n", "")
    page = left[: int(limit)] if re.fullmatch("[0-9]{1,9}", limit) else left
    response = json_response({**fields, key: page})
    if 0 < len(page) < len(left):
        response.headers["Link"] = f'<{request.path}?{urlencode({"n": limit, "last": page[-1]})}>; rel="next"'
    return response
