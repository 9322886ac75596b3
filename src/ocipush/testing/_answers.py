"""Answers that every part of the development registry gives. May import: _server."""

from __future__ import annotations

import json

from ocipush.testing._server import Response


def refusal(status: int, code: str, message: str, **headers: str) -> Response:
    """Say no, in the specification's words (distribution-spec, "Error Codes")."""
    body = json.dumps({"errors": [{"code": code, "message": message}]}).encode()
    return Response(status, {"Content-Type": "application/json", **headers}, body)


def reply(value: object, media_type: str = "application/json") -> Response:
    """Answer 200 with a JSON document."""
    return Response(200, {"Content-Type": media_type}, json.dumps(value).encode())
