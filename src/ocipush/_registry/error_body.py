"""The body of an error answer (distribution-spec, "Error Codes")."""

from __future__ import annotations

import codecs
import json
import re
from dataclasses import dataclass
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, FailFast

from .._http.redact import printable
from .._oci.json import read_json_object, validate

MAX_ERRORS: Final = 100  # entries of an error body that are read
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

    ``digests`` are those that its entries name, in their ``detail`` or in their message.
    """

    codes: tuple[str, ...]
    detail: str
    digests: tuple[str, ...] = ()


def parse_failure(body: bytes) -> Failure:
    """Read an error body of any form. Bounded: the caller gives at most the first 64 KiB."""
    try:
        errors = validate(_ErrorBody, read_json_object(body.removeprefix(codecs.BOM_UTF8))).errors
    except ValueError:
        text = re.sub(r"<[^<>]*>", " ", body.decode("utf-8", "replace"))
        return Failure((), printable(re.sub(r"\s+", " ", text)), tuple(dict.fromkeys(_DIGEST.findall(text))))
    words = (f"{error.code}: {error.message or ''}".rstrip(": ") for error in errors)
    named = _DIGEST.findall(json.dumps([(error.detail, error.message) for error in errors]))
    digests = dict.fromkeys(named)
    return Failure(tuple(printable(str(error.code)) for error in errors), printable("; ".join(words)), tuple(digests))
