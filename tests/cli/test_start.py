"""How little the command loads: neither HTTP nor models before they are used."""

from __future__ import annotations

import subprocess
import sys

import pytest

import ocipush


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_version_loads_neither_httpx_nor_pydantic_nor_asyncio() -> None:
    code = (
        "import sys, ocipush.__main__ as m; sys.argv = ['ocipush', '--version']\n"
        "try: m.main()\n"
        "except SystemExit as e: print(e.code, {'httpx', 'pydantic', 'pydantic_core', 'asyncio'} & set(sys.modules))"
    )
    done = python(code)
    assert done.stdout == f"ocipush {ocipush.__version__}\n0 set()\n"


@pytest.mark.parametrize("words", ["--help", "image push --help", "login --help"])
def test_help_loads_neither_httpx_nor_pydantic(words: str) -> None:
    code = (
        f"import sys, ocipush.__main__ as m; sys.argv = ['ocipush', *{words.split()}]\n"
        "try: m.main()\n"
        "except SystemExit as e: print(e.code, {'httpx', 'pydantic', 'pydantic_core', 'asyncio'} & set(sys.modules))"
    )
    assert python(code).stdout.endswith("\n0 set()\n")


def test_command_that_draws_no_bar_loads_no_drawing_libraries() -> None:
    """httpx would bring them in, for a command line of its own."""
    done = python(
        "import sys; sys.argv = ['ocipush', 'push', '--images-store-dir', '/nowhere', 'x']; import ocipush.__main__ as m\n"
        "try: m.main()\n"
        "except SystemExit as e: print(e.code, sorted({'httpx', 'pydantic', 'rich', 'pygments'} & set(sys.modules)))"
    )
    assert done.stdout.strip() == "1 ['httpx', 'pydantic']"


def test_command_without_click_says_what_to_install() -> None:
    done = python("import sys; sys.modules['click'] = None; import ocipush.__main__ as m; sys.exit(m.main())")
    assert done.returncode == 2
    assert "pip install 'ocipush[cli]'" in done.stderr
