"""Archives of ``docker save``: their images are made anew, the same each time, and hold what the archive holds."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import tarfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests import layouts
from tests.archives import layout_members, member, write_archive

import ocipush
from ocipush import errors
from ocipush._sources import compress
from ocipush.testing import Registry

if TYPE_CHECKING:
    from collections.abc import Callable

    from ocipush.testing._storage import Repository

pytestmark = pytest.mark.anyio
# An empty layer, a small one, one of several blocks that repeats itself, and one that cannot be compressed.
LAYERS = [b"", b"small" * 10, b"repeated " * 400_000, os.urandom(compress.BLOCK + 1)]
MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
GZIP = "application/vnd.docker.image.rootfs.diff.tar.gzip"


def sha(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def config_of(layers: list[bytes], **others: Any) -> bytes:
    rootfs = {"type": "layers", "diff_ids": [sha(layer) for layer in layers]}
    return json.dumps({"architecture": "amd64", "os": "linux", "rootfs": rootfs, **others}).encode()


def save(
    path: Path,
    images: dict[str | None, list[bytes]],
    *,
    stored: Callable[[bytes], bytes] = bytes,
    change: Callable[[list[dict[str, Any]]], object] = lambda _: None,
    config: Callable[[list[bytes]], bytes] = config_of,
) -> None:
    """An archive of images as ``docker save`` writes it, by tag; ``stored`` is how a layer is stored."""
    files: dict[str, bytes] = {}
    listed: list[dict[str, Any]] = []
    for tag, layers in images.items():
        raw = config(layers)
        names = [f"{hashlib.sha256(layer).hexdigest()}/layer.tar" for layer in layers]
        files |= {name: stored(layer) for name, layer in zip(names, layers, strict=True)}
        files[f"{hashlib.sha256(raw).hexdigest()}.json"] = raw
        tags = [tag] if tag is not None else None
        listed.append({"Config": f"{hashlib.sha256(raw).hexdigest()}.json", "RepoTags": tags, "Layers": names})
    change(listed)
    files["manifest.json"] = json.dumps(listed).encode()
    write_archive(path, [(member(name, content), content) for name, content in files.items()])


def open_files() -> set[str]:
    """The descriptors of this process. One of them lists the others, the same each time."""
    return {path.name for path in Path("/proc/self/fd").iterdir()}


async def push(source: Path, **options: Any) -> tuple[ocipush.PushResult, Repository]:
    before = open_files()
    async with Registry() as registry:
        result = await ocipush.push(source, target=f"{registry.host}/team/app:1", **options)
        held = registry.repository("team/app")
    assert open_files() == before
    assert held.tags == {"1": result.digest}
    return result, held


def blob_of(held: Repository, digest: str) -> bytes:
    blob = held.blobs[digest]
    assert isinstance(blob, bytes)
    return blob


def layers_in(held: Repository, digest: str) -> list[bytes]:
    """The layers of an image in a registry, unpacked by Python's own gzip where they are compressed."""
    document = json.loads(held.manifests[digest].raw)
    blobs = [(blob_of(held, one["digest"]), one) for one in document["layers"]]
    assert [len(blob) for blob, _ in blobs] == [one["size"] for _, one in blobs]
    return [gzip.decompress(blob) if one["mediaType"] == GZIP else blob for blob, one in blobs]


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return tmp_path / "saved.tar"


async def test_layers_are_compressed_and_the_config_is_unchanged(archive: Path) -> None:
    save(archive, {"team/app:1": LAYERS})
    result, held = await push(archive)
    assert layers_in(held, result.digest) == LAYERS
    document = json.loads(held.manifests[result.digest].raw)
    assert document["mediaType"] == result.media_type == held.manifests[result.digest].media_type == MANIFEST
    assert held.blobs[document["config"]["digest"]] == config_of(LAYERS)
    assert len(blob_of(held, document["layers"][2]["digest"])) < len(LAYERS[2]) // 50


async def test_digest_is_the_same_in_each_run_and_on_any_number_of_cores(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(archive, {None: LAYERS})
    digests: set[str] = set()
    for cores in (1, 2, 7, None):
        with monkeypatch.context() as patch:
            patch.setattr(os, "cpu_count", lambda cores=cores: cores)
            digests.add((await push(archive))[0].digest)
    assert len(digests) == 1


async def test_layers_are_sent_from_the_archive_when_compression_is_off(archive: Path) -> None:
    save(archive, {None: LAYERS})
    result, held = await push(archive, compress="none")
    document = json.loads(held.manifests[result.digest].raw)
    assert [one["digest"] for one in document["layers"]] == [sha(layer) for layer in LAYERS]
    assert {one["mediaType"] for one in document["layers"]} == {"application/vnd.docker.image.rootfs.diff.tar"}
    assert layers_in(held, result.digest) == LAYERS


@pytest.mark.parametrize("tail", [b"", bytes(512), gzip.compress(b"more", mtime=0)])
async def test_compressed_layer_is_sent_unchanged(archive: Path, tail: bytes) -> None:
    def pack(layer: bytes) -> bytes:
        return gzip.compress(layer.removesuffix(b"more") if tail.strip(b"\0") else layer, mtime=0) + tail

    layers = [layer + b"more" for layer in LAYERS]
    save(archive, {None: layers}, stored=pack)
    result, held = await push(archive)
    document = json.loads(held.manifests[result.digest].raw)
    assert [one["digest"] for one in document["layers"]] == [sha(pack(layer)) for layer in layers]


async def test_layer_that_is_listed_twice_is_compressed_once(archive: Path) -> None:
    save(archive, {None: [LAYERS[1], LAYERS[2], LAYERS[1]]})
    result, held = await push(archive)
    assert layers_in(held, result.digest) == [LAYERS[1], LAYERS[2], LAYERS[1]]
    assert len(result.blobs) == 3


@pytest.mark.parametrize("ref", ["r.example/app:two", "two", "id"])
async def test_image_is_chosen_by_tag_or_id(archive: Path, ref: str) -> None:
    save(archive, {"r.example/app:one": [b"one"], "r.example/app:two": [b"two"]})
    result, held = await push(archive, ref=sha(config_of([b"two"])) if ref == "id" else ref)
    assert layers_in(held, result.digest) == [b"two"]
    with pytest.raises(errors.AmbiguousImageError, match="holds several images"):
        await push(archive)


async def test_full_tag_is_the_target_and_a_short_one_is_not(archive: Path) -> None:
    async with Registry() as registry:
        save(archive, {f"{registry.host}/team/app:1": LAYERS[:2]})
        result = await ocipush.push(archive)
        assert registry.repository("team/app").tags == {"1": result.digest}
    for short in ("app:1", "team/app:1", None):
        save(archive, {short: LAYERS[:2]})
        with pytest.raises(errors.TargetRequiredError):
            await ocipush.push(archive)


async def test_unpacked_archive_is_pushed_too(archive: Path, tmp_path: Path) -> None:
    save(archive, {None: LAYERS})
    with tarfile.open(archive) as file:
        file.extractall(tmp_path / "unpacked", filter="data")
    assert (await push(tmp_path / "unpacked"))[0].digest == (await push(archive))[0].digest


async def test_link_between_layers_of_an_archive_is_followed(archive: Path) -> None:
    raw, layer = config_of([b"layer", b"layer"]), b"layer"
    listed = [{"Config": "config.json", "RepoTags": None, "Layers": ["a/layer.tar", "b/layer.tar"]}]
    members = {"config.json": raw, "a/layer.tar": layer, "manifest.json": json.dumps(listed).encode()}
    link = member("b/layer.tar", kind=tarfile.SYMTYPE, link="../a/layer.tar")
    write_archive(archive, [*((member(name, one), one) for name, one in members.items()), (link, b"")])
    result, held = await push(archive)
    assert layers_in(held, result.digest) == [layer, layer]


def longer(layer: bytes) -> bytes:
    return layer + b"!"


def cut_off(layer: bytes) -> bytes:
    return gzip.compress(layer)[:-9]


def garbled(layer: bytes) -> bytes:
    return gzip.compress(layer)[:10] + b"\xff" * 50


def longer_compressed(layer: bytes) -> bytes:
    return gzip.compress(layer + b"!")


def a_list(_: list[bytes]) -> bytes:
    return b"[]"


def no_digest(_: list[bytes]) -> bytes:
    return b'{"rootfs":{"diff_ids":["x"]}}'


def edit(**fields: Any) -> Callable[[list[dict[str, Any]]], object]:
    return lambda listed: listed[0].update(fields)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        pytest.param({"change": edit(Layers=["../../etc/passwd"] * 2)}, errors.InvalidLayoutError, "outside of the archive", id="dots"),
        pytest.param({"change": edit(Layers=["/etc/passwd"] * 2)}, errors.InvalidLayoutError, "outside of the archive", id="absolute"),
        pytest.param({"change": edit(Config="../config.json")}, errors.InvalidLayoutError, "outside of the archive", id="config"),
        pytest.param({"change": edit(Layers=["absent"] * 2)}, errors.BlobMissingError, "absent is not in the archive", id="absent"),
        pytest.param({"change": edit(Layers=["manifest.json"])}, errors.InvalidLayoutError, "has 2 layers, but", id="too few"),
        pytest.param({"change": edit(Layers=["manifest.json"] * 2)}, errors.BlobCorruptError, "does not match the config's diff_id", id="another"),
        pytest.param({"change": edit(Config=7)}, errors.InvalidLayoutError, "not a valid list of saved images", id="no name"),
        pytest.param({"change": list.clear}, errors.ManifestNotFoundError, "holds no image", id="no image"),
        pytest.param({"stored": longer}, errors.BlobCorruptError, "does not match the config's diff_id", id="changed"),
        pytest.param({"stored": cut_off}, errors.BlobCorruptError, "is damaged", id="cut off"),
        pytest.param({"stored": garbled}, errors.BlobCorruptError, "is damaged", id="no gzip"),
        pytest.param({"stored": longer_compressed}, errors.BlobCorruptError, "does not match the config's diff_id", id="compressed"),
        pytest.param({"config": a_list}, errors.InvalidLayoutError, "is not a JSON object", id="config is a list"),
        pytest.param({"config": no_digest}, errors.InvalidLayoutError, "is not a digest", id="no digest"),
    ],
)  # fmt: skip
async def test_inconsistent_archive_is_refused_before_the_first_request(
    archive: Path, options: dict[str, Any], error: type[errors.LayoutError], words: str
) -> None:
    save(archive, {None: [b"one", b"two"]}, **options)
    before = open_files()
    async with Registry() as registry:
        with pytest.raises(error, match=words):
            await ocipush.push(archive, target=f"{registry.host}/team/app:1")
        assert registry.requests == []
    assert open_files() == before


async def test_config_that_does_not_match_its_name_is_refused(archive: Path) -> None:
    save(archive, {"a:1": [b"one"]})
    members: list[tuple[tarfile.TarInfo, bytes]] = []
    with tarfile.open(archive) as file:
        for info in file.getmembers():
            opened = file.extractfile(info)
            assert opened is not None
            content = opened.read()
            members.append((member(info.name, content + b" "), content + b" "))
    write_archive(archive, members)
    with pytest.raises(errors.BlobCorruptError, match="does not match its name"):
        await ocipush.push(archive, target="127.0.0.1:1/team/app:1")


async def test_hint_helps_when_there_is_no_space_for_compressed_layers(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(archive, {None: LAYERS})

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(compress.Spool, "_put", full)
    with pytest.raises(errors.OcipushError, match="No space left on device") as caught:
        await ocipush.push(archive, target="127.0.0.1:1/team/app:1")
    assert not isinstance(caught.value, errors.LayoutError)
    assert "TMPDIR" in (caught.value.hint or "")


async def test_complete_layout_inside_an_archive_is_pushed_unchanged(archive: Path, tmp_path: Path) -> None:
    layout = tmp_path / "layout"
    layers = [b"one", b"two"]
    root = layouts.add_manifest(layout, layers, config_of(layers))
    layouts.write_layout(layout, [root])
    names = [f"blobs/sha256/{hashlib.sha256(one).hexdigest()}" for one in (config_of(layers), *layers)]
    listed = [{"Config": names[0], "RepoTags": ["app:1"], "Layers": names[1:]}]
    (layout / "manifest.json").write_text(json.dumps(listed))
    write_archive(archive, layout_members(layout))
    assert (await push(archive))[0].digest == root["digest"]


@pytest.mark.parametrize("lack", ["layers", "child"])
async def test_incomplete_layout_inside_an_archive_is_replaced_by_the_saved_image(
    archive: Path, tmp_path: Path, lack: str
) -> None:
    layout = tmp_path / "layout"
    layers = [b"one", b"two"]
    root = layouts.add_manifest(layout, [], config_of(layers))
    if lack == "child":
        absent = {"mediaType": layouts.MANIFEST, "digest": sha(b"absent"), "size": 6}
        root = layouts.add_index(layout, [layouts.add_manifest(layout, layers, config_of(layers)), absent])
    layouts.write_layout(layout, [root])
    for layer in layers:
        layouts.add_blob(layout, layer)
    names = [f"blobs/sha256/{hashlib.sha256(one).hexdigest()}" for one in (config_of(layers), *layers)]
    listed = [{"Config": names[0], "RepoTags": ["app:1"], "Layers": names[1:]}]
    (layout / "manifest.json").write_text(json.dumps(listed))
    write_archive(archive, layout_members(layout))
    warned: list[str] = []

    def note(event: ocipush.Event) -> None:
        if isinstance(event, ocipush.PushWarning):
            warned.append(event.text)

    result, held = await push(archive, on_event=note)
    assert layers_in(held, result.digest) == layers
    assert any("made from manifest.json" in text for text in warned)


@pytest.mark.parametrize("size", [0, 1, compress.BLOCK - 1, compress.BLOCK, compress.BLOCK + 1, 3 * compress.BLOCK])
async def test_compressed_layer_is_one_gzip_member_of_any_size(archive: Path, size: int) -> None:
    layer = (b"0123456789abcdef" * (size // 16 + 1))[:size]
    save(archive, {None: [layer]})
    result, held = await push(archive)
    blob = blob_of(held, json.loads(held.manifests[result.digest].raw)["layers"][0]["digest"])
    unpacker = zlib.decompressobj(31)
    assert unpacker.decompress(blob) == layer
    assert (unpacker.eof, unpacker.unused_data) == (True, b"")


@pytest.mark.parametrize("value", ["zip", 7, True])
async def test_other_kind_of_compression_is_refused(archive: Path, value: Any) -> None:
    with pytest.raises((ValueError, TypeError), match="compress must be"):
        await ocipush.push(archive, compress=value)
