"""Every exception the library raises, with the facts a caller needs to act. May import: the standard library.

::

    OcipushError
    ├─ InvalidReferenceError (ValueError)
    ├─ ImageNotFoundError
    ├─ AmbiguousImageError
    ├─ TargetRequiredError
    ├─ DigestMismatchError
    ├─ ConflictingJobsError (ValueError)
    ├─ LayoutError
    │  ├─ InvalidLayoutError
    │  ├─ ManifestNotFoundError
    │  ├─ BlobMissingError
    │  └─ BlobCorruptError
    ├─ CredentialError
    ├─ TransportError
    │  ├─ ConnectFailedError
    │  ├─ TLSVerificationError
    │  ├─ StalledError (TimeoutError)
    │  ├─ ConnectionLostError
    │  └─ UnsafeLocationError
    ├─ DeadlineExceededError (TimeoutError)
    ├─ RegistryError
    │  ├─ AuthenticationError
    │  ├─ AuthorizationError
    │  ├─ RepositoryNotFoundError
    │  ├─ BlobTooLargeError
    │  ├─ RateLimitedError
    │  ├─ TagImmutableError
    │  ├─ ManifestRejectedError
    │  ├─ UploadInvalidatedError
    │  └─ UnexpectedResponseError
    └─ PusherClosedError (RuntimeError)

``str(error)`` stands alone: what failed, where, the registry's own words, and a hint.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal, TypedDict, Unpack

__all__ = [
    "AmbiguousImageError",
    "AuthenticationError",
    "AuthorizationError",
    "BlobCorruptError",
    "BlobMissingError",
    "BlobTooLargeError",
    "ConflictingJobsError",
    "ConnectFailedError",
    "ConnectionLostError",
    "CredentialError",
    "DeadlineExceededError",
    "DigestMismatchError",
    "ImageNotFoundError",
    "InvalidLayoutError",
    "InvalidReferenceError",
    "LayoutError",
    "ManifestNotFoundError",
    "ManifestRejectedError",
    "OcipushError",
    "PusherClosedError",
    "RateLimitedError",
    "RegistryError",
    "RepositoryNotFoundError",
    "StalledError",
    "TLSVerificationError",
    "TagImmutableError",
    "TargetRequiredError",
    "TransportError",
    "UnexpectedResponseError",
    "UnsafeLocationError",
    "UploadInvalidatedError",
]

Origin = Literal["source", "registry", "client"]
AnsweredBy = Literal["registry", "token service", "storage", "web page"]


def _rebuild(cls: type[OcipushError], args: tuple[Any, ...], state: dict[str, Any]) -> OcipushError:
    error = cls(*args)
    error.__dict__.update(state)
    return error


class OcipushError(Exception):
    """Base of every error raised by ocipush.

    Attributes:
        hint: what the person can do about it, or None.
        origin: whose side failed: the ``source`` layout, the ``registry``, or the ``client`` (options, network, login).
    """

    origin: ClassVar[Origin] = "client"

    def __init__(self, message: str = "", *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint

    @property
    def message(self) -> str:
        """The text without the hint."""
        return str(self.args[0]) if self.args else ""

    def __str__(self) -> str:
        return f"{self.message} (hint: {self.hint})" if self.hint else self.message

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.args, self.__dict__.copy())


class InvalidReferenceError(OcipushError, ValueError):
    """The text is not a valid reference."""


class ImageNotFoundError(OcipushError):
    """The store has no such image.

    Attributes:
        available: names of the images in the store, the most similar first.
    """

    origin: ClassVar[Origin] = "source"

    def __init__(self, message: str = "", *, hint: str | None = None, available: tuple[str, ...] = ()) -> None:
        super().__init__(message, hint=hint)
        self.available = available


class AmbiguousImageError(OcipushError):
    """Several images or descriptors match the name.

    Attributes:
        candidates: one line for each of them.
    """

    origin: ClassVar[Origin] = "source"

    def __init__(self, message: str = "", *, hint: str | None = None, candidates: tuple[str, ...] = ()) -> None:
        super().__init__(message, hint=hint)
        self.candidates = candidates


class TargetRequiredError(OcipushError):
    """No target was given, and the image does not record a reference to push to."""


class DigestMismatchError(OcipushError):
    """The target names a digest, and the image has another one."""


class ConflictingJobsError(OcipushError, ValueError):
    """Several jobs push different images to the same tag.

    Attributes:
        reference: the tag.
    """

    def __init__(self, message: str = "", *, hint: str | None = None, reference: str = "") -> None:
        super().__init__(message, hint=hint)
        self.reference = reference


class LayoutError(OcipushError):
    """An OCI image layout cannot be pushed.

    Attributes:
        path: the file or directory at fault.
    """

    origin: ClassVar[Origin] = "source"

    def __init__(
        self,
        message: str = "",
        *,
        hint: str | None = "the layout is damaged or incomplete: copy the image into the store again",
        path: str = "",
    ) -> None:
        super().__init__(message, hint=hint)
        self.path = path


class InvalidLayoutError(LayoutError):
    """A document of the layout violates the image specification, or exceeds a limit."""


class ManifestNotFoundError(LayoutError):
    """The layout has no descriptor that matches the request."""


class BlobMissingError(LayoutError):
    """A blob that the image refers to does not exist, or is not a regular file inside the layout."""


class BlobCorruptError(LayoutError):
    """A blob's size or content is not what its descriptor says."""


class CredentialError(OcipushError):
    """A login file is unreadable or malformed. Never a reason to push anonymously.

    Attributes:
        source: the file, with the line where there is one.
    """

    def __init__(
        self,
        message: str = "",
        *,
        hint: str | None = "fix the login file, or name another one with authfile= or OCIPUSH_AUTHFILE",
        source: str = "",
    ) -> None:
        super().__init__(message, hint=hint)
        self.source = source


class _Facts(TypedDict, total=False):
    """Keyword arguments of every error about a request; the classes document them."""

    hint: str | None
    method: str
    url: str
    attempts: int
    sent: int
    seconds: float


class _ExchangeError(OcipushError):
    """What all errors about a request have in common."""

    def __init__(
        self,
        message: str = "",
        *,
        hint: str | None = None,
        method: str = "",
        url: str = "",
        attempts: int = 1,
        sent: int = 0,
        seconds: float = 0.0,
    ) -> None:
        super().__init__(message, hint=hint)
        self.method = method
        self.url = url
        self.attempts = attempts
        self.sent = sent
        self.seconds = seconds

    @property
    def message(self) -> str:
        """The text without the hint, with the number of attempts."""
        text = super().message
        if self.attempts > 1:
            sent = f", {self.sent:,} bytes sent" if self.sent else ""
            text += f" ({self.attempts} attempts{sent}, in {self.seconds:.1f} s)"
        return text


class TransportError(_ExchangeError):
    """There was no usable HTTP response.

    Attributes:
        method, url: the request, without the query of its URL.
        attempts: how often the request, or the blob it belongs to, was tried.
        sent: bytes of the blob that were written to the network, over all attempts; 0 for other requests.
        seconds: from the first attempt to this error, waits included.
    """


class ConnectFailedError(TransportError):
    """No connection: the name does not resolve, the connection was refused, or the server does not speak TLS.

    Attributes:
        refused: the connection was refused.
        temporary: another attempt can succeed. False if the name does not exist, or the server does not speak TLS.
    """

    def __init__(
        self,
        message: str = "",
        *,
        refused: bool = False,
        temporary: bool = True,
        **facts: Unpack[_Facts],
    ) -> None:
        super().__init__(message, **facts)
        self.refused = refused
        self.temporary = temporary


class TLSVerificationError(TransportError):
    """The registry's certificate is not trusted. Never a reason to fall back to plain HTTP."""


class StalledError(TransportError, TimeoutError):
    """The server accepted no bytes, or sent none, for longer than a timeout allows."""


class ConnectionLostError(TransportError):
    """The connection was closed, or the server stopped speaking HTTP, before the response was complete."""


class UnsafeLocationError(TransportError):
    """The registry pointed to an address that it is not allowed to point to."""


class DeadlineExceededError(OcipushError, TimeoutError):
    """The push took longer than its deadline."""


class RegistryError(_ExchangeError):
    """The registry refused a request.

    Attributes:
        status: the HTTP status.
        codes: error codes of the response body (distribution-spec, "Error Codes").
        detail: the registry's own words, with the ``detail`` fields of the response, shortened.
        digests: the digests named in the response, such as the blobs that a manifest lacks.
        method, url: the request, without the query of its URL.
        attempts, sent, seconds: as in :class:`TransportError`.
        retry_after: seconds that the registry asked to wait, or None.
        renewable: whether a 401 can be answered with another token, so that the next attempt may succeed.
        limit: the largest request body that the registry says it accepts, in bytes, or None.
        answered_by: who sent the response: the ``registry``, the ``token service`` or ``storage`` that it names, or none
            of them: a ``web page`` is that of a proxy, a firewall or a login page in front of them.
    """

    origin: ClassVar[Origin] = "registry"

    def __init__(
        self,
        message: str = "",
        *,
        status: int = 0,
        codes: tuple[str, ...] = (),
        detail: str = "",
        digests: tuple[str, ...] = (),
        retry_after: float | None = None,
        renewable: bool = False,
        limit: int | None = None,
        answered_by: AnsweredBy = "registry",
        **facts: Unpack[_Facts],
    ) -> None:
        super().__init__(message, **facts)
        self.status = status
        self.codes = codes
        self.detail = detail
        self.digests = digests
        self.retry_after = retry_after
        self.renewable = renewable
        self.limit = limit
        self.answered_by: AnsweredBy = answered_by


class AuthenticationError(RegistryError):
    """The registry, or its token service, does not accept the login."""


class AuthorizationError(RegistryError):
    """The login is valid, but is not allowed to do this."""


class RepositoryNotFoundError(RegistryError):
    """The repository does not exist, and the registry does not create it on push."""


class BlobTooLargeError(RegistryError):
    """A request body was larger than the registry, or a proxy in front of it, accepts, even in the smallest chunks."""


class RateLimitedError(RegistryError):
    """The registry limited requests for longer than the retry policy waits."""


class TagImmutableError(RegistryError):
    """The tag exists with another digest, and cannot be changed."""


class ManifestRejectedError(RegistryError):
    """The registry does not accept the manifest."""


class UploadInvalidatedError(RegistryError):
    """The registry ended upload sessions repeatedly."""


class UnexpectedResponseError(RegistryError):
    """The response is not one that a registry gives to this request."""


class PusherClosedError(OcipushError, RuntimeError):
    """The ``Pusher`` is used outside its ``with`` block, or in a process forked from the one that opened it."""
