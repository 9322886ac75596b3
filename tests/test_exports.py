from __future__ import annotations

import pickle
import subprocess
import sys
from dataclasses import fields, is_dataclass
from functools import partial
from types import FunctionType
from typing import Any, get_type_hints

import pytest

import ocipush
from ocipush import errors, sync

PUBLIC = [getattr(ocipush, name) for name in ocipush.__all__]
RESULT = ocipush.PushResult("r.example/a:1", "sha256:1", "m", 1, (), unchanged=False, requests=1, sent=1, seconds=1.0)


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_every_exported_name_can_be_imported() -> None:
    assert sorted(ocipush.__all__) == dir(ocipush)
    for name in ocipush.__all__:
        assert getattr(ocipush, name) is not None


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'pull'"):
        ocipush.pull  # noqa: B018


def test_importing_the_package_loads_none_of_its_libraries() -> None:
    libraries = {"httpx", "h11", "pydantic", "pydantic_core", "anyio", "click", "rich"}
    assert run(f"import sys, ocipush; print(sorted({libraries} & set(sys.modules)))") == "[]"


@pytest.mark.parametrize(
    "value", [one for one in PUBLIC if isinstance(one, type | FunctionType)], ids=lambda one: one.__name__
)
def test_public_class_or_function_has_the_module_that_users_import_it_from(value: Any) -> None:
    assert value.__module__ == ("ocipush.errors" if value is ocipush.OcipushError else "ocipush")


@pytest.mark.parametrize("module", [errors, sync])
def test_names_of_a_public_module_have_it_as_their_module(module: Any) -> None:
    assert {getattr(module, name).__module__ for name in module.__all__} == {module.__name__}


@pytest.mark.parametrize("line", ["import ocipush; ocipush.push", "import ocipush.sync", "from ocipush import Pusher"])
def test_class_that_was_never_accessed_by_name_has_its_public_module_too(line: str) -> None:
    seen = "m = sys.modules['ocipush._events']; print(m.PushResult.__module__, m.PushDone.__module__)"
    assert run(f"import sys; {line}; {seen}") == "ocipush ocipush"


@pytest.mark.parametrize("value", [one for one in PUBLIC if isinstance(one, type)], ids=repr)
def test_annotations_of_a_public_class_can_be_resolved(value: type) -> None:
    hints = get_type_hints(value)
    assert not any(isinstance(hint, str) for hint in hints.values())
    if is_dataclass(value):
        assert {field.name for field in fields(value)} <= hints.keys()


@pytest.mark.parametrize(
    "value",
    [
        ocipush.push,
        ocipush.Pusher,
        RESULT,
        ocipush.PushDone("id", RESULT),
        ocipush.RetryPolicy(attempts=2),
        ocipush.Timeouts(connect=1),
        ocipush.Reference.parse("r.example/a:1"),
        ocipush.Login("user", "password"),
    ],
    ids=lambda value: getattr(value, "__name__", type(value).__name__),
)
def test_public_value_can_be_pickled(value: object) -> None:
    assert pickle.loads(pickle.dumps(value)) == value


def test_pickled_result_names_no_private_module_and_can_be_loaded_first() -> None:
    pickled = pickle.dumps(ocipush.PushDone("id", RESULT))
    assert b"ocipush._" not in pickled
    assert run(f"import pickle; print(pickle.loads({pickled!r}).result.reference)") == "r.example/a:1"


def test_type_of_a_callback_can_be_used_at_run_time() -> None:
    assert isinstance(print, ocipush.OnEvent)
    assert isinstance(partial(print, end=""), ocipush.OnEvent)
    assert not isinstance("print", ocipush.OnEvent)
    assert "must not block" in (ocipush.OnEvent.__doc__ or "")
