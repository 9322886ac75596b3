"""Which error each status and code of the distribution specification becomes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest
from tests import layouts

import ocipush
from ocipush import errors

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio


async def error_of(tmp_path: Path, status: int, code: str, message: str = "no") -> errors.RegistryError:
    """What a push raises when the registry answers so to a blob."""
    layouts.write_image(tmp_path / "app", b"layer")

    def handler(request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            return httpx.Response(202, headers={"location": "/uploads/1"})
        if request.method == "PUT":
            return httpx.Response(status, json={"errors": [{"code": code, "message": message}]})
        return httpx.Response(404)

    with pytest.raises(errors.RegistryError) as caught:
        await ocipush.push(
            tmp_path / "app",
            target="registry.example/app:1",
            authfile=tmp_path / "none",
            transport=httpx.MockTransport(handler),
            retry=ocipush.RetryPolicy(attempts=1),
        )
    assert (caught.value.method, caught.value.status) == ("PUT", status)
    return caught.value


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("UNAUTHORIZED", errors.AuthenticationError),
        ("DENIED", errors.AuthorizationError),
        ("NAME_UNKNOWN", errors.RepositoryNotFoundError),
        ("TOOMANYREQUESTS", errors.RateLimitedError),
        ("TAG_INVALID", errors.ManifestRejectedError),  # TagImmutableError takes a look at the tag
        ("MANIFEST_INVALID", errors.ManifestRejectedError),
        ("MANIFEST_BLOB_UNKNOWN", errors.ManifestRejectedError),
        ("MANIFEST_UNVERIFIED", errors.ManifestRejectedError),
        ("BLOB_UPLOAD_UNKNOWN", errors.UploadInvalidatedError),
        ("BLOB_UPLOAD_INVALID", errors.UploadInvalidatedError),
        ("SIZE_INVALID", errors.UploadInvalidatedError),
        ("SOMETHING_ELSE", errors.RegistryError),
    ],
)
async def test_error_class_follows_the_code_when_the_status_is_general(
    tmp_path: Path, code: str, error: type[errors.RegistryError]
) -> None:
    assert type(await error_of(tmp_path, 400, code)) is error


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
async def test_body_that_is_too_large_is_distinguished_from_a_wrong_range(
    tmp_path: Path, status: int, message: str, error: type[errors.RegistryError], limit: int | None
) -> None:
    made = await error_of(tmp_path, status, "SIZE_INVALID" if status == 400 else "UNKNOWN", message)
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
async def test_rate_limit_is_a_429_or_a_403_that_says_so(
    tmp_path: Path, status: int, words: str, limited: bool
) -> None:
    assert (type(await error_of(tmp_path, status, "UNKNOWN", words)) is errors.RateLimitedError) is limited


async def test_403_about_a_rate_limit_is_not_a_refused_login(tmp_path: Path) -> None:
    assert type(await error_of(tmp_path, 403, "DENIED", "a secondary rate limit")) is errors.RateLimitedError
    assert type(await error_of(tmp_path, 403, "DENIED")) is errors.AuthorizationError
