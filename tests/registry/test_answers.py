from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocipush import errors
from ocipush._http.answer import Answer
from ocipush._http.redact import MAX_DETAIL, printable, redact
from ocipush._http.request import Request
from ocipush._http.urls import append_digest, resolve_location, same_origin
from ocipush._registry.answers import error_for, parse_warnings
from ocipush._registry.challenge import Challenge, parse_challenges
from ocipush._registry.error_body import parse_failure
from ocipush._registry.statuses import Kind

DIGEST = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("header", "challenges"),
    [
        ('Basic realm="a, \\"b\\""', [Challenge("basic", {"realm": 'a, "b"'})]),
        (
            'Bearer realm="https://t/x",service=s,scope="repository:a:pull,push"',
            [Challenge("bearer", {"realm": "https://t/x", "service": "s", "scope": "repository:a:pull,push"})],
        ),
        ('Negotiate, Basic realm="r"', [Challenge("negotiate"), Challenge("basic", {"realm": "r"})]),
        ("", []),
        ('"', []),
    ],
)
def test_challenges_are_read(header: str, challenges: list[Challenge]) -> None:
    assert parse_challenges(header) == challenges


def test_warning_texts_are_read_and_made_safe_to_print() -> None:
    assert parse_warnings('299 - "old \\"tag\\"", 299 - "\x1b[31mred"') == ['old "tag"', "[31mred"]


@pytest.mark.parametrize(
    ("location", "resolved"),
    [
        ("/v2/a/blobs/uploads/1?_state=x%3D", "https://host:5000/v2/a/blobs/uploads/1?_state=x%3D"),
        ("https://host:5000/up?a=%2f&b=+;c", "https://host:5000/up?a=%2f&b=+;c"),
        ("https://host:5000/up?#there", "https://host:5000/up"),
        ("https://host:5000/caf\u00e9", "https://host:5000/caf\u00e9"),
        ("HTTPS://host:5000/up", "https://host:5000/up"),
        ("https://u:p@host:5000/up", "https://host:5000/up"),
        ("http://host/up", "https://host:5000/up"),
        ("https://storage.example/up?sig=1", "https://storage.example/up?sig=1"),
    ],
)
def test_location_is_resolved(location: str, resolved: str) -> None:
    assert resolve_location("https://host:5000/v2/a/blobs/uploads/", location) == resolved


@pytest.mark.parametrize("location", ["http://other/up", "ftp://host/up", "https://[", "http://host:99999/"])
def test_unsafe_location_is_refused(location: str) -> None:
    with pytest.raises(errors.UnsafeLocationError):
        resolve_location("https://host/v2/", location)


@pytest.mark.parametrize(
    ("url", "same"),
    [
        ("https://host.example/v2/", True),
        ("https://host.example:443", True),
        ("https://HOST.Example/", True),
        ("http://host.example/", False),
        ("http://host.example:443/", False),
        ("https://host.example:444/", False),
        ("https://host.example./", False),
        ("https://xn--hst-sna.example/", False),
        ("https://host.example.evil.example/", False),
        ("https://evil.example/host.example", False),
        ("https://evil.example?host.example", False),
    ],
)
def test_origin_is_scheme_host_and_port(url: str, same: bool) -> None:
    assert same_origin("https://host.example", url) is same


@pytest.mark.parametrize(
    "location",
    [
        "https://hоst/up",  # a Cyrillic о
        "https://h%6fst/up",
        "https://host\\.evil.example/",
        "https://host:/up",
        "https://ho st/up",
        "https://host\u3002evil.example/",
        "https://[fe80::1%25eth0]/",
        "https://host:5000.example/up",
        "javascript:alert(1)",
    ],
)
def test_location_with_an_ambiguous_host_is_refused(location: str) -> None:
    with pytest.raises(errors.UnsafeLocationError):
        resolve_location("https://host/v2/", location)


def test_digest_is_appended_and_the_rest_of_the_query_is_kept() -> None:
    quoted = "digest=sha256%3A" + "0" * 64
    assert append_digest("http://h/u?_state=a%2Bb", DIGEST) == f"http://h/u?_state=a%2Bb&{quoted}"
    assert append_digest("http://h/u", DIGEST) == f"http://h/u?{quoted}"


def test_redacted_url_has_no_secrets() -> None:
    assert redact("https://u:p@h/x?sig=secret&digest=sha256:00") == "https://h/x?…&digest=sha256:00"
    assert redact("https://h/x?sig=secret") == "https://h/x?…"


def test_same_origin_knows_default_ports() -> None:
    assert same_origin("https://h/a", "https://h:443/b")
    assert not same_origin("https://h/a", "http://h/a")


def answered(method: str, url: str, status: int, body: bytes, headers: dict[str, str] | None = None) -> Answer:
    return Answer(Request(method=method, url=url), status, headers or {}, body)


@pytest.mark.parametrize(
    ("status", "code", "cls"),
    [
        (401, "UNAUTHORIZED", errors.AuthenticationError),
        (403, "DENIED", errors.AuthorizationError),
        (404, "NAME_UNKNOWN", errors.RepositoryNotFoundError),
        (400, "MANIFEST_INVALID", errors.ManifestRejectedError),
        (413, "", errors.BlobTooLargeError),
        (429, "", errors.RateLimitedError),
        (302, "", errors.UnexpectedResponseError),
        (500, "", errors.RegistryError),
    ],
)
def test_answer_becomes_a_typed_error_with_the_message_of_the_registry(
    status: int, code: str, cls: type[errors.RegistryError]
) -> None:
    body = json.dumps({"errors": [{"code": code, "message": "the words"}]}) if code else "<html><b>the words</b>"
    error = error_for(answered("PUT", "https://h/x?sig=secret", status, body.encode()), Kind.COMMIT)
    assert type(error) is cls
    assert "the words" in str(error)
    assert "secret" not in str(error)
    assert (error.status, error.method) == (status, "PUT")


def test_any_refusal_of_a_manifest_is_a_manifest_error() -> None:
    body = b'{"errors":[{"code":"DIGEST_INVALID","message":"unsupported digest algorithm"}]}'
    error = error_for(answered("PUT", "https://h/v2/a/manifests/1", 400, body), Kind.MANIFEST)
    assert type(error) is errors.ManifestRejectedError
    failed = error_for(answered("PUT", "https://h/v2/a/manifests/1", 500, body), Kind.MANIFEST)
    assert type(failed) is errors.RegistryError


def test_html_answer_is_unexpected() -> None:
    page = answered("GET", "https://h/", 404, b"<html>no</html>", {"content-type": "text/html"})
    error = error_for(page, Kind.LOGIN)
    assert type(error) is errors.UnexpectedResponseError


@given(st.text(max_size=80))
def test_any_remote_text_is_read_without_failing(text: str) -> None:
    parse_challenges(text)
    parse_warnings(text)
    failure = parse_failure(text.encode("utf-8", "surrogatepass"))
    assert "\x1b" not in failure.detail
    assert len(printable(text * 50)) <= MAX_DETAIL + 1
    with contextlib.suppress(errors.UnsafeLocationError):
        assert resolve_location("https://h/", text).startswith("https://")


@given(
    st.recursive(
        st.none() | st.text(max_size=5), lambda inner: st.lists(inner) | st.dictionaries(st.just("errors"), inner)
    )
)
def test_any_json_error_body_is_read_without_failing(value: object) -> None:
    assert isinstance(parse_failure(json.dumps(value).encode()).detail, str)
