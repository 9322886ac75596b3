"""One push: what the registry has, then the blobs, then the manifests, the tag last."""

# pyright: reportTypedDictNotRequiredAccess=false
# The options are complete here: see options.complete().

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

import anyio

from .._events import BlobDone, BlobOutcome, BlobResult, ManifestDone, PushResult, PushStarted
from .._oci.document import Contents, Document, Manifest
from .._registry.client import RegistryClient
from .._registry.repository import Repository
from ..errors import RegistryError, TagImmutableError
from .plan import in_sending_order, inventory_sources
from .upload import Uploads, UploadSettings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from .._http.client import Client
    from .._oci.descriptor import Descriptor
    from .._oci.reference import Reference
    from .._registry.client import Route
    from .._registry.endpoint import Endpoint
    from .._registry.journal import Journal
    from .._registry.retry import RetryPolicy
    from .._sources.base import Source
    from .options import PushOptions
    from .reporter import Reporter

T = TypeVar("T")

_REPAIRS: Final = 2  # how many times blobs that the registry turns out to miss are uploaded before its refusal is final


class Push:
    """One push: the order of its requests (docs/requests.md, "Requests").

    Args:
        client: sends the requests.
        endpoint: the registry.
        reporter: told what happens.
        options: all of them.
        retry: how often requests and blobs are tried.
        chunk_size, journal: as :class:`Uploads` takes them.
    """

    def __init__(
        self,
        client: Client,
        endpoint: Endpoint,
        reporter: Reporter,
        options: PushOptions,
        *,
        retry: RetryPolicy,
        chunk_size: int | None = None,
        journal: Journal | None = None,
    ) -> None:
        self._client = client
        self._endpoint = endpoint
        self._reporter = reporter
        self._options = options
        self._retry = retry
        self._chunk_size = chunk_size
        self._journal = journal

    async def check_login(self) -> None:
        """Ask the registry itself whether it accepts the login."""

        async def ask(route: Route) -> None:
            await self._repository(route, "").check_login()

        await self._ask(ask)

    async def run(self, source: Source, contents: Contents, reference: Reference) -> PushResult:
        """Push what was read; one request if the reference names it already."""
        started = anyio.current_time()
        push_id, digest = self._reporter.push_id, contents.root.descriptor.digest
        self._reporter.emit(
            PushStarted(push_id, source.where, reference.name, digest, len(contents.blobs), contents.size)
        )
        repository, current = await self._look_up(reference)
        uploads = self._uploads(repository, source)
        blobs: tuple[BlobResult, ...] = ()
        sent = 0
        if current != digest:
            if current is not None:
                await self._take_inventory(repository, current, contents)
            blobs = await self._send_blobs(uploads, contents)
            for document in contents.documents:
                last = document is contents.root
                await self._put(repository, uploads, contents, document, reference.identifier if last else None)
            sent = uploads.sent + sum(len(document.raw) for document in contents.documents)
        return PushResult(
            reference=reference.name,
            digest=digest,
            media_type=contents.root.media_type,
            size=contents.size,
            blobs=blobs,
            unchanged=current == digest,
            requests=repository.requests,
            sent=sent,
            seconds=anyio.current_time() - started,
        )

    async def _look_up(self, reference: Reference) -> tuple[Repository, str | None]:
        """The repository, and the digest that the reference names now; None with ``force``: it does not matter."""

        async def ask(route: Route) -> tuple[Repository, str | None]:
            repository = self._repository(route, reference.repository)
            return repository, await repository.manifest_digest(reference.identifier)

        repository, current = await self._ask(ask)
        return repository, None if self._options["force"] else current

    async def _ask(self, question: Callable[[Route], Awaitable[T]]) -> T:
        reporter = self._reporter
        return await self._endpoint.ask(question, retry=self._retry, warn=reporter.warn, on_retry=reporter.retrying)

    def _repository(self, route: Route, name: str) -> Repository:
        client = RegistryClient(
            self._client,
            route,
            self._endpoint.gate,
            retry=self._retry,
            on_retry=self._reporter.retrying,
            on_warning=self._reporter.registry_warning,
        )
        return Repository(client, name, self._endpoint.capabilities)

    def _uploads(self, repository: Repository, source: Source) -> Uploads:
        return Uploads(
            self._endpoint,
            repository,
            source,
            UploadSettings(
                retry=self._retry,
                chunk_size=self._chunk_size,
                mount_from=self._options["mount_from"],
                journal=self._journal,
            ),
            push_id=self._reporter.push_id,
            emit=self._reporter.emit,
            on_retry=self._reporter.retrying,
        )

    async def _take_inventory(self, repository: Repository, current: str, contents: Contents) -> None:
        """Learn from what the tag names now which blobs are there, with one request (docs/requests.md, "Inventory")."""
        if self._endpoint.counts_pulls or sum(not blob.is_foreign for blob in contents.blobs) <= 3:
            return
        held = self._endpoint.known_blobs.setdefault(repository.name, set())
        remote = await repository.get_document(current)
        for descriptor in inventory_sources(remote, contents):
            child = await repository.get_document(descriptor)
            held.update(blob.digest for blob in child.blobs) if isinstance(child, Manifest) else None
        if isinstance(remote, Manifest):
            held.update(blob.digest for blob in remote.blobs if not blob.is_foreign)

    async def _send_blobs(self, uploads: Uploads, contents: Contents) -> tuple[BlobResult, ...]:
        outcomes: dict[str, BlobOutcome] = {}

        async def one(blob: Descriptor) -> None:
            foreign = blob.is_foreign and not self._options["include_foreign"]
            outcome: BlobOutcome = "foreign" if foreign else await uploads.ensure(blob, force=self._options["force"])
            outcomes[blob.digest] = outcome
            self._reporter.emit(BlobDone(self._reporter.push_id, blob.digest, blob.size, outcome))

        await _together(partial(one, blob) for blob in in_sending_order(contents.blobs))
        return tuple(BlobResult(b.digest, b.size, b.media_type, outcomes[b.digest]) for b in contents.blobs)

    async def _put(
        self, repository: Repository, uploads: Uploads, contents: Contents, document: Document, identifier: str | None
    ) -> None:
        """Put a document under ``identifier``, or its digest (docs/requests.md, "Manifests" and "Missing blobs")."""
        digest, size = document.descriptor.digest, len(document.raw)
        name = identifier or digest
        for repair in range(_REPAIRS + 1):
            try:
                await repository.put_manifest(name, document)
                break
            except TagImmutableError:
                if await repository.manifest_digest(name) != digest:
                    raise
                break  # another push has set it to this very digest meanwhile
            except RegistryError as exc:
                missing = self._missing(exc, repository, contents)
                if repair == _REPAIRS or not missing:
                    raise
                self._reporter.resending(len(missing))
                await _together(partial(uploads.ensure, blob, force=True) for blob in missing)
        self._reporter.emit(ManifestDone(self._reporter.push_id, name, digest, size, "uploaded"))

    def _missing(self, failure: RegistryError, repository: Repository, contents: Contents) -> list[Descriptor]:
        """The blobs that the registry lacks for a manifest it refused: those it names, or else all that could be."""
        if "MANIFEST_BLOB_UNKNOWN" not in failure.codes and "BLOB_UNKNOWN" not in failure.codes:
            return []
        held = self._endpoint.known_blobs.setdefault(repository.name, set())
        candidates = [blob for blob in contents.blobs if self._options["include_foreign"] or not blob.is_foreign]
        named = [blob for blob in candidates if blob.digest in failure.digests]
        for blob in named or candidates:
            held.discard(blob.digest)
        return named or candidates


async def _together(jobs: Iterable[Callable[[], Awaitable[object]]]) -> None:
    """Run ``jobs`` concurrently. The first failure cancels the rest and is raised; other failures become its notes."""

    async def run(job: Callable[[], Awaitable[object]]) -> None:
        try:
            await job()
        except BaseException:
            tasks.cancel_scope.cancel()  # at once, so that a job that waited for its turn sends no request
            raise

    try:
        async with anyio.create_task_group() as tasks:
            for job in jobs:
                tasks.start_soon(run, job)
    except BaseExceptionGroup as group:
        # On trio, a group also holds the cancellations of an outer scope, which do not matter here.
        first, *others = sorted(_leaves(group), key=lambda leaf: not isinstance(leaf, Exception))
        for other in others:
            if isinstance(other, Exception) and str(other) != str(first):
                first.add_note(f"also failed: {other}")
        raise first from first.__cause__


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    found: list[BaseException] = []
    for exc in group.exceptions:
        found += _leaves(exc) if isinstance(exc, BaseExceptionGroup) else [exc]
    return found
