"""Sans-IO distribution-spec: what an answer means, and where the next request goes.

May import: errors, _session.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import SplitResult, quote, quote_plus, unquote, unquote_plus, urljoin, urlsplit, urlunsplit

from ._session import parse_size_limit
from .errors import (
    AuthenticationError,
    AuthorizationError,
    BlobTooLargeError,
    ManifestRejectedError,
    RateLimitedError,
    RegistryError,
    RepositoryNotFoundError,
    TagImmutableError,
    UnexpectedResponseError,
    UnsafeLocationError,
    UploadInvalidatedError,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_NO_HEADERS: Final[Mapping[str, str]] = {}
MAX_PATH: Final = 500  # characters of an URL's path that an error shows
MAX_DETAIL: Final = 1000  # characters of a registry's own words that an error shows
MAX_ERRORS: Final = 100  # entries of an error body that are read
SHORTEST_SECRET: Final = 8  # characters; a shorter one would be taken out of words that it happens to stand in

_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PARAMETER = re.compile(rf'\s*({_WORD})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|({_WORD}))\s*(?:,|$)')
_SCHEME = re.compile(rf"[\s,]*({_WORD})(?=[\s,]|$)\s*")
_WARNING = re.compile(r'299\s+\S+\s+"((?:[^"\\]|\\.)*)"')
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")
_RATE_LIMIT = re.compile(r"rate.?limit|too many requests|TOOMANYREQUESTS", re.IGNORECASE)
# Hosts and ports in the one spelling that all readers of URLs read alike: no names but ASCII ones, no escapes.
_AUTHORITY = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
# An URL without user information and fragment that is all in printable ASCII; its origin is the group.
_ABSOLUTE = re.compile(r"(https?://[A-Za-z0-9._:\[\]-]+)/[!$-\[\]-~]*")
_LOCATION_HINT: Final = "the registry, or a proxy in front of it, does not know its own address: look into its settings"


@dataclass(frozen=True, slots=True)
class Challenge:
    """One challenge of a WWW-Authenticate header (RFC 9110, 11.6.1). ``scheme`` and parameter names are lower-case."""

    scheme: str
    parameters: dict[str, str] = field(default_factory=dict)


def parse_challenges(header: str) -> list[Challenge]:
    """Every challenge of a WWW-Authenticate header. What cannot be read ends the list."""
    challenges: list[Challenge] = []
    position = 0
    while scheme := _SCHEME.match(header, position):
        position = scheme.end()
        parameters: dict[str, str] = {}
        while parameter := _PARAMETER.match(header, position):
            quoted, plain = parameter[2], parameter[3]
            parameters[parameter[1].lower()] = plain if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
            position = parameter.end()
        challenges.append(Challenge(scheme[1].lower(), parameters))
    return challenges


def parse_warnings(header: str) -> list[str]:
    """The texts of a Warning header (distribution-spec, "Warnings": ``299 - "text"``), made safe to print."""
    return [printable(re.sub(r"\\(.)", r"\1", text)) for text in _WARNING.findall(header)]


def printable(text: str) -> str:
    """Shorten, and neutralise what is not printed: a registry's words must not drive the terminal, or break its encoding."""
    if not text.isprintable():
        text = "".join(c if c.isprintable() else " " for c in text[: 4 * MAX_DETAIL])
    text = text.strip()
    return text if len(text) <= MAX_DETAIL else text[:MAX_DETAIL] + "…"


def redact(url: str) -> str:
    """An URL fit for logs and errors: no user information, and no query but its digest (upload URLs can be signed)."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "(not an URL)"
    digest = re.search(r"(?:^|&)digest=(sha[0-9]+(?::|%3A)[0-9a-f]+)", parts.query)
    query = f"…&digest={digest[1]}" if digest else "…"
    path = parts.path if len(parts.path) <= MAX_PATH else parts.path[:MAX_PATH] + "…"
    return printable(
        urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], path, query if parts.query else "", ""))
    )


def conceal(words: str, secrets: Iterable[str]) -> str:
    """A registry's words without what it should not say back, as it is or quoted for an URL."""
    for secret in secrets:
        for spelt in {secret, quote(secret), quote(secret, safe=""), quote_plus(secret)}:
            if len(spelt) >= SHORTEST_SECRET:
                words = words.replace(spelt, "…")
    return words


def without_query(words: str, url: str) -> str:
    """A registry's words about a request, without what the query of its URL said: storage services say back signatures."""
    pairs = (pair.partition("=") for pair in urlsplit(url).query.split("&"))
    values = [value for name, _, value in pairs if name not in {"digest", "mount", "from", "scope", "service"}]
    return conceal(words, (*values, *map(unquote, values), *map(unquote_plus, values)))


def split_url(url: str) -> SplitResult:
    """The parts of an ``http`` or ``https`` URL, without user information and fragment.

    Raises:
        ValueError: it is no such URL, or its host could be read in two ways.
    """
    parts = urlsplit(url)
    authority = parts.netloc.rpartition("@")[2]
    if parts.scheme not in {"http", "https"} or not _AUTHORITY.fullmatch(authority) or (parts.port or 0) > 65535:
        raise ValueError("no http or https URL")
    return parts._replace(netloc=authority, fragment="")


def resolve_location(request_url: str, location: str) -> str:
    """Where an upload session continues (distribution-spec, "Pushing a blob monolithically").

    Relative or absolute; user information is dropped. On the registry's own host an ``http`` Location of an ``https``
    registry is raised to ``https``; on another host it is refused.

    Raises:
        UnsafeLocationError: it is not HTTP, or leaves TLS for another host.
    """
    absolute = _ABSOLUTE.fullmatch(location)
    if absolute and request_url.startswith(f"{absolute[1]}/"):
        return location  # as nearly every registry sends it
    base, shown = urlsplit(request_url), redact(request_url)
    try:
        joined = urljoin(request_url, location)
        if urlsplit(joined).scheme not in {"http", "https"}:
            raise UnsafeLocationError(
                f"the registry's Location is not HTTP: {redact(joined)}", hint=_LOCATION_HINT, url=shown
            )
        target = split_url(joined)
    except ValueError:
        raise UnsafeLocationError(
            "the registry's Location is not an URL", hint=_LOCATION_HINT, url=shown
        ) from None  # whose words could hold the Location's query
    netloc, scheme = target.netloc, target.scheme
    if base.scheme == "https" and scheme == "http":
        if target.hostname != base.hostname:
            raise UnsafeLocationError(
                f"the registry sent the upload from TLS to plain HTTP: {redact(target.geturl())}",
                hint=_LOCATION_HINT,
                url=shown,
            )
        scheme = "https"
        netloc = base.netloc.rpartition("@")[2] if target.port in {None, 80} else netloc
    return urlunsplit((scheme, netloc, target.path, target.query, ""))


@lru_cache(maxsize=1024)
def in_query(text: str) -> str:
    """A digest or the name of a repository as a value in a query."""
    return quote(text, safe="")


def append_digest(location: str, digest: str) -> str:
    """Add ``digest=`` to a Location, leaving the rest of its query byte for byte."""
    return f"{location}{'&' if '?' in location else '?'}digest={in_query(digest)}"


def same_origin(left: str, right: str) -> bool:
    """Whether two URLs have the same scheme, host and port, default ports spelt out or not."""
    if right.startswith(f"{left}/"):
        return True

    def origin(url: str) -> tuple[str, str | None, int]:
        parts = urlsplit(url)
        return parts.scheme, parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)

    return origin(left) == origin(right)


@dataclass(frozen=True, slots=True)
class Failure:
    """The body of an error answer (distribution-spec, "Error Codes"), or its text where it is no such body.

    ``digests`` are those that its ``detail`` fields name.
    """

    codes: tuple[str, ...]
    detail: str
    digests: tuple[str, ...] = ()


def parse_failure(body: bytes) -> Failure:
    """Read an error body of any form. Bounded: the caller gives at most the first 64 KiB."""
    try:
        value: Any = json.loads(body)
        errors = list(value["errors"])[:MAX_ERRORS]
        codes = tuple(printable(str(error["code"])) for error in errors)
        words = (f"{error['code']}: {error.get('message') or ''}".rstrip(": ") for error in errors)
        digests = tuple(_DIGEST.findall(json.dumps([error.get("detail") for error in errors])))
        return Failure(codes, printable("; ".join(words)), digests)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        text = re.sub(r"<[^<>]*>", " ", body.decode("utf-8", "replace"))
        return Failure((), printable(re.sub(r"\s+", " ", text)))


_BY_CODE: Final[dict[str, type[RegistryError]]] = {
    "UNAUTHORIZED": AuthenticationError,
    "DENIED": AuthorizationError,
    "NAME_UNKNOWN": RepositoryNotFoundError,
    "TOOMANYREQUESTS": RateLimitedError,
    "TAG_INVALID": TagImmutableError,
    "MANIFEST_INVALID": ManifestRejectedError,
    "MANIFEST_BLOB_UNKNOWN": ManifestRejectedError,
    "MANIFEST_UNVERIFIED": ManifestRejectedError,
    "BLOB_UPLOAD_UNKNOWN": UploadInvalidatedError,
    "BLOB_UPLOAD_INVALID": UploadInvalidatedError,
    "SIZE_INVALID": UploadInvalidatedError,
}
_BY_STATUS: Final[dict[int, type[RegistryError]]] = {
    401: AuthenticationError,
    403: AuthorizationError,
    416: UploadInvalidatedError,
}
_HINTS: Final[dict[type[RegistryError], str]] = {
    AuthenticationError: "check the login: `ocipush image login REGISTRY`",
    AuthorizationError: "this login may not push there; some registries also say so when the repository does not exist",
    RepositoryNotFoundError: "create the repository first: this registry does not make one on push",
    BlobTooLargeError: "the registry or a proxy in front of it limits the size of a request body (nginx: client_max_body_size)",
    RateLimitedError: "the registry limits requests: wait, or push with less concurrency",
    TagImmutableError: "the tag is immutable or not allowed: push another tag",
    ManifestRejectedError: "the registry does not take this manifest: its own words say why",
    UploadInvalidatedError: "the registry gave up the upload: try again, and look into its log",
    UnexpectedResponseError: "is this the address of a registry? Something else may be answering for it",
    RegistryError: "the registry failed: try again, and look into its log",
}


def is_rate_limit(status: int, words: str) -> bool:
    """Whether an answer asks for fewer requests: 429, or a 403 that says so in words (GHCR's secondary limit)."""
    return status == 429 or (status == 403 and _RATE_LIMIT.search(words) is not None)


def is_html(headers: Mapping[str, str]) -> bool:
    """Whether an answer is a web page: a proxy's or a portal's, not a registry's."""
    return "html" in headers.get("content-type", "").lower()


def is_web_page(headers: Mapping[str, str], body: bytes) -> bool:
    """Whether an answer that says yes is a web page: some registries call a mere "OK" HTML, so its body must look like it."""
    return is_html(headers) and body.lstrip().startswith(b"<")


def _is_denied(headers: Mapping[str, str]) -> bool:
    """Whether a 401 means that the token is good, and allows too little (RFC 6750, 3.1)."""
    challenges = parse_challenges(headers.get("www-authenticate", ""))
    return any(challenge.parameters.get("error") == "insufficient_scope" for challenge in challenges)


def error_for(
    method: str,
    url: str,
    status: int,
    body: bytes,
    *,
    headers: Mapping[str, str] = _NO_HEADERS,
    anonymous: bool = False,
) -> RegistryError:
    """The typed error for an answer that said no: by its (code, status), not by its status alone.

    ``anonymous``: no login was used, so a token that allows too little asks for one.
    """
    failure = parse_failure(body)
    limit = parse_size_limit(failure.detail) if status in {413, 416} else None
    failure = replace(failure, detail=without_query(failure.detail, url))
    cls = next((_BY_CODE[code] for code in failure.codes if code in _BY_CODE), None)
    cls = cls or _BY_STATUS.get(status)
    if status == 401 and not anonymous and _is_denied(headers):
        cls = AuthorizationError
    elif is_rate_limit(status, failure.detail):
        cls = RateLimitedError
    elif status == 413 or (status == 416 and limit is not None):  # 416: GHCR, of a chunk
        cls = BlobTooLargeError
    if cls is None and (status < 400 or is_html(headers)):
        cls = UnexpectedResponseError
    elif cls is None and method == "PUT" and "/manifests/" in url and status < 500:
        cls = ManifestRejectedError  # docker-registry says DIGEST_INVALID of children that are named by sha512
    cls = cls or RegistryError
    hint = _HINTS.get(cls)
    if 300 <= status < 400 and "location" in headers:
        hint = f"it redirects to {redact(headers['location'])}, and redirects are not followed"
    shown = redact(url)
    words = f": {failure.detail}" if failure.detail else ""
    error = cls(
        f"{method} {shown} was answered {status}{words}",
        hint=hint,
        status=status,
        codes=failure.codes,
        detail=failure.detail,
        digests=failure.digests,
        method=method,
        url=shown,
    )
    if isinstance(error, BlobTooLargeError):
        error.limit = limit
    return error
