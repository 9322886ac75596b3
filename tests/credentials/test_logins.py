"""Saving, finding and removing logins: under which registries, and what is left on disk."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

import ocipush
from ocipush import errors
from ocipush._credentials.authfile import find_login

if TYPE_CHECKING:
    from pathlib import Path

LOGIN = ocipush.Login("user", "password")


def test_saved_login_is_private_found_and_removed(authfile: Path) -> None:
    ocipush.save_login("registry.example", LOGIN, authfile=authfile)
    assert authfile.stat().st_mode & 0o777 == 0o600
    assert find_login("registry.example", authfile=authfile) == LOGIN
    assert ocipush.remove_login("registry.example", authfile=authfile)
    assert not ocipush.remove_login("registry.example", authfile=authfile)
    assert find_login("registry.example", authfile=authfile) is None


def test_login_for_docker_hub_is_found_and_removed_under_all_its_names(tmp_path: Path) -> None:
    path = tmp_path / "made" / "private" / "auth.json"
    ocipush.save_login("docker.io", LOGIN, authfile=path)
    assert path.parent.parent.stat().st_mode & 0o777 == 0o700
    assert find_login("index.docker.io", authfile=path) == LOGIN
    assert ocipush.remove_login("index.docker.io", authfile=path)
    assert find_login("docker.io", authfile=path) is None


def test_environment_variable_names_the_login_file(authfile: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OCIPUSH_AUTHFILE", str(authfile))
    ocipush.save_login("registry.example", LOGIN)
    assert authfile.exists()
    assert find_login("registry.example") == LOGIN


def test_login_without_a_password_is_not_found(authfile: Path) -> None:
    ocipush.save_login("registry.example", ocipush.Login("user", ""), authfile=authfile)
    assert find_login("registry.example", authfile=authfile) is None


def test_login_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(errors.CredentialError, match="cannot be read"):
        find_login("registry.example", authfile=tmp_path)


def test_login_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "file").touch()
    for path in (tmp_path / "loop", tmp_path / "file" / "auth.json"):
        with pytest.raises(errors.CredentialError, match="cannot be") as caught:
            ocipush.save_login("registry.example", LOGIN, authfile=path)
        assert str(path.parent) in str(caught.value)


@pytest.mark.parametrize(
    "registry", ["https://host.example", "host.example/team", "myregistry", "host.example:99999", "a b.example", "h:x"]
)
def test_login_for_an_invalid_registry_is_not_saved(authfile: Path, registry: str) -> None:
    with pytest.raises(errors.InvalidReferenceError, match="not a valid re"):
        ocipush.save_login(registry, LOGIN, authfile=authfile)
    assert list(authfile.parent.iterdir()) == []


def test_login_without_a_registry_is_not_saved(authfile: Path) -> None:
    with pytest.raises(errors.CredentialError, match="needs a registry"):
        ocipush.save_login(" ", LOGIN, authfile=authfile)
    assert list(authfile.parent.iterdir()) == []


def test_login_that_cannot_be_encoded_is_not_saved(authfile: Path) -> None:
    with pytest.raises(errors.CredentialError, match="not text"):
        ocipush.save_login("registry.example", ocipush.Login("user", "\udcff"), authfile=authfile)
    assert list(authfile.parent.iterdir()) == []


def test_logout_without_a_login_creates_nothing(tmp_path: Path) -> None:
    assert not ocipush.remove_login("registry.example", authfile=tmp_path / "none" / "auth.json")
    assert list(tmp_path.iterdir()) == []


def test_login_is_saved_through_a_symbolic_link_and_unknown_keys_are_kept(authfile: Path, tmp_path: Path) -> None:
    target = tmp_path / "real.json"
    target.write_text('{"other": 1, "registries": {"a": {"username": "x", "password": "y"}}}')
    authfile.symlink_to(target)
    ocipush.save_login("registry.example", LOGIN, authfile=authfile)
    assert authfile.is_symlink()
    written = json.loads(target.read_text())
    assert (written["other"], set(written["registries"])) == (1, {"a", "registry.example"})
    assert target.stat().st_mode & 0o777 == 0o600
