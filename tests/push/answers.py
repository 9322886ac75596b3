"""Answers of registries and of proxies in front of them."""

from __future__ import annotations

import json

from ocipush.testing import Response

HTML = {"Content-Type": "text/html; charset=utf-8"}
JSON = {"Content-Type": "application/json"}


def web_page(status: int) -> Response:
    return Response(status, HTML, b"<html><head><title>Sign in</title></head><body>Hotel</body></html>")


def refusal(status: int, code: str, message: str = "", **headers: str) -> Response:
    return Response(status, {**JSON, **headers}, json.dumps({"errors": [{"code": code, "message": message}]}).encode())
