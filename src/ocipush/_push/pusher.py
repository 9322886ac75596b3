"""``push`` and ``Pusher``: connections and endpoints that many pushes share; read and check an image, then push it."""

# pyright: reportTypedDictNotRequiredAccess=false
# The options are complete here: see options.complete().

from __future__ import annotations

import os
import sys
import traceback
from collections import OrderedDict
from functools import partial, wraps
from os import PathLike
from typing import TYPE_CHECKING, Any, Final, ParamSpec, Self, TypeVar, Unpack

import anyio

from .._credentials.base import Credentials, Login, registry_of
from .._credentials.chain import AskedLogins, Chain, GivenLogins
from .._credentials.files import LoginFiles, find_unused
from .._events import PushDone, PushResult
from .._http.redact import printable
from .._oci.reference import strip_white_space
from .._registry.endpoint import Endpoint
from .._registry.journal import Journal
from .._registry.retry import RetryPolicy
from .._sources.open import most_sources, open_source
from .._sources.verify import verify_blobs
from .._sources.walk import read_contents
from .._threads import run_in_thread
from ..errors import AuthenticationError, AuthorizationError, DeadlineExceededError, PusherClosedError
from .batch import Job, Plan, PushReport, run_jobs
from .clients import Clients
from .options import AllOptions, PusherOptions, PushOptions, complete, shows, split
from .plan import choose_target
from .push import Push
from .reporter import Reporter

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Callable, Coroutine, Iterable

    from .._events import OnEvent
    from .._http.client import Client
    from .._registry.authorizer import Renew

P = ParamSpec("P")
T = TypeVar("T")
_ENDPOINTS: Final = (
    256  # registries and logins that are remembered: a login that is renewed each hour leaves the old ones
)


def _without_locals(method: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """Clear the local variables of the frames of every exception: a tool that collects them would collect logins."""

    @wraps(method)
    async def clean(*args: P.args, **options: P.kwargs) -> T:
        ambient = sys.exception()
        try:
            return await method(*args, **options)
        except BaseException as exc:  # a cancellation and what a callback raised, too
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
    """Pushes images over shared connections. Use it as an async context manager; many tasks may push at the same time.

    :class:`ocipush.PusherOptions` describes the options.
    """

    @shows(PusherOptions)
    def __init__(self, **options: Unpack[PusherOptions]) -> None:
        given = complete(PusherOptions, options, "Pusher.__init__")
        self._options = given
        self._store = given["store"]
        self._credentials = _credentials(given)
        self._retry = given["retry"] or RetryPolicy()
        self._journal = Journal(given["resume_dir"]) if given["resume_dir"] is not None else None
        self._clients = Clients(given)
        self._endpoints: OrderedDict[tuple[str, bool, str], Endpoint] = OrderedDict()
        self._running: set[anyio.CancelScope] = set()
        self._pid = 0

    async def __aenter__(self) -> Self:
        self._pid = os.getpid()
        self._sources = anyio.CapacityLimiter(most_sources())
        self._idle = anyio.Event()
        return self

    async def __aexit__(self, *_: object) -> None:
        """End the pushes that still run, and close the connections."""
        ours, self._pid = self._pid == os.getpid(), 0
        with anyio.CancelScope(shield=True):
            while ours and self._running:
                self._idle = anyio.Event()
                for scope in self._running:
                    scope.cancel()
                await self._idle.wait()
        await self._clients.aclose()

    @shows(PushOptions)
    @_without_locals
    async def push(self, source: str | PathLike[str], **options: Unpack[PushOptions]) -> PushResult:
        """Push one image. :class:`ocipush.PushOptions` describes the options.

        Args:
            source: a name or reference of the store (``str``), or a path (``PathLike``) to the directory or the tar
                archive of a layout.

        Raises:
            TypeError, ValueError: an option is unknown, has another type, or is out of range.
            DeadlineExceededError: it took longer than the retry policy's ``deadline``.
            PusherClosedError: the Pusher is not open, or was closed meanwhile.
            OcipushError: any other of :mod:`ocipush.errors`. Until the push succeeds, the tag is unchanged.
        """
        given = complete(PushOptions, options, "push")
        self._check_open()
        reporter = Reporter(given["on_event"])
        what = given["target"] or source
        return await reporter.run(self._in_time(self._push(source, given, reporter), str(what)))

    async def push_many(
        self,
        jobs: Iterable[Job] | AsyncIterable[Job],
        *,
        parallel: int = 8,
        stop_on_error: bool = False,
        on_event: OnEvent | None = None,
    ) -> PushReport:
        """Push many images. Each blob is uploaded once to each registry, and mounted in the other repositories that need it.

        Args:
            jobs: any iterable of jobs, also an async one. A sized collection is planned as a whole, an iterator 1,000 at
                a time.
            parallel: maximum number of images pushed at the same time.
            stop_on_error: after a failure, cancel the jobs that run and start no more.
            on_event: called with the events of all pushes; ``push_id`` tells them apart.

        Returns:
            A report on each job. The failure of an image does not end the others, and is not raised.

        Raises:
            TypeError, ValueError: an option, also one of a job, has another type or is out of range.
            ConflictingJobsError: several jobs push different images to the same tag; nothing was sent.
        """
        if parallel < 1:
            raise ValueError(f"parallel must be at least 1, not {parallel}")
        self._check_open()

        def options_of(job: Job) -> PushOptions:
            given = job.options.copy()
            given["on_event"] = on_event
            if job.target is not None:
                given["target"] = job.target
            return complete(PushOptions, given, "Job")

        async def push(job: Job) -> PushResult:
            return await self.push(job.source, **options_of(job))

        return await run_jobs(
            jobs,
            look=lambda job: self._look(job.source, options_of(job)),
            push=push,
            parallel=parallel,
            stop_on_error=stop_on_error,
        )

    @_without_locals
    async def _look(self, source: str | PathLike[str], options: PushOptions) -> Plan:
        """Read what a push would send, and where to."""
        async with self._sources, open_source(source, ref=options["ref"], store=self._store) as found:
            root = found.root
            reference = choose_target(options["target"], root.ref_name, where=found.source.where, root=root)
            contents = await read_contents(found.source, root, include_foreign=options["include_foreign"])
        sent = (blob for blob in contents.blobs if options["include_foreign"] or not blob.is_foreign)
        return Plan(reference, root.digest, {blob.digest: blob.size for blob in sent})

    async def _push(self, source: str | PathLike[str], options: PushOptions, reporter: Reporter) -> PushResult:
        opening = open_source(
            source,
            ref=options["ref"],
            store=self._store,
            compression=options["compress"],
            follow_links=options["follow_links"],
        )
        async with self._sources, opening as found:
            warnings = list(found.warnings)
            root = found.root
            reference = choose_target(options["target"], root.ref_name, where=found.source.where, root=root)
            if reference.dropped_tag:
                warnings.append(f"{reference.name} names a digest: the tag {reference.dropped_tag!r} will not be set")
            contents = await read_contents(found.source, root, include_foreign=options["include_foreign"])
            if options["verify"]:
                await verify_blobs(found.source, contents, include_foreign=options["include_foreign"])
            tls_verify = self._options["tls_verify"] if options["tls_verify"] is None else options["tls_verify"]
            client = await self._clients.get(reference.registry, verify=tls_verify)
            endpoint = await self._endpoint(reference.registry, reference.repository, tls_verify)
            push = await self._prepare(client, endpoint, options, reporter)
            for text in warnings:
                reporter.warn(text)
            with_hint = self._with_hint(push.run(found.source, contents, reference), endpoint, reference.repository)
            result = await with_hint
        reporter.emit(PushDone(reporter.push_id, result))
        return result

    async def _prepare(self, client: Client, endpoint: Endpoint, options: PushOptions, reporter: Reporter) -> Push:
        if self._journal is not None:
            await run_in_thread(self._journal.prepare)
        return Push(
            client,
            endpoint,
            reporter,
            options,
            retry=self._retry,
            chunk_size=self._options["chunk_size"],
            journal=self._journal,
        )

    async def _in_time(self, run: Coroutine[Any, Any, PushResult], what: str) -> PushResult:
        deadline = self._retry.deadline
        with anyio.move_on_after(deadline) as scope:
            self._running.add(scope)
            try:
                return await run
            finally:
                self._running.discard(scope)
                if not self._running:
                    self._idle.set()
        if not self._pid:
            raise PusherClosedError(f"the Pusher was closed before {printable(what)} was pushed")
        raise DeadlineExceededError(
            f"{printable(what)} was not pushed within {deadline:g} s",
            hint="allow more time with RetryPolicy(deadline=)",
        )

    @_without_locals
    async def check_login(self, registry: str, login: Login | None = None) -> bool:
        """Ask ``registry`` whether it accepts ``login``; default: the login that a push would use.

        Returns:
            whether the registry asked for the login. If it did not, the login can be wrong: reading needs none there.

        Raises:
            AuthenticationError: it does not.
            InvalidReferenceError: ``registry`` is not valid.
            TransportError: it cannot be reached.
        """
        self._check_open()
        host = registry_of(strip_white_space(registry))
        tls_verify = self._options["tls_verify"]
        client = await self._clients.get(host, verify=tls_verify)
        endpoint = self._new_endpoint(host, tls_verify, login or await self._credentials.login(host))
        options = complete(PushOptions, PushOptions(), "push")
        push = Push(client, endpoint, Reporter(), options, retry=self._retry)
        return await self._with_hint(push.check_login(), endpoint, "")

    async def _with_hint(self, run: Coroutine[Any, Any, T], endpoint: Endpoint, repository: str) -> T:
        """Name the option, if an anonymous push is refused and another tool's file has a login."""
        try:
            return await run
        except (AuthenticationError, AuthorizationError) as exc:
            if endpoint.login is None:
                tool = await find_unused(endpoint.registry, repository, self._options["authfile"])
                if tool is not None:
                    exc.hint = f'{tool.capitalize()} has a login for this registry: authfile="{tool}" uses it'
            raise

    def _check_open(self) -> None:
        if self._pid != os.getpid():
            raise PusherClosedError(
                "this Pusher is not open in this process", hint="use `async with ocipush.Pusher() as pusher`"
            )

    async def _endpoint(self, registry: str, repository: str, tls_verify: bool) -> Endpoint:
        find = partial(self._credentials.login, registry, repository)
        login = await find()
        key = (registry, tls_verify, login.namespace if login else "")
        endpoint = self._endpoints.get(key)
        if endpoint is None or endpoint.login != login:  # the endpoint of the login before is not kept

            async def renew(refused: Login) -> Login | None:
                return await find(refused=refused)

            endpoint = self._endpoints[key] = self._new_endpoint(registry, tls_verify, login, renew)
        self._endpoints.move_to_end(key)
        while len(self._endpoints) > _ENDPOINTS:
            self._endpoints.popitem(last=False)
        return endpoint

    def _new_endpoint(
        self, registry: str, tls_verify: bool, login: Login | None, renew: Renew | None = None
    ) -> Endpoint:
        return Endpoint(
            registry,
            login,
            tls_verify=tls_verify,
            concurrency=self._options["concurrency"],
            large_concurrency=self._options["large_concurrency"],
            allow_hosts=self._options["allow_hosts"],
            renew=renew,
        )


def _credentials(options: PusherOptions) -> Credentials:
    given = options["credentials"]
    first = AskedLogins(given) if callable(given) else GivenLogins(given or {})
    return Chain(first, LoginFiles(options["authfile"]))


@shows(AllOptions)
async def push(source: str | PathLike[str], **options: Unpack[AllOptions]) -> PushResult:
    """Push one image: :meth:`Pusher.push` on a :class:`Pusher` of its own.

    :class:`ocipush.PushOptions` and :class:`ocipush.PusherOptions` describe the options.
    """
    shared, own = split(options)
    async with Pusher(**shared) as pusher:
        return await pusher.push(source, **own)


@shows(PusherOptions)
async def push_many(
    jobs: Iterable[Job] | AsyncIterable[Job],
    *,
    parallel: int = 8,
    stop_on_error: bool = False,
    on_event: OnEvent | None = None,
    **options: Unpack[PusherOptions],
) -> PushReport:
    """Push many images: :meth:`Pusher.push_many` on a :class:`Pusher` of its own, with its options."""
    async with Pusher(**options) as pusher:
        return await pusher.push_many(jobs, parallel=parallel, stop_on_error=stop_on_error, on_event=on_event)
