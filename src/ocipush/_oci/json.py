"""Read JSON strictly and within limits, and check it against a pydantic model. Every JSON boundary uses this module.

``json.loads`` holds the interpreter's lock while it scans, and a short value can take forty times its bytes in memory. So
values and levels are counted first. What is left takes tens of milliseconds and megabytes.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

from ..errors import InvalidLayoutError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic import BaseModel, ValidationError

    Model = TypeVar("Model", bound=BaseModel)

MAX_NESTING: Final = 100  # levels of objects and lists in each other
MAX_VALUES: Final = 200_000  # values in one document; 4 MiB of the shortest descriptors hold 134,000
MAX_DIGITS: Final = 600  # of an integer; Python's own limit cannot be set below 640
_PLAIN_KEY: Final = re.compile(r"[A-Za-z0-9._-]{1,80}")
# Messages of pydantic that speak of Python, in the words of JSON.
_IN_JSON: Final = {
    "model_type": "Input should be an object",
    "dict_type": "Input should be an object",
    "tuple_type": "Input should be a list",
}
_SHOWN: Final = 80  # characters of a name that an error shows
# The next bracket, brace or comma outside of strings. Possessive, so it never backtracks; at most 1,000 steps at once, so
# that other threads get their turn.
_MARK: Final = re.compile(rb'(?:[^][{},"]++|"(?:[^"\\]++|\\.)*+"?+){0,1000}+([][{},]?)', re.DOTALL)


class JSONError(ValueError):
    """Bytes are not one strict JSON object. The text completes a sentence: "index.json is not UTF-8".

    Attributes:
        problem: the text without anything that was read.
        line: where the problem is, if that is known.
    """

    def __init__(self, problem: str, detail: str = "", *, line: int | None = None) -> None:
        super().__init__(f"{problem}: {detail}" if detail else problem)
        self.problem = problem
        self.line = line


def read_json_object(raw: bytes) -> dict[str, Any]:
    """Read one JSON object: in UTF-8, without duplicate keys, NaN or Infinity, and within the limits above.

    Raises:
        JSONError: it is anything else.
    """
    _check_limits(raw)
    error = JSONError("is not a JSON object")
    try:
        # Decoded here, because json.loads would also read UTF-16.
        value = json.loads(
            raw.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_int=_integer,
            parse_float=_float,
            parse_constant=_refuse,
        )
        if isinstance(value, dict):
            return value
    except JSONError as exc:
        error = exc.with_traceback(None)
    except json.JSONDecodeError as exc:
        error = JSONError("is not JSON", str(exc), line=exc.lineno)
    except UnicodeDecodeError:
        error = JSONError("is not UTF-8")
    except RecursionError:  # the caller's own stack is deep
        error = JSONError("is nested too deep")
    raise error  # not from the error that was caught, which holds all that was read


def parse_json_object(raw: bytes, *, where: str) -> dict[str, Any]:
    """Read one JSON object of an image; ``where`` names it in errors.

    Raises:
        InvalidLayoutError: it is anything else, as for :func:`read_json_object`.
    """
    try:
        return read_json_object(raw)
    except JSONError as exc:
        raise InvalidLayoutError(f"{where} {exc}", path=where) from exc


def validate(model: type[Model], value: object) -> Model:
    """Check a value that was read against a pydantic model.

    Raises:
        ValueError: the first field that is wrong, in one line. It shows no more of the value than the model's own
            validators do, and does not keep it alive.
    """
    from pydantic import ValidationError  # here, because digests and references need this module, but no pydantic

    try:
        return model.model_validate(value)
    except ValidationError as exc:
        problem = _first_problem(exc)
    raise ValueError(problem)


def quoted(text: str) -> str:
    """A text that was read, as an error shows it: quoted, in ASCII, and short."""
    return f"{text[:_SHOWN]!a}{'…' if len(text) > _SHOWN else ''}"


def is_text(value: object) -> bool:
    """Whether this is a string that UTF-8 can encode: JSON can spell half of a surrogate pair."""
    return isinstance(value, str) and (value.isascii() or not re.search("[\ud800-\udfff]", value))


def _check_limits(raw: bytes) -> None:
    if raw.count(b"[") + raw.count(b"{") <= MAX_NESTING and raw.count(b",") <= MAX_VALUES - MAX_NESTING:
        return  # most documents; commas within strings count here
    values = depth = 0
    for found in _MARK.finditer(raw):
        match found[1]:
            case b"[" | b"{":
                values += 1
                depth += 1
            case b",":
                values += 1
            case b"]" | b"}":
                depth -= 1
            case _:  # a step without a mark
                pass
        if depth > MAX_NESTING:
            raise JSONError(f"is nested more than {MAX_NESTING} levels deep")
        if values > MAX_VALUES:
            raise JSONError(f"has more than {MAX_VALUES:,} values")


def _refuse(constant: str) -> NoReturn:
    raise JSONError("is not JSON", f"{constant} is not a JSON number")


def _integer(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise JSONError(f"has an integer of more than {MAX_DIGITS} digits")
    return int(text)


def _float(text: str) -> float:
    return float(text)  # not float itself: a call in Python lets other threads run


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise JSONError("has a duplicate key", quoted(key))
            seen.add(key)
    return value


def _first_problem(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    parts = (str(part) for part in first["loc"])
    place = ".".join(part if _PLAIN_KEY.fullmatch(part) else quoted(part) for part in parts)
    message = _IN_JSON.get(first["type"], first["msg"]).removeprefix("Value error, ")
    if first["type"] == "too_long" and (context := first.get("ctx")):
        message = f"more than {context['max_length']:,} items"
    return f"{place}: {message}" if place else message
