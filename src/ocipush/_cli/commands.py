"""The commands, and what a command ends with: its result on stdout, and its exit code."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NoReturn

import click
from click.core import ParameterSource

import ocipush

from . import options as _options
from . import signals as _signals
from .events import format_size
from .messages import (
    PUSHED,
    UNCHANGED,
    printable,
    report_failure,
    report_interrupt,
    report_usage,
    say,
    start_logging,
    translate,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .progress import Mode


# The options of every connection: as the library calls them, and as they are kept.
_ENVIRONMENT: Final = ParameterSource.ENVIRONMENT
_CONNECTION: Final = {name: name for name in ("ca_file", "cert", "key", "cert_dir", "proxy", "no_proxy")}


class _Cli(click.Group):
    """A group that turns errors into exit codes: 1 failed, 2 wrong usage, 128 plus the number of a signal."""

    def main(self, args: Sequence[str] | None = None, *rest: Any, **extra: Any) -> NoReturn:
        """Run the command line."""
        _fill_standard_streams()
        argv = sys.argv[1:] if args is None else list(args)
        given: dict[str, Any] = {}
        extra |= {"standalone_mode": False, "obj": given}
        try:
            code = super().main(_options.rewrite_tls_verify(argv, self), *rest, **extra)
        except _signals.StoppedError as exc:
            report_interrupt(given)
            sys.exit(128 + exc.number)
        except click.Abort:
            report_interrupt(given)
            sys.exit(130)
        except click.exceptions.NoArgsIsHelpError as exc:
            exc.show()
            sys.exit(exc.exit_code)
        except click.UsageError as exc:
            report_usage(exc.format_message(), exc.ctx.command_path if exc.ctx else "ocipush")
            sys.exit(exc.exit_code)
        except Exception as exc:  # noqa: BLE001 - the outermost frame: no traceback unless --debug asks for it
            sys.exit(report_failure(exc, given))
        sys.exit(code if isinstance(code, int) else 0)


def _fill_standard_streams() -> None:
    """Open the null device in place of closed standard streams: a socket of the push would get their numbers otherwise.

    A closed stdout stays None in ``sys``: a result that cannot be printed is an error.
    """
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            number = os.open(os.devnull, os.O_RDWR)
            if name != "stdout":
                setattr(sys, name, os.fdopen(number, "r" if name == "stdin" else "w"))


def _set(name: str) -> Any:
    return click.get_current_context().obj.get(name)


def _given(**names: str) -> dict[str, Any]:
    """Keyword arguments for those global options that were given."""
    return {keyword: value for keyword, name in names.items() if (value := _set(name)) is not None}


def _begin(warnings: str) -> None:
    """Start the log. Warnings of the logger ``warnings`` are shown; ``--debug`` shows everything."""
    context = click.get_current_context()
    context.obj["command"] = context.info_name
    start_logging(warnings, debug=bool(_set("debug")), as_json=_set("progress") == "json")


def _check_stdout() -> None:
    """Fail before anything is done if there is no place for the result."""
    if sys.stdout is None:
        raise OSError("stdout is closed, so the result cannot be printed")


@click.group(cls=_Cli, context_settings={"help_option_names": ["-h", "--help"]})
@_options.global_options
def cli() -> None:
    """Push container images from a local store to a registry."""


@cli.group()
@_options.global_options
def image() -> None:
    """Push and list images, and manage logins."""


@click.command()
@click.argument("name", metavar="IMAGE")
@_options.push_options
@_options.global_options
def push(name: str, progress: Mode | None, form: str, deadline: float | None, **given: Any) -> None:
    """Push IMAGE to a registry.

    IMAGE is the name of a directory in the store, a recorded reference, or a path to a layout or an archive: it starts
    with /, ./ or ../.
    """
    _check_stdout()
    _begin("ocipush.credentials")
    options = _given(store="images_store_dir", authfile="authfile", **_CONNECTION)
    options |= {option: value for option, value in given.items() if value not in {None, ()}}
    if deadline is not None:
        options["retry"] = ocipush.RetryPolicy(deadline=deadline)
    mode: Mode = progress or ("none" if _set("quiet") else "auto")
    from pathlib import Path  # here, as the next: `--version` does without

    from .progress import make_progress

    with make_progress(mode, sys.stderr, is_logged=bool(_set("debug"))) as show:
        source = Path(name) if _options.is_path(name) else name
        call = partial(ocipush.push, source, on_event=show, **options)
        stopping = "stopping: closing uploads; press Ctrl-C again to quit immediately"
        result = _signals.run(call, on_stop=partial(show.stop, stopping))
    if not _set("quiet") and mode != "json":
        say(f"{translate(UNCHANGED if result.unchanged else PUSHED)}: {result.reference}")
    click.echo(json.dumps(asdict(result)) if form == "json" else result.name_with_digest)


@click.command("list")
@_options.format_option
@_options.global_options
def list_(form: str) -> None:
    """List the images in the store."""
    _check_stdout()
    _begin("ocipush.store")
    images = ocipush.list_images(**_given(store="images_store_dir"), sizes=True)
    if form == "json":
        click.echo(json.dumps([asdict(image) for image in images], default=str))
        return
    if not images and not _set("quiet"):
        store = _set("images_store_dir") or _options.DEFAULT_STORE
        is_there = os.path.isdir(store)  # noqa: PTH112 - pathlib would cost `--version` 4 ms
        say(f"no images in the store {store}" if is_there else f"the store {store} does not exist")
    rows = [("NAME", "REF", "DIGEST", "SIZE")]
    for found in images:
        size = "-" if found.size is None else format_size(found.size)
        rows.append((printable(found.name), printable(found.ref or "-"), (found.digest or "-")[:19], size))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _one_authfile() -> dict[str, Any]:
    files = _set("authfile") or ()
    if len(files) > 1:
        raise click.UsageError("a login is kept in one file: give --authfile once")
    return {"authfile": files[0]} if files else {}


def _read_password(username: str | None, password: str | None, *, stdin: bool) -> str:
    visible = password is not None and click.get_current_context().get_parameter_source("password") is not _ENVIRONMENT
    if stdin:
        if visible:
            raise click.UsageError("-p and --password-stdin exclude each other")
        if username is None:
            raise click.UsageError("--password-stdin needs --username")
        try:
            return sys.stdin.buffer.read().decode("utf-8").rstrip("\r\n")
        except UnicodeDecodeError:
            raise click.UsageError("the password on stdin is not UTF-8") from None
    if visible:
        say("warning: other users can see a password on the command line; use --password-stdin")
    if password is not None:
        return password
    return _ask("Password", hide_input=True)


def _ask(what: str, *, hide_input: bool = False) -> str:
    try:
        return str(click.prompt(what, hide_input=hide_input, err=True))
    except click.Abort as exc:
        if not isinstance(exc.__context__, EOFError):
            raise
        click.echo(err=True)
        raise click.UsageError("no terminal to prompt on: give --username and --password-stdin") from None


@click.command()
@click.argument("registry")
@click.option("--username", "-u", cls=_options.EnvOption, metavar="NAME", help="Username.  [default: prompt for it]")
@click.option(
    "--password",
    "-p",
    cls=_options.EnvOption,
    metavar="VALUE",
    help="Password, which other users can see in the process list.",
)
@click.option("--password-stdin", is_flag=True, help="Read the password from stdin.")
@click.option("--check", is_flag=True, help="Check the login with the registry before it is saved.")
@_options.tls_option
@_options.global_options
def login(
    registry: str,
    username: str | None,
    password: str | None,
    password_stdin: bool,
    check: bool,
    tls_verify: bool,
) -> None:
    """Save a login for REGISTRY."""
    _begin("ocipush")
    authfile = _one_authfile()
    if username is None and not password_stdin:
        username = _ask("Username")
    secret = _read_password(username, password, stdin=password_stdin)
    username = (username or "").strip()
    if not username or not secret:
        raise click.UsageError("the username and the password must not be empty")
    entry = ocipush.Login(username, secret)
    if check:

        async def ask() -> bool:
            async with ocipush.Pusher(tls_verify=tls_verify, **_given(**_CONNECTION)) as pusher:
                return await pusher.check_login(registry, login=entry)

        if not _signals.run(ask):
            say(f"warning: {registry} did not ask for the login, so it was not checked: reading needs none there")
    ocipush.save_login(registry, entry, **authfile)
    if not _set("quiet"):
        say(f"login saved for {registry}")


@click.command()
@click.argument("registry")
@_options.global_options
def logout(registry: str) -> None:
    """Remove the login for REGISTRY."""
    _begin("ocipush.credentials")
    removed = ocipush.remove_login(registry, **_one_authfile())
    if not _set("quiet"):
        say(f"login removed for {registry}" if removed else f"no login for {registry}")


for _group in (cli, image):
    for _command in (push, list_, login, logout):
        _group.add_command(_command)
    _group.add_command(list_, "ls")
