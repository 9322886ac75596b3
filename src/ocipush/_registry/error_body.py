"""The body of an error answer (distribution-spec, "Error Codes")."""

from __future__ import annotations

import codecs
import json
import re
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, FailFast

from .._http.redact import MAX_DETAIL, printable
from .._oci.json import read_json_object, validate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MAX_ERRORS: Final = 100  # entries of an error body that are read
MAX_FIELD: Final = 400  # characters of one ``detail`` that are shown
_MAX_VALUES: Final = 50  # values of one ``detail`` that are shown
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")


def _first_entries(errors: object) -> object:
    return errors[:MAX_ERRORS] if isinstance(errors, list) else errors


class _Error(BaseModel):
    """One entry. Its code is all that registries agree on, and even that is not always a string."""

    model_config = ConfigDict(frozen=True)

    code: Any
    message: Any = None
    detail: Any = None


class _ErrorBody(BaseModel):
    model_config = ConfigDict(frozen=True)

    errors: Annotated[tuple[_Error, ...], FailFast(), BeforeValidator(_first_entries)]


@dataclass(frozen=True, slots=True)
class Failure:
    """The body of an error answer (distribution-spec, "Error Codes"), or its text if it is no such body.

    Attributes:
        codes: the codes of its entries.
        detail: its words: the code, the message and the ``detail`` of each entry.
        digests: those that its entries name, in their ``detail`` or in their message.
    """

    codes: tuple[str, ...]
    detail: str
    digests: tuple[str, ...] = ()


def parse_failure(body: bytes, conceal: Callable[[str], str] = str) -> Failure:
    """Read an error body of any form. Bounded: the caller gives at most the first 64 KiB.

    ``conceal`` removes secrets from a text. It is given each text as the registry sent it, before it is shortened.
    """
    try:
        errors = validate(_ErrorBody, read_json_object(body.removeprefix(codecs.BOM_UTF8))).errors
    except ValueError:
        text = re.sub(r"<[^<>]*>", " ", conceal(body.decode("utf-8", "replace")))
        return Failure((), printable(re.sub(r"\s+", " ", text)), tuple(dict.fromkeys(_DIGEST.findall(text))))
    named = dict.fromkeys(_DIGEST.findall(json.dumps([(error.detail, error.message) for error in errors])))
    codes = tuple(printable(conceal(str(error.code))) for error in errors)
    words = ""
    for error, code in zip(errors, codes, strict=True):
        words += f"{'; ' if words else ''}{_words_of(error, code, conceal)}"
        if len(words) > MAX_DETAIL:
            break
    return Failure(codes, printable(words), tuple(named))


def _words_of(error: _Error, code: str, conceal: Callable[[str], str]) -> str:
    message = printable(conceal(str(error.message or "")))
    detail = _text_of(error.detail, conceal)
    parts = [code, message, detail if detail not in message else ""]
    return ": ".join(part for part in parts if part)


def _text_of(detail: object, conceal: Callable[[str], str]) -> str:
    """A ``detail`` in one line: a string as it is, anything else as short JSON; nothing if it says nothing."""
    if detail in (None, "", [], {}):
        return ""
    concealed = _concealed(detail, conceal, iter(range(_MAX_VALUES)))
    text = concealed if isinstance(concealed, str) else json.dumps(concealed, ensure_ascii=False)
    text = printable(text)
    return text if len(text) <= MAX_FIELD else f"{text[:MAX_FIELD]}…"


def _concealed(value: object, conceal: Callable[[str], str], left: Iterator[int]) -> object:
    """The first values of a JSON value, without secrets: JSON would spell them differently. ``left`` counts them."""
    if next(left, None) is None:
        return "…"
    match value:
        case str():
            return conceal(value)
        case dict():
            return {conceal(name): _concealed(one, conceal, left) for name, one in islice(value.items(), _MAX_VALUES)}
        case list():
            return [_concealed(one, conceal, left) for one in islice(value, _MAX_VALUES)]
        case _:
            return value
