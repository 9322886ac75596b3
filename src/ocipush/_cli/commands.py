"""The ``ocipush`` command, on the public API alone."""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import traceback
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NoReturn

import click

import ocipush

from ..errors import OcipushError
from . import signals as _signals
from .progress import Mode, format_size, make_progress, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_TRUE: Final = frozenset({"1", "t", "T", "true", "TRUE", "True"})
_FALSE: Final = frozenset({"0", "f", "F", "false", "FALSE", "False"})


def rewrite_tls_verify(argv: Sequence[str]) -> list[str]:
    """Give each bare ``--tls-verify`` its value (rules.md, 7): the next word, if that leaves an operand, else true."""
    takes_value = _take_value()
    words: list[int] = []
    flags: list[int] = []
    end = len(argv)
    index = 0
    while index < len(argv):
        word = argv[index]
        if word == "--":
            end = index
            words += range(index + 1, len(argv))
            break
        if word == "--tls-verify":
            flags.append(index)
        elif word in takes_value:
            index += 1
        elif not word.startswith("-") or word == "-":
            words.append(index)
        index += 1
    commands = 2 if words and argv[words[0]] == "image" else 1
    operands = words[commands:]
    out = list(argv)
    taken: list[int] = []
    for flag in flags:
        value = "true"
        after = flag + 1
        if after < end and after in operands and argv[after] in {"true", "false"} and len(operands) > 1:
            value = argv[after]
            operands.remove(after)
            taken.append(after)
        out[flag] = f"--tls-verify={value}"
    return [word for index, word in enumerate(out) if index not in taken]


def _take_value() -> frozenset[str]:
    """The options that the next word belongs to, whatever it is; ``--tls-verify`` is none, it may stand alone."""
    options = [one for command in (cli, *cli.commands.values()) for one in command.params]
    names = {name for one in options if isinstance(one, click.Option) and not one.is_flag for name in one.opts}
    return frozenset(names - {"--tls-verify"})


def is_chinese(environ: Mapping[str, str]) -> bool:
    """Whether messages are wanted in Chinese: the first of the locale's variables that is set decides."""
    names = ("LC_ALL", "LC_MESSAGES", "LANG")
    return next((environ[name] for name in names if environ.get(name)), "").lower().startswith("zh")


def _say(text: str) -> None:
    click.echo(printable(text), err=True)


def _fail(exc: BaseException, *, debug: bool, as_json: bool) -> NoReturn:
    if debug:
        for line in "".join(traceback.format_exception(exc)).splitlines():
            _say(line)
    if isinstance(exc, OcipushError):
        message, hint = exc.message, exc.hint
    elif isinstance(exc, OSError):
        message, hint = str(exc), None
    else:
        message, hint = f"{type(exc).__name__}: {exc}", "this is a defect of ocipush; --debug shows where"
    if as_json:
        click.echo(json.dumps({"error": {"code": type(exc).__name__, "message": message, "hint": hint}}))
    _say(f"error: {message}")
    for note in getattr(exc, "__notes__", ()):
        _say(f"note: {note}")
    if hint:
        _say(f"hint: {hint}")
    sys.exit(1)


class _Cli(click.Group):
    """A group that maps errors to exit codes: 1 failed, 2 usage, 128 and the signal's number."""

    def main(self, args: Sequence[str] | None = None, *rest: Any, **extra: Any) -> NoReturn:
        """Run the command line."""
        argv = sys.argv[1:] if args is None else list(args)
        given: dict[str, Any] = {}
        extra |= {"standalone_mode": False, "obj": given}
        try:
            code = super().main(rewrite_tls_verify(argv), *rest, **extra)
        except _signals.StoppedError as exc:
            click.echo("interrupted", err=True)
            sys.exit(128 + exc.number)
        except click.Abort:
            click.echo("interrupted", err=True)
            sys.exit(130)
        except click.exceptions.NoArgsIsHelpError as exc:
            exc.show()
            sys.exit(exc.exit_code)
        except click.ClickException as exc:
            context = exc.ctx if isinstance(exc, click.UsageError) else None
            _say(f"error: {exc.format_message()}")
            _say(f"hint: `{context.command_path if context else 'ocipush'} --help` shows the usage")
            sys.exit(exc.exit_code)
        except Exception as exc:  # noqa: BLE001 - the outermost frame: no traceback unless asked for
            _fail(exc, debug="debug" in given, as_json=given.get("form") == "json")
        sys.exit(code if isinstance(code, int) else 0)


def _read_bool(_ctx: click.Context, _param: click.Parameter, value: str) -> bool:
    """Read one of the spellings that Go's flag package takes."""
    if value not in _TRUE | _FALSE:
        raise click.BadParameter(f"{value!r} is neither true nor false")
    return value in _TRUE


def _read_size(_ctx: click.Context, _param: click.Parameter, value: str | None) -> int | None:
    """Read bytes: a number, with a unit of 1000 (kB, MB, GB) or 1024 (KiB, MiB, GiB) after it or none."""
    found = re.fullmatch(r"([1-9][0-9]{0,11}) ?([KMG]?)(i?)B?", value or "", re.IGNORECASE)
    if value is not None and found is None:
        raise click.BadParameter(f"{value!r} is not a size such as 16MiB")
    if found is None:
        return None
    unit = 1024 if found[3] else 1000
    return int(found[1]) * int(unit ** " KMG".index(found[2].upper() or " "))


def _keep(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
    """Remember an option that counts wherever on the line it stands."""
    if value == "":
        raise click.BadParameter("it is empty")
    if value is not None and value is not False:
        ctx.obj[param.name] = value
    return value


def _show_version(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        click.echo(f"ocipush {ocipush.__version__}")
        ctx.exit()


_keep_option = partial(click.option, expose_value=False, callback=_keep)


def _global(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_show_version),
        _keep_option("--debug", is_flag=True, help="Log every step; show tracebacks."),
        _keep_option("--quiet", "-q", is_flag=True, help="Only the result, warnings and errors."),
        _keep_option("--ca-file", metavar="FILE", help="PEM file of a further certificate authority."),
        _keep_option("--authfile", metavar="FILE", help="Login file  [env: OCIPUSH_AUTHFILE]"),
        _keep_option("--images-store-dir", metavar="DIR", help="The store  [default: /var/lib/ar/images]"),
    ):
        command = option(command)
    return command


def _set(name: str) -> Any:
    return click.get_current_context().obj.get(name)


def _given(**names: str) -> dict[str, Any]:
    """Keyword arguments for those global options that were given."""
    return {keyword: value for keyword, name in names.items() if (value := _set(name)) is not None}


class _Log(logging.Handler):
    def __init__(self, prefix: str) -> None:
        super().__init__()
        self._prefix = prefix

    def emit(self, record: logging.LogRecord) -> None:
        _say(self._prefix + record.getMessage())


def _start_logging(warnings: str) -> None:
    """Show the log on stderr: all of it with --debug, else the warnings of one part; those of a push come as events."""
    log, handler = logging.getLogger("ocipush"), _Log("" if _set("debug") else "warning: ")
    if _set("debug"):
        log.setLevel(logging.DEBUG)
    else:
        handler.setLevel(logging.WARNING)
        handler.addFilter(logging.Filter(warnings))
    log.handlers = [handler]


_format = click.option(
    "--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True, callback=_keep
)
_tls = click.option(
    "--tls-verify", callback=_read_bool, default="true", metavar="[=true|false]", help="Verify certificates."
)


@click.group(cls=_Cli, context_settings={"help_option_names": ["-h", "--help"]})
@_global
def cli() -> None:
    """Push container images from a local store to a registry."""


@cli.group()
@_global
def image() -> None:
    """Images of the store, and logins."""


@click.command()
@click.argument("name", metavar="IMAGE")
@click.option("--target", metavar="REF", help="Where to push to  [default: the recorded reference]")
@click.option("--ref", metavar="REF", help="Which image of a layout with several.")
@click.option(
    "--allow-host",
    "allow_hosts",
    multiple=True,
    metavar="HOST",
    help="Where the registry may send uploads and logins to.",
)
@click.option("--mount-from", metavar="REPOSITORY", help="A repository of the registry that may hold the blobs.")
@click.option("--force", is_flag=True, help="Send all of it, whatever the registry holds.")
@click.option(
    "--concurrency", type=click.IntRange(min=1), metavar="N", help="How many small blobs go at once, at most."
)
@click.option("--chunk-size", callback=_read_size, metavar="SIZE", help="Send blobs in chunks, e.g. of 16MiB.")
@click.option("--resume-dir", metavar="DIR", help="Keep unfinished uploads there, and go on with them.")
@click.option("--deadline", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS", help="For the whole push.")
@click.option("--progress", type=click.Choice(["auto", "bar", "plain", "json", "none"]), default="auto")
@_tls
@_format
@_global
def push(name: str, progress: Mode, form: str, deadline: float | None, **given: Any) -> None:
    """Push IMAGE."""
    _start_logging("ocipush.credentials")
    options = _given(store="images_store_dir", authfile="authfile", ca_file="ca_file")
    options |= {option: value for option, value in given.items() if value not in {None, ()}}
    if deadline is not None:
        options["retry"] = ocipush.RetryPolicy(deadline=deadline)
    with make_progress("none" if _set("quiet") else progress, sys.stderr) as show:
        call = partial(ocipush.push, name, on_event=show, **options)
        result = _signals.run(call, on_stop=partial(show.stop, "stopping: closing uploads; once more ends it at once"))
    if not _set("quiet") and progress != "json":
        chinese = is_chinese(os.environ)
        if result.unchanged:
            _say("远程仓库中已有此镜像" if chinese else "the image was there already")
        words = "镜像已推送到远程仓库" if chinese else "image pushed to the remote repository"
        _say(f"{words}: {result.reference}")
    click.echo(json.dumps(asdict(result)) if form == "json" else result.name_with_digest)


@click.command("list")
@_format
@_global
def list_(form: str) -> None:
    """List the images of the store."""
    _start_logging("ocipush.store")
    images = ocipush.list_images(**_given(store="images_store_dir"), sizes=True)
    if form == "json":
        click.echo(json.dumps([asdict(image) for image in images], default=str))
        return
    if not images and not _set("quiet"):
        _say("the store holds no images")
    rows = [("NAME", "REF", "DIGEST", "SIZE")]
    for found in images:
        size = "-" if found.size is None else format_size(found.size)
        rows.append((printable(found.name), printable(found.ref or "-"), (found.digest or "-")[:19], size))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _read_password(username: str | None, password: str | None, *, stdin: bool) -> str:
    if stdin:
        if password is not None:
            raise click.UsageError("-p and --password-stdin exclude each other")
        if username is None:
            raise click.UsageError("--password-stdin needs --username")
        try:
            return sys.stdin.buffer.read().decode("utf-8").rstrip("\r\n")
        except UnicodeDecodeError:
            raise click.UsageError("the password on stdin is not UTF-8") from None
    if password is not None:
        _say("warning: other users can see a password on the command line; use --password-stdin")
        return password
    return _ask("Password", hide_input=True)


def _ask(what: str, *, hide_input: bool = False) -> str:
    try:
        return str(click.prompt(what, hide_input=hide_input, err=True))
    except click.Abort as exc:
        if not isinstance(exc.__context__, EOFError):
            raise
        click.echo(err=True)
        raise click.UsageError("there is nobody to ask: give --username and --password-stdin") from None


@click.command()
@click.argument("registry")
@click.option("--username", "-u")
@click.option("--password", "-p")
@click.option("--password-stdin", is_flag=True, help="Read the password from stdin.")
@click.option("--check", is_flag=True, help="Ask the registry before the login is saved.")
@_tls
@_global
def login(
    registry: str,
    username: str | None,
    password: str | None,
    password_stdin: bool,
    check: bool,
    tls_verify: bool,
) -> None:
    """Save a login for REGISTRY."""
    _start_logging("ocipush")
    if username is None and not password_stdin:
        username = _ask("Username")
    secret = _read_password(username, password, stdin=password_stdin)
    username = (username or "").strip()
    if not username or not secret:
        raise click.UsageError("the username and the password must not be empty")
    entry = ocipush.Login(username, secret)
    if check:

        async def ask() -> None:
            async with ocipush.Pusher(tls_verify=tls_verify, **_given(ca_file="ca_file")) as pusher:
                await pusher.check_login(registry, login=entry)

        _signals.run(ask)
    ocipush.save_login(registry, entry, **_given(authfile="authfile"))
    if not _set("quiet"):
        _say(f"login saved for {registry}")


@click.command()
@click.argument("registry")
@_global
def logout(registry: str) -> None:
    """Remove the login for REGISTRY."""
    _start_logging("ocipush.credentials")
    removed = ocipush.remove_login(registry, **_given(authfile="authfile"))
    if not _set("quiet"):
        _say(f"login removed for {registry}" if removed else f"there was no login for {registry}")


for _group in (cli, image):
    for _command in (push, list_, login, logout):
        _group.add_command(_command)
    _group.add_command(list_, "ls")
