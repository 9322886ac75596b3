"""The state machine of an upload: every state and event, as the table and the drawing have them."""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path

import pytest

from ocipush._registry.session import TRANSITIONS, Event, State

DRAWING = Path(__file__).parents[2] / "docs" / "uploads.md"
NEXT = {
    "probing": {"found": "done", "absent": "opening"},
    "opening": {"found": "done", "mounted": "done", "opened": "sending", "lost": "checking"},
    "sending": {
        "stored": "sending",
        "committed": "done",
        "found": "done",
        "broken": "checking",
        "lost": "checking",
        "refused": "checking",
    },
    "checking": {"found": "done", "absent": "resuming"},
    "resuming": {"stored": "sending", "lost": "opening"},
    "done": {},
}


@pytest.mark.parametrize(("state", "event"), [*product(State, Event)], ids=lambda one: one.value)
def test_transitions_are_those_of_the_table_and_no_others(state: State, event: Event) -> None:
    wanted = NEXT[state.value].get(event.value)
    assert TRANSITIONS.get((state, event)) == (State(wanted) if wanted else None)


def test_every_state_leads_to_the_end() -> None:
    ends = {State.DONE}
    for _ in State:
        ends |= {state for (state, _), after in TRANSITIONS.items() if after in ends}
    assert ends == set(State)


def test_diagram_in_the_documentation_shows_the_same_transitions() -> None:
    drawn = re.findall(r"^ +(\w+) --> (\w+): (\w+)$", DRAWING.read_text(), re.MULTILINE)
    assert {(before, event): after for before, after, event in drawn} == {
        (state.value, event.value): after.value for (state, event), after in TRANSITIONS.items()
    }
