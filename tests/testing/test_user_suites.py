"""Test suites of users, run by a pytest of their own: with pytest-asyncio, with anyio's plugin, and without either.

Warnings are errors there, so a task or socket that is left behind fails the suite.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from tests import layouts

import ocipush

pytest_plugins = ("pytester",)
PAGE = Path(__file__).parents[2] / "docs" / "testing.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
SUITES = [block for block in BLOCKS if "def test_" in block]

Run = Callable[..., pytest.RunResult]


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a test module with options; it has the fixture ``image``, the directory of a layout."""
    source = Path(ocipush.__file__).parents[1]  # the library under test, wherever another is installed
    monkeypatch.setenv("PYTHONPATH", str(source))
    image = pytester.path / "app"
    layouts.write_layout(image, [layouts.add_manifest(image, [b"layer"])])
    pytester.makeconftest(
        f"""
        from pathlib import Path

        import pytest

        @pytest.fixture
        def image():
            return Path({str(image)!r})
        """
    )

    def run(module: str, *options: str) -> pytest.RunResult:
        pytester.makepyfile(test_user=module)
        asyncio = () if "no:asyncio" in options else ("-o", "asyncio_default_fixture_loop_scope=function")
        return pytester.runpytest_subprocess("-W", "error", "-p", "no:cacheprovider", *asyncio, *options)

    return run


SYNCHRONOUS = """
import ocipush.sync

def test_push(image, ocipush_registry):
    target = f"{ocipush_registry.host}/team/app:1"
    result = ocipush.sync.push(image, target=target, authfile=image / "none")
    assert ocipush_registry.repository("team/app").tags == {"1": result.digest}
"""


@pytest.mark.parametrize("options", [(), ("-p", "no:anyio", "-p", "no:asyncio")], ids=["both plugins", "neither"])
def test_synchronous_fixture_needs_no_asynchronous_plugin(run: Run, options: tuple[str, ...]) -> None:
    run(SYNCHRONOUS, *options).assert_outcomes(passed=1)


ASYNC = """
import pytest
import ocipush
from ocipush.testing import Registry

{fixture}
async def registry():
    async with Registry(strict=True) as registry:
        yield registry

{test}
async def test_push(image, registry):
    target = f"{{registry.host}}/team/app:1"
    result = await ocipush.push(image, target=target, authfile=image / "none")
    assert registry.repository("team/app").tags == {{"1": result.digest}}

{test}
async def test_unexpected_request(registry):
    import httpx
    async with httpx.AsyncClient(trust_env=False) as http:
        await http.get(registry.url + "/v3/")
"""
STRICT = ASYNC.format(fixture="import pytest_asyncio\n@pytest_asyncio.fixture", test="@pytest.mark.asyncio")
AUTO = ASYNC.format(fixture="@pytest.fixture", test="")
ANYIO = ASYNC.format(fixture="@pytest.fixture", test="@pytest.mark.anyio")


@pytest.mark.parametrize(
    ("module", "options"),
    [
        (STRICT, ()),
        (STRICT, ("-p", "no:anyio")),
        (AUTO, ("-o", "asyncio_mode=auto")),
        (ANYIO, ("-k", "asyncio")),
        (ANYIO, ("-k", "trio", "-p", "no:asyncio")),
    ],
    ids=["strict", "strict without anyio", "auto", "anyio on asyncio", "anyio on trio"],
)
def test_fixture_serves_its_tests_and_its_teardown_reports_unexpected_requests(
    run: Run, module: str, options: tuple[str, ...]
) -> None:
    result = run(module, *options)
    deselected = 2 if "-k" in options else 0
    result.assert_outcomes(passed=2, errors=1, deselected=deselected)
    result.stdout.fnmatch_lines(["*UnexpectedRequestError: unexpected requests: GET /v3/ (404)*"])


def test_plugin_imports_the_registry_only_for_a_test_that_uses_it(run: Run) -> None:
    module = "import sys\ndef test_not_imported(): assert 'ocipush.testing._registry' not in sys.modules"
    run(module, "-p", "no:anyio", "-p", "no:asyncio").assert_outcomes(passed=1)


@pytest.mark.parametrize("block", SUITES, ids=[re.search(r"test_\w+", block)[0] for block in SUITES])  # type: ignore[index]
def test_suite_that_the_page_shows_passes(run: Run, block: str) -> None:
    outcomes = run(block).parseoutcomes()
    assert outcomes.keys() - {"warnings"} == {"passed"}


def test_page_shows_a_suite_for_each_plugin() -> None:
    shown = "\n".join(SUITES)
    for mark in ("pytest.mark.asyncio", "pytest.mark.anyio", "ocipush_registry", "respx"):
        assert mark in shown
