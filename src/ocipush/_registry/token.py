"""What a token service answers."""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from .._oci.json import read_json_object, validate

_DEFAULT_LIFETIME: Final = 60.0  # token specification: what a missing expires_in means
_LONGEST_LIFETIME: Final = 86_400.0
MAX_GRANT: Final = 64 * 1024  # bytes of a token service's answer


def _is_visible(value: object) -> bool:
    return isinstance(value, str) and value.isascii() and value.isprintable() and value.strip() != ""


def _check_visible(token: str) -> str:
    if not _is_visible(token):
        raise ValueError("not printable ASCII")
    return token


def _visible_or_none(value: object) -> object:
    return value if _is_visible(value) else None


def _lifetime(value: Any) -> float:
    known = isinstance(value, int | float) and not isinstance(value, bool) and value > 0
    return float(min(value, _LONGEST_LIFETIME)) if known else _DEFAULT_LIFETIME


class Grant(BaseModel):
    """What a token service granted (distribution, "Token Authentication").

    Attributes:
        lifetime: seconds for which the token is valid.
        refresh_token: a login for further tokens, or None.
    """

    model_config = ConfigDict(frozen=True)

    token: Annotated[str, AfterValidator(_check_visible)] = Field(repr=False)
    lifetime: Annotated[float, BeforeValidator(_lifetime)] = Field(default=_DEFAULT_LIFETIME, alias="expires_in")
    refresh_token: Annotated[str | None, BeforeValidator(_visible_or_none)] = Field(default=None, repr=False)

    @model_validator(mode="before")
    @classmethod
    def _choose_token(cls, answer: dict[str, Any]) -> dict[str, Any]:
        """OAuth2 calls the token ``access_token``. A service that sends both means the same by them."""
        return {**answer, "token": answer.get("access_token") or answer.get("token")}


def parse_grant(body: bytes) -> Grant | None:
    """Read the answer of a token service; None if it holds no usable token."""
    if len(body) > MAX_GRANT:
        return None
    try:
        return validate(Grant, read_json_object(body))
    except ValueError:
        return None
