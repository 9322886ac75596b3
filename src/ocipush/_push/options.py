"""Every option of ``push`` and ``Pusher``, declared once: its name, type, default, range and meaning.

Type checkers and editors read the TypedDicts. At run time :func:`complete` checks the options that were given and adds
the defaults of the others, and :func:`shows` puts them into the signature of a function. Annotations are objects here,
not strings, so that both can read them.
"""

import inspect
import re
import ssl
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from os import PathLike
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, TypedDict, TypeVar, cast, get_args, get_origin, get_type_hints

from .._credentials.base import Login, registry_of
from .._credentials.chain import LoginFunction
from .._events import OnEvent
from .._http.proxy import proxy_problem
from .._http.timeouts import Timeouts
from .._oci.reference import Reference, strip_white_space
from .._registry.retry import RetryPolicy
from .._sources.store import DEFAULT_STORE
from ..errors import InvalidReferenceError

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T", bound=Mapping[str, object])

_HOST: Final = re.compile(r"(?:[\w.-]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?|[0-9A-Fa-f:.]+", re.ASCII)


def _at_least_one(name: str, value: int) -> int:
    if value < 1:
        raise ValueError(f"{name} must be at least 1, not {value}")
    return value


def _reference(_name: str, value: str | Reference) -> Reference:
    if isinstance(value, Reference):  # it need not come from Reference.parse
        return replace(Reference.parse(value.name), dropped_tag=value.dropped_tag)
    return Reference.parse(strip_white_space(value))


def _repository(name: str, value: str) -> str:
    try:
        valid = Reference.parse(f"registry.example/{value}").repository == value
    except InvalidReferenceError:
        valid = False
    if not valid:
        raise ValueError(f"{name} must be a repository such as team/base, not {value!r}")
    return value


def _plain_function(name: str, value: OnEvent) -> OnEvent:
    function = value
    while isinstance(function, partial):
        function = function.func
    for one in (function, type(function).__call__):
        if inspect.iscoroutinefunction(one) or inspect.isasyncgenfunction(one):
            raise TypeError(f"{name} must be a plain function, not an async one: nothing would await it")
    return value


def _authfiles(name: str, value: object) -> object:
    if not isinstance(value, str | PathLike):
        for file in cast("Sequence[object]", value):
            if not isinstance(file, str | PathLike):
                raise TypeError(f"{name} must hold str or PathLike, not {_shown(type(file))}")
    return value


def _logins(name: str, value: Mapping[str, object] | LoginFunction) -> dict[str, Login] | LoginFunction:
    if not isinstance(value, Mapping):
        return value
    logins: dict[str, Login] = {}
    for registry, login in value.items():
        if not isinstance(login, Login):
            raise TypeError(f"{name}[{registry!r}] must be Login, not {_shown(type(login))}")
        logins[registry_of(registry)] = login
    return logins


def _hosts(name: str, value: Collection[object]) -> tuple[object, ...]:
    hosts = (value,) if isinstance(value, str) else tuple(value)
    for host in hosts:
        if not isinstance(host, str):
            raise TypeError(f"{name} must hold str, not {_shown(type(host))}")
        found = _HOST.fullmatch(host)
        if found is None or not 0 < int(found[1] or 443) < 65536:
            raise ValueError(f"{name} must hold host or host:port, not {host!r}")
    return hosts


def _proxy(name: str, value: str) -> str:
    problem = proxy_problem(value) if value else None
    if problem is not None:  # the value is not shown: it can contain a password
        raise ValueError(f"{name} must be the URL of a proxy such as http://proxy.example:3128: {problem}")
    return value


def _names(name: str, value: Collection[object]) -> tuple[object, ...]:
    names = tuple(value.replace(",", " ").split()) if isinstance(value, str) else tuple(value)
    for one in names:
        if not isinstance(one, str):
            raise TypeError(f"{name} must hold str, not {_shown(type(one))}")
    return names


def _compression(name: str, value: str) -> str:
    if value not in {"gzip", "none"}:
        raise ValueError(f"{name} must be 'gzip' or 'none', not {value!r}")
    return value


def _async_transport(name: str, value: Any) -> Any:
    if isinstance(value, type) or not callable(getattr(value, "handle_async_request", None)):
        shown = value.__name__ if isinstance(value, type) else type(value).__name__
        raise TypeError(f"{name} must be an async httpx transport, with handle_async_request, not {shown}")
    return value


def _header(name: str, value: str) -> str:
    if not (value.isascii() and value.isprintable()):
        raise ValueError(f"{name} must be printable ASCII, not {value!r}")
    return value


@dataclass(frozen=True)
class Option:
    """The default of an option, and how a value of the right type, other than None, is checked and made ready."""

    default: object = None
    check: Callable[[str, Any], object] = lambda _name, value: value


class _ImageOptions(TypedDict, total=False):
    """What ``push`` takes wherever it is called; described in :class:`PushOptions`."""

    target: Annotated[str | Reference | None, Option(check=_reference)]
    ref: Annotated[str | None, Option()]
    on_event: Annotated[OnEvent | None, Option(check=_plain_function)]
    verify: Annotated[bool, Option(default=False)]
    include_foreign: Annotated[bool, Option(default=False)]
    mount_from: Annotated[str | None, Option(check=_repository)]
    force: Annotated[bool, Option(default=False)]
    compress: Annotated[Literal["gzip", "none"], Option("gzip", _compression)]
    follow_links: Annotated[bool, Option(default=False)]


class PushOptions(_ImageOptions, total=False):
    """The options of :meth:`Pusher.push`, each a keyword argument.

    Keys:
        target: the reference to push to; default: the one that the layout records.
        ref: which image to push, if the layout holds several: a recorded reference, a tag, or a digest.
        on_event: called with each progress event, on the event loop's thread. It must not block. If it raises an
            exception, the push is cancelled and raises that exception unchanged.
        verify: hash every blob before the first request.
        include_foreign: upload non-distributable layers too.
        mount_from: a repository of the same registry that may hold the blobs; those it holds are mounted, not uploaded.
        force: upload everything again, even blobs the registry claims to have; for a registry that has lost blobs.
        compress: how layers of a ``docker save`` archive are compressed that are not compressed yet; "gzip" or "none".
        follow_links: follow symbolic links that lead out of the layout, too. What they lead to is hashed before it is
            sent.
        tls_verify: overrides the option of the ``Pusher`` for this push.
    """

    tls_verify: Annotated[bool | None, Option()]


class PusherOptions(TypedDict, total=False):
    """The options of :class:`Pusher`, each a keyword argument.

    Keys:
        store: the directory in which images are looked up by name.
        authfile: the login file, or a list of them, used in their order; default ``$OCIPUSH_AUTHFILE``, else
            ``/var/lib/ar/auth.json``. The strings ``docker`` and ``podman`` stand for the files of these tools
            (docs/logins.md).
        credentials: logins by registry, used before the login files; ``docker.io`` means Docker Hub. Or a function,
            sync or async, that is called with the registry and returns a ``Login`` or None. It is called again
            when a login was refused.
        tls_verify: False accepts any certificate, and uses plain HTTP where the registry does not speak TLS
            (docs/requests.md, "Plain HTTP").
        ca_file: PEM file of certificate authorities to trust in addition to the system's, or a directory of such files.
        cert: PEM file with the certificate that registries and proxies ask a client for.
        key: PEM file with its private key; default: it is in the file of ``cert``.
        cert_dir: a directory with the certificates for each registry, as Docker and Podman have them in ``certs.d``:
            ``HOST:PORT/*.crt``, ``*.cert`` and ``*.key``.
        ssl_context: an SSL context of your own instead of all these; not used while ``tls_verify`` is False.
        proxy: the URL of the proxy for all registries, in place of those of ``HTTPS_PROXY`` and ``HTTP_PROXY``; an
            empty string means none.
        no_proxy: hosts that are reached without a proxy, in place of those of ``NO_PROXY``; this machine always is.
        timeouts: how long each step of a request may take.
        retry: how often requests and blobs are tried.
        concurrency: maximum number of small blobs uploaded concurrently to one registry, over all pushes; while the
            registry answers within milliseconds, at most 12.
        large_concurrency: maximum number of blobs of 1 MiB and more uploaded concurrently, in addition to the small
            ones. Each takes about 1 MiB of memory.
        allow_hosts: ``host`` or ``host:port`` that a registry may send uploads and logins to, even if its address is
            more private than the registry's.
        chunk_size: bytes; blobs are uploaded in chunks of this size. None: whole, unless the registry refuses that.
        resume_dir: a directory that keeps the state of unfinished uploads of 1 MiB and more, so that a later push, even
            in another process, can resume them. With it, uploads stay open when a push fails or is cancelled.
        transport: an async httpx transport of your own. The Pusher closes it.
        user_agent: text put before ``ocipush/x.y``.
    """

    store: Annotated[str | PathLike[str], Option(DEFAULT_STORE)]
    authfile: Annotated[str | PathLike[str] | Sequence[str | PathLike[str]] | None, Option(check=_authfiles)]
    credentials: Annotated[Mapping[str, Login] | LoginFunction | None, Option(check=_logins)]
    tls_verify: Annotated[bool, Option(default=True)]
    ca_file: Annotated[str | PathLike[str] | None, Option()]
    cert: Annotated[str | PathLike[str] | None, Option()]
    key: Annotated[str | PathLike[str] | None, Option()]
    cert_dir: Annotated[str | PathLike[str] | None, Option()]
    ssl_context: Annotated[ssl.SSLContext | None, Option()]
    proxy: Annotated[str | None, Option(check=_proxy)]
    no_proxy: Annotated[Collection[str] | None, Option(check=_names)]
    timeouts: Annotated[Timeouts | None, Option()]
    retry: Annotated[RetryPolicy | None, Option()]
    concurrency: Annotated[int, Option(64, _at_least_one)]
    large_concurrency: Annotated[int, Option(4, _at_least_one)]
    allow_hosts: Annotated[Collection[str], Option((), _hosts)]
    chunk_size: Annotated[int | None, Option(check=_at_least_one)]
    resume_dir: Annotated[str | PathLike[str] | None, Option()]
    transport: Annotated[Any, Option(check=_async_transport)]
    user_agent: Annotated[str | None, Option(check=_header)]


class AllOptions(_ImageOptions, PusherOptions, total=False):
    """The options of :func:`push`: those of :class:`PushOptions` and :class:`PusherOptions`."""


@cache
def _declared(kind: type) -> dict[str, tuple[Any, Option]]:
    """The type and the declaration of each option of a TypedDict."""
    return {name: get_args(hint) for name, hint in get_type_hints(kind, include_extras=True).items()}


def shows(kind: type) -> Callable[[F], F]:
    """Let ``inspect.signature`` and ``help`` show the options that a function takes, in place of its ``**options``."""

    def show(function: F) -> F:
        signature = inspect.signature(function)
        others = [one for one in signature.parameters.values() if one.kind is not one.VAR_KEYWORD]
        options = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=option.default, annotation=hint)
            for name, (hint, option) in _declared(kind).items()
        ]
        cast("Any", function).__signature__ = signature.replace(parameters=[*others, *options])
        return function

    return show


def complete(kind: type[T], given: T, function: str) -> T:
    """All options of ``kind``: those that were given to ``function``, checked, and the defaults of the others.

    Raises:
        TypeError: there is no such option, or its value has another type.
        ValueError: its value is out of range.
    """
    declared = _declared(kind)
    for name in given:
        if name not in declared:
            raise TypeError(f"{function}() got an unexpected keyword argument {name!r}")
    options = {
        name: _checked(name, given[name], hint, option) if name in given else option.default
        for name, (hint, option) in declared.items()
    }
    return cast("T", options)


def _checked(name: str, value: Any, hint: Any, option: Option) -> Any:
    types = _types(hint)
    if not isinstance(value, types) or (isinstance(value, bool) and not {bool, object} & {*types}):
        raise TypeError(f"{name} must be {' or '.join(map(_shown, types))}, not {_shown(type(value))}")
    return None if value is None else option.check(name, value)


def _shown(kind: type) -> str:
    return "None" if kind is NoneType else kind.__name__


def _types(hint: Any) -> tuple[type, ...]:
    """The classes that a type hint accepts, without their arguments."""
    if isinstance(hint, UnionType):
        return tuple(one for member in get_args(hint) for one in _types(member))
    if get_origin(hint) is Literal:
        return (str,)
    return (object if hint is Any else get_origin(hint) or hint,)


def split(options: AllOptions) -> tuple[PusherOptions, PushOptions]:
    """What of the options of ``push`` a ``Pusher`` takes, and what its own ``push`` takes."""
    shared = {name: value for name, value in options.items() if name in _declared(PusherOptions)}
    own = {name: value for name, value in options.items() if name not in shared}
    return cast("PusherOptions", shared), cast("PushOptions", own)
