"""What the command writes to stderr besides progress: messages, errors and the log; as text, or as lines of JSON.

Everything is escaped, so that the text of a registry cannot control the terminal.
"""

from __future__ import annotations

import json
import logging
import os
import traceback
from typing import TYPE_CHECKING, Any, Final

import click

from ..errors import AuthenticationError, ImageNotFoundError, OcipushError

if TYPE_CHECKING:
    from collections.abc import Mapping

# The sentences of the specification, for Chinese locales, and what the others read.
PUSHED: Final = ("镜像已推送到远程仓库", "image pushed to the remote repository")
UNCHANGED: Final = ("远程仓库中已有此镜像", "image already in the remote repository")
_NOT_FOUND: Final = "在本地镜像存储目录中未找到指定镜像"


def printable(text: str) -> str:
    """The text with control characters escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def is_chinese(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether messages are wanted in Chinese: the first of the locale's variables that is set decides."""
    names = ("LC_ALL", "LC_MESSAGES", "LANG")
    return next((environ[name] for name in names if environ.get(name)), "").lower().startswith("zh")


def translate(sentence: tuple[str, str]) -> str:
    """The Chinese or the English sentence of a pair."""
    return sentence[0] if is_chinese() else sentence[1]


def say(text: str) -> None:
    """Write one line of text to stderr."""
    click.echo(printable(text), err=True)


def say_json(event: str, **data: object) -> None:
    """Write one line to stderr in the form of ``--progress json``."""
    click.echo(json.dumps({"event": event, **data}), err=True)


class LogHandler(logging.Handler):
    """Writes log records to stderr."""

    def __init__(self, *, as_json: bool) -> None:
        super().__init__()
        self._as_json = as_json

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        message = record.getMessage()
        if self._as_json:
            say_json("Log", level=record.levelname.lower(), message=message)
        else:
            say(f"warning: {message}" if record.levelno >= logging.WARNING else message)


def start_logging(warnings: str, *, debug: bool, as_json: bool = False) -> None:
    """Show the whole log with ``debug``, and otherwise the warnings of one logger: progress shows those of a push."""
    log, handler = logging.getLogger("ocipush"), LogHandler(as_json=as_json)
    if debug:
        log.setLevel(logging.DEBUG)
    else:
        handler.setLevel(logging.WARNING)
        handler.addFilter(logging.Filter(warnings))
    log.handlers = [handler]


def report_interrupt(given: Mapping[str, Any]) -> None:
    """Say that a signal stopped the command."""
    if given.get("progress") == "json":
        say_json("PushFailed", code="Interrupted", message="interrupted", hint=None)
    else:
        say("interrupted")


def report_usage(message: str, command: str) -> None:
    """Say what is wrong with the command line."""
    first = message[:1] if message[1:2].isupper() else message[:1].lower()  # a variable keeps its name
    say(f"error: {first}{message[1:].removesuffix('.')}")
    say(f"hint: `{command} --help` shows the usage")


def report_failure(exc: Exception, given: Mapping[str, Any]) -> int:
    """Say why the command failed: on stderr, and with ``--format json`` on stdout too.

    Args:
        exc: what it failed with.
        given: the options that were given, and the name of the command.

    Returns:
        the exit code.
    """
    as_json = given.get("progress") == "json"
    if "debug" in given:
        for line in "".join(traceback.format_exception(exc)).splitlines():
            say_json("Log", level="debug", message=line) if as_json else say(line)
    from .hints import describe_invalid_option

    if not isinstance(exc, OcipushError) and (invalid := describe_invalid_option(exc, given)) is not None:
        report_usage(invalid, f"ocipush {given.get('command', '')}".rstrip())
        return 2
    failure = _describe(exc, given)
    if given.get("form") == "json":
        click.echo(json.dumps({"error": failure}))
    notes = getattr(exc, "__notes__", [])
    if as_json:
        say_json("PushFailed", **failure, notes=notes)
        return 1
    chinese = isinstance(exc, ImageNotFoundError) and is_chinese()
    say(f"error: {_NOT_FOUND if chinese else failure['message']}")
    for note in notes:
        say(f"note: {note}")
    if failure["hint"]:
        say(f"hint: {failure['hint']}")
    return 1


def _describe(exc: Exception, given: Mapping[str, Any]) -> dict[str, str | None]:
    if isinstance(exc, OcipushError):
        from .hints import rewrite_hint

        message, hint = exc.message, rewrite_hint(exc.hint, store=given.get("images_store_dir"))
        if isinstance(exc, AuthenticationError) and given.get("command") == "login" and "image login" in (hint or ""):
            hint = "check the username and the password"  # not the command that was just run
    elif isinstance(exc, OSError):
        message, hint = str(exc), None
    else:
        message, hint = f"{type(exc).__name__}: {exc}", "this is a bug in ocipush; --debug shows the traceback"
    return {"code": type(exc).__name__, "message": message, "hint": hint}
