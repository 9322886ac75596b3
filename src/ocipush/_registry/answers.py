"""What an answer means: which error a refusal becomes, in the registry's own words."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import urlsplit

from .._http.redact import printable, redact, without_query
from .._oci.media_types import DOCKER_INDEX, DOCKER_MANIFEST
from ..errors import (
    AuthenticationError,
    AuthorizationError,
    BlobTooLargeError,
    ManifestRejectedError,
    RateLimitedError,
    RegistryError,
    RepositoryNotFoundError,
    UnexpectedResponseError,
    UploadInvalidatedError,
)
from .challenge import parse_challenges
from .error_body import parse_failure
from .limits import parse_size_limit
from .situations import Mark, Refusal, Standing, situation_of
from .statuses import Kind
from .wording import IMMUTABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .._http.answer import Answer
    from .._http.request import Facts
    from ..errors import AnsweredBy
    from .error_body import Failure

_WARNING = re.compile(r'299\s+\S+\s+"((?:[^"\\]|\\.)*)"')


def parse_warnings(header: str) -> list[str]:
    """The texts of a Warning header (distribution-spec, "Warnings": ``299 - "text"``), safe to print."""
    return [printable(re.sub(r"\\(.)", r"\1", text)) for text in _WARNING.findall(header)]


_BY_CODE: Final[dict[str, type[RegistryError]]] = {
    "UNAUTHORIZED": AuthenticationError,
    "DENIED": AuthorizationError,
    "NAME_UNKNOWN": RepositoryNotFoundError,
    "TOOMANYREQUESTS": RateLimitedError,
    "MANIFEST_INVALID": ManifestRejectedError,
    "MANIFEST_BLOB_UNKNOWN": ManifestRejectedError,
    "MANIFEST_UNVERIFIED": ManifestRejectedError,
    "TAG_INVALID": ManifestRejectedError,
    "BLOB_UPLOAD_UNKNOWN": UploadInvalidatedError,
    "BLOB_UPLOAD_INVALID": UploadInvalidatedError,
    "SIZE_INVALID": UploadInvalidatedError,
}
_BY_STATUS: Final[dict[int, type[RegistryError]]] = {
    401: AuthenticationError,
    403: AuthorizationError,
    416: UploadInvalidatedError,
}
_UPLOADS: Final = frozenset({Kind.OPEN, Kind.MOUNT, Kind.SESSION, Kind.CHUNK, Kind.COMMIT})
_RATE_LIMIT: Final = re.compile(r"rate.?limit|too many requests|TOOMANYREQUESTS", re.IGNORECASE)


def is_rate_limit(status: int, words: str) -> bool:
    """Whether an answer asks for fewer requests: 429, or a 403 that says so in words (GHCR's secondary limit)."""
    return status == 429 or (status == 403 and _RATE_LIMIT.search(words) is not None)


def is_html(headers: Mapping[str, str]) -> bool:
    """Whether an answer calls itself a web page, as those of proxies and login pages do."""
    return "html" in headers.get("content-type", "").lower()


def is_web_page(headers: Mapping[str, str], body: bytes) -> bool:
    """Whether a successful answer is a web page. Some registries call a plain "OK" HTML, so the body must look like it."""
    return is_html(headers) and body.lstrip().startswith(b"<")


def lacks_scope(answer: Answer) -> bool:
    """Whether a 401 says that the token is valid, but its scope is too small (RFC 6750, 3.1)."""
    return "insufficient_scope" in _errors_of_challenge(answer)


def _errors_of_challenge(answer: Answer) -> set[str | None]:
    challenges = parse_challenges(answer.headers.get("www-authenticate", ""))
    return {challenge.parameters.get("error") for challenge in challenges}


class Asker(Protocol):
    """The sender of a request: what is known about its login, and what must not be shown."""

    @property
    def registry(self) -> str:
        """The registry, as in a reference."""
        ...

    @property
    def anonymous(self) -> bool:
        """Whether there is no login. A token whose scope is too small then means that one is needed."""
        ...

    @property
    def has_identity_token(self) -> bool:
        """Whether the login is an identity token, which only token services accept."""
        ...

    @property
    def has_token(self) -> bool:
        """Whether the token service has granted a token for the login before."""
        ...

    def conceal(self, text: str) -> str:
        """``text`` without the login and its tokens."""
        ...


class Nobody:
    """A sender of whom nothing is known."""

    registry = "REGISTRY"
    anonymous = has_identity_token = has_token = False

    def conceal(self, text: str) -> str:
        """``text`` unchanged: there is nothing to conceal."""
        return text


_NOBODY: Final = Nobody()


def error_for(
    answer: Answer,
    kind: Kind,
    asker: Asker = _NOBODY,
    *,
    repository: str = "",
    before: Standing | None = None,
) -> RegistryError:
    """The typed error for a refusal: with the registry's own words, and the hint for its situation.

    Args:
        answer: the refusal.
        kind: what was asked.
        asker: the sender; its login is concealed.
        repository: the repository's path, if it was about one.
        before: how the login was treated earlier.
    """
    request, status = answer.request, answer.status

    def conceal(text: str) -> str:
        return asker.conceal(without_query(text, request.url))

    failure = parse_failure(answer.body, conceal)
    detail = conceal(failure.detail)
    limit = parse_size_limit(failure.detail) if status in {413, 416} else None
    cls = _class_of(answer, kind, failure.codes, detail, limit=limit, anonymous=asker.anonymous)
    refusal = _refusal(answer, kind, cls, failure, asker, repository=repository, before=before)
    situation = situation_of(refusal)
    if situation.error is not None and not (answer.renewable and cls is AuthenticationError):
        cls = situation.error  # with another token, the next attempt may succeed
    hint = situation.hint_for(refusal)
    media_type = (
        f" ({request.headers.get('Content-Type')})" if kind is Kind.MANIFEST and cls is ManifestRejectedError else ""
    )
    words = f": {detail}" if detail else ""
    return cls(
        f"{conceal(f'{request}{media_type}')} was answered {status}{words}",
        hint=hint,
        status=status,
        codes=failure.codes,
        detail=detail,
        digests=failure.digests,
        answered_by=refusal.answered_by,
        retry_after=answer.retry_after,
        renewable=answer.renewable,
        limit=limit,
        **concealed(request.facts(), conceal),
    )


def concealed(facts: Facts, hide: Callable[[str], str]) -> Facts:
    """The facts of a request to an address that the registry may have chosen."""
    return {**facts, "url": hide(facts["url"])}


def _class_of(
    answer: Answer, kind: Kind, codes: tuple[str, ...], detail: str, *, limit: int | None, anonymous: bool
) -> type[RegistryError]:
    """The class that the code and the status stand for."""
    status = answer.status
    if status == 401 and not anonymous and lacks_scope(answer):
        return AuthorizationError
    if is_rate_limit(status, detail):
        return RateLimitedError
    if status == 413 or (status == 416 and limit is not None):  # 416: GHCR, of a chunk
        return BlobTooLargeError
    known = [_BY_CODE[code] for code in codes if code in _BY_CODE]
    if status in _BY_STATUS:
        known.append(_BY_STATUS[status])
    fitting = (cls for cls in known if cls is not UploadInvalidatedError or kind in _UPLOADS)
    return next(fitting, None) or _class_of_unknown(answer, kind)


def _class_of_unknown(answer: Answer, kind: Kind) -> type[RegistryError]:
    status = answer.status
    if status < 400 or is_html(answer.headers):
        return UnexpectedResponseError
    if kind is Kind.MANIFEST and status < 500:
        return ManifestRejectedError  # docker-registry answers DIGEST_INVALID to children with a sha512 digest
    return RegistryError


def _refusal(
    answer: Answer,
    kind: Kind,
    cls: type[RegistryError],
    failure: Failure,
    asker: Asker,
    *,
    repository: str,
    before: Standing | None,
) -> Refusal:
    by = _answered_by(answer)
    marks = _marks(answer, failure.codes, repository)
    return Refusal(
        kind=kind,
        status=answer.status,
        error=cls,
        codes=failure.codes,
        words=_without_codes(failure),
        answered_by=by,
        standing=_standing(answer, kind, asker, before),
        marks=marks,
        facts=_facts(answer, by, asker, repository, unsigned=Mark.UNSIGNED in marks),
    )


def _without_codes(failure: Failure) -> str:
    words = failure.detail
    for code in sorted(set(failure.codes), key=len, reverse=True):
        words = re.sub(rf"(?:^|(?<=; )){re.escape(code)}(?:: |(?=;|$))", "", words) if code else words
    return words


def _answered_by(answer: Answer) -> AnsweredBy:
    body = answer.body.lstrip()[:20].lower()
    if is_html(answer.headers) or body.startswith((b"<html", b"<!doctype html")):
        return "web page"
    return answer.request.peer


def _marks(answer: Answer, codes: tuple[str, ...], repository: str) -> frozenset[Mark]:
    headers, request = answer.headers, answer.request
    path = urlsplit(request.url).path
    methods = {method.strip().upper() for method in headers.get("allow", "").split(",")} - {""}
    found = {
        Mark.REDIRECT: "location" in headers,
        Mark.UNCHALLENGED: not parse_challenges(headers.get("www-authenticate", "")),
        Mark.MISPLACED: bool(repository) and not path.startswith(f"/v2/{repository}/"),
        Mark.READS_ONLY: bool(methods) and methods <= {"GET", "HEAD", "OPTIONS"},
        Mark.UNSIGNED: not codes and "docker-distribution-api-version" not in headers,
    }
    return frozenset(mark for mark, is_there in found.items() if is_there)


def _size(answer: Answer) -> int:
    body = answer.request.body
    return len(body) if isinstance(body, bytes) else body.length


def _standing(answer: Answer, kind: Kind, asker: Asker, before: Standing | None) -> Standing:
    challenges = parse_challenges(answer.headers.get("www-authenticate", ""))
    schemes = {challenge.scheme for challenge in challenges}
    sent = answer.request.headers.get("Authorization", "")
    if answer.status == 401 and schemes and schemes.isdisjoint({"basic", "bearer"}):
        return Standing.UNSENT
    if asker.anonymous:
        return Standing.NONE
    if kind is Kind.TOKEN:
        if asker.has_token:
            return Standing.WORKED
        return Standing.IDENTITY if asker.has_identity_token else Standing.REFUSED
    if not sent:
        return Standing.IDENTITY if asker.has_identity_token and "basic" in schemes else Standing.UNSENT
    return _standing_of_sent(answer, kind, sent.startswith("Bearer ") and asker.has_token, before)


def _standing_of_sent(answer: Answer, kind: Kind, granted: bool, before: Standing | None) -> Standing:
    if lacks_scope(answer):
        return Standing.DENIED
    if before is Standing.WORKED:
        return Standing.WORKED
    if granted:  # by a token service; else it is the login itself
        distrusted = kind is Kind.LOGIN or "invalid_token" in _errors_of_challenge(answer)
        return Standing.DISTRUSTED if distrusted else Standing.DENIED
    return before or Standing.REFUSED


def _facts(answer: Answer, by: AnsweredBy, asker: Asker, repository: str, *, unsigned: bool) -> dict[str, object]:
    """What hints can name."""
    headers, request = answer.headers, answer.request
    media_type = request.headers.get("Content-Type", "")
    anyone = "the registry, or a proxy in front of it,"
    who = anyone if by == "web page" or (by == "registry" and unsigned) else f"the {by}"
    challenges = parse_challenges(headers.get("www-authenticate", ""))
    return {
        "who": who,
        "registry": asker.registry,
        "repository": repository,
        "do": f"push to {repository}" if repository else f"use {asker.registry}",
        "method": request.method,
        "size": f"{_size(answer):,}",
        "media_type": media_type,
        "format": "oci" if media_type in {DOCKER_MANIFEST, DOCKER_INDEX} else "v2s2",
        "wait": f" {answer.retry_after:g} s" if answer.retry_after else "",
        "location": redact(asker.conceal(headers.get("location", ""))),
        "schemes": asker.conceal(", ".join(challenge.scheme.capitalize() for challenge in challenges)),
    }


_MISSING: Final = frozenset({"MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN", "MANIFEST_UNKNOWN"})


def is_missing_content(failure: RegistryError) -> bool:
    """Whether the registry refuses a manifest because it lacks blobs or children of it."""
    return not _MISSING.isdisjoint(failure.codes)


def refuses_another_digest(failure: RegistryError) -> bool:
    """Whether the words, or the code, of a refused manifest say that its tag may not move. A bare 409 says so, too."""
    words = f"{failure.detail} {' '.join(failure.codes)}"
    return (
        "TAG_INVALID" in failure.codes
        or IMMUTABLE.search(words) is not None
        or (failure.status == 409 and not failure.detail)
    )
