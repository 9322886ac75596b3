"""A source that is not a layout: whatever follows the ``Source`` protocol can be checked, hashed and pushed."""

from __future__ import annotations

import hashlib
import json
import os
from typing import TYPE_CHECKING, Any, Self

import pytest
from tests import layouts

import ocipush
from ocipush import errors
from ocipush._http.client import Client
from ocipush._http.timeouts import Timeouts
from ocipush._http.tls import Context
from ocipush._oci.descriptor import Descriptor
from ocipush._oci.digest import Digest
from ocipush._push.options import PushOptions, complete
from ocipush._push.push import Push
from ocipush._push.reporter import Reporter
from ocipush._registry.endpoint import Endpoint
from ocipush._sources.base import BlobFile, Source
from ocipush._sources.select import select_descriptor
from ocipush._sources.verify import is_corrupt, verify_blobs
from ocipush._sources.walk import read_contents
from ocipush.testing import Registry

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio
LAYERS = [b"first" * 1000, os.urandom(1024) * 1500, b""]
CONFIG = b'{"config": "kept in memory"}'


class Bundle:
    """One file that holds a document and layers one after another, and a config that is not in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.warnings = ("a bundle is not a layout",)
        self.places: dict[str, tuple[int, int]] = {}
        self.memory: dict[str, bytes] = {}
        self.opened: list[BlobFile] = []
        path.write_bytes(b"these bytes are in front of the first blob")
        manifest: dict[str, Any] = {
            "schemaVersion": 2,
            "config": self._describe(CONFIG, "application/vnd.oci.image.config.v1+json"),
            "layers": [self._describe(layer, "application/vnd.oci.image.layer.v1.tar") for layer in LAYERS],
        }
        self.memory[manifest["config"]["digest"]] = CONFIG
        for layer in LAYERS:
            self._append(layer)
        raw = json.dumps(manifest).encode()
        self._append(raw)
        self.root = Descriptor(digest=Digest.of(raw), size=len(raw), mediaType=layouts.MANIFEST)
        self._file = os.open(path, os.O_RDWR)

    def _describe(self, content: bytes, media_type: str) -> dict[str, Any]:
        return {"mediaType": media_type, "digest": str(Digest.of(content)), "size": len(content)}

    def _append(self, content: bytes) -> None:
        self.places[Digest.of(content)] = self.path.stat().st_size, len(content)
        with self.path.open("ab") as file:
            file.write(content)

    def spoil(self, content: bytes) -> None:
        os.pwrite(self._file, b"?", self.places[Digest.of(content)][0])

    @property
    def where(self) -> str:
        return str(self.path)

    def select(self, ref: str | None = None) -> Descriptor:
        return select_descriptor([self.root], ref, where=self.where)

    def read_document(self, descriptor: Descriptor) -> bytes:
        offset, size = self.places[descriptor.digest]
        return os.pread(self._file, size, offset)

    def check_blob(self, blob: Descriptor) -> None:
        if blob.digest not in self.memory and blob.digest not in self.places:
            raise errors.BlobMissingError(f"{self.locate(blob)} is not there", path=self.where)

    async def open_blob(self, blob: Descriptor) -> BlobFile | bytes:
        self.check_blob(blob)
        if blob.digest in self.memory:
            return self.memory[blob.digest]
        offset, size = self.places[blob.digest]
        opened = BlobFile(os.dup(self._file), size=size, offset=offset)
        self.opened.append(opened)
        return opened

    def locate(self, descriptor: Descriptor) -> str:
        return f"{self.path}: {descriptor.digest}"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        os.close(self._file)


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return Bundle(tmp_path / "bundle")


async def push(source: Source, registry: Registry, events: list[ocipush.Event], **options: Any) -> ocipush.PushResult:
    client = Client(verify=Context(), timeouts=Timeouts(), user_agent="tests", transport=None)
    endpoint = Endpoint(registry.host, None, tls_verify=True)
    contents = await read_contents(source, source.select())
    reporter, given = Reporter(events.append), complete(PushOptions, PushOptions(), "push")
    try:
        one = Push(client, endpoint, reporter, given, retry=ocipush.RetryPolicy(), **options)
        return await one.run(source, contents, ocipush.Reference.parse(f"{registry.host}/team/app:1"))
    finally:
        await client.aclose()


@pytest.mark.parametrize("chunk_size", [None, 500_000])
async def test_image_of_a_custom_source_arrives_byte_for_byte(bundle: Bundle, chunk_size: int | None) -> None:
    events: list[ocipush.Event] = []
    async with Registry() as registry, bundle:
        result = await push(bundle, registry, events, chunk_size=chunk_size)
        repository = registry.repository("team/app")
    assert repository.blobs == {str(Digest.of(content)): content for content in (*LAYERS, CONFIG)}
    assert repository.tags["1"] == result.digest == bundle.root.digest
    started = next(event for event in events if isinstance(event, ocipush.PushStarted))
    assert started.source == str(bundle.path)
    assert {blob.offset > 0 for blob in bundle.opened} == {True}


async def test_push_closes_each_blob_and_leaves_the_file_of_the_source_open(bundle: Bundle) -> None:
    async with Registry() as registry, bundle:
        await push(bundle, registry, [])
        assert len(bundle.opened) == len(LAYERS)
        for blob in bundle.opened:
            with pytest.raises(OSError, match="Bad file descriptor"):
                os.fstat(blob.descriptor)
        assert bundle.read_document(bundle.root)


async def test_content_of_a_custom_source_is_verified_like_that_of_a_layout(bundle: Bundle) -> None:
    async with bundle:
        contents = await read_contents(bundle, bundle.select())
        await verify_blobs(bundle, contents)
        bundle.spoil(LAYERS[1])
        corrupt = {blob.digest: await is_corrupt(bundle, blob) for blob in contents.blobs}
        assert {digest for digest, bad in corrupt.items() if bad} == {Digest.of(LAYERS[1])}
        with pytest.raises(errors.BlobCorruptError, match="does not match its digest") as caught:
            await verify_blobs(bundle, contents)
        assert caught.value.path == f"{bundle.path}: sha256:{hashlib.sha256(LAYERS[1]).hexdigest()}"


async def test_blob_given_as_bytes_is_hashed_too(bundle: Bundle) -> None:
    async with bundle:
        contents = await read_contents(bundle, bundle.select())
        config = next(blob for blob in contents.blobs if blob.digest == Digest.of(CONFIG))
        assert not await is_corrupt(bundle, config)
        bundle.memory[config.digest] = CONFIG[::-1]
        assert await is_corrupt(bundle, config)


async def test_document_that_does_not_match_its_descriptor_is_refused(bundle: Bundle) -> None:
    bundle.spoil(bundle.read_document(bundle.root))
    async with bundle:
        with pytest.raises(errors.BlobCorruptError, match="does not match its descriptor"):
            await read_contents(bundle, bundle.select())


async def test_missing_blob_of_a_source_is_found_before_the_push(bundle: Bundle) -> None:
    del bundle.places[Digest.of(LAYERS[0])]
    async with bundle:
        with pytest.raises(errors.BlobMissingError, match="is not there"):
            await read_contents(bundle, bundle.select())
