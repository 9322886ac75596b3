"""Sans-IO distribution-spec: what an answer means, and where the next request goes."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from .._http.answer import is_rate_limit
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

_NO_HEADERS: Final[Mapping[str, str]] = {}
_WARNING = re.compile(r'299\s+\S+\s+"((?:[^"\\]|\\.)*)"')


def parse_warnings(header: str) -> list[str]:
    """The texts of a Warning header (distribution-spec, "Warnings": ``299 - "text"``), made safe to print."""
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
