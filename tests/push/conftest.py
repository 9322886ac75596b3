"""Tests that push as a user: by the library on asyncio and trio, and by the command."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.push.user import WAYS, User

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(params=WAYS)
def user(request: pytest.FixtureRequest, store: Path, authfile: Path, monkeypatch: pytest.MonkeyPatch) -> User:
    return User(request.param, store, authfile, monkeypatch)
