"""Read JSON strictly: one object, no duplicate keys, UTF-8."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, Any, NoReturn

from pydantic_core import CoreSchema, ValidationError, core_schema

from ..errors import InvalidLayoutError

if TYPE_CHECKING:
    from collections.abc import Sequence


def object_schema(model: type, members: dict[str, CoreSchema]) -> CoreSchema:
    """A JSON object with these members, of which any other is ignored, as a ``model``: mediaType is its media_type."""
    required = {one.name for one in fields(model) if one.default is MISSING}
    names = {key: re.sub(r"\.|(?=[A-Z])", "_", key).lower() for key in members}
    typed = {
        names[key]: core_schema.typed_dict_field(schema, required=names[key] in required, validation_alias=key)
        for key, schema in members.items()
    }
    return core_schema.no_info_after_validator_function(
        lambda values: model(**values), core_schema.typed_dict_schema(typed)
    )


def list_schema(items: CoreSchema) -> CoreSchema:
    """A JSON list as a tuple. Go writes an empty one as null."""
    return core_schema.no_info_before_validator_function(
        lambda value: () if value is None else value, core_schema.tuple_variable_schema(items)
    )


def parse_json_object(raw: bytes, *, where: str) -> dict[str, Any]:
    """Parse one JSON object without duplicate keys.

    Raises:
        InvalidLayoutError: it is anything else.
    """
    try:
        # Decoded here: json.loads would also take UTF-16, which no registry does.
        value = json.loads(raw.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_refuse)
    except RecursionError as exc:
        raise InvalidLayoutError(f"{where} nests too deep", path=where) from exc
    except ValueError as exc:  # JSONDecodeError, UnicodeDecodeError and _unique's own
        raise InvalidLayoutError(f"{where} is not JSON: {exc}", path=where) from exc
    if not isinstance(value, dict):
        raise InvalidLayoutError(f"{where} is not a JSON object", path=where)
    return value


def describe(error: ValidationError) -> str:
    """A pydantic error in one line: the first field at fault, and how many more there are."""
    problems = error.errors(include_url=False, include_input=False)
    first = problems[0]
    place = ".".join(str(part) for part in first["loc"])
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return f"{place}: {first['msg']}{more}"


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON number")


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise ValueError(f"the key {_shown(twice)} stands there twice")
    return value


def _shown(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= 160 else text[:160] + "…"
