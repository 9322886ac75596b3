"""What a token service answers."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Final

_DEFAULT_LIFETIME: Final = 60.0  # token specification: what a missing expires_in means
_LONGEST_LIFETIME: Final = 86_400.0
MAX_GRANT: Final = 64 * 1024  # bytes of a token service's answer


@dataclass(frozen=True, slots=True)
class Grant:
    """What a token service gave: a token, how many seconds it is good for, and a login for further ones, or None."""

    token: str = field(repr=False)
    lifetime: float = _DEFAULT_LIFETIME
    refresh_token: str | None = field(default=None, repr=False)


def parse_grant(body: bytes) -> Grant | None:
    """Read the answer of a token service (distribution, "Token Authentication"); None when it holds no usable token."""
    if len(body) > MAX_GRANT:
        return None
    try:
        reply: Any = json.loads(body)
        token, refresh = reply.get("access_token") or reply.get("token"), reply.get("refresh_token")
        lifetime = reply.get("expires_in")
    except (ValueError, AttributeError, RecursionError):
        return None
    if not _is_visible(token):
        return None
    known = isinstance(lifetime, int | float) and not isinstance(lifetime, bool) and lifetime > 0
    return Grant(
        token,
        float(min(lifetime, _LONGEST_LIFETIME)) if known else _DEFAULT_LIFETIME,
        refresh if _is_visible(refresh) else None,
    )


def _is_visible(value: object) -> bool:
    return isinstance(value, str) and value.isascii() and value.isprintable() and value.strip() != ""
