"""One push: what the registry has, then the blobs, then the manifests, the tag last."""

# pyright: reportTypedDictNotRequiredAccess=false
# The options are complete here: see options.complete().

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, TypeVar

import anyio

from .._events import BlobDone, BlobOutcome, BlobResult, PushResult, PushStarted
from .._registry.client import RegistryClient
from .._registry.repository import Repository
from .manifests import Manifests
from .plan import blobs_below, children_of, in_sending_order, inventory_sources, own_blobs
from .together import together
from .upload import Uploads, UploadSettings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .._http.client import Client
    from .._oci.descriptor import Descriptor
    from .._oci.document import Contents
    from .._oci.reference import Reference
    from .._registry.client import Route
    from .._registry.endpoint import Endpoint
    from .._registry.journal import Journal
    from .._registry.retry import RetryPolicy
    from .._sources.base import Source
    from .options import PushOptions
    from .reporter import Reporter

T = TypeVar("T")


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

    async def check_login(self) -> bool:
        """Ask the registry itself whether it accepts the login. Returns whether the registry asked for it."""

        async def ask(route: Route) -> bool:
            return await self._repository(route, "").check_login()

        return await self._ask(ask)

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
        if current == digest:
            blobs = await self._send_blobs(uploads, self._foreign(contents))
            sent = uploads.sent
        else:
            known = await self._take_inventory(repository, current, contents) if current else frozenset[str]()
            blobs = await self._send_blobs(uploads, contents.blobs)
            sent = await self._manifests(repository, uploads, contents).put_all(reference.identifier, known)
            sent += uploads.sent
        return PushResult(
            reference=reference.name,
            digest=digest,
            media_type=contents.root.media_type,
            size=contents.size,
            blobs=blobs,
            unchanged=current == digest and not uploads.uploaded,
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

    def _manifests(self, repository: Repository, uploads: Uploads, contents: Contents) -> Manifests:
        return Manifests(
            repository,
            uploads,
            self._reporter,
            contents,
            retry=self._retry,
            include_foreign=self._options["include_foreign"],
            force=self._options["force"],
        )

    async def _take_inventory(self, repository: Repository, current: str, contents: Contents) -> frozenset[str]:
        """Learn from what the tag names now which blobs and children are there (docs/requests.md, "Inventory").

        Returns the digests of the children of the index that is there.
        """
        if self._endpoint.counts_pulls or sum(not blob.is_foreign for blob in contents.blobs) <= 3:
            return frozenset()
        name, held = repository.name, self._endpoint.known_blobs
        remote = await repository.get_document(current)
        if remote is None:
            return frozenset()
        known = children_of(remote)
        held.add(name, blobs_below(contents, known))
        held.add(name, own_blobs(remote))

        async def look(descriptor: Descriptor) -> None:
            child = await repository.get_document(descriptor)
            held.add(name, own_blobs(child) if child is not None else ())

        await together(partial(look, one) for one in inventory_sources(remote, contents, held.of(name)))
        return known

    def _foreign(self, contents: Contents) -> tuple[Descriptor, ...]:
        """The non-distributable layers that are wanted: the image may have been pushed without them."""
        return tuple(blob for blob in contents.blobs if blob.is_foreign and self._options["include_foreign"])

    async def _send_blobs(self, uploads: Uploads, blobs: tuple[Descriptor, ...]) -> tuple[BlobResult, ...]:
        outcomes: dict[str, BlobOutcome] = {}

        async def one(blob: Descriptor) -> None:
            foreign = blob.is_foreign and not self._options["include_foreign"]
            outcome: BlobOutcome = "foreign" if foreign else await uploads.ensure(blob, force=self._options["force"])
            outcomes[blob.digest] = outcome
            self._reporter.emit(BlobDone(self._reporter.push_id, blob.digest, blob.size, outcome))

        await together(partial(one, blob) for blob in in_sending_order(blobs))
        return tuple(BlobResult(b.digest, b.size, b.media_type, outcomes[b.digest]) for b in blobs)
