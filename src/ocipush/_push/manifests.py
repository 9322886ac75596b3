"""The manifests of one push: the children of an index first, the root last, under the tag; and what is missing for them.

(docs/requests.md, "Manifests" and "Missing blobs")
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import anyio

from .._events import ManifestDone, ManifestOutcome
from .._oci.document import Contents, Document, Index
from .._registry.answers import is_missing_content, refuses_another_digest
from .._registry.lessons import may_be_stored
from .._registry.statuses import Kind
from ..errors import ManifestRejectedError, OcipushError, RegistryError, TagImmutableError
from .together import together

if TYPE_CHECKING:
    from .._oci.descriptor import Descriptor
    from .._registry.repository import Repository
    from .._registry.retry import RetryPolicy
    from .reporter import Reporter
    from .upload import Uploads


class Manifests:
    """Puts the manifests of one push.

    Args:
        repository: the repository to push to.
        uploads: sends blobs that the registry turns out to miss.
        reporter: told what happens.
        contents: what is pushed.
        retry: how long to wait for a registry that does not see its own blobs yet.
        include_foreign: non-distributable layers are sent, too.
        force: put everything, whatever the registry claims to have.
    """

    def __init__(
        self,
        repository: Repository,
        uploads: Uploads,
        reporter: Reporter,
        contents: Contents,
        *,
        retry: RetryPolicy,
        include_foreign: bool,
        force: bool,
    ) -> None:
        self._repository = repository
        self._uploads = uploads
        self._reporter = reporter
        self._contents = contents
        self._retry = retry
        self._include_foreign = include_foreign
        self._force = force
        self._resent: set[str] = set()  # digests of blobs and children that were sent because the registry missed them

    async def put_all(self, identifier: str, known: frozenset[str] = frozenset()) -> int:
        """Put all documents, those of one level at the same time; the root goes last, under ``identifier``.

        Children in ``known`` are not sent: an index that the registry has refers to them. Returns the bytes that were sent.
        """
        sent = 0
        for level in _levels(self._contents):
            jobs = [document for document in level if self._force or document.descriptor.digest not in known]
            for document in level:
                if document not in jobs:
                    self._done(document, document.descriptor.digest, "exists")
            await together(partial(self._put_child, document) for document in jobs)
            sent += sum(len(document.raw) for document in jobs)
        root = self._contents.root
        await self._put(root, identifier)
        self._done(root, identifier, "uploaded")
        return sent + len(root.raw)

    async def _put_child(self, document: Document) -> None:
        digest = document.descriptor.digest
        await self._put(document, digest)
        self._done(document, digest, "uploaded")

    def _done(self, document: Document, name: str, outcome: ManifestOutcome) -> None:
        digest, size = document.descriptor.digest, len(document.raw)
        self._reporter.emit(ManifestDone(self._reporter.push_id, name, digest, size, outcome))

    async def _put(self, document: Document, name: str) -> None:
        """Put one document; send what the registry misses for it, once each, and wait if it misses nothing new."""
        waited, fruitless = False, 0
        if self._force:  # some registries believe to have a manifest whose content they have lost, and store only blobs
            await self._uploads.ensure(document.descriptor, force=True)
        while True:
            try:
                await self._repository.put_manifest(name, document)
            except RegistryError as exc:
                if not is_missing_content(exc):
                    await self._judge(exc, document, name)
                    return
                missing = self._missing(exc, document)
                fresh = [one for one in missing if one.digest not in self._resent]
                if not waited and all(one.digest in self._uploads.uploaded for one in fresh):
                    waited = True  # some registries see a blob only a while after they have stored it
                    await self._wait(exc, name, 1)
                elif fresh:
                    await self._resend(fresh)
                else:
                    fruitless += 1
                    if fruitless > len(self._needed(document)) + 1:
                        raise
                    await self._wait(exc, name, fruitless + 1)
            else:
                return

    async def _wait(self, failure: RegistryError, name: str, attempt: int) -> None:
        delay = self._retry.delay(attempt, chance=1.0)  # the whole wait: it is for the registry, not for its load
        if delay is None:
            raise failure
        self._reporter.retrying(f"PUT of manifest {name}", failure.message, attempt + 1, delay)
        await anyio.sleep(delay)

    async def _resend(self, missing: list[Descriptor]) -> None:
        self._reporter.resending(len(missing))
        self._resent.update(one.digest for one in missing)
        documents = {document.descriptor.digest: document for document in self._contents.documents}
        await together(
            partial(self._put_child, documents[one.digest])
            if one.digest in documents
            else partial(self._uploads.ensure, one, force=True)
            for one in missing
        )

    def _missing(self, failure: RegistryError, document: Document) -> list[Descriptor]:
        """What the registry lacks for a document that it refused: what it names, or else all that could be missing.

        Raises:
            ManifestRejectedError: it names only content that is not sent with this image.
        """
        needed = self._needed(document)
        named = [one for one in needed if one.digest in failure.digests]
        others = tuple(digest for digest in failure.digests if digest != document.descriptor.digest)
        if named or not others:
            for one in named or needed:
                self._uploads.forget(one.digest)
            return named or needed
        reason = self._why_not_ours(others)
        raise ManifestRejectedError(
            f"{failure.message}; {reason}",
            hint="include_foreign=True sends such layers" if "layer" in reason else None,
            status=failure.status,
            codes=failure.codes,
            detail=failure.detail,
            digests=failure.digests,
            method=failure.method,
            url=failure.url,
        ) from failure

    def _needed(self, document: Document) -> list[Descriptor]:
        """What has to be in the registry before ``document``: its children, or its blobs."""
        if isinstance(document.content, Index):
            return list(document.content.manifests)
        return [blob for blob in document.content.blobs if self._include_foreign or not blob.is_foreign]

    def _why_not_ours(self, digests: tuple[str, ...]) -> str:
        foreign = [blob for blob in self._contents.blobs if blob.is_foreign and blob.digest in digests]
        if foreign:
            return f"{foreign[0].digest} is a non-distributable layer, which was not sent"
        return f"{digests[0]} is not part of this image"

    async def _judge(self, failure: RegistryError, document: Document, name: str) -> None:
        """Return if the registry holds the document under this name after all; otherwise raise the error that says why not.

        A registry that stored it, and whose answer was lost, can refuse the same request when it comes again.
        """
        if self._force or not may_be_stored(failure, Kind.MANIFEST):
            raise failure
        try:
            current = await self._repository.manifest_digest(name)
        except OcipushError:
            raise failure from None
        if current == document.descriptor.digest:
            return
        if current is not None and name != document.descriptor.digest and refuses_another_digest(failure):
            raise TagImmutableError(
                failure.args[0],
                hint=f"the tag {name} names {current}, and is immutable or not allowed to change: push to another tag",
                status=failure.status,
                codes=failure.codes,
                detail=failure.detail,
                method=failure.method,
                url=failure.url,
            ) from failure
        raise failure


def _levels(contents: Contents) -> list[list[Document]]:
    """The documents but the root, by how deep they reach: a level refers only to those before it."""
    height: dict[str, int] = {}
    levels: list[list[Document]] = []
    for document in contents.documents[:-1]:
        children = document.content.manifests if isinstance(document.content, Index) else ()
        level = 1 + max((height.get(child.digest, -1) for child in children), default=-1)
        height[document.descriptor.digest] = level
        if level == len(levels):
            levels.append([])
        levels[level].append(document)
    return levels
