"""A registry that challenges for two kinds of login gets a token, however it spells the two."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import httpx
import pytest
from tests import layouts

import ocipush

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio
BASIC, BEARER = 'Basic realm="registry"', 'Bearer realm="https://token.example/t",service="s"'


@pytest.mark.parametrize(
    "challenges",
    [[BASIC, BEARER], [BEARER, BASIC], [f"{BASIC}, {BEARER}"], [f"{BEARER}, {BASIC}"]],
    ids=[
        "two headers, Basic first",
        "two headers, Bearer first",
        "one header, Basic first",
        "one header, Bearer first",
    ],
)
async def test_token_is_preferred_to_the_password(tmp_path: Path, challenges: list[str]) -> None:
    layouts.write_image(tmp_path / "app", b"layer")
    sent: set[str | None] = set()

    def handler(request: httpx.Request) -> httpx.Response:
        if request.url.host == "token.example":
            return httpx.Response(200, content=json.dumps({"token": "t", "expires_in": 300}))
        sent.add(request.headers.get("authorization"))
        if "authorization" not in request.headers:
            return httpx.Response(401, headers=[("WWW-Authenticate", one) for one in challenges])
        if request.method == "POST":
            return httpx.Response(202, headers={"location": "/uploads/1"})
        return httpx.Response(201 if request.method == "PUT" else 404)

    await ocipush.push(
        tmp_path / "app",
        target="registry.example/app:1",
        authfile=tmp_path / "none",
        credentials={"registry.example": ocipush.Login("user", "correct horse")},
        transport=httpx.MockTransport(handler),
    )
    assert sent == {None, "Bearer t"}


async def test_warnings_of_two_headers_are_both_reported(tmp_path: Path) -> None:
    layouts.write_image(tmp_path / "app", b"layer")
    events: list[ocipush.Event] = []

    def handler(request: httpx.Request) -> httpx.Response:
        headers = [("Warning", '299 - "first"'), ("Warning", '299 - "second"')]
        return httpx.Response(201 if request.method in {"PUT", "POST"} else 404, headers=headers)

    await ocipush.push(
        tmp_path / "app",
        target="registry.example/app:1",
        authfile=tmp_path / "none",
        transport=httpx.MockTransport(handler),
        on_event=events.append,
    )
    assert {event.text for event in events if isinstance(event, ocipush.RegistryWarning)} == {"first", "second"}
