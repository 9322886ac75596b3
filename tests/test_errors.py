from __future__ import annotations

import pickle

import pytest

import ocipush
from ocipush import errors

ALL = [getattr(errors, name) for name in errors.__all__]


@pytest.mark.parametrize("cls", ALL, ids=lambda cls: cls.__name__)
def test_error_survives_pickling_with_its_facts(cls: type[errors.OcipushError]) -> None:
    error = cls("it broke", hint="mend it")
    error.add_note("a note")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is cls
    assert str(copy) == "it broke (hint: mend it)"
    assert copy.__dict__ == error.__dict__
    assert copy.origin in {"source", "registry", "client"}


def test_error_without_hint_is_its_message() -> None:
    assert str(errors.RegistryError("no", status=500)) == "no"
    assert errors.OcipushError().message == ""


def test_tree_drawn_in_the_docstring_is_the_tree() -> None:
    assert errors.__doc__ is not None
    for cls in ALL:
        assert cls.__name__ in errors.__doc__
        assert issubclass(cls, ocipush.OcipushError)


@pytest.mark.parametrize(
    ("cls", "builtin"),
    [
        (errors.InvalidReferenceError, ValueError),
        (errors.StalledError, TimeoutError),
        (errors.DeadlineExceededError, TimeoutError),
        (errors.PusherClosedError, RuntimeError),
    ],
)
def test_error_can_be_caught_as_the_builtin_it_is(cls: type[errors.OcipushError], builtin: type[Exception]) -> None:
    with pytest.raises(builtin):
        raise cls("x")
