"""The command with its calls of the library replaced."""

from __future__ import annotations

import pytest
from tests.cli.doubles import FakeLogins, FakePush

import ocipush


@pytest.fixture
def fake_push(monkeypatch: pytest.MonkeyPatch) -> FakePush:
    fake = FakePush()
    monkeypatch.setattr(ocipush, "push", fake.push)
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    return fake


@pytest.fixture
def fake_logins(monkeypatch: pytest.MonkeyPatch) -> FakeLogins:
    return FakeLogins(monkeypatch)
