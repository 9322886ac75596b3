"""Answers that every part of the development registry gives. May import: _server."""

from __future__ import annotations

import json

from ocipush.testing._server import Response


def refusal(status: int, code: str, message: str, **headers: str) -> Response:
    """Say no, in the specification's words (distribution-spec, "Error Codes")."""
    answer = reply({"errors": [{"code": code, "message": message}]}, status=status)
    answer.headers.update(headers)
    return answer


def reply(value: object, media_type: str = "application/json", *, status: int = 200) -> Response:
    """Answer with a JSON document."""
    return Response(status, {"Content-Type": media_type}, json.dumps(value).encode())
