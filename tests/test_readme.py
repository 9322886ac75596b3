"""Examples in README.md and docs/ run as written against the development registry, and the pages name every option."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest
from tests import layouts
from tests.registries import registry_in_thread

import ocipush
from ocipush import errors
from ocipush._cli.commands import cli
from ocipush.testing import BasicAuth, Registry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[1]
PAGES = {path.name: path.read_text() for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))}
HOSTS = ("registry.example", "registry.cn-shanghai.aliyuncs.com")
PASSWORD = "correct horse"


def blocks(language: str) -> list[object]:
    found = [
        (page, code)
        for page, text in PAGES.items()
        for code in re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
        if not code.startswith("make ")  # CI runs make itself; test_examples.py runs the demo
    ]
    return [pytest.param(code, id=f"{page}-{number}") for number, (page, code) in enumerate(found)]


class Machine:
    """The machine of the pages: their store, login file and registry, in the directory of the test."""

    def __init__(self, home: Path, registry: Registry) -> None:
        self.home = home
        self.registry = registry
        image = home / "images" / "alpine-3_18_0"
        manifest = layouts.add_manifest(image, [b"a layer" * 1000, b"another"])
        layouts.write_layout(
            image, [manifest], ref=f"{HOSTS[1]}/tangxusc/alpine:3.18.0".replace(HOSTS[1], registry.host)
        )
        self.digest = manifest["digest"]
        login = ocipush.Login("you", PASSWORD)
        ocipush.save_login(registry.host, login, authfile=home / "auth.json")
        # `ocipush` as on the pages, with their default store.
        command = home / "bin" / "ocipush"
        command.parent.mkdir()
        command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m ocipush --images-store-dir "{home}/images" "$@"\n')
        command.chmod(0o755)
        self.env = {
            "PATH": f"{command.parent}:{os.defpath}",
            "OCIPUSH_AUTHFILE": str(home / "auth.json"),
            "PASSWORD": PASSWORD,
            "PYTHONPATH": str(
                Path(ocipush.__file__).parents[1]
            ),  # the library under test, even if another one is installed
        }

    def localised(self, code: str) -> str:
        for host in HOSTS:
            code = code.replace(host, self.registry.host)
        return code.replace("/var/lib/ar/images", str(self.home / "images"))

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, capture_output=True, text=True, check=False, env=self.env, cwd=self.home)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    with registry_in_thread(auth=BasicAuth({"you": PASSWORD})) as registry:
        yield Machine(tmp_path, registry)


@pytest.mark.parametrize("code", blocks("python"))
def test_python_runs_as_written(machine: Machine, code: str) -> None:
    done = machine.run(sys.executable, "-W", "error", "-c", machine.localised(code))
    assert done.returncode == 0, done.stderr
    pushes = "alpine-3_18_0" in code or "list_images" in code
    if pushes and "ocipush.testing" not in code:
        assert machine.digest in {d for name in ("team", "tangxusc") for d in held(machine, name)}
        assert [request for request in machine.registry.requests if request.status >= 500] == []


@pytest.mark.parametrize("code", blocks("shell"))
def test_shell_lines_run_as_written(machine: Machine, code: str) -> None:
    done = machine.run("bash", "-e", "-o", "pipefail", "-O", "expand_aliases", "-c", machine.localised(code))
    assert done.returncode == 0, done.stderr
    if re.search(r"\bpush\b", code):
        assert machine.digest in done.stdout
    if "alias" in code:
        assert held(machine, "tangxusc") == {machine.digest}


def held(machine: Machine, name: str) -> set[str]:
    return set(machine.registry.repository(f"{name}/alpine").tags.values())


def test_every_make_target_named_on_a_page_exists() -> None:
    pages = "\n".join([*PAGES.values(), (ROOT / "CONTRIBUTING.md").read_text()])
    rules = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:`|^)make ([a-z]+)", pages, re.MULTILINE))
    assert {"demo", "test"} <= named <= rules


def test_links_lead_to_files() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "benchmarks" / "README.md"]
    for path in pages:
        for link in re.findall(r"\]\(([^):#]+)\)", path.read_text()):
            assert (path.parent / link).exists(), f"{path.name}: {link}"


def test_readme_has_only_absolute_links() -> None:
    links = re.findall(r"\]\(([^)]+)\)|(?:src|srcset|href)=\"([^\"]+)\"", PAGES["README.md"])
    assert [link for pair in links for link in pair if link and not link.startswith("https://")] == []


def test_readme_names_only_files_that_exist_and_every_page_of_the_documentation() -> None:
    named = set(re.findall(r"`((?:docs|benchmarks|examples)(?:/[\w./-]+)?|[A-Z]+\.md)`", PAGES["README.md"]))
    assert {name for name in named if not (ROOT / name).exists()} == set()
    assert {f"docs/{name}" for name in PAGES if name != "README.md"} <= named


def test_quoted_section_of_a_page_is_one_of_its_headings() -> None:
    headings = {name: set(re.findall(r"^#+ (.+)$", text, re.MULTILINE)) for name, text in PAGES.items()}
    quoted = [
        (target or name, title)
        for name, text in PAGES.items()
        for title, target in re.findall(r'see\s+"([^"]+)"(?:\s+in\s+\[\w+\]\((\w+\.md)\))?', text)
    ]
    assert quoted
    assert [(name, title) for name, title in quoted if " ".join(title.split()) not in headings[name]] == []


def test_errors_page_names_every_error() -> None:
    missing = [name for name in errors.__all__ if f"`{name}`" not in PAGES["errors.md"] and name != "OcipushError"]
    assert missing == []


def test_command_line_page_names_every_option() -> None:
    context = click.Context(cli)
    commands = [cli, *(cli.commands[name] for name in cli.list_commands(context))]
    options = {option for command in commands for param in command.params for option in param.opts if option[0] == "-"}
    assert {option for option in options if f"`{option}" not in PAGES["cli.md"]} == set()


def test_library_page_names_every_option_event_and_outcome() -> None:
    names = {*init_options(ocipush.Pusher), *init_options(ocipush.Pusher.push), *init_options(ocipush.Timeouts)}
    names |= {"RetryPolicy", *init_options(ocipush.RetryPolicy), *ocipush.PushResult.__slots__}
    names |= {kind.__name__ for kind in ocipush.Event.__args__}
    names |= {"uploaded", "mounted", "exists", "joined", "foreign"}
    assert {name for name in names if f"`{name}`" not in PAGES["library.md"]} == set()


def init_options(function: Callable[..., object]) -> set[str]:
    return set(inspect.signature(function).parameters) - {"self", "source"}


def test_table_of_upload_states_matches_the_diagram() -> None:
    page = PAGES["uploads.md"]
    drawn = set(re.findall(r"^ +(\w+) --> (\w+): (\w+)$", page, re.MULTILINE))
    listed: set[tuple[str, str, str]] = set()
    state = ""
    for row in re.findall(r"^\|(.*)\|$", page, re.MULTILINE)[2:]:
        first, _, event, following = (cell.strip() for cell in row.split("|"))
        state = first or state
        listed.add((state, following, event.partition(":")[0]))
    assert listed == drawn
    assert len(drawn) > 10
