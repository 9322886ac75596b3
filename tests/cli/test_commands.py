"""The command line: arguments, exit codes, and what goes to stdout and stderr."""

from __future__ import annotations

import inspect
import json
import logging
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import pytest
from click.testing import CliRunner, Result

import ocipush
from ocipush import _events as events
from ocipush import errors
from ocipush._cli.commands import cli
from ocipush._cli.messages import is_chinese
from ocipush._cli.options import rewrite_tls_verify
from ocipush._credentials.authfile import find_login

DIGEST = "sha256:" + "a" * 64
RESULT = events.PushResult("r.example/team/app:1", DIGEST, "m", 5, (), False, 3, 5, 0.1)
EVENTS: list[events.Event] = [
    events.PushStarted("p", "/s", "r.example/team/app:1", DIGEST, 1, 5),
    events.BlobStarted("p", DIGEST, 5, "m"),
    events.BlobProgress("p", DIGEST, 3, 5),
    events.RetryScheduled("p", "blob", "lost", 2, 0.5),
    events.BlobDone("p", DIGEST, 5, "uploaded"),
    events.PushWarning("p", "be careful"),
    events.RegistryWarning("p", "old\x1b[2J"),
    events.PushDone("p", RESULT),
]


class Fake:
    """Replaces ``ocipush.push``, and accepts the same options."""

    signature = inspect.signature(ocipush.push)

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.signal: signal.Signals | None = None
        self.log = ""
        self.logs = False
        self.raises: BaseException | None = None
        self.result = RESULT

    async def push(self, source: str, **options: Any) -> events.PushResult:
        self.signature.bind(source, **options)
        self.calls.append((source, options))
        logging.getLogger("ocipush").info("%s", self.log)
        for event in EVENTS:
            if self.logs:
                self.write_log(event)
            options["on_event"](event)
        if self.raises is not None:
            raise self.raises
        if self.signal is not None:
            signal.raise_signal(self.signal)
            await anyio.sleep_forever()
        return self.result

    @staticmethod
    def write_log(event: events.Event) -> None:
        """As the library does: warnings and retries are logged too."""
        match event:
            case events.RetryScheduled():
                logging.getLogger("ocipush").info("%s; attempt %d", event.reason, event.attempt)
            case events.PushWarning():
                logging.getLogger("ocipush").warning("%s", event.text)
            case _:
                pass


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Fake:
    fake = Fake()
    monkeypatch.setattr(ocipush, "push", fake.push)
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    return fake


def run(*argv: str, **options: Any) -> Result:
    return CliRunner().invoke(cli, list(argv), **options)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("push --tls-verify false a", "push --tls-verify=false a"),
        ("push a --tls-verify false", "push a --tls-verify=false"),
        ("image push --tls-verify true a", "image push --tls-verify=true a"),
        ("push --tls-verify false", "push --tls-verify=true false"),
        ("image push --tls-verify false", "image push --tls-verify=true false"),
        ("push --tls-verify a", "push --tls-verify=true a"),
        ("push --tls-verify 0 a", "push --tls-verify=true 0 a"),
        ("push --tls-verify=0 a", "push --tls-verify=0 a"),
        ("push --tls-verify false --target t", "push --tls-verify=true false --target t"),
        ("push --tls-verify false -- a", "push --tls-verify=false -- a"),
        ("push --tls-verify -- false", "push --tls-verify=true -- false"),
        ("push a --target --tls-verify", "push a --target --tls-verify"),
        ("login -u x --tls-verify false r", "login -u x --tls-verify=false r"),
        ("--ca-file c push --format json --tls-verify false", "--ca-file c push --format json --tls-verify=true false"),
        ("push -- --tls-verify", "push -- --tls-verify"),
        ("push a --target -- --tls-verify false b", "push a --target -- --tls-verify=false b"),
    ],
)
def test_a_bare_tls_verify_takes_only_true_or_false_and_leaves_an_image(line: str, expected: str) -> None:
    assert rewrite_tls_verify(line.split(), cli) == expected.split()


@pytest.mark.parametrize("image", ["/images/app.tar", "./app", "../app.tar", ".", ".."])
def test_image_that_starts_like_a_path_is_one(fake: Fake, image: str) -> None:
    assert run("push", image).exit_code == 0
    source: object = fake.calls[0][0]
    assert source == Path(image)


@pytest.mark.parametrize("image", ["app", "app.tar", "team/app", ".app", "r.example/app:1"])
def test_other_image_is_a_name_of_the_store(fake: Fake, image: str) -> None:
    assert run("push", image).exit_code == 0
    assert fake.calls[0][0] == image


@pytest.mark.parametrize("command", [["push"], ["image", "push"]])
def test_stdout_is_the_immutable_name_alone(fake: Fake, command: list[str]) -> None:
    done = run(*command, "app", "--target", "r.example/team/app:1", "--ref", "x", "--tls-verify", "false")
    assert (done.exit_code, done.stdout) == (0, f"r.example/team/app@{DIGEST}\n")
    assert "image pushed to the remote repository: r.example/team/app:1\n" in done.stderr
    assert "\x1b" not in done.stderr
    source, options = fake.calls[0]
    assert source == "app"
    assert (options["target"], options["ref"], options["tls_verify"]) == ("r.example/team/app:1", "x", False)


def test_allowed_hosts_reach_the_library(fake: Fake) -> None:
    run("push", "--allow-host", "other.example:5000", "--allow-host", "10.0.0.1", "--tls-verify", "app")
    ((source, options),) = fake.calls
    assert (source, options["allow_hosts"]) == ("app", ("other.example:5000", "10.0.0.1"))


@pytest.mark.parametrize("before", [True, False])
def test_global_options_stand_before_or_after_the_subcommand(fake: Fake, before: bool) -> None:
    given = ["--images-store-dir", "/s", "--authfile", "/a", "--ca-file", "/c", "--quiet"]
    done = run(*given, "push", "app") if before else run("push", "app", *given)
    assert done.exit_code == 0
    options = fake.calls[0][1]
    assert (options["store"], options["authfile"], options["ca_file"]) == ("/s", ("/a",), "/c")
    assert done.stderr == "warning: be careful\nwarning: the registry says: old\\x1b[2J\n"


def test_the_success_line_is_chinese_in_a_chinese_locale(fake: Fake) -> None:
    done = run("push", "app", env={"LC_ALL": "zh_CN.UTF-8"})
    assert done.stderr.endswith("镜像已推送到远程仓库: r.example/team/app:1\n")
    assert "pushed" not in done.stderr


@pytest.mark.parametrize(
    ("locale", "line"), [("C", "image already in the remote repository"), ("zh_CN.UTF-8", "远程仓库中已有此镜像")]
)
def test_an_unchanged_push_succeeds_and_says_so_once(fake: Fake, locale: str, line: str) -> None:
    fake.result = events.PushResult("r.example/team/app:1", DIGEST, "m", 5, (), True, 1, 0, 0.1)
    done = run("push", "app", "--progress", "none", env={"LC_ALL": locale})
    assert (done.exit_code, done.stdout) == (0, f"r.example/team/app@{DIGEST}\n")
    assert [line for line in done.stderr.splitlines() if "warning" not in line] == [f"{line}: r.example/team/app:1"]


@pytest.mark.parametrize(
    ("locale", "line"),
    [
        ("zh_CN.UTF-8", "error: 在本地镜像存储目录中未找到指定镜像"),
        ("en_US.UTF-8", "error: no image 'app' in the store"),
    ],
)
def test_an_image_that_is_not_found_is_reported_in_the_language_of_the_locale(
    fake: Fake, locale: str, line: str
) -> None:
    fake.raises = errors.ImageNotFoundError("no image 'app' in the store", hint="did you mean 'apt'?")
    done = run("push", "app", "--progress", "none", env={"LC_ALL": locale})
    assert done.stderr.splitlines()[-2:] == [line, "hint: did you mean 'apt'?"]


@pytest.mark.parametrize(
    ("environ", "chinese"),
    [
        ({}, False),
        ({"LANG": "zh_TW"}, True),
        ({"LC_ALL": "C", "LANG": "zh_CN"}, False),
        ({"LC_ALL": "", "LANG": "zh"}, True),
    ],
)
def test_the_first_locale_variable_that_is_set_decides(environ: dict[str, str], chinese: bool) -> None:
    assert is_chinese(environ) is chinese


@pytest.mark.parametrize("quiet", [(), ("--quiet",)])
def test_json_is_one_document_and_json_progress_one_event_a_line(fake: Fake, quiet: tuple[str, ...]) -> None:
    done = run("push", "app", "--format", "json", "--progress", "json", *quiet)
    assert json.loads(done.stdout)["digest"] == DIGEST
    assert [json.loads(line)["event"] for line in done.stderr.splitlines()] == [type(e).__name__ for e in EVENTS]


def test_json_progress_of_a_failed_push_ends_with_its_error(fake: Fake) -> None:
    fake.raises = errors.StalledError("stuck", hint="the network is slow; timeouts= sets how long to wait")
    fake.raises.add_note("also: b")
    done = run("--debug", "push", "app", "--progress", "json")
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    failure = {"code": "StalledError", "message": "stuck", "hint": "the network is slow", "notes": ["also: b"]}
    assert lines[-1] == {"event": "PushFailed", **failure}
    assert any(line["event"] == "Log" and "Traceback" in line["message"] for line in lines)
    assert (done.exit_code, done.stdout) == (1, "")


def test_json_progress_of_an_interrupted_push_ends_with_that(fake: Fake) -> None:
    fake.signal = signal.SIGINT
    done = run("push", "app", "--progress", "json")
    last = json.loads(done.stderr.splitlines()[-1])
    assert last == {"event": "PushFailed", "code": "Interrupted", "message": "interrupted", "hint": None}
    assert done.exit_code == 130


@pytest.mark.parametrize("progress", ["plain", "none", "bar"])
def test_debug_prints_each_warning_and_retry_once(fake: Fake, progress: str) -> None:
    fake.logs = True
    done = run("--debug", "push", "app", "--progress", progress)
    words = [line for line in done.stderr.splitlines() if "be careful" in line or "lost" in line]
    assert words == ["lost; attempt 2", "warning: be careful"]


@pytest.mark.parametrize(
    ("error", "code", "lines"),
    [
        (errors.StalledError("stuck", hint="wait"), 1, "error: stuck\nhint: wait\n"),
        (OSError("disk"), 1, "error: disk\n"),
        (
            ZeroDivisionError("x"),
            1,
            "error: ZeroDivisionError: x\nhint: this is a bug in ocipush; --debug shows the traceback\n",
        ),
        (KeyboardInterrupt(), 130, "interrupted\n"),
    ],
)
def test_errors_have_exit_codes_and_no_traceback(fake: Fake, error: BaseException, code: int, lines: str) -> None:
    fake.raises = error
    done = run("push", "app", "--progress", "none")
    assert (done.exit_code, done.stdout) == (code, "")
    assert done.stderr.endswith(lines)
    assert "Traceback" not in done.stderr


def test_debug_shows_the_traceback_and_the_notes(fake: Fake) -> None:
    fake.raises = errors.StalledError("stuck")
    fake.raises.add_note("also failed: b")
    done = run("--debug", "push", "app")
    assert "Traceback" in done.stderr
    assert "note: also failed: b\n" in done.stderr


def test_failure_is_one_json_document_where_json_was_asked_for(fake: Fake) -> None:
    fake.raises = errors.StalledError("stuck", hint="wait")
    done = run("push", "app", "--format", "json")
    assert done.exit_code == 1
    assert json.loads(done.stdout) == {"error": {"code": "StalledError", "message": "stuck", "hint": "wait"}}
    assert "error: stuck\nhint: wait\n" in done.stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_signal_cancels_the_push_and_is_the_exit_code(fake: Fake, number: signal.Signals, code: int) -> None:
    fake.signal, before = number, signal.getsignal(number)
    done = run("push", "app", "--progress", "plain")
    assert (done.exit_code, done.stdout) == (code, "")
    assert done.stderr.endswith("stopping: closing uploads; press Ctrl-C again to quit immediately\ninterrupted\n")
    assert signal.getsignal(number) == before


def test_signal_that_the_caller_ignores_is_left_alone(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert run("push", "app").exit_code == 0
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("option", ["--images-store-dir", "--authfile", "--ca-file"])
def test_option_that_is_empty_is_wrong_usage(fake: Fake, option: str) -> None:
    assert run("push", "app", option, "").exit_code == 2
    assert fake.calls == []


def test_login_file_that_others_can_read_causes_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "auth.json"
    path.write_text("{}")
    path.chmod(0o644)
    done = run("login", "r.example", "-u", " me ", "--password-stdin", "--authfile", str(path), input="pw\n\n")
    assert done.exit_code == 0
    assert done.stderr.startswith(f"warning: {path} can be read by others")
    assert ocipush.Login("me", "pw") == find_login("r.example", authfile=path)
    assert path.stat().st_mode & 0o777 == 0o600


def test_list_warns_about_a_directory_that_is_not_a_layout_and_push_does_not(tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    done = run("list", "--images-store-dir", str(tmp_path))
    assert done.stderr.startswith(f"warning: skipped: {tmp_path}/broken is not an OCI layout")
    assert "skipped" not in run("push", "app", "--images-store-dir", str(tmp_path)).stderr


def test_debug_log_cannot_control_the_terminal(fake: Fake) -> None:
    fake.log = "old\x1b[2J"
    done = run("--debug", "push", "app")
    assert "old\\x1b[2J\n" in done.stderr
    assert "\x1b" not in done.stderr


def test_password_that_is_not_utf_8_is_wrong_usage(logins: Logins) -> None:
    done = run("login", "r.example", "-u", "me", "--password-stdin", "--authfile", "/a", input=b"\xff")
    assert (done.exit_code, logins.saved) == (2, {})
    assert "not UTF-8" in done.stderr


@pytest.mark.parametrize("given", [[], ["-u", "me"]])
def test_login_without_a_terminal_to_prompt_on_is_wrong_usage(logins: Logins, given: list[str]) -> None:
    done = run("login", "r.example", "--authfile", "/a", *given, input="")
    assert (done.exit_code, logins.saved) == (2, {})
    assert "no terminal to prompt on" in done.stderr


@pytest.mark.parametrize("line", ["push", "push a b", "nonsense", "push a --tls-verify=maybe", "push a --progress x"])
def test_wrong_usage_exits_with_2(fake: Fake, line: str) -> None:
    assert run(*line.split()).exit_code == 2
    assert fake.calls == []


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


PUSHER = inspect.signature(ocipush.Pusher)


class Logins:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.saved: dict[str, tuple[str, str, str]] = {}
        self.checked: list[str] = []
        monkeypatch.setattr(ocipush, "Login", self.login)
        monkeypatch.setattr(ocipush, "save_login", self.save)
        monkeypatch.setattr(ocipush, "remove_login", self.remove)
        monkeypatch.setattr(ocipush, "Pusher", self.open)

    @staticmethod
    def login(name: str, secret: str) -> tuple[str, str]:
        return name, secret

    def open(self, **options: Any) -> Logins:
        PUSHER.bind(**options)
        return self

    def save(self, registry: str, login: tuple[str, str], *, authfile: str) -> None:
        self.saved[registry] = (*login, authfile)

    def remove(self, registry: str, *, authfile: str) -> bool:
        assert authfile == "/a"
        return self.saved.pop(registry, None) is not None

    async def __aenter__(self) -> Logins:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def check_login(self, registry: str, *, login: tuple[str, str]) -> bool:
        self.checked.append(registry)
        if login[1] == "bad":
            raise errors.AuthenticationError("no", hint="log in with `ocipush image login r.example`")
        return registry != "anonymous.example"


@pytest.fixture
def logins(monkeypatch: pytest.MonkeyPatch) -> Logins:
    return Logins(monkeypatch)


@pytest.mark.parametrize(
    ("line", "stdin"),
    [
        ("-u me --password-stdin", "pw\n"),
        ("-u me --password-stdin --check", "pw\r\n"),
        ("-u me -p pw", ""),
        ("", "me\npw\n"),
    ],
)
def test_login_saves_to_the_authfile_and_prints_nothing_on_stdout(logins: Logins, line: str, stdin: str) -> None:
    done = run("image", "login", "r.example", "--authfile", "/a", *line.split(), input=stdin)
    assert (done.exit_code, done.stdout) == (0, "")
    assert logins.saved == {"r.example": ("me", "pw", "/a")}
    assert ("warning: " in done.stderr) is ("-p" in line.split())
    assert bool(logins.checked) is ("--check" in line)


def test_a_login_that_the_registry_refuses_is_not_saved(logins: Logins) -> None:
    done = run("login", "r.example", "--authfile", "/a", "-u", "me", "-p", "bad", "--check")
    assert (done.exit_code, logins.saved) == (1, {})
    assert done.stderr.endswith("error: no\nhint: check the username and the password\n")


@pytest.mark.parametrize("line", ["-u me -p x --password-stdin", "--password-stdin", "-u me --password-stdin"])
def test_contradictory_or_empty_logins_are_wrong_usage(logins: Logins, line: str) -> None:
    done = run("login", "r.example", "--authfile", "/a", *line.split(), input="")
    assert (done.exit_code, logins.saved) == (2, {})


def test_logout_says_whether_there_was_a_login(logins: Logins) -> None:
    logins.saved["r.example"] = ("me", "pw", "/a")
    assert "login removed" in run("logout", "r.example", "--authfile", "/a").stderr
    assert "no login for r.example" in run("image", "logout", "r.example", "--authfile", "/a").stderr


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


def test_without_click_the_install_line_is_shown() -> None:
    done = python("import sys; sys.modules['click'] = None; import ocipush.__main__ as m; sys.exit(m.main())")
    assert done.returncode == 2
    assert "pip install 'ocipush[cli]'" in done.stderr


@pytest.mark.parametrize(
    ("size", "read"),
    [("1", 1), ("5MB", 5_000_000), ("16MiB", 16 * 1024**2), ("4 mib", 4 * 1024**2), ("64k", 64_000), ("1GiB", 1024**3)],
)
def test_chunk_size_is_read_with_its_unit(fake: Fake, size: str, read: int) -> None:
    assert run("push", "app", "--chunk-size", size).exit_code == 0
    assert fake.calls[0][1]["chunk_size"] == read


@pytest.mark.parametrize("size", ["0", "-1", "MiB", "1.5MiB", "16MiBs", "1e6"])
def test_chunk_size_that_is_not_a_size_is_wrong_usage(fake: Fake, size: str) -> None:
    done = run("push", "app", f"--chunk-size={size}")
    assert done.exit_code == 2
    assert "is not a size such as 16MiB" in done.stderr
    assert not fake.calls


def test_options_of_the_engine_reach_the_library(fake: Fake) -> None:
    words = "push app --mount-from base --force --concurrency 3 --resume-dir /r --deadline 9.5 --allow-host h"
    assert run(*words.split()).exit_code == 0
    options = fake.calls[0][1]
    named = {"mount_from": "base", "force": True, "concurrency": 3, "resume_dir": "/r", "allow_hosts": ("h",)}
    assert {name: options[name] for name in named} == named
    assert options["retry"].deadline == 9.5


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ValueError("mount_from must be a repository such as a/b, not 'A B'"), "--mount-from must be a repository"),
        (TypeError("chunk_size must be int, not str"), "--chunk-size must be int, not str"),
    ],
)
def test_value_that_the_library_refuses_is_wrong_usage_of_the_option(
    fake: Fake, error: Exception, message: str
) -> None:
    fake.raises = error
    done = run("push", "app", "--progress", "none")
    assert done.exit_code == 2
    assert done.stderr.splitlines()[-2].startswith(f"error: {message}")
    assert done.stderr.splitlines()[-1] == "hint: `ocipush push --help` shows the usage"


def test_options_that_are_not_given_are_left_to_the_library(fake: Fake) -> None:
    assert run("push", "app").exit_code == 0
    assert set(fake.calls[0][1]) == {"tls_verify", "on_event", "force", "follow_links"}
