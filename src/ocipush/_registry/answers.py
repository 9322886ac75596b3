"""What an answer means: which error a refusal becomes, with which hint."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, Protocol

from .._http.redact import printable, redact, without_query
from ..errors import (
    AuthenticationError,
    AuthorizationError,
    BlobTooLargeError,
    ManifestRejectedError,
    RateLimitedError,
    RegistryError,
    RepositoryNotFoundError,
    TagImmutableError,
    UnexpectedResponseError,
    UploadInvalidatedError,
)
from .challenge import parse_challenges
from .error_body import parse_failure
from .limits import parse_size_limit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .._http.answer import Answer

_WARNING = re.compile(r'299\s+\S+\s+"((?:[^"\\]|\\.)*)"')


def parse_warnings(header: str) -> list[str]:
    """The texts of a Warning header (distribution-spec, "Warnings": ``299 - "text"``), safe to print."""
    return [printable(re.sub(r"\\(.)", r"\1", text)) for text in _WARNING.findall(header)]


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
    AuthorizationError: "this login is not allowed to push there, or the repository does not exist",
    RepositoryNotFoundError: "create the repository first: this registry does not create it on push",
    BlobTooLargeError: "the registry or a proxy in front of it limits the size of a request body (nginx: client_max_body_size)",
    RateLimitedError: "the registry limits requests: wait, or lower the concurrency",
    TagImmutableError: "the tag is immutable or not allowed: push to another tag",
    ManifestRejectedError: "the registry does not accept this manifest, for the reason that it gives",
    UploadInvalidatedError: "the registry ended the upload session: try again, and check the log of the registry",
    UnexpectedResponseError: "check that this is the address of a registry: a proxy or a login page may be answering instead",
    RegistryError: "the registry failed: try again, and check its log",
}


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


def _is_denied(headers: Mapping[str, str]) -> bool:
    """Whether a 401 means that the token is valid, but its scope is too small (RFC 6750, 3.1)."""
    challenges = parse_challenges(headers.get("www-authenticate", ""))
    return any(challenge.parameters.get("error") == "insufficient_scope" for challenge in challenges)


class Asker(Protocol):
    """The sender of a request: what is known about its login, and what must not be shown."""

    @property
    def anonymous(self) -> bool:
        """Whether there is no login. A token whose scope is too small then means that one is needed."""
        ...

    @property
    def login_hint(self) -> str | None:
        """What to do about a refused login, if more is known than the answer says."""
        ...

    def conceal(self, text: str) -> str:
        """``text`` without the login and its tokens."""
        ...


class Nobody:
    """A sender without a login."""

    anonymous = False
    login_hint = None

    def conceal(self, text: str) -> str:
        """``text`` unchanged: there is nothing to conceal."""
        return text


_NOBODY: Final = Nobody()


def error_for(
    answer: Answer, asker: Asker = _NOBODY, *, cls: type[RegistryError] | None = None, hint: str | None = None
) -> RegistryError:
    """The typed error for a refusal, chosen by its code and status.

    Args:
        answer: the refusal.
        asker: the sender; its login is concealed.
        cls: the class, if more is known than the answer says.
        hint: likewise.
    """
    request, status = answer.request, answer.status
    failure = parse_failure(answer.body)
    limit = parse_size_limit(failure.detail) if status in {413, 416} else None
    detail = asker.conceal(without_query(failure.detail, request.url))
    cls = cls or _class_of(answer, failure.codes, detail, limit=limit, anonymous=asker.anonymous)
    words = f": {detail}" if detail else ""
    return cls(
        asker.conceal(f"{request} was answered {status}{words}"),
        hint=hint or _hint_for(cls, answer, asker),
        status=status,
        codes=tuple(asker.conceal(code) for code in failure.codes),
        detail=detail,
        digests=failure.digests,
        retry_after=answer.retry_after,
        renewable=answer.renewable,
        limit=limit,
        answered_by="web page" if is_web_page(answer.headers, answer.body) else "registry",
        **request.facts(),
    )


def _class_of(
    answer: Answer, codes: tuple[str, ...], detail: str, *, limit: int | None, anonymous: bool
) -> type[RegistryError]:
    status = answer.status
    if status == 401 and not anonymous and _is_denied(answer.headers):
        return AuthorizationError
    if is_rate_limit(status, detail):
        return RateLimitedError
    if status == 413 or (status == 416 and limit is not None):  # 416: GHCR, of a chunk
        return BlobTooLargeError
    by_code = (_BY_CODE[code] for code in codes if code in _BY_CODE)
    return next(by_code, None) or _BY_STATUS.get(status) or _class_of_unknown(answer)


def _class_of_unknown(answer: Answer) -> type[RegistryError]:
    request, status = answer.request, answer.status
    if status < 400 or is_html(answer.headers):
        return UnexpectedResponseError
    if request.method == "PUT" and "/manifests/" in request.url and status < 500:
        return ManifestRejectedError  # docker-registry answers DIGEST_INVALID to children with a sha512 digest
    return RegistryError


def _hint_for(cls: type[RegistryError], answer: Answer, asker: Asker) -> str | None:
    if 300 <= answer.status < 400 and "location" in answer.headers:
        return f"it redirects to {redact(answer.headers['location'])}, and redirects are not followed"
    if issubclass(cls, AuthenticationError | AuthorizationError) and asker.login_hint:
        return asker.login_hint
    hint = _HINTS.get(cls)
    if cls is RateLimitedError and answer.retry_after:
        return f"{hint}; the registry asks to wait {answer.retry_after:g} s"
    return hint


_MISSING: Final = frozenset({"MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN", "MANIFEST_UNKNOWN"})
# What the registries that have immutable tags say when a tag would move (docs/errors.md, TagImmutableError).
_IMMUTABLE: Final = re.compile(
    r"immutab|overwrit|overrid|already exist|locked|lock(?:ed)? by|updating assets|redeploy|cannot be (?:changed|modified|updated)",
    re.IGNORECASE,
)


def is_missing_content(failure: RegistryError) -> bool:
    """Whether the registry refuses a manifest because it lacks blobs or children of it."""
    return not _MISSING.isdisjoint(failure.codes)


def refuses_another_digest(failure: RegistryError) -> bool:
    """Whether the words, or the code, of a refused manifest say that its tag may not move. A bare 409 says so, too."""
    words = f"{failure.detail} {' '.join(failure.codes)}"
    return (
        "TAG_INVALID" in failure.codes
        or _IMMUTABLE.search(words) is not None
        or (failure.status == 409 and not failure.detail)
    )
