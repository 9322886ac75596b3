"""The readers of remote text, one function each: bytes in, AssertionError or an undocumented exception out.

``tests/property`` calls them with hypothesis, ``make fuzz`` with atheris. What must hold: a reader raises what it
documents and nothing else, gives no more than it was given, and nothing that steers a terminal.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import tarfile
from itertools import product
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

import httpx

from ocipush import errors
from ocipush._http.addresses import AddressPolicy, Privacy, literal, privacy_of
from ocipush._http.answer import Answer, parse_retry_after
from ocipush._http.redact import MAX_DETAIL, Secret, conceal, printable, redact, without_query
from ocipush._http.request import Request
from ocipush._http.urls import append_digest, resolve_location, same_origin
from ocipush._oci.digest import Digest
from ocipush._oci.document import parse_document
from ocipush._registry.answers import error_for, parse_warnings
from ocipush._registry.challenge import parse_challenges
from ocipush._registry.error_body import parse_failure
from ocipush._registry.limits import parse_chunk_length, parse_size_limit
from ocipush._registry.retry import RetryPolicy
from ocipush._registry.session import parse_range
from ocipush._registry.statuses import Kind
from ocipush._registry.token import MAX_GRANT, parse_grant
from ocipush._sources.tar import read_members

if TYPE_CHECKING:
    from collections.abc import Callable

NOW = 1_800_000_000.0
DIGEST = "sha256:" + "0" * 64
BASES = (
    "https://registry.example/v2/a/blobs/uploads/",
    "https://registry.example:5000/v2/",
    "http://127.0.0.1:5000/v2/",
)


def text_of(data: bytes) -> str:
    """A header's value, as it is decoded: any text, and any byte."""
    return data[1:].decode("latin-1") if data[:1] == b"\0" else data.decode("utf-8", "replace")


def is_shown(text: str) -> None:
    """Hold what is printed to one line of bounded length."""
    assert text.isprintable(), ascii(text)
    assert len(text) <= MAX_DETAIL + 1


def challenge(data: bytes) -> None:
    """WWW-Authenticate."""
    header = text_of(data)
    found = parse_challenges(header)
    for one in found:
        assert one.scheme == one.scheme.lower() != ""
        assert all(name == name.lower() != "" for name in one.parameters)
    words = sum(len(one.scheme) + sum(len(n) + len(v) for n, v in one.parameters.items()) for one in found)
    assert words <= len(header) * 3  # lower() can make a letter three


def location(data: bytes) -> None:
    """Location, of an upload or a redirect."""
    header = text_of(data)
    is_shown(redact(header))
    for base in BASES:
        try:
            url = resolve_location(base, header)
        except errors.UnsafeLocationError as exc:
            assert str(exc).isprintable()
            continue
        parts = urlsplit(url)
        assert parts.scheme in {"http", "https"}
        assert parts.scheme == "https" or base.startswith("http:")
        assert "@" not in parts.netloc
        assert append_digest(url, DIGEST).startswith(url)
        assert urlsplit(append_digest(url, DIGEST)).netloc == parts.netloc
        is_shown(redact(url))
        if parts.query and "digest=" not in parts.query:
            assert redact(url) == redact(urlunsplit(parts._replace(query="another")))
        _is_read_alike(url, base)


def _is_read_alike(url: str, base: str) -> None:
    """Who decides on the login and who connects see one host in ``url``."""
    try:
        asked = httpx.URL(url)
    except httpx.InvalidURL:
        return  # and so nothing is sent
    parts = urlsplit(url)
    default = 443 if parts.scheme == "https" else 80
    assert asked.raw_host.decode().lower() == (parts.hostname or "")  # httpx keeps the case of an IPv6 address
    assert (asked.port or default) == (parts.port or default)
    ours = urlsplit(base)
    if same_origin(base, url):
        assert (asked.scheme, asked.host, asked.port or default) == (ours.scheme, ours.hostname, ours.port or default)
        return
    guard = AddressPolicy(f"{ours.scheme}://{ours.netloc}")
    assert not guard.is_own(url)
    try:
        guard.check(url)
    except errors.UnsafeLocationError as exc:
        assert str(exc).isprintable()
        return
    if (address := literal(parts.hostname or "")) is not None:
        own = literal(ours.hostname or "")
        assert privacy_of(address) <= (privacy_of(own) if own else Privacy.PUBLIC)


def range_(data: bytes) -> None:
    """Range, of an upload session."""
    stored = parse_range(text_of(data))
    assert stored is None or 0 <= stored <= 10**19


def chunk_length(data: bytes) -> None:
    """OCI-Chunk-Min-Length, and what an error says of a limit."""
    for found in (parse_chunk_length(text_of(data)), parse_size_limit(text_of(data))):
        assert found is None or 0 <= found < 10**27


def retry_after(data: bytes) -> None:
    """Retry-After, with a Date, or in the words of an error."""
    value, _, date = text_of(data).partition("\n")
    for seconds in (
        parse_retry_after(value, now=NOW),
        parse_retry_after(value, date=date, now=NOW),
        parse_retry_after(None, words=value, now=NOW),
    ):
        assert seconds is None or 0 <= seconds < float("inf")
        delay = RetryPolicy().delay(1, retry_after=seconds)
        assert delay is not None
        assert 0 <= delay <= RetryPolicy().cap


def warning(data: bytes) -> None:
    """Warning."""
    for text in parse_warnings(text_of(data)):
        is_shown(text)


def failure(data: bytes) -> None:
    """The body of an error."""
    found = parse_failure(data)
    is_shown(found.detail)
    for code in found.codes:
        is_shown(code)
    assert sum(map(len, found.digests)) <= 2 * len(data)
    for status, kind in product((302, 400, 401, 403, 405, 413, 429, 500), (Kind.TOKEN, Kind.MANIFEST, Kind.COMMIT)):
        request = Request(method="PUT", url="https://h/x?sig=a-long-secret")
        error = error_for(Answer(request, status, {"location": text_of(data[:80])}, data), kind)
        assert str(error).isprintable()
        assert "a-long-secret" not in str(error)
        assert len(str(error)) < 4000


def grant(data: bytes) -> None:
    """The answer of a token service."""
    found = parse_grant(data)
    if found is not None:
        assert len(data) <= MAX_GRANT
        assert 0 < found.lifetime <= 86_400
        for token in (found.token, found.refresh_token or "x"):
            assert re.fullmatch(r"[ -~]+", token)


def document(data: bytes) -> None:
    """A manifest or an index that the registry holds."""
    try:
        parse_document(data, where="remote")
    except errors.InvalidLayoutError as exc:
        assert len(str(exc)) < 4000
    with contextlib.suppress(ValueError):
        Digest.parse(text_of(data))


def words(data: bytes) -> None:
    """A registry's words, before they are shown."""
    text = text_of(data)
    is_shown(printable(text))
    secret, _, rest = text.partition("\n")
    if len(secret) >= 8 and secret.isprintable() and " " not in secret:
        assert secret not in conceal(rest, [Secret(secret)]) or "…" in secret
    without_query(rest, f"https://h/?{secret}")


def archive(data: bytes) -> None:
    """A tar archive of an image. What is read of it lies within it."""

    def read(count: int, offset: int) -> bytes:
        assert 0 <= count <= max(len(data), 1024 * 1024)
        return data[offset : offset + count]

    try:
        members = read_members(read, len(data), where="archive")
    except errors.InvalidLayoutError as exc:
        assert len(str(exc)) < 4000
        is_shown(str(exc))
        return
    for name in ("index.json", "blobs/sha256/0", "a"):
        found = members.find(name)
        assert found is None or (found.size >= 0 and 0 < found.offset <= found.offset + found.size <= len(data))


def _tar(*members: tuple[str, bytes, str]) -> bytes:
    space = io.BytesIO()
    with tarfile.open(fileobj=space, mode="w", format=tarfile.GNU_FORMAT) as file:
        for name, kind, link in members:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, link
            file.addfile(member)
    return space.getvalue()


TARGETS: dict[str, tuple[Callable[[bytes], None], tuple[bytes, ...]]] = {
    "challenge": (
        challenge,
        (b'Bearer realm="https://a.example/t",service="s",scope="repository:a:pull,push"', b'Negotiate, Basic realm="a\\"b"'),
    ),
    "location": (
        location,
        (
            b"/v2/a/blobs/uploads/1?_state=x%3D",
            b"https://u:p@registry.example:443/up#x",
            b"http://registry.example:80/up",
            b"//[::1]:5000/up?a",
            b"https://xn--a.example\\@b/",
        ),
    ),
    "range": (range_, (b"0-699999", b"bytes=0--1", b"bytes 0-0")),
    "chunk_length": (chunk_length, (b"5242880", b"exceeds the maximum permissible limit of 4.00MiB")),
    "retry_after": (
        retry_after,
        (b"120", b"1.5", b"Wed, 21 Oct 2026 07:28:00 GMT\nWed, 21 Oct 2026 07:27:00 -0000", b"retry-after: 10.3ms"),
    ),
    "warning": (warning, (b'299 - "old", 299 host "a \\"b\\""', b'299 - "\x1b[31m')),
    "failure": (
        failure,
        (
            json.dumps({"errors": [{"code": "DENIED", "message": "no", "detail": {"digest": DIGEST}}]}).encode(),
            b"<html><b>502</b></html>",
            b"[" * 200,
        ),
    ),
    "grant": (grant, (b'{"token":"a","access_token":"b","refresh_token":"c","expires_in":300}', b'{"token":"a","expires_in":1e999}')),
    "document": (
        document,
        (
            b'{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"a","digest":"'
            + DIGEST.encode()
            + b'","size":2},"layers":[]}',
            b'{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}',
        ),
    ),
    "archive": (
        archive,
        (
            _tar(("index.json", tarfile.REGTYPE, ""), ("a", tarfile.SYMTYPE, "./index.json"), ("blobs" * 40, tarfile.LNKTYPE, "a")),
            _tar(("../a", tarfile.REGTYPE, "")),
            _tar(("a", tarfile.GNUTYPE_SPARSE, "")),
        ),
    ),
    "words": (words, ("a\x1b]0;b\x07\u202e\nc".encode(), b"signature-123\nthe signature-123 is wrong")),
}  # fmt: skip
