"""The options: how their values are read, and those that every command takes."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import click
from click.core import ParameterSource

import ocipush

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

DEFAULT_STORE: Final = "/var/lib/ar/images"
_TRUE: Final = frozenset({"1", "t", "T", "true", "TRUE", "True"})
_FALSE: Final = frozenset({"0", "f", "F", "false", "FALSE", "False"})


def rewrite_tls_verify(argv: Sequence[str], group: click.Group) -> list[str]:
    """Give each bare ``--tls-verify`` a value: the next word if that is ``true`` or ``false`` and leaves an IMAGE, else true.

    ``group`` has the commands: their options tell which words are values.
    """
    takes_value = _options_with_value(group)
    words: list[int] = []
    bare: list[int] = []
    end = len(argv)
    index = 0
    while index < end:
        word = argv[index]
        if word == "--":
            end = index
            words += range(index + 1, len(argv))
        elif word == "--tls-verify":
            bare.append(index)
        elif word in takes_value:
            index += 1
        elif not word.startswith("-") or word == "-":
            words.append(index)
        index += 1
    commands = 2 if words and argv[words[0]] == "image" else 1
    operands = words[commands:]
    rewritten, taken = list(argv), set[int]()
    for index in bare:
        value, following = "true", index + 1
        if following < end and following in operands and argv[following] in {"true", "false"} and len(operands) > 1:
            value = argv[following]
            operands.remove(following)
            taken.add(following)
        rewritten[index] = f"--tls-verify={value}"
    return [word for index, word in enumerate(rewritten) if index not in taken]


def _options_with_value(group: click.Group) -> frozenset[str]:
    """The options whose value is the next word, whatever that is; not ``--tls-verify``, which may stand alone."""
    options = [one for command in (group, *group.commands.values()) for one in command.params]
    names = {name for one in options if isinstance(one, click.Option) and not one.is_flag for name in one.opts}
    return frozenset(names - {"--tls-verify"})


def is_path(image: str) -> bool:
    """Whether an IMAGE is a path, not a name of the store."""
    return image in {".", ".."} or image.startswith(("/", "./", "../"))


def read_bool(_ctx: click.Context, _param: click.Parameter, value: str) -> bool:
    """Read one of the spellings that Go's flag package accepts."""
    if value not in _TRUE | _FALSE:
        raise click.BadParameter(f"{value!r} is neither true nor false")
    return value in _TRUE


def read_size(_ctx: click.Context, _param: click.Parameter, value: str | None) -> int | None:
    """Read a number of bytes, with an optional unit of 1000 (kB, MB, GB) or 1024 (KiB, MiB, GiB)."""
    found = re.fullmatch(r"([1-9][0-9]{0,11}) ?([KMG]?)(i?)B?", value or "", re.IGNORECASE)
    if value is not None and found is None:
        raise click.BadParameter(f"{value!r} is not a size such as 16MiB")
    if found is None:
        return None
    unit = 1024 if found[3] else 1000
    return int(found[1]) * int(unit ** " KMG".index(found[2].upper() or " "))


def _keep(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
    """Remember an option, which may stand before or after the subcommand."""
    if value == "" or (isinstance(value, tuple) and "" in value):
        raise click.BadParameter("it is empty")
    if is_from_environment(ctx, param) and param.name in ctx.obj:
        return value  # it was given before the subcommand, or read there already
    if isinstance(value, tuple):  # an option that can be repeated, also on both sides of the subcommand
        value = ctx.obj.get(param.name, ()) + value or None
    if value is not None and value is not False:
        ctx.obj[param.name] = value
    return value


def _show_version(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        click.echo(f"ocipush {ocipush.__version__}")
        ctx.exit()


class EnvOption(click.Option):
    """An option that a variable of the environment can set: ``--ca-file`` by ``OCIPUSH_CA_FILE``."""

    def __init__(self, names: Sequence[str], **settings: Any) -> None:
        longest = max(names, key=lambda name: (name.startswith("--"), len(name)))
        variable = f"OCIPUSH_{longest.strip('-').replace('-', '_').upper()}"
        chosen: dict[str, Any] = {"envvar": variable, "show_envvar": True, **settings}
        super().__init__(names, **chosen)

    def get_error_hint(self, ctx: click.Context | None) -> str:
        """What a wrong value is reported of: the variable, if it has it."""
        if ctx is not None and is_from_environment(ctx, self):
            return str(self.envvar)
        return super().get_error_hint(ctx).partition(" (env")[0]

    def process_value(self, ctx: click.Context, value: Any) -> Any:
        """Read the value, and remember the variable that it is from."""
        if is_from_environment(ctx, self) and self.name not in ctx.obj:
            ctx.obj.setdefault("variables", {})[self.opts[0]] = self.envvar
        return super().process_value(ctx, value)


def is_from_environment(ctx: click.Context, param: click.Parameter) -> bool:
    """Whether an option has its value from a variable of the environment."""
    return ctx.get_parameter_source(param.name or "") is ParameterSource.ENVIRONMENT


_option = partial(click.option, cls=EnvOption)
_global_option = partial(_option, expose_value=False, callback=_keep)


def global_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that every command and group takes."""
    for option in (
        click.option(
            "--version",
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_show_version,
            help="Show the version and exit.",
        ),
        _global_option("--debug", is_flag=True, help="Log every request, and show tracebacks."),
        _global_option("--quiet", "-q", is_flag=True, help="Print only the result, warnings and errors."),
        _global_option(
            "--ca-file", metavar="FILE", help="Trust additional CA certificates: a PEM file or a directory."
        ),
        _global_option("--cert", metavar="FILE", help="Client certificate, a PEM file."),
        _global_option(
            "--key", metavar="FILE", help="Key of the client certificate.  [default: in the file of --cert]"
        ),
        _global_option(
            "--cert-dir",
            metavar="DIR",
            help="Directory with the certificates for each registry, like Docker's certs.d.",
        ),
        _global_option(
            "--proxy", metavar="URL", help="Proxy for all registries.  [default: HTTPS_PROXY, HTTP_PROXY or ALL_PROXY]"
        ),
        _global_option(
            "--no-proxy",
            metavar="HOSTS",
            help="Hosts to reach without a proxy, separated by commas.  [default: NO_PROXY]",
        ),
        _global_option(
            "--authfile",
            metavar="FILE",
            multiple=True,
            envvar=None,  # the library reads it
            help="Login file, or docker or podman for the file of that tool. Can be repeated.  "
            "[default: /var/lib/ar/auth.json]  [env var: OCIPUSH_AUTHFILE]",
        ),
        _global_option("--images-store-dir", metavar="DIR", help=f"Image store.  [default: {DEFAULT_STORE}]"),
    ):
        command = option(command)
    return command


tls_option = _option(
    "--tls-verify",
    callback=read_bool,
    default="true",
    metavar="[=true|false]",
    help="Verify TLS certificates. With false, any certificate is accepted, and plain HTTP too.  [default: true]",
)
format_option = _option(
    "--format",
    "form",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    callback=_keep,
    help="Format of the output on stdout.",
)

_PUSH_OPTIONS: Final = (
    click.option("--target", metavar="REF", help="Where to push to.  [default: the recorded reference]"),
    click.option("--ref", metavar="REF", help="Which image to push, if the layout holds several."),
    tls_option,
    _option(
        "--allow-host",
        "allow_hosts",
        multiple=True,
        metavar="HOST[:PORT]",
        help="Allow the registry to send uploads and logins to this host, even if its address is more private "
        "than the registry's. Can be repeated.",
    ),
    click.option("--mount-from", metavar="REPOSITORY", help="Repository of the same registry that may hold the blobs."),
    click.option(
        "--allow-nondistributable",
        "include_foreign",
        is_flag=True,
        help="Upload non-distributable layers too.",
    ),
    click.option(
        "--force",
        is_flag=True,
        help="Upload everything again, even blobs the registry claims to have.",
    ),
    click.option(
        "--follow-links",
        is_flag=True,
        help="Follow symbolic links that lead out of the layout, too, and hash the files.",
    ),
    click.option(
        "--compress",
        type=click.Choice(["gzip", "none"]),
        help="How layers of a `docker save` archive are compressed that are not yet.  [default: gzip]",
    ),
    _option(
        "--concurrency",
        type=click.IntRange(min=1),
        metavar="N",
        help="Maximum number of small blobs uploaded concurrently.",
    ),
    _option("--chunk-size", callback=read_size, metavar="SIZE", help="Upload blobs in chunks, for example of 16MiB."),
    _option("--resume-dir", metavar="DIR", help="Keep unfinished uploads in this directory, and resume them."),
    _option(
        "--deadline",
        type=click.FloatRange(min=0, min_open=True),
        metavar="SECONDS",
        help="Maximum time for the whole push.",
    ),
    _option(
        "--progress",
        type=click.Choice(["auto", "bar", "plain", "json", "none"]),
        callback=_keep,
        help="How progress is shown on stderr.  [default: auto, or none with --quiet]",
    ),
    format_option,
)


def push_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of a push."""
    for option in reversed(_PUSH_OPTIONS):
        command = option(command)
    return command
