"""Upload sessions that were left on disk: taken up only where nobody else can have written them."""

from __future__ import annotations

import errno
import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from ocipush._oci.descriptor import Descriptor
from ocipush._oci.digest import Digest
from ocipush._registry.journal import Journal, SavedSession
from ocipush._registry.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.anyio
URL = "https://registry.example/v2/app"
LOCATION = f"{URL}/blobs/uploads/1?_state=secret"
KEPT: dict[str, Any] = {"location": LOCATION, "least": 0, "most": None, "acknowledged": 4}


def saved(directory: Path) -> SavedSession:
    return Journal(directory).session(URL, Descriptor(digest=Digest.of(b"content!"), size=8))


def keep(directory: Path, text: str) -> Path:
    path = saved(directory)._path
    path.write_text(text)
    path.chmod(0o600)
    return path


async def test_saved_session_is_resumed_once(tmp_path: Path) -> None:
    await saved(tmp_path).note(Session(LOCATION, 8, acknowledged=4))
    assert [one.stat().st_mode & 0o777 for one in tmp_path.iterdir()] == [0o600]
    session = await saved(tmp_path).claim()
    assert session is not None
    assert (session.location, session.acknowledged) == (LOCATION, 4)
    assert await saved(tmp_path).claim() is None


def make_wide(path: Path) -> None:
    path.chmod(0o620)


def make_link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to(path.with_name("elsewhere"))


def make_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o600)


@pytest.mark.parametrize("spoil", [make_wide, make_link, make_fifo])
async def test_session_that_another_user_can_have_written_is_not_resumed(
    tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    spoil(keep(tmp_path, json.dumps(KEPT)))
    assert await saved(tmp_path).claim() is None


async def test_session_of_another_user_is_not_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = keep(tmp_path, json.dumps(KEPT)).stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)  # root alone could give the file away
    assert await saved(tmp_path).claim() is None


@pytest.mark.parametrize(
    ("kept", "reason"),
    [
        ("", "it is not JSON: Expecting value: line 1 column 1 (char 0)"),
        ("{}", "location: Field required"),
        ("[]", "it is not a JSON object"),
        ("null", "it is not a JSON object"),
        ("[" * 100_000, "it is nested more than 100 levels deep"),
        ('{"a": ' + "9" * 5000 + "}", "it has an integer of more than 600 digits"),
        ('{"location": "/a", "location": "/b"}', "it has a duplicate key: 'location'"),
        (json.dumps({**KEPT, "location": None}), "location: Input should be a valid string"),
        (json.dumps({**KEPT, "location": ["https://h/?_state=secret"]}), "location: Input should be a valid string"),
        (json.dumps({**KEPT, "location": "file:///etc/passwd?_state=secret"}), "not an http or https URL"),
        (json.dumps({**KEPT, "location": "/v2/?_state=secret"}), "not an http or https URL"),
        (json.dumps({**KEPT, "location": "https://h:99999/?_state=secret"}), "Port out of range 0-65535"),
        (
            json.dumps({**KEPT, "least": "x"}),
            "least: Input should be a valid integer, unable to parse string as an integer",
        ),
        (json.dumps({**KEPT, "least": -1}), "least: Input should be greater than or equal to 0"),
        (json.dumps({**KEPT, "most": -1}), "most: Input should be greater than or equal to 0"),
        (json.dumps({**KEPT, "acknowledged": None}), "acknowledged: Input should be a valid integer"),
        (json.dumps({"location": LOCATION, "least": 0, "acknowledged": 0}), "most: Field required"),
        (json.dumps({**KEPT, "more": "x" * 300_000}), "it is not JSON: Unterminated string"),
    ],
)
async def test_invalid_saved_session_is_ignored_and_one_line_says_why(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kept: str, reason: str
) -> None:
    path, page = keep(tmp_path, kept), saved(tmp_path)
    assert await page.claim() is None
    await page.release()
    assert caplog.messages[0].startswith(f"{path} cannot be used to resume an upload: {reason}")
    assert len(caplog.messages) == 1
    assert "\n" not in caplog.text.strip()
    assert "secret" not in caplog.text
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("least", "most"), [(0, None), (5, 4096), (4096, 0)])
async def test_announced_chunk_sizes_are_saved(tmp_path: Path, least: int, most: int | None) -> None:
    await saved(tmp_path).note(Session(LOCATION, 8, least=least, most=most))
    session = await saved(tmp_path).claim()
    assert session is not None
    assert (session.least, session.most) == (least, most or None)


@pytest.mark.parametrize(("acknowledged", "read"), [(-5, 0), (9, 8), (10**30, 8)])
async def test_impossible_offset_is_limited_to_the_blob(tmp_path: Path, acknowledged: int, read: int) -> None:
    keep(tmp_path, json.dumps({**KEPT, "acknowledged": acknowledged}))
    session = await saved(tmp_path).claim()
    assert session is not None
    assert session.acknowledged == read


async def test_session_is_not_saved_through_a_symbolic_link(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    one = saved(tmp_path)
    one._path.with_suffix(f".{os.getpid()}").symlink_to(victim)
    await one.note(Session(LOCATION, 8))
    assert victim.read_text() == "untouched"
    assert await saved(tmp_path).claim() is not None


async def test_session_of_a_blob_that_is_being_uploaded_is_not_taken_up_by_another(tmp_path: Path) -> None:
    first, second = saved(tmp_path), saved(tmp_path)
    assert await first.claim() is None
    await first.note(Session(LOCATION, 8, acknowledged=4))
    assert await second.claim() is None
    await second.note(Session(f"{LOCATION}2", 8, acknowledged=8))
    await second.forget()
    await second.release()
    assert json.loads(first._path.read_text())["location"] == LOCATION
    await first.release()
    third = saved(tmp_path)
    session = await third.claim()
    assert session is not None
    assert session.location == LOCATION
    await third.release()
    assert list(tmp_path.iterdir()) == []


async def test_lock_that_its_owner_removes_meanwhile_is_not_mistaken_for_one(tmp_path: Path) -> None:
    first, second = saved(tmp_path), saved(tmp_path)
    await first.claim()
    await first.release()
    await second.claim()
    assert second._path.with_suffix(".lock").exists()
    assert not second._is_taken
    await second.release()


async def test_names_of_temporary_files_differ_though_the_process_has_the_same_number(tmp_path: Path) -> None:
    assert saved(tmp_path)._unique() != saved(tmp_path)._unique()


async def test_full_disk_is_told_and_leaves_no_empty_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fdopen", full)
    page = saved(tmp_path)
    await page.note(Session(LOCATION, 8, acknowledged=4))
    assert page.problem == "No space left on device"
    assert list(tmp_path.iterdir()) == []
