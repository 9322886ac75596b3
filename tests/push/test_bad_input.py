"""Bad input is one error with a hint, and the registry gets no request."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests import layouts
from tests.push.bad_inputs import CASES, Case
from tests.push.user import User, check_error

if TYPE_CHECKING:
    from ocipush.testing import Registry


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "-"))
def test_bad_input_is_one_error_before_any_request(case: Case, user: User, ocipush_registry: Registry) -> None:
    host = ocipush_registry.host
    image = layouts.write_image(user.store / "app", b"layer", ref=f"{host}/team/app:1")
    case.spoil(user.store)
    index = image / "index.json"
    if index.is_file() and not index.is_symlink():
        index.write_text(index.read_text().replace("{host}", host))
    if case.logins is not None:
        user.authfile.write_text(case.logins.replace("{host}", host))
        user.authfile.chmod(0o600)
    target = case.target.replace("{host}", host) if case.target is not None else None
    outcome = user.push_image(case.image, target=target, **case.options)
    check_error(user, outcome, case.error, case.words.replace("{host}", host), case.hint)
    assert user.way == "command" or "--" not in outcome.hint
    assert len(outcome.message) < 1000
    assert (ocipush_registry.connections, ocipush_registry.requests) == (0, [])
