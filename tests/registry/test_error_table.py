"""Which error each status and code of the distribution specification becomes."""

from __future__ import annotations

import json

import pytest

from ocipush import errors
from ocipush._registry.answers import error_for

BLOB = "https://registry.example/v2/app/blobs/uploads/1"


def error_of(status: int, code: str, message: str = "no") -> type[errors.RegistryError]:
    body = json.dumps({"errors": [{"code": code, "message": message}]}).encode()
    return type(error_for("PUT", BLOB, status, body, headers={"content-type": "application/json"}))


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("UNAUTHORIZED", errors.AuthenticationError),
        ("DENIED", errors.AuthorizationError),
        ("NAME_UNKNOWN", errors.RepositoryNotFoundError),
        ("TOOMANYREQUESTS", errors.RateLimitedError),
        ("TAG_INVALID", errors.TagImmutableError),
        ("MANIFEST_INVALID", errors.ManifestRejectedError),
        ("MANIFEST_BLOB_UNKNOWN", errors.ManifestRejectedError),
        ("MANIFEST_UNVERIFIED", errors.ManifestRejectedError),
        ("BLOB_UPLOAD_UNKNOWN", errors.UploadInvalidatedError),
        ("BLOB_UPLOAD_INVALID", errors.UploadInvalidatedError),
        ("SIZE_INVALID", errors.UploadInvalidatedError),
        ("SOMETHING_ELSE", errors.RegistryError),
    ],
)
def test_code_tells_which_error_it_is_where_the_status_says_little(
    code: str, error: type[errors.RegistryError]
) -> None:
    assert error_of(400, code) is error


LIMIT = "chunk size exceeds the maximum permissible limit of 4.00MiB"


@pytest.mark.parametrize(
    ("status", "message", "error", "limit"),
    [
        (413, "no", errors.BlobTooLargeError, None),
        (413, LIMIT, errors.BlobTooLargeError, 4 * 1024 * 1024),
        (416, LIMIT, errors.BlobTooLargeError, 4 * 1024 * 1024),  # GHCR, of a chunk
        (416, "the bytes are not those that come next", errors.UploadInvalidatedError, None),
        (400, LIMIT, errors.UploadInvalidatedError, None),
    ],
)
def test_body_that_was_too_large_is_told_from_a_range_that_does_not_fit(
    status: int, message: str, error: type[errors.RegistryError], limit: int | None
) -> None:
    body = json.dumps({"errors": [{"code": "SIZE_INVALID" if status == 400 else "X", "message": message}]}).encode()
    made = error_for("PATCH", BLOB, status, body, headers={"content-type": "application/json"})
    assert type(made) is error
    assert getattr(made, "limit", None) == limit


@pytest.mark.parametrize(
    ("status", "words", "limited"),
    [
        (429, "", True),
        (429, "denied", True),
        (403, "You have exceeded a secondary rate limit", True),
        (403, "rate-limit", True),
        (403, "Too Many Requests", True),
        (403, "", False),
        (403, "denied", False),
        (400, "rate limit", False),
        (401, "too many requests", False),
        (503, "too many requests", False),
    ],
)
def test_rate_limit_is_a_429_or_a_403_that_says_so(status: int, words: str, limited: bool) -> None:
    assert (error_of(status, "UNKNOWN", words) is errors.RateLimitedError) is limited


def test_403_that_speaks_of_a_rate_limit_is_no_refused_login() -> None:
    assert error_of(403, "DENIED", "You have exceeded a secondary rate limit") is errors.RateLimitedError
    assert error_of(403, "DENIED") is errors.AuthorizationError
