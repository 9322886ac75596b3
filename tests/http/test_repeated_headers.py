"""Headers that come more than once: the same value twice counts as one, others are a list (RFC 9110, 5.3)."""

from __future__ import annotations

import ssl

import httpx
import pytest

from ocipush._http.client import Client
from ocipush._http.request import Request
from ocipush._http.timeouts import Timeouts

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("values", "read"),
    [
        (["/v2/a/1"], "/v2/a/1"),
        (["/v2/a/1", "/v2/a/1"], "/v2/a/1"),
        (["/v2/a/1", "/v2/a/2"], "/v2/a/1, /v2/a/2"),
    ],
)
async def test_header_that_a_proxy_doubled_counts_once(values: list[str], read: str) -> None:
    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(202, headers=[("Location", value) for value in values])

    context = ssl.create_default_context()
    client = Client(verify=context, timeouts=Timeouts(), user_agent="test", transport=httpx.MockTransport(answer))
    assert (await client.send(Request(method="POST", url="https://r.example/"))).headers["location"] == read
    await client.aclose()
