"""What a token service answers."""

from __future__ import annotations

import pytest

from ocipush._registry.token import MAX_GRANT, parse_grant


@pytest.mark.parametrize(
    ("body", "token", "lifetime"),
    [
        (b'{"token":"a"}', "a", 60),
        (b'{"token":"a","access_token":"b","expires_in":9.5}', "b", 9.5),
        (b'{"token":"a","access_token":null}', "a", 60),
        (b'{"token":"a","access_token":""}', "a", 60),
        (b'{"token":"a","refresh_token":["b"],"lifetime":9}', "a", 60),
        (b'{"token":"a","expires_in":null}', "a", 60),
        (b'{"token":"a","expires_in":-1}', "a", 60),
        (b'{"token":"a","expires_in":%s}' % (b"9" * 400), "a", 86_400),
        (b'{"token":"a","expires_in":1e999}', "a", 86_400),
        (b'{"token":"a","expires_in":"300"}', "a", 60),
        (b'{"token":"a","expires_in":true}', "a", 60),
    ],
)
def test_grant_is_read(body: bytes, token: str, lifetime: float) -> None:
    grant = parse_grant(body)
    assert grant is not None
    assert (grant.token, grant.lifetime) == (token, lifetime)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b'{"token":1}',
        b'{"token":""}',
        b'{"token":" "}',
        b'{"token":"a\\r\\nX: y"}',
        b'{"token":"\\u00e9"}',
        b'{"token":"a","token":"a"}',
        b'{"token":"a","expires_in":NaN}',
        b'{"token":"a","x":"' + b"x" * MAX_GRANT + b'"}',
        b"[" * 60_000,
        b'{"token":"a","access_token":1}',
        b'{"token":"a","access_token":"b\\n"}',
        b'{"token":"a","expires_in":' + b"9" * 5000 + b"}",
    ],
)
def test_answer_without_a_usable_token_is_not_a_grant(body: bytes) -> None:
    assert parse_grant(body) is None


def test_grant_does_not_show_its_tokens() -> None:
    grant = parse_grant(b'{"token":"t-secret","refresh_token":"r-secret","expires_in":300}')
    assert grant is not None
    assert (grant.token, grant.refresh_token) == ("t-secret", "r-secret")
    assert "secret" not in f"{grant!r} {grant}"
