"""What each status means for each kind of request: the one table of which answers are final.

docs/requests.md, "What a status means", shows the same table.
"""

from __future__ import annotations

from enum import Enum
from typing import Final


class Kind(Enum):
    """Kinds of requests, as far as their statuses mean different things."""

    LOGIN = "GET /v2/"
    TOKEN = "token"  # noqa: S105 - a kind of request
    TAG = "HEAD manifest"
    FETCH = "GET manifest"
    MANIFEST = "PUT manifest"
    PROBE = "HEAD blob"
    OPEN = "POST upload"
    MOUNT = "POST mount"
    SESSION = "GET upload"
    CHUNK = "PATCH"
    COMMIT = "PUT blob"


class Meaning(Enum):
    """What a status means."""

    YES = "yes"  # done, or it is there
    NO = "no"  # not done, or not there: the push goes on without it
    UNCLEAR = "unclear"  # nobody knows: the push goes on as if it were not there
    RETRY = "retry"  # temporary: send the request again after a wait
    ASK = "ask"  # what was sent may have arrived: ask for it, and then decide
    REFUSED = "refused"  # final, unless the body of the answer says more


_STORED: Final = frozenset({200, 201, 202, 204})
_ONLY_LATER: Final = frozenset({408, 425, 429, 499})
_NEVER: Final = frozenset({501, 505})  # of a server that does not know the request
# Refusals that say what is wrong with the request itself, so that it cannot have been carried out.
_NOT_CARRIED_OUT: Final = frozenset({401, 407, 411, 413, 414, 416})
_SUCCESS: Final[dict[Kind, frozenset[int]]] = {
    Kind.MANIFEST: _STORED,
    Kind.CHUNK: _STORED,
    Kind.COMMIT: _STORED,
    Kind.SESSION: frozenset({200, 202, 204}),
    Kind.OPEN: frozenset({202}),
    Kind.MOUNT: frozenset({201, 202}),
    Kind.PROBE: frozenset({200, 302, 303, 307}),  # redirects to other storage; see ``blobs``
}
_OTHERWISE: Final[dict[Kind, Meaning]] = {
    Kind.FETCH: Meaning.NO,
    Kind.SESSION: Meaning.NO,
    Kind.PROBE: Meaning.UNCLEAR,
}
_NO: Final[dict[Kind, frozenset[int]]] = {
    Kind.TAG: frozenset({400, 403, 404, 405, 501}),  # 403: the login may only be allowed to write
    Kind.PROBE: frozenset({404}),
    Kind.MOUNT: frozenset({400, 401, 403, 404, 405}),
}
_ASKED_ABOUT: Final = frozenset({Kind.MANIFEST, Kind.COMMIT})


def is_temporary(status: int) -> bool:
    """Whether the same request can succeed later: 408, 425, 429, 499 and every 5xx but 501 and 505.

    Content delivery networks have statuses of their own from 520 on, and all of them can be answers to a request that
    was carried out.
    """
    return status in _ONLY_LATER or (500 <= status <= 599 and status not in _NEVER)


def meaning_of(kind: Kind, status: int) -> Meaning:
    """What ``status`` means as the answer to a request of this kind."""
    if status in _SUCCESS.get(kind, {200}):
        return Meaning.YES
    if status in _NO.get(kind, ()):
        return Meaning.NO
    if is_temporary(status):
        return Meaning.ASK if kind in {Kind.CHUNK, Kind.COMMIT} else Meaning.RETRY
    if kind in _ASKED_ABOUT and 400 <= status <= 499 and status not in _NOT_CARRIED_OUT:
        return Meaning.ASK
    return _OTHERWISE.get(kind, Meaning.REFUSED)
