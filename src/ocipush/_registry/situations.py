"""What a refusal comes from: the one table of situations. The hint for each of them is in ``hints``.

docs/errors.md, "What a refusal means", shows the table in words.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

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
from . import wording as say
from .hints import HINTS
from .statuses import Kind

if TYPE_CHECKING:
    import re
    from collections.abc import Collection, Container, Mapping

    from ..errors import AnsweredBy


class Standing(Enum):
    """How the registry, or its token service, has treated the login so far."""

    NONE = "there is no login"
    IDENTITY = "it is an identity token"
    UNSENT = "it was not sent: the registry asks for another kind of login, or does not say which"
    REFUSED = "it was sent, and never accepted"
    WORKED = "it was accepted before"
    READS = "it was accepted before, but only for reading"
    DENIED = "the token service accepted it, and the registry refuses the token"
    DISTRUSTED = "the registry does not recognize the token of its token service"


class Mark(Enum):
    """What else shows where a refusal comes from."""

    REDIRECT = "it names another address"
    UNCHALLENGED = "it does not say which kind of login it wants"
    MISPLACED = "the registry had sent the upload to a path outside of the repository"
    READS_ONLY = "its Allow header lists only methods that read"
    UNSIGNED = "nothing in it is typical of a registry"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """What is known about a request that was refused.

    Attributes:
        error: the class that its code and status stand for.
        words: what the answer says, without its codes.
        facts: what hints can name.
    """

    kind: Kind
    status: int
    error: type[RegistryError]
    codes: Collection[str]
    words: str
    answered_by: AnsweredBy
    standing: Standing
    marks: Collection[Mark]
    facts: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Situation:
    """A row of the table. It fits if each of its conditions holds; of ``codes`` and ``words``, one is enough.

    Attributes:
        name: of its hint.
        error: the class of the error, if its code and status stand for another one.
        errors: a condition: what its code and status stand for.
        marks: a condition: the refusal has all of them.
    """

    name: str
    error: type[RegistryError] | None = None
    errors: type[RegistryError] = RegistryError
    kinds: Collection[Kind] = frozenset(Kind)
    statuses: Container[int] = range(600)
    by: Collection[AnsweredBy] = ("registry", "token service", "storage", "web page")
    standing: Collection[Standing] = frozenset(Standing)
    marks: Collection[Mark] = ()
    codes: Collection[str] = ()
    words: re.Pattern[str] | None = None

    def fits(self, refusal: Refusal) -> bool:
        """Whether this is the situation."""
        return (
            issubclass(refusal.error, self.errors)
            and refusal.kind in self.kinds
            and refusal.status in self.statuses
            and refusal.answered_by in self.by
            and refusal.standing in self.standing
            and set(self.marks) <= set(refusal.marks)
            and self._is_said(refusal)
        )

    def _is_said(self, refusal: Refusal) -> bool:
        if self.words is None and not self.codes:
            return True
        said = self.words is not None and self.words.search(refusal.words) is not None
        return said or not set(self.codes).isdisjoint(refusal.codes)

    def hint_for(self, refusal: Refusal) -> str | None:
        """What the user can do."""
        hint = HINTS.get(self.name)
        return None if hint is None else hint.format_map(refusal.facts)


def situation_of(refusal: Refusal) -> Situation:
    """The first situation that fits."""
    return next(one for one in SITUATIONS if one.fits(refusal))


_TOKEN: Final = {Kind.TOKEN}
_MANIFEST: Final = {Kind.MANIFEST}
_STARTS: Final = {Kind.OPEN, Kind.MOUNT}
_SENDS: Final = {Kind.CHUNK, Kind.COMMIT}
_WRITES: Final = _STARTS | _SENDS | _MANIFEST
_PAGE: Final[Collection[AnsweredBy]] = ["web page"]
_REGISTRY: Final[Collection[AnsweredBy]] = ["registry"]
_STORAGE: Final[Collection[AnsweredBy]] = ["storage"]
_REFUSED: Final = range(400, 500)
_FAILED: Final = range(500, 600)
_BOTH: Final = range(400, 600)
_GATEWAY: Final = {502, 503, 504, 598, 599, *range(520, 531)}
_MISSING: Final = {"MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN", "MANIFEST_UNKNOWN"}
_UNEXPECTED: Final = UnexpectedResponseError

_BY_ANYONE: Final = (
    Situation("redirect", statuses=range(300, 400), marks=[Mark.REDIRECT]),
    Situation("rate limit", errors=RateLimitedError),
    Situation("large manifest", errors=BlobTooLargeError, kinds=_MANIFEST),
    Situation("large body", errors=BlobTooLargeError),
    Situation("client certificate", _UNEXPECTED, statuses={400, 403, 495, 496}, by=_PAGE, words=say.CERTIFICATE),
    Situation("proxy login", _UNEXPECTED, statuses={407}),
    Situation("disk full", RegistryError, statuses=_BOTH, words=say.DISK_FULL),
    Situation("disk full, by status", RegistryError, statuses={507}),
    Situation("large body, in words", kinds=_SENDS, statuses=_BOTH, words=say.TOO_LARGE),
    Situation("storage failed", RegistryError, statuses=_FAILED, by=_STORAGE),
    Situation("storage refused", RegistryError, statuses=_REFUSED, by=_STORAGE),
)
_OF_TOKENS: Final = (
    Situation("token service failed", kinds=_TOKEN, statuses=_FAILED),
    Situation("token service gone", _UNEXPECTED, kinds=_TOKEN, statuses={404, 405, 410}),
    Situation("token service, page", _UNEXPECTED, kinds=_TOKEN, statuses={*range(401), *range(402, 500)}, by=_PAGE),
    Situation("token service, no login", kinds=_TOKEN, statuses={401, 403}, standing=[Standing.NONE]),
    Situation("token service, worked", kinds=_TOKEN, statuses={400, 401}, standing=[Standing.WORKED]),
    Situation(
        "token service, identity token",
        AuthenticationError,
        kinds=_TOKEN,
        statuses={400, 401},
        standing=[Standing.IDENTITY],
    ),
    Situation("token service, login refused", kinds=_TOKEN, statuses={401}),
    Situation("token service, bad login", AuthenticationError, kinds=_TOKEN, statuses={400}, words=say.BAD_LOGIN),
    Situation("token service, no permission", kinds=_TOKEN, statuses={403}),
    Situation("token service, refused", kinds=_TOKEN, statuses=_REFUSED),
)
_OF_LOGINS: Final = (
    Situation("page that wants a login", statuses={401}, by=_PAGE, marks=[Mark.UNCHALLENGED]),
    Situation("no login", statuses={401}, standing=[Standing.NONE]),
    Situation("no challenge", statuses={401}, standing=[Standing.UNSENT], marks=[Mark.UNCHALLENGED]),
    Situation("unknown challenge", statuses={401}, standing=[Standing.UNSENT]),
    Situation("identity token", statuses={401}, standing=[Standing.IDENTITY]),
    Situation("worked until now", AuthenticationError, statuses={401}, standing=[Standing.WORKED]),
    Situation("accepted for reading", AuthorizationError, statuses={401}, standing=[Standing.READS]),
    Situation("token denied", AuthorizationError, statuses={401}, standing=[Standing.DENIED]),
    Situation("token not recognized", statuses={401}, standing=[Standing.DISTRUSTED]),
    Situation("login refused", statuses={401}),
)
_IN_WORDS: Final = (
    Situation("content missing", kinds=_MANIFEST, codes=_MISSING),
    Situation("login expired", AuthenticationError, statuses={400, 403}, by=_REGISTRY, words=say.EXPIRED),
    Situation("read-only", RegistryError, kinds=_WRITES, statuses=_BOTH, words=say.READ_ONLY),
    Situation("cache", RegistryError, kinds=_WRITES, statuses=_REFUSED, by=_REGISTRY, words=say.CACHE),
    Situation(
        "immutable tag",
        ManifestRejectedError,
        kinds=_MANIFEST,
        statuses={400, 403, 405, 409, 412},
        by=_REGISTRY,
        codes={"TAG_INVALID"},
        words=say.IMMUTABLE,
    ),
    Situation("immutable tag, bare", kinds=_MANIFEST, statuses={409}, words=say.NO_REASON),
    Situation("quota", RegistryError, kinds=_WRITES, statuses=_REFUSED, by=_REGISTRY, words=say.QUOTA),
    Situation("network rules", RegistryError, statuses={403}, by=_REGISTRY, words=say.NETWORK),
    Situation("layer URL", kinds=_MANIFEST, statuses=_REFUSED, by=_REGISTRY, words=say.LAYER_URL),
    Situation("media type", kinds=_MANIFEST, statuses={415}),
    Situation("media type, in words", errors=ManifestRejectedError, words=say.MEDIA_TYPE),
    Situation("media type, perhaps", errors=ManifestRejectedError, statuses={400, 406, 422}, words=say.NO_REASON),
    Situation(
        "repository missing",
        RepositoryNotFoundError,
        kinds=_STARTS | _MANIFEST,
        statuses={400, 404},
        by=_REGISTRY,
        codes={"NAME_UNKNOWN"},
        words=say.NO_REPOSITORY,
    ),
    Situation("repository name", statuses=_REFUSED, codes={"NAME_INVALID"}),
    Situation("damaged on the way", kinds=_SENDS, codes={"DIGEST_INVALID"}),
)
_BY_METHOD: Final = (
    Situation("writes not allowed", RegistryError, kinds=_WRITES, statuses={405}, marks=[Mark.READS_ONLY]),
    Situation("pushes not supported", RegistryError, kinds=_STARTS, statuses={405, 501}, codes={"UNSUPPORTED"}),
    Situation("method refused by a page", _UNEXPECTED, statuses={405, 501}, by=_PAGE),
    Situation("method refused", statuses={405, 501}, marks=[Mark.UNSIGNED]),
    Situation("method not supported", statuses={405, 501}),
)
_BY_PROXIES: Final = (
    Situation(
        "misplaced",
        _UNEXPECTED,
        kinds=_SENDS | {Kind.SESSION},
        statuses={404},
        marks=[Mark.MISPLACED, Mark.UNSIGNED],
    ),
    Situation("firewall", _UNEXPECTED, statuses={403, 406, 418, 451}, by=_PAGE),
    Situation("gateway", statuses=_GATEWAY, by=_PAGE),
    Situation("unexpected", errors=UnexpectedResponseError, statuses=range(500)),
)
_REST: Final = (
    Situation("session lost", errors=UploadInvalidatedError),
    Situation("no login, perhaps", statuses={403}, standing=[Standing.NONE], words=say.NO_ACCESS),
    Situation("no permission, perhaps", statuses={403}, marks=[Mark.UNSIGNED], words=say.NO_ACCESS),
    Situation("no permission", statuses={403}, words=say.NO_ACCESS),
    Situation("not found", kinds=_STARTS, statuses={404}),
    Situation("no registry", kinds={Kind.LOGIN}, statuses={404}),
    Situation("failed", statuses=_FAILED),
    Situation("other"),
)
SITUATIONS: Final = (*_BY_ANYONE, *_OF_TOKENS, *_OF_LOGINS, *_IN_WORDS, *_BY_METHOD, *_BY_PROXIES, *_REST)
