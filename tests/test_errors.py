from __future__ import annotations

import pickle
import re

import pytest

from ocipush import errors

ALL = [getattr(errors, name) for name in errors.__all__]


@pytest.mark.parametrize("cls", ALL, ids=lambda cls: cls.__name__)
def test_pickled_error_keeps_its_attributes(cls: type[errors.OcipushError]) -> None:
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


def drawn(text: str) -> dict[str, tuple[str, ...]]:
    """The bases of each class, as a tree in ``text`` shows them: what it stands under, and what is in parentheses."""
    above: list[str] = []
    bases: dict[str, tuple[str, ...]] = {}
    for line in text.splitlines():
        found = re.fullmatch(r"    ((?:[│ ]  )*)(?:[├└]─ )?(\w+Error)(?: \((\w+)\))?", line)
        if found is None:
            continue
        depth = len(found[1]) // 3 + ("─" in line)
        above[depth:] = [found[2]]
        bases[found[2]] = tuple(filter(None, (above[depth - 1] if depth else "Exception", found[3])))
    return bases


def public_bases(cls: type) -> tuple[str, ...]:
    """The names of a class's bases; those of a private base in its place."""
    names: list[str] = []
    for base in cls.__bases__:
        names += public_bases(base) if base.__name__.startswith("_") else [base.__name__]
    return tuple(names)


def test_docstring_shows_the_tree_of_errors() -> None:
    assert errors.__doc__ is not None
    assert drawn(errors.__doc__) == {cls.__name__: public_bases(cls) for cls in ALL}


@pytest.mark.parametrize(
    ("cls", "builtin"),
    [
        (errors.InvalidReferenceError, ValueError),
        (errors.StalledError, TimeoutError),
        (errors.DeadlineExceededError, TimeoutError),
        (errors.PusherClosedError, RuntimeError),
    ],
)
def test_error_can_be_caught_as_its_built_in_class(cls: type[errors.OcipushError], builtin: type[Exception]) -> None:
    with pytest.raises(builtin):
        raise cls("x")
