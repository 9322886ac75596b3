"""`ocipush list`."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.cli.doubles import DIGEST, run

import ocipush


def test_list_warns_about_a_directory_that_is_not_a_layout_and_push_does_not(tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    done = run("list", "--images-store-dir", str(tmp_path))
    assert done.stderr.startswith(f"warning: skipped: {tmp_path}/broken is not an OCI layout")
    assert "skipped" not in run("push", "app", "--images-store-dir", str(tmp_path)).stderr


@pytest.mark.parametrize("command", [["list"], ["ls"], ["image", "list"], ["image", "ls"]])
def test_list_shows_columns(monkeypatch: pytest.MonkeyPatch, command: list[str]) -> None:
    def list_images(**_: Any) -> list[Any]:
        return [found("app", "r/app:1", 1500), found("b", None, None)]

    monkeypatch.setattr(ocipush, "list_images", list_images)
    done = run(*command)
    header, first, second = done.stdout.splitlines()
    assert header.split() == ["NAME", "REF", "DIGEST", "SIZE"]
    assert first.split() == ["app", "r/app:1", DIGEST[:19], "1.5", "kB"]
    assert second.split() == ["b", "-", DIGEST[:19], "-"]


def test_list_of_a_store_without_images_says_why_it_is_empty(tmp_path: Path) -> None:
    for store, line in ((tmp_path, f"no images in the store {tmp_path}"), (tmp_path / "none", "does not exist")):
        done = run("list", "--images-store-dir", str(store))
        assert (done.exit_code, done.stdout.split()) == (0, ["NAME", "REF", "DIGEST", "SIZE"])
        assert line in done.stderr
        assert str(store) in done.stderr
        assert run("list", "--quiet", "--images-store-dir", str(store)).stderr == ""


def found(name: str, ref: str | None, size: int | None) -> Any:
    return SimpleNamespace(name=name, path=Path("/s"), ref=ref, digest=DIGEST, media_type="m", size=size)
