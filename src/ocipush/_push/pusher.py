"""``push`` and ``Pusher``: the options, connections and endpoints that many pushes share; read and check a layout, then push it."""

from __future__ import annotations

import os
import ssl
import sys
import traceback
from functools import wraps
from os import PathLike
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar

import anyio.to_thread

from .._credentials.base import Credentials, Login, registry_of
from .._credentials.chain import AuthFile, Chain, GivenLogins
from .._events import PushDone, PushResult
from .._http.client import Client
from .._http.timeouts import Timeouts
from .._http.tls import Context
from .._oci.reference import Reference, strip_white_space
from .._registry.endpoint import Endpoint
from .._registry.journal import Journal
from .._registry.retry import RetryPolicy
from .._sources.open import open_source
from .._sources.store import DEFAULT_STORE
from .._sources.verify import verify_blobs
from .._sources.walk import read_contents
from .._version import __version__
from ..errors import DeadlineExceededError, OcipushError, PusherClosedError
from .plan import choose_target
from .push import Push

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Coroutine, Mapping

    from .._events import OnEvent


P = ParamSpec("P")
T = TypeVar("T")


def _without_locals(method: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """Let no error leave with the local variables of its frames: what collects those would collect logins and tokens."""

    @wraps(method)
    async def clean(*args: P.args, **options: P.kwargs) -> T:
        ambient = sys.exception()
        try:
            return await method(*args, **options)
        except OcipushError as exc:
            _clear_locals(exc, {ambient})
            raise

    return clean


def _clear_locals(exc: BaseException | None, seen: set[BaseException | None]) -> None:
    if exc in seen or exc is None:
        return
    seen.add(exc)
    traceback.clear_frames(exc.__traceback__)
    _clear_locals(exc.__cause__, seen)
    _clear_locals(exc.__context__, seen)
    for one in exc.exceptions if isinstance(exc, BaseExceptionGroup) else ():
        _clear_locals(one, seen)


class Pusher:
    """Pushes images over shared connections; one serves many tasks at once. Use it as an async context manager.

    Args:
        store: the directory of OCI layouts that image names are looked up in.
        authfile: the login file; default ``$OCIPUSH_AUTHFILE``, else ``/var/lib/ar/auth.json``.
        credentials: logins by registry, asked before the login file; ``docker.io`` stands for Docker Hub.
        tls_verify: False accepts any certificate, and allows plain HTTP where TLS is not spoken (rules.md, 3).
        ca_file: PEM file of a certificate authority to trust besides the system's.
        ssl_context: a context of your own, instead of the two above; not used where ``tls_verify`` is False.
        timeouts: seconds that the steps of a request may take.
        retry: how often requests and blobs are tried.
        concurrency: how many small blobs are sent to one registry at once, over all pushes; at most 12 to one that
            answers within 5 ms, until it turns slower.
        large_concurrency: how many blobs of 1 MiB and more, beside them. Memory is about 1 MiB for each of them.
        allow_hosts: ``host`` or ``host:port`` that a registry may send uploads and logins to though its address is more
            private than the registry's own.
        chunk_size: bytes; blobs go in chunks of this size. None: whole, unless the registry takes no such body.
        resume_dir: a directory that keeps unfinished uploads of 1 MiB and more, so that another process can go on with
            them when this one is killed. Such uploads are left open when a push fails or is cancelled.
        transport: an httpx transport of your own.
        user_agent: put before ``ocipush/x.y``.
    """

    def __init__(
        self,
        *,
        store: str | PathLike[str] = DEFAULT_STORE,
        authfile: str | PathLike[str] | None = None,
        credentials: Mapping[str, Login] | None = None,
        tls_verify: bool = True,
        ca_file: str | PathLike[str] | None = None,
        ssl_context: ssl.SSLContext | None = None,
        timeouts: Timeouts | None = None,
        retry: RetryPolicy | None = None,
        concurrency: int = 64,
        large_concurrency: int = 4,
        allow_hosts: Collection[str] = (),
        chunk_size: int | None = None,
        resume_dir: str | PathLike[str] | None = None,
        transport: Any = None,
        user_agent: str | None = None,
    ) -> None:
        if concurrency < 1 or large_concurrency < 1:
            raise ValueError("concurrency and large_concurrency must be at least 1")
        self._store = store
        self._credentials: Credentials = Chain(GivenLogins(credentials or {}), AuthFile(authfile))
        self._tls_verify = tls_verify
        self._ca_file = ca_file
        self._ssl_context = ssl_context
        self._timeouts = timeouts or Timeouts()
        self._retry = retry or RetryPolicy()
        self._concurrency = concurrency
        self._large_concurrency = large_concurrency
        self._allow_hosts = (allow_hosts,) if isinstance(allow_hosts, str) else tuple(allow_hosts)
        self._chunk_size = chunk_size
        self._journal = Journal(resume_dir) if resume_dir is not None else None
        self._transport = transport
        self._user_agent = f"{user_agent} ocipush/{__version__}" if user_agent else f"ocipush/{__version__}"
        self._clients: dict[bool, Client] = {}
        self._endpoints: dict[tuple[str, bool, Login | None], Endpoint] = {}
        self._pid = 0

    async def __aenter__(self) -> Self:
        self._pid = os.getpid()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._pid = 0
        for client in self._clients.values():
            await client.aclose()
        self._clients.clear()

    @_without_locals
    async def push(
        self,
        source: str | PathLike[str],
        *,
        target: str | None = None,
        ref: str | None = None,
        tls_verify: bool | None = None,
        on_event: OnEvent | None = None,
        verify: bool = False,
        include_foreign: bool = False,
        mount_from: str | None = None,
        force: bool = False,
    ) -> PushResult:
        """Push one image.

        Args:
            source: a name or reference of the store (``str``), or the directory of a layout (``PathLike``).
            target: the reference to push to; default: the one that the layout records.
            ref: which descriptor of a layout with several: a recorded reference, a tag, or a digest.
            tls_verify: overrides the ``Pusher``'s.
            on_event: called with each progress event, on the event loop's thread. It must not block; what it raises
                cancels the push and is raised unchanged.
            verify: hash every blob before the first byte is sent.
            include_foreign: upload non-distributable layers too.
            mount_from: a repository of the same registry that may hold the blobs: those it does are not sent.
            force: send all of it, whatever the registry holds: for one that has lost blobs.

        Raises:
            DeadlineExceededError: it took longer than the retry policy's ``deadline``.
            OcipushError: one of :mod:`ocipush.errors`. Until the tag has moved, the registry names what it named before.
        """
        self._check_open()
        async with open_source(source, ref=ref, store=self._store) as found:
            warnings = list(found.warnings)
            root = found.root
            reference = choose_target(target, root.ref_name, where=found.source.where, root=root)
            if reference.dropped_tag:
                warnings.append(f"{reference.name} names a digest: the tag {reference.dropped_tag!r} will not be set")
            contents = await read_contents(found.source, root, include_foreign=include_foreign)
            if verify:
                await verify_blobs(found.source, contents, include_foreign=include_foreign)
            checked = self._tls_verify if tls_verify is None else tls_verify
            if self._journal is not None:
                await anyio.to_thread.run_sync(self._journal.prepare)
            push = Push(
                self._client(checked),
                await self._endpoint(reference.registry, checked),
                on_event=on_event,
                retry=self._retry,
                include_foreign=include_foreign,
                chunk_size=self._chunk_size,
                mount_from=mount_from,
                journal=self._journal,
                force=force,
            )
            for text in warnings:
                push.warn(text)
            result = await self._in_time(push.run(found.source, contents, reference), reference)
        push.emit(PushDone(push.id, result))
        return result

    async def _in_time(self, run: Coroutine[Any, Any, PushResult], reference: Reference) -> PushResult:
        deadline = self._retry.deadline
        with anyio.move_on_after(deadline):
            return await run
        raise DeadlineExceededError(
            f"{reference.name} was not pushed within {deadline:g} s",
            hint="RetryPolicy(deadline=) says how long a push may take",
        )

    @_without_locals
    async def check_login(self, registry: str, login: Login | None = None) -> None:
        """Ask ``registry`` whether it knows ``login``; default: the one that a push would use.

        Raises:
            AuthenticationError: it does not.
            InvalidReferenceError: no reference can name it.
            TransportError: it cannot be reached.
        """
        self._check_open()
        host = registry_of(strip_white_space(registry))
        endpoint = Endpoint(
            host,
            login or await self._credentials.login(host),
            tls_verify=self._tls_verify,
            allow_hosts=self._allow_hosts,
        )
        client = self._client(self._tls_verify)
        push = Push(client, endpoint, on_event=None, retry=self._retry)
        await push.check_login()

    def _check_open(self) -> None:
        if self._pid != os.getpid():
            raise PusherClosedError(
                "this Pusher is not open in this process", hint="use `async with ocipush.Pusher() as pusher`"
            )

    def _client(self, verify: bool) -> Client:
        if (client := self._clients.get(verify)) is None:
            # The caller's own context is not made to trust everybody: it may be in use elsewhere.
            own = self._ssl_context if verify else None
            context = own or Context(verify=verify)
            if own is None and self._ca_file is not None:
                try:
                    context.load_verify_locations(self._ca_file)
                except (OSError, ssl.SSLError) as exc:
                    raise OcipushError(
                        f"the CA file {os.fspath(self._ca_file)} cannot be used: {exc}",
                        hint="--ca-file (ca_file=) takes a PEM file of certificates",
                    ) from exc
            client = self._clients[verify] = Client(
                verify=context, timeouts=self._timeouts, user_agent=self._user_agent, transport=self._transport
            )
        return client

    async def _endpoint(self, registry: str, tls_verify: bool) -> Endpoint:
        login = await self._credentials.login(registry)
        endpoint = Endpoint(
            registry,
            login,
            tls_verify=tls_verify,
            concurrency=self._concurrency,
            large_concurrency=self._large_concurrency,
            allow_hosts=self._allow_hosts,
        )
        return self._endpoints.setdefault((registry, tls_verify, login), endpoint)


async def push(
    source: str | PathLike[str],
    *,
    target: str | None = None,
    ref: str | None = None,
    on_event: OnEvent | None = None,
    verify: bool = False,
    include_foreign: bool = False,
    mount_from: str | None = None,
    force: bool = False,
    store: str | PathLike[str] = DEFAULT_STORE,
    authfile: str | PathLike[str] | None = None,
    credentials: Mapping[str, Login] | None = None,
    tls_verify: bool = True,
    ca_file: str | PathLike[str] | None = None,
    ssl_context: ssl.SSLContext | None = None,
    timeouts: Timeouts | None = None,
    retry: RetryPolicy | None = None,
    concurrency: int = 64,
    large_concurrency: int = 4,
    allow_hosts: Collection[str] = (),
    chunk_size: int | None = None,
    resume_dir: str | PathLike[str] | None = None,
    transport: Any = None,
    user_agent: str | None = None,
) -> PushResult:
    """Push one image: :meth:`Pusher.push` on a :class:`Pusher` of its own. The options are those of the two."""
    async with Pusher(
        store=store,
        authfile=authfile,
        credentials=credentials,
        tls_verify=tls_verify,
        ca_file=ca_file,
        ssl_context=ssl_context,
        timeouts=timeouts,
        retry=retry,
        concurrency=concurrency,
        large_concurrency=large_concurrency,
        allow_hosts=allow_hosts,
        chunk_size=chunk_size,
        resume_dir=resume_dir,
        transport=transport,
        user_agent=user_agent,
    ) as pusher:
        return await pusher.push(
            source,
            target=target,
            ref=ref,
            on_event=on_event,
            verify=verify,
            include_foreign=include_foreign,
            mount_from=mount_from,
            force=force,
        )
