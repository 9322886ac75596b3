"""The login files of Docker and Podman: which file is read, which key counts, and what a bad file says."""

from __future__ import annotations

import base64
import json
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import ocipush
from ocipush import Login, errors
from ocipush._credentials.documents import paths_of
from ocipush._credentials.files import LoginFiles, find_unused

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

pytestmark = pytest.mark.anyio
SECRET = "hunter2-and-more"


def entry(username: str, password: str = SECRET) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{username}:{password}".encode()).decode()}


def write(path: Path, document: Mapping[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))
    path.chmod(0o600)
    return path


def of(*keys: str) -> dict[str, Any]:
    """A file in which each key's user is the key itself."""
    return {"auths": {key: entry(key.replace(":", "_")) for key in keys}}


async def user(file: Path, registry: str, repository: str = "") -> str | None:
    login = await LoginFiles(file).login(registry, repository)
    return login.username if login else None


@pytest.mark.parametrize(
    ("registry", "key"),
    [
        ("r.example", "r.example"),
        ("r.example:5000", "r.example:5000"),
        ("r.example", "https://r.example"),
        ("r.example", "https://r.example/v1/"),
        ("r.example:5000", "http://r.example:5000/v2/"),
        ("r.example", "r.example/v1/"),
        ("index.docker.io", "https://index.docker.io/v1/"),
        ("index.docker.io", "docker.io"),
        ("index.docker.io", "registry-1.docker.io"),
        ("index.docker.io", "index.docker.io/v1/"),
    ],
)
async def test_key_written_by_docker_is_read(tmp_path: Path, registry: str, key: str) -> None:
    file = write(tmp_path / "config.json", {"auths": {"other.example": entry("other"), key: entry("mine")}})
    assert await LoginFiles(file).login(registry, "team/app") == Login("mine", SECRET)


@pytest.mark.parametrize(
    ("registry", "key"),
    [
        ("r.example", "r.example:5000"),
        ("r.example:5000", "r.example"),
        ("r.example", "sub.r.example"),
        ("r.example", "ftp://r.example"),
        ("r.example", "r.example/team/app2"),
        ("r.example", "r.example/team/ap"),
        ("r.example", ""),
        ("docker.io.example", "docker.io"),
    ],
)
async def test_key_of_another_registry_or_namespace_is_not_used(tmp_path: Path, registry: str, key: str) -> None:
    file = write(tmp_path / "config.json", of(key))
    assert await LoginFiles(file).login(registry, "team/app") is None


@pytest.mark.parametrize(
    ("repository", "key"),
    [
        ("team/app/web", "r.example/team/app/web"),
        ("team/app", "r.example/team/app"),
        ("team/app/api", "r.example/team/app"),
        ("team/other", "r.example/team"),
        ("team", "r.example/team"),
        ("teams/app", "r.example"),
        ("", "r.example"),
    ],
)
async def test_longest_namespace_of_the_repository_wins(tmp_path: Path, repository: str, key: str) -> None:
    keys = ("r.example", "r.example/team", "r.example/team/app/web", "r.example/team/app")
    assert await user(write(tmp_path / "auth.json", of(*keys)), "r.example", repository) == key


async def test_namespace_of_docker_hub_is_used(tmp_path: Path) -> None:
    file = write(tmp_path / "auth.json", of("docker.io", "docker.io/library"))
    assert await user(file, "index.docker.io", "library/alpine") == "docker.io/library"
    assert await user(file, "index.docker.io", "team/app") == "docker.io"


async def test_exact_key_wins_over_older_spellings(tmp_path: Path) -> None:
    assert await user(write(tmp_path / "1", of("https://r.example/v1/", "r.example")), "r.example") == "r.example"
    hub = of("docker.io", "https://index.docker.io/v1/")
    assert await user(write(tmp_path / "2", hub), "index.docker.io") == "https_//index.docker.io/v1/"


@pytest.mark.parametrize(
    ("value", "login"),
    [
        (entry("user", "pass:word"), Login("user", "pass:word")),
        (entry("镜", "像"), Login("镜", "像")),
        (entry("user", "padded\0\0"), Login("user", "padded")),
        ({"username": "user", "password": "p"}, Login("user", "p")),
        ({**entry("user"), "identitytoken": "t"}, Login("<token>", "t")),
        ({"auth": "MDAwMDA6", "identitytoken": "t"}, Login("<token>", "t")),
        ({"registrytoken": "t"}, Login(registry_token="t")),
        ({}, None),
        ({"email": "user@example"}, None),
        ({"auth": ""}, None),
    ],
)
async def test_entry_is_read_in_each_of_its_forms(tmp_path: Path, value: Any, login: Login | None) -> None:
    file = write(tmp_path / "config.json", {"auths": {"r.example": value}})
    assert await LoginFiles(file).login("r.example") == login


async def test_entry_without_a_login_is_skipped_for_another_key(tmp_path: Path) -> None:
    file = write(tmp_path / "config.json", {"auths": {"r.example": {}, "https://r.example/v1/": entry("user")}})
    assert await user(file, "r.example") == "user"


def assert_hidden(error: BaseException | None) -> None:
    while error is not None:
        assert SECRET not in f"{error} {vars(error)!r}"
        error = error.__cause__ or error.__context__


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ({"auth": f"{SECRET}!"}, "auth is not base64 of text"),
        ({"auth": base64.b64encode(b"\xff:\xfe").decode()}, "auth is not base64 of text"),
        ({"auth": base64.b64encode(SECRET.encode()).decode()}, "auth has no user name or no password"),
        (entry("", SECRET), "auth has no user name or no password"),
        (entry(SECRET, ""), "auth has no user name or no password"),
        ({"auth": [SECRET]}, "auth: Input should be a valid string"),
        ({"identitytoken": {SECRET: 1}}, "identitytoken: Input should be a valid string"),
        ({"registrytoken": 5}, "registrytoken: Input should be a valid string"),
        ({"password": f"{SECRET}\ud800"}, "password: not text that UTF-8 can encode"),
        ([SECRET], "Input should be an object"),
    ],
)
async def test_invalid_entry_is_an_error_only_for_its_registry(tmp_path: Path, value: Any, problem: str) -> None:
    file = write(tmp_path / "config.json", {"auths": {"r.example": value, "other.example": entry("other")}})
    assert await user(file, "other.example") == "other"
    with pytest.raises(errors.CredentialError) as caught:
        await LoginFiles(file).login("r.example")
    assert caught.value.message == f"{file}: the entry of 'r.example' in auths is not valid: {problem}"
    assert caught.value.source == str(file)
    assert_hidden(caught.value)


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        ({"auths": [SECRET]}, "auths: Input should be an object"),
        ({"auths": {}, "credHelpers": {"r": [SECRET]}}, "credHelpers.r: Input should be a valid string"),
        ({"credsStore": {SECRET: 1}}, "credsStore: Input should be a valid string"),
    ],
)
async def test_malformed_file_is_an_error(tmp_path: Path, document: Any, problem: str) -> None:
    file = write(tmp_path / "config.json", document)
    with pytest.raises(errors.CredentialError) as caught:
        await LoginFiles(file).login("r.example")
    assert caught.value.message == f"{file} is not a login file: {problem}"
    assert_hidden(caught.value)


async def test_maps_written_as_null_are_empty(tmp_path: Path) -> None:
    file = write(tmp_path / "config.json", {"auths": None, "credHelpers": None})
    assert await LoginFiles(file).login("r.example") is None


@pytest.mark.parametrize("name", ["fifo", "directory", "secret"])
async def test_unreadable_file_or_pipe_is_an_error_without_a_wait(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    match name:
        case "fifo":
            os.mkfifo(file)
        case "directory":
            file.mkdir()
        case _:
            write(file, {"auths": {}}).chmod(0)
            if os.access(file, os.R_OK):
                pytest.skip("root may read every file")
    with pytest.raises(errors.CredentialError, match=f"{file} cannot be read: "):
        await LoginFiles(file).login("r.example")


async def test_duplicate_key_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text(f'{{"auths": {{"r.example": {{}}, "r.example": {{"auth": "{SECRET}"}}}}}}')
    file.chmod(0o600)
    with pytest.raises(errors.CredentialError, match="has a duplicate key") as caught:
        await LoginFiles(file).login("r.example")
    assert_hidden(caught.value)


async def test_files_are_searched_in_order(tmp_path: Path) -> None:
    ours = tmp_path / "auth.json"
    ocipush.save_login("a.example", Login("ours", SECRET), authfile=ours)
    theirs = write(tmp_path / "config.json", of("a.example", "b.example"))
    files = LoginFiles([tmp_path / "missing", ours, theirs])
    logins = [await files.login(registry) for registry in ("a.example", "b.example", "c.example")]
    assert logins == [Login("ours", SECRET), Login("b.example", SECRET), None]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("DOCKER_CONFIG", "REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "OCIPUSH_AUTHFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("tool", "environ", "paths"),
    [
        ("docker", {}, ["~/.docker/config.json"]),
        ("docker", {"DOCKER_CONFIG": "/d"}, ["/d/config.json"]),
        ("podman", {"REGISTRY_AUTH_FILE": "/r.json"}, ["/r.json"]),
        ("podman", {"XDG_RUNTIME_DIR": "/run/me"}, ["/run/me/containers/auth.json", "~/.config/containers/auth.json"]),
        ("podman", {"XDG_CONFIG_HOME": "/c"}, ["/run/containers/UID/auth.json", "/c/containers/auth.json"]),
    ],
)
def test_name_of_a_tool_means_its_login_file(
    home: Path, monkeypatch: pytest.MonkeyPatch, tool: str, environ: dict[str, str], paths: list[str]
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    expected = [path.replace("~", str(home)).replace("UID", str(os.getuid())) for path in paths]
    assert [str(path) for path in paths_of(tool)] == expected


def test_file_with_the_name_of_a_tool_is_given_as_a_path(home: Path) -> None:
    assert paths_of("./docker") == (Path("docker"),)
    assert paths_of(Path("podman")) == (Path("podman"),)


async def test_variable_names_several_files(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(home / ".docker" / "config.json", of("a.example"))
    other = write(home / "other.json", of("b.example"))
    monkeypatch.setenv("OCIPUSH_AUTHFILE", f"docker{os.pathsep}{other}")
    files = LoginFiles()
    assert [login and login.username for login in [await files.login("a.example"), await files.login("b.example")]] == [
        "a.example",
        "b.example",
    ]


@pytest.mark.parametrize("form", ["auths", "credHelpers", "credsStore"])
@pytest.mark.parametrize("change", [partial(ocipush.save_login, login=Login("user", SECRET)), ocipush.remove_login])
def test_file_of_another_form_is_never_written(tmp_path: Path, form: str, change: Callable[..., object]) -> None:
    file = write(tmp_path / "config.json", {form: "desktop" if form == "credsStore" else {}})
    before = file.read_bytes()
    with pytest.raises(errors.CredentialError, match="has the form of Docker and Podman") as caught:
        change("r.example", authfile=file)
    assert caught.value.hint == "use `docker login` or `podman login`, or name another file with authfile="
    assert file.read_bytes() == before


@pytest.mark.parametrize("tool", ["docker", "podman"])
def test_login_is_not_saved_in_the_file_of_a_tool_even_if_there_is_none(home: Path, tool: str) -> None:
    with pytest.raises(errors.CredentialError, match=f"the login file of {tool} has the form of"):
        ocipush.save_login("r.example", Login("user", SECRET), authfile=tool)
    assert list(home.iterdir()) == []


def test_login_is_not_saved_where_the_variable_names_several_files(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OCIPUSH_AUTHFILE", os.pathsep.join(["/a", "/b"]))
    with pytest.raises(errors.CredentialError, match="OCIPUSH_AUTHFILE names 2 login files"):
        ocipush.save_login("r.example", Login("user", SECRET))


def test_fifo_instead_of_the_lock_file_is_an_error(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "auth.json.lock")
    with pytest.raises(errors.CredentialError, match="cannot be written"):
        ocipush.save_login("r.example", Login("user", SECRET), authfile=tmp_path / "auth.json")


DOCKER, PODMAN = ".docker/config.json", ".config/containers/auth.json"


@pytest.mark.parametrize(
    ("file", "document", "tool"),
    [
        (DOCKER, of("r.example"), "docker"),
        (PODMAN, of("r.example/team"), "podman"),
        (DOCKER, {"credHelpers": {"r.example": "absent"}}, "docker"),
        (DOCKER, {"credsStore": "absent", "auths": {"r.example": {}}}, "docker"),
        (DOCKER, {"credsStore": "absent"}, None),
        (DOCKER, of("other.example"), None),
        (PODMAN, of("r.example/other"), None),
        (DOCKER, {"auths": {"r.example": {"auth": "!"}}}, None),
        (DOCKER, {"auths": 5}, None),
    ],
)
async def test_login_that_no_push_uses_is_found_without_running_a_helper(
    home: Path, file: str, document: dict[str, Any], tool: str | None
) -> None:
    write(home / file, document)
    assert await find_unused("r.example", "team/app", None) == tool
    assert await find_unused("r.example", "team/app", ["docker", "podman"]) is None
