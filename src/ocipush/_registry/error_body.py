"""The body of an error answer (distribution-spec, "Error Codes")."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Final

from .._http.redact import printable

MAX_ERRORS: Final = 100  # entries of an error body that are read
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")


@dataclass(frozen=True, slots=True)
class Failure:
    """The body of an error answer (distribution-spec, "Error Codes"), or its text where it is no such body.

    ``digests`` are those that its ``detail`` fields name.
    """

    codes: tuple[str, ...]
    detail: str
    digests: tuple[str, ...] = ()


def parse_failure(body: bytes) -> Failure:
    """Read an error body of any form. Bounded: the caller gives at most the first 64 KiB."""
    try:
        value: Any = json.loads(body)
        errors = list(value["errors"])[:MAX_ERRORS]
        codes = tuple(printable(str(error["code"])) for error in errors)
        words = (f"{error['code']}: {error.get('message') or ''}".rstrip(": ") for error in errors)
        digests = tuple(_DIGEST.findall(json.dumps([error.get("detail") for error in errors])))
        return Failure(codes, printable("; ".join(words)), digests)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        text = re.sub(r"<[^<>]*>", " ", body.decode("utf-8", "replace"))
        return Failure((), printable(re.sub(r"\s+", " ", text)))
