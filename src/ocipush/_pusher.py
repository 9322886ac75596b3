"""``push`` and ``Pusher``: read and check a layout, send its blobs concurrently, then its manifests, the tag last.

May import: everything below.
"""

from __future__ import annotations

import logging
import os
import ssl
import time
import uuid
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from os import PathLike
from typing import TYPE_CHECKING, Any, Final, Self

import anyio
import anyio.to_thread

from ._auth import Authorizer
from ._credentials import Login, find_login
from ._events import (
    BlobDone,
    BlobProgress,
    BlobResult,
    BlobStarted,
    ManifestDone,
    PushDone,
    PushResult,
    PushStarted,
    PushWarning,
    RegistryWarning,
    RetryScheduled,
)
from ._http import Answer, Client, Timeouts, is_refused_or_plain
from ._layout import Layout
from ._reference import DOCKER_HUB, Reference, split_port, strip_white_space
from ._repository import Repository
from ._retry import RETRIED_STATUSES, RetryPolicy
from ._store import DEFAULT_STORE, match_image
from ._transport import FileBody
from ._version import __version__
from .errors import (
    ConnectFailedError,
    DigestMismatchError,
    OcipushError,
    PusherClosedError,
    RegistryError,
    TargetRequiredError,
    TLSVerificationError,
    TransportError,
    UploadInvalidatedError,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    import httpx

    from ._events import BlobOutcome, Event, OnEvent
    from ._layout import Contents
    from ._models import Descriptor

_LOG = logging.getLogger("ocipush")
_PROGRESS_INTERVAL: Final = 0.1  # seconds between two BlobProgress events of a blob
_CLEAN_UP: Final = 2.0  # seconds that a failed push may spend on closing its upload sessions


@dataclass(slots=True)
class _Endpoint:
    """What is known of a registry: the scheme it speaks, and what it asks for."""

    lock: anyio.Lock = field(default_factory=anyio.Lock)
    base: str = ""
    authorizer: Authorizer | None = None


class Pusher:
    """Pushes images over shared connections; one serves many tasks at once. Use it as an async context manager.

    Args:
        store: the directory of OCI layouts that image names are looked up in.
        authfile: the login file; default ``$OCIPUSH_AUTHFILE``, else ``/var/lib/ar/auth.json``.
        credentials: logins by registry, asked before the login file.
        tls_verify: False accepts any certificate, and allows plain HTTP where TLS is not spoken (rules.md, 3).
        ca_file: PEM file of a certificate authority to trust besides the system's.
        ssl_context: a context of your own, instead of the two above.
        timeouts: seconds that the steps of a request may take.
        retry: how often requests and blobs are tried.
        concurrency: how many blobs of this ``Pusher`` are sent at once. Memory is about 256 KiB for each.
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
        concurrency: int = 8,
        transport: Any = None,
        user_agent: str | None = None,
    ) -> None:
        self._store = store
        self._authfile = authfile
        self._credentials = dict(credentials or {})
        self._tls_verify = tls_verify
        self._ca_file = ca_file
        self._ssl_context = ssl_context
        self._timeouts = timeouts or Timeouts()
        self._retry = retry or RetryPolicy()
        self._concurrency = concurrency
        self._transport: httpx.AsyncBaseTransport | None = transport
        self._user_agent = f"{user_agent} ocipush/{__version__}" if user_agent else f"ocipush/{__version__}"
        self._clients: dict[bool, Client] = {}
        self._endpoints: dict[tuple[str, bool], _Endpoint] = {}
        self._pid = 0

    async def __aenter__(self) -> Self:
        self._gate = anyio.CapacityLimiter(self._concurrency)
        self._pid = os.getpid()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._pid = 0
        for client in self._clients.values():
            await client.aclose()
        self._clients.clear()

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

        Raises:
            OcipushError: one of :mod:`ocipush.errors`. Until the tag has moved, the registry names what it named before.
        """
        if self._pid != os.getpid():
            raise PusherClosedError(
                "this Pusher is not open in this process", hint="use `async with ocipush.Pusher() as pusher`"
            )
        push = _Push(uuid.uuid4().hex[:12], on_event, self._retry, self._gate)
        path, wanted, recorded = await self._find(push, source, ref)
        async with await Layout.open(path) as layout:
            for text in layout.warnings:
                push.warn(text)
            root = layout.select(wanted)
            reference = _choose_target(target, recorded or root.ref_name, str(path))
            if reference.dropped_tag:
                push.warn(f"{reference.name} names a digest: the tag {reference.dropped_tag!r} will not be set")
            if reference.digest and reference.digest != root.digest:
                raise DigestMismatchError(f"the target names {reference.digest}, but the image is {root.digest}")
            contents = await layout.read(root, include_foreign=include_foreign)
            if verify:
                await layout.verify(contents)
            login = await self._login(reference.registry)
            push.emit(PushStarted(push.id, str(path), reference.name, root.digest, len(contents.blobs), contents.size))
            checked = self._tls_verify if tls_verify is None else tls_verify
            result = await self._run(push, layout, contents, reference, login, checked, include_foreign)
        push.emit(PushDone(push.id, result))
        return result

    async def _find(
        self, push: _Push, source: str | PathLike[str], ref: str | None
    ) -> tuple[str | PathLike[str], str | None, str | None]:
        if not isinstance(source, str):
            return source, ref, None
        match = await anyio.to_thread.run_sync(match_image, self._store, source)
        for text in match.warnings:
            push.warn(text)
        if ref is not None:
            return match.image.path, ref, None
        return match.image.path, match.descriptor.digest if match.descriptor else None, match.ref

    async def _login(self, registry: str) -> Login | None:
        if (login := self._credentials.get(registry)) is not None:
            return login
        return await anyio.to_thread.run_sync(lambda: find_login(registry, authfile=self._authfile))

    def _client(self, verify: bool) -> Client:
        if (client := self._clients.get(verify)) is None:
            context = self._ssl_context or ssl.create_default_context()
            if self._ssl_context is None and self._ca_file is not None:
                try:
                    context.load_verify_locations(self._ca_file)
                except (OSError, ssl.SSLError) as exc:
                    raise OcipushError(f"the CA file {os.fspath(self._ca_file)} cannot be used: {exc}") from exc
            if not verify:
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            client = self._clients[verify] = Client(
                verify=context, timeouts=self._timeouts, user_agent=self._user_agent, transport=self._transport
            )
        return client

    async def _run(
        self,
        push: _Push,
        layout: Layout,
        contents: Contents,
        reference: Reference,
        login: Login | None,
        verify: bool,
        foreign: bool,
    ) -> PushResult:
        started = time.monotonic()
        client = self._client(verify)
        endpoint = self._endpoints.setdefault((reference.registry, verify), _Endpoint())
        repository, current = await self._reach(push, client, endpoint, reference, login, verify)
        digest = contents.root.descriptor.digest
        unchanged = current == digest
        blobs: tuple[BlobResult, ...] = ()
        if not unchanged:
            blobs = await push.send(repository, layout, contents, reference, foreign)
        return PushResult(
            reference=reference.name,
            digest=digest,
            media_type=contents.root.media_type,
            size=contents.size,
            blobs=blobs,
            unchanged=unchanged,
            requests=repository.requests + push.tokens,
            sent=push.sent,
            seconds=time.monotonic() - started,
        )

    async def _reach(
        self, push: _Push, client: Client, endpoint: _Endpoint, reference: Reference, login: Login | None, verify: bool
    ) -> tuple[Repository, str | None]:
        """Ask what the reference names now; the first push to a registry finds out which scheme it speaks by that."""

        def repository(base: str) -> Repository:
            async def fetch(url: str, headers: dict[str, str]) -> Answer:
                push.tokens += 1
                return await client.request("GET", url, headers=headers, retry=self._retry, on_retry=push.retrying)

            if endpoint.authorizer is None or endpoint.base != base:
                endpoint.authorizer = Authorizer(login, plain_http=base.startswith("http:"), fetch=fetch)
            return Repository(
                client,
                endpoint.authorizer,
                base=base,
                name=reference.repository,
                retry=self._retry,
                on_retry=push.retrying,
                on_warning=push.registry_warning,
            )

        if not endpoint.base:
            async with endpoint.lock:
                if not endpoint.base:
                    host = "registry-1.docker.io" if reference.registry == DOCKER_HUB else reference.registry
                    secure = repository(f"https://{host}")
                    try:
                        current = await secure.manifest_digest(reference.identifier)
                    except ConnectFailedError as exc:
                        if not is_refused_or_plain(exc) or not (not verify or await _is_loopback(reference)):
                            raise
                        push.warn(f"{host} does not speak TLS: using plain HTTP")
                        if login is not None:
                            push.warn(f"the login for {host} goes over plain HTTP, readable to the network")
                        plain = repository(f"http://{host}")
                        current = await plain.manifest_digest(reference.identifier)
                        endpoint.base = f"http://{host}"
                        return plain, current
                    endpoint.base = f"https://{host}"
                    return secure, current
        known = repository(endpoint.base)
        return known, await known.manifest_digest(reference.identifier)


async def _is_loopback(reference: Reference) -> bool:
    """Whether the name promises loopback and every address it resolves to keeps the promise (rules.md, 3)."""
    if not reference.is_loopback:
        return False
    import ipaddress
    import socket

    host, port = split_port(reference.registry)
    try:
        found = await anyio.getaddrinfo(host.strip("[]"), port or 80, type=socket.SOCK_STREAM)
    except OSError:
        return False
    return all(ipaddress.ip_address(address[4][0]).is_loopback for address in found)


def _choose_target(target: str | None, recorded: str | None, path: str) -> Reference:
    """The target that was given, else the recorded reference (rules.md, 2)."""
    if target is not None:
        return Reference.parse(strip_white_space(target))
    if not recorded:
        raise TargetRequiredError(f"{path} records no reference to push to", hint="name one with --target (target=)")
    if not any(mark in recorded for mark in "/:@"):
        raise TargetRequiredError(
            f"{path} records {recorded!r}, which may be no more than a tag",
            hint="name the target with --target (target=)",
        )
    return Reference.parse(recorded)


class _Push:
    """One push under way: its events, its counts, and its blobs' upload loops."""

    def __init__(self, push_id: str, on_event: OnEvent | None, retry: RetryPolicy, gate: anyio.CapacityLimiter) -> None:
        self.id = push_id
        self.sent = 0
        self.tokens = 0
        self._on_event = on_event
        self._retry = retry
        self._gate = gate
        self._warned: set[str] = set()

    def emit(self, event: Event) -> None:
        if self._on_event is not None:
            self._on_event(event)

    def warn(self, text: str) -> None:
        _LOG.warning("%s", text)
        self.emit(PushWarning(self.id, text))

    def registry_warning(self, text: str) -> None:
        if text not in self._warned:
            self._warned.add(text)
            _LOG.warning("the registry warns: %s", text)
            self.emit(RegistryWarning(self.id, text))

    def retrying(self, what: str, reason: str, attempt: int, delay: float) -> None:
        _LOG.info("%s %s; attempt %d in %.1f s", what, reason, attempt, delay)
        self.emit(RetryScheduled(self.id, what, reason, attempt, delay))

    async def send(
        self, repository: Repository, layout: Layout, contents: Contents, reference: Reference, foreign: bool
    ) -> tuple[BlobResult, ...]:
        """Blobs concurrently, largest first; then manifests, children before parents; the tag last."""
        outcomes: dict[str, BlobOutcome] = {}

        async def one(blob: Descriptor) -> None:
            if blob.is_foreign and not foreign:
                outcome: BlobOutcome = "foreign"
            else:
                async with self._gate:
                    outcome = await self._send_blob(repository, layout, blob)
            outcomes[blob.digest] = outcome
            self.emit(BlobDone(self.id, blob.digest, blob.size, outcome))

        async with _one_cause(), anyio.create_task_group() as tasks:
            for blob in sorted(contents.blobs, key=lambda blob: -blob.size):
                tasks.start_soon(one, blob)
        for document in contents.documents:
            last = document is contents.root
            identifier = reference.identifier if last else document.descriptor.digest
            await repository.put_manifest(identifier, document)
            size = len(document.raw)
            self.sent += size
            self.emit(ManifestDone(self.id, identifier, document.descriptor.digest, size, "uploaded"))
        return tuple(BlobResult(b.digest, b.size, b.media_type, outcomes[b.digest]) for b in contents.blobs)

    async def _send_blob(self, repository: Repository, layout: Layout, blob: Descriptor) -> BlobOutcome:
        attempt = 0
        while True:
            attempt += 1
            try:
                if await repository.has_blob(blob):
                    return "exists"
                await self._upload(repository, layout, blob)
            except TLSVerificationError:
                raise
            except (TransportError, RegistryError) as exc:
                again = isinstance(exc, TransportError | UploadInvalidatedError) or exc.status in RETRIED_STATUSES
                delay = self._retry.delay(attempt) if again else None
                if delay is None:
                    exc.attempts = attempt
                    raise
                self.retrying(f"blob {blob.digest}", exc.message, attempt + 1, delay)
                await anyio.sleep(delay)
            else:
                return "uploaded"

    async def _upload(self, repository: Repository, layout: Layout, blob: Descriptor) -> None:
        opened = await layout.open_blob(blob)
        location = await repository.start_upload(blob.digest.algorithm)
        self.emit(BlobStarted(self.id, blob.digest, blob.size, blob.media_type))
        done = False
        try:
            if isinstance(opened, bytes):
                await repository.finish_upload(location, blob, opened)
                self.sent += len(opened)
            else:
                async with opened:
                    body = FileBody(opened.descriptor, length=opened.size, on_sent=self._progress(blob))
                    await repository.finish_upload(location, blob, body)
            done = True
        finally:
            if not done:
                with anyio.move_on_after(_CLEAN_UP, shield=True):
                    try:
                        await repository.cancel_upload(location)
                    except OcipushError:
                        _LOG.debug("the upload session of %s could not be closed", blob.digest)

    def _progress(self, blob: Descriptor) -> Any:
        offset, shown = 0, -_PROGRESS_INTERVAL

        def on_sent(count: int) -> None:
            nonlocal offset, shown
            offset = offset + count if offset < blob.size else count
            self.sent += count
            now = time.monotonic()
            if offset >= blob.size or now - shown >= _PROGRESS_INTERVAL:
                shown = now
                self.emit(BlobProgress(self.id, blob.digest, offset, blob.size))

        return on_sent


@asynccontextmanager
async def _one_cause() -> AsyncIterator[None]:
    """Raise one root cause instead of a task group's exception group; the others become notes."""
    try:
        yield
    except BaseExceptionGroup as group:
        leaves = list(_leaves(group))
        first = leaves[0]
        for other in leaves[1:]:
            first.add_note(f"also failed: {other}")
        raise first from first.__cause__


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    found: list[BaseException] = []
    for exc in group.exceptions:
        found += _leaves(exc) if isinstance(exc, BaseExceptionGroup) else [exc]
    return found


async def push(
    source: str | PathLike[str],
    *,
    target: str | None = None,
    ref: str | None = None,
    on_event: OnEvent | None = None,
    verify: bool = False,
    include_foreign: bool = False,
    store: str | PathLike[str] = DEFAULT_STORE,
    authfile: str | PathLike[str] | None = None,
    credentials: Mapping[str, Login] | None = None,
    tls_verify: bool = True,
    ca_file: str | PathLike[str] | None = None,
    ssl_context: ssl.SSLContext | None = None,
    timeouts: Timeouts | None = None,
    retry: RetryPolicy | None = None,
    concurrency: int = 8,
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
        transport=transport,
        user_agent=user_agent,
    ) as pusher:
        return await pusher.push(
            source, target=target, ref=ref, on_event=on_event, verify=verify, include_foreign=include_foreign
        )
