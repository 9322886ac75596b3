"""`ocipush push`: what goes to stdout and stderr, JSON, progress, exit codes and signals."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
from tests.cli.doubles import DIGEST, EVENTS, FakePush, run

from ocipush import _events as events
from ocipush import errors


@pytest.mark.parametrize("image", ["/images/app.tar", "./app", "../app.tar", ".", ".."])
def test_image_that_looks_like_a_path_is_a_path(fake_push: FakePush, image: str) -> None:
    assert run("push", image).exit_code == 0
    source: object = fake_push.calls[0][0]
    assert source == Path(image)


@pytest.mark.parametrize("image", ["app", "app.tar", "team/app", ".app", "r.example/app:1"])
def test_any_other_image_is_a_name_in_the_store(fake_push: FakePush, image: str) -> None:
    assert run("push", image).exit_code == 0
    assert fake_push.calls[0][0] == image


@pytest.mark.parametrize("command", [["push"], ["image", "push"]])
def test_stdout_holds_only_the_immutable_name(fake_push: FakePush, command: list[str]) -> None:
    done = run(*command, "app", "--target", "r.example/team/app:1", "--ref", "x", "--tls-verify", "false")
    assert (done.exit_code, done.stdout) == (0, f"r.example/team/app@{DIGEST}\n")
    assert "image pushed to the remote repository: r.example/team/app:1\n" in done.stderr
    assert "\x1b" not in done.stderr
    source, options = fake_push.calls[0]
    assert source == "app"
    assert (options["target"], options["ref"], options["tls_verify"]) == ("r.example/team/app:1", "x", False)


@pytest.mark.parametrize(
    ("locale", "line"), [("C", "image already in the remote repository"), ("zh_CN.UTF-8", "远程仓库中已有此镜像")]
)
def test_unchanged_push_succeeds_and_says_so_once(fake_push: FakePush, locale: str, line: str) -> None:
    fake_push.result = events.PushResult("r.example/team/app:1", DIGEST, "m", 5, (), True, 1, 0, 0.1)
    done = run("push", "app", "--progress", "none", env={"LC_ALL": locale})
    assert (done.exit_code, done.stdout) == (0, f"r.example/team/app@{DIGEST}\n")
    assert [line for line in done.stderr.splitlines() if "warning" not in line] == [f"{line}: r.example/team/app:1"]


@pytest.mark.parametrize("quiet", [(), ("--quiet",)])
def test_json_output_is_one_document_and_json_progress_has_one_event_per_line(
    fake_push: FakePush, quiet: tuple[str, ...]
) -> None:
    done = run("push", "app", "--format", "json", "--progress", "json", *quiet)
    assert json.loads(done.stdout)["digest"] == DIGEST
    assert [json.loads(line)["event"] for line in done.stderr.splitlines()] == [type(e).__name__ for e in EVENTS]


def test_json_progress_of_a_failed_push_ends_with_its_error(fake_push: FakePush) -> None:
    fake_push.raises = errors.StalledError("stuck", hint="the network is slow; timeouts= sets how long to wait")
    fake_push.raises.add_note("also: b")
    done = run("--debug", "push", "app", "--progress", "json")
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    failure = {"code": "StalledError", "message": "stuck", "hint": "the network is slow", "notes": ["also: b"]}
    assert lines[-1] == {"event": "PushFailed", **failure}
    assert any(line["event"] == "Log" and "Traceback" in line["message"] for line in lines)
    assert (done.exit_code, done.stdout) == (1, "")


def test_json_progress_of_an_interrupted_push_ends_with_the_interruption(fake_push: FakePush) -> None:
    fake_push.signal = signal.SIGINT
    done = run("push", "app", "--progress", "json")
    last = json.loads(done.stderr.splitlines()[-1])
    assert last == {"event": "PushFailed", "code": "Interrupted", "message": "interrupted", "hint": None}
    assert done.exit_code == 130


@pytest.mark.parametrize("progress", ["plain", "none", "bar"])
def test_debug_prints_each_warning_and_retry_once(fake_push: FakePush, progress: str) -> None:
    fake_push.logs = True
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
def test_errors_have_exit_codes_and_no_traceback(
    fake_push: FakePush, error: BaseException, code: int, lines: str
) -> None:
    fake_push.raises = error
    done = run("push", "app", "--progress", "none")
    assert (done.exit_code, done.stdout) == (code, "")
    assert done.stderr.endswith(lines)
    assert "Traceback" not in done.stderr


def test_debug_shows_the_traceback_and_the_notes(fake_push: FakePush) -> None:
    fake_push.raises = errors.StalledError("stuck")
    fake_push.raises.add_note("also failed: b")
    done = run("--debug", "push", "app")
    assert "Traceback" in done.stderr
    assert "note: also failed: b\n" in done.stderr


def test_failure_with_format_json_is_one_json_document(fake_push: FakePush) -> None:
    fake_push.raises = errors.StalledError("stuck", hint="wait")
    done = run("push", "app", "--format", "json")
    assert done.exit_code == 1
    assert json.loads(done.stdout) == {"error": {"code": "StalledError", "message": "stuck", "hint": "wait"}}
    assert "error: stuck\nhint: wait\n" in done.stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_signal_cancels_the_push_and_sets_the_exit_code(fake_push: FakePush, number: signal.Signals, code: int) -> None:
    fake_push.signal, before = number, signal.getsignal(number)
    done = run("push", "app", "--progress", "plain")
    assert (done.exit_code, done.stdout) == (code, "")
    assert done.stderr.endswith("stopping: closing uploads; press Ctrl-C again to quit immediately\ninterrupted\n")
    assert signal.getsignal(number) == before


def test_signal_that_was_ignored_before_stays_ignored(fake_push: FakePush, monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert run("push", "app").exit_code == 0
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_debug_log_cannot_control_the_terminal(fake_push: FakePush) -> None:
    fake_push.log = "old\x1b[2J"
    done = run("--debug", "push", "app")
    assert "old\\x1b[2J\n" in done.stderr
    assert "\x1b" not in done.stderr
