"""Archives of layouts: read in place, pushed byte for byte, and refused before the first request where they are wrong."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests import archives, layouts
from tests.archives import layout_members, member, pack, write_archive

import ocipush
from ocipush import errors
from ocipush._sources import tar
from ocipush._sources.base import BlobFile
from ocipush._sources.files import read_at
from ocipush._sources.layout import Layout
from ocipush._sources.walk import read_contents
from ocipush.testing import Registry

if TYPE_CHECKING:
    from collections.abc import Callable

    Members = list[tuple[tarfile.TarInfo, bytes]]

pytestmark = pytest.mark.anyio
LAYERS = [b"first" * 1000, b"second", b""]
REF = "registry.example/team/app:1"
FORMS = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    path = tmp_path / "app"
    layouts.write_layout(path, [layouts.add_manifest(path, LAYERS)], ref=REF)
    return path


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return tmp_path / "app.tar"


def open_files() -> set[str]:
    """The descriptors of this process. One of them lists the others, the same each time."""
    return {path.name for path in Path("/proc/self/fd").iterdir()}


def layer_name(layer: bytes) -> str:
    return f"blobs/sha256/{hashlib.sha256(layer).hexdigest()}"


async def assert_arrives(archive: Path, layout: Path, **options: Any) -> None:
    """Push the archive, and see that the registry holds what the layout holds."""
    before = open_files()
    async with Registry() as registry:
        result = await ocipush.push(archive, target=f"{registry.host}/team/app:1", **options)
        held = registry.repository("team/app")
    blobs, documents = layouts.contents(layout)
    assert held.blobs == blobs
    assert {digest: one.raw for digest, one in held.manifests.items()} == documents
    assert held.tags["1"] == result.digest
    assert open_files() == before


async def refused(archive: Path) -> errors.LayoutError:
    """Push the archive, and give the error; the registry must not be asked anything."""
    before = open_files()
    async with Registry() as registry:
        with pytest.raises(errors.LayoutError) as caught:
            await ocipush.push(archive, target=f"{registry.host}/team/app:1")
        assert registry.requests == []
    assert open_files() == before
    assert str(archive) in caught.value.path
    return caught.value


@pytest.mark.parametrize("form", FORMS, ids=["ustar", "gnu", "pax"])
@pytest.mark.parametrize("prefix", ["", "./"])
async def test_archive_arrives_byte_for_byte(layout: Path, archive: Path, form: int, prefix: str) -> None:
    pack(layout, archive, prefix=prefix, form=form)
    await assert_arrives(archive, layout)


@pytest.mark.parametrize("chunk_size", [None, 1000])
async def test_archive_is_pushed_to_its_recorded_reference(layout: Path, archive: Path, chunk_size: int | None) -> None:
    async with Registry() as registry:
        index = json.loads((layout / "index.json").read_text())
        recorded = {"org.opencontainers.image.ref.name": f"{registry.host}/team/app:1"}
        layouts.write_layout(layout, [{**index["manifests"][0], "annotations": recorded}])
        pack(layout, archive)
        result = await ocipush.push(archive, chunk_size=chunk_size)
        assert registry.repository("team/app").blobs == layouts.contents(layout)[0]
    assert result.reference == f"{registry.host}/team/app:1"


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT], ids=["gnu", "pax"])
async def test_names_longer_than_a_header_are_read(tmp_path: Path, archive: Path, form: int) -> None:
    layout = tmp_path / "long"
    layer = b"layer"
    digest = hashlib.sha512(layer).hexdigest()
    manifest = {
        "schemaVersion": 2,
        "config": layouts.add_blob(layout, b"{}", "application/vnd.oci.image.config.v1+json"),
        "layers": [{"mediaType": "application/octet-stream", "digest": f"sha512:{digest}", "size": len(layer)}],
    }
    (layout / "blobs/sha512").mkdir()
    (layout / "blobs/sha512" / digest).write_bytes(layer)
    layouts.write_layout(layout, [layouts.add_blob(layout, json.dumps(manifest).encode(), layouts.MANIFEST)])
    pack(layout, archive, form=form)
    async with await Layout.open(archive) as opened:
        contents = await read_contents(opened, opened.select())
        blob = await opened.open_blob(next(one for one in contents.blobs if one.digest.algorithm == "sha512"))
        assert isinstance(blob, BlobFile)
        assert os.pread(blob.descriptor, blob.size, blob.offset) == layer
        blob.close()


def linked_blob(kind: bytes, target: str) -> Callable[[Members], Members]:
    """The first layer is stored in another place, and its name is a link."""

    def change(members: Members) -> Members:
        name = layer_name(LAYERS[0])
        others = [one for one in members if one[0].name != name]
        return [
            (member("shared/layer", LAYERS[0]), LAYERS[0]),
            *others,
            (member(name, kind=kind, link=target), b""),
        ]

    return change


def linked_directory(members: Members) -> Members:
    moved = [(info, content) for info, content in members if not info.isdir()]
    for info, _ in moved:
        info.name = info.name.replace("blobs/", "pool/one/")
    return [*moved, (member("blobs", kind=tarfile.SYMTYPE, link="./pool/two/../one"), b"")]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(linked_blob(tarfile.SYMTYPE, "../../shared/layer"), id="symbolic link"),
        pytest.param(linked_blob(tarfile.LNKTYPE, "shared/layer"), id="hard link"),
        pytest.param(linked_blob(tarfile.LNKTYPE, "./shared/layer"), id="hard link with a dot"),
        pytest.param(linked_directory, id="linked directory"),
    ],
)
async def test_link_inside_an_archive_is_followed(
    layout: Path, archive: Path, change: Callable[[Members], Members]
) -> None:
    write_archive(archive, change(layout_members(layout)))
    await assert_arrives(archive, layout)


async def test_identical_duplicate_files_are_accepted(layout: Path, archive: Path) -> None:
    members = layout_members(layout)
    write_archive(archive, [*members, *layout_members(layout, prefix="./")])
    await assert_arrives(archive, layout)


def added(
    name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE, link: str = ""
) -> Callable[[Members], Members]:
    return lambda members: [*members, (member(name, content, kind, link=link), content)]


def without(name: str) -> Callable[[Members], Members]:
    return lambda members: [one for one in members if one[0].name != name]


def sparse(members: Members) -> Members:
    name = layer_name(LAYERS[0])
    for info, content in members:
        if info.name == name:
            info.pax_headers = {"GNU.sparse.major": "0", "GNU.sparse.size": str(len(content))}
    return members


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param(added("../evil"), "whose name leads out of it, '../evil'", id="dots"),
        pytest.param(added("/etc/evil"), "whose name leads out of it, '/etc/evil'", id="absolute"),
        pytest.param(added("a/../../evil", kind=tarfile.DIRTYPE), "whose name leads out of it", id="directory"),
        pytest.param(added("null", kind=tarfile.CHRTYPE), "holds a device, 'null'", id="character device"),
        pytest.param(added("disk", kind=tarfile.BLKTYPE), "holds a device, 'disk'", id="block device"),
        pytest.param(added("pipe", kind=tarfile.FIFOTYPE), "holds a FIFO, 'pipe'", id="FIFO"),
        pytest.param(added("a", kind=tarfile.SYMTYPE, link="/etc/passwd"), "a link that leads out", id="absolute link"),
        pytest.param(added("a/b", kind=tarfile.SYMTYPE, link="../../etc"), "a link that leads out", id="link up"),
        pytest.param(added("a/b", kind=tarfile.LNKTYPE, link="../etc"), "a link that leads out", id="hard link up"),
        pytest.param(added("index.json", b"{}"), "two different files of the name 'index.json'", id="two names"),
        pytest.param(added(layer_name(LAYERS[1]), b"SECOND"), "two different files of the name", id="two blobs"),
        pytest.param(without("index.json"), "index.json is not in the archive", id="no index"),
        pytest.param(without(layer_name(LAYERS[0])), "is not in the archive", id="no layer"),
        pytest.param(linked_blob(tarfile.SYMTYPE, "../../nothing"), "is not in the archive", id="link to nothing"),
        pytest.param(added(layer_name(b"x"), kind=tarfile.LNKTYPE, link=layer_name(b"x")), None, id="link to itself"),
        pytest.param(sparse, "stored as a sparse file", id="sparse"),
    ],
)
async def test_invalid_archive_is_refused_before_the_first_request(
    layout: Path, archive: Path, change: Callable[[Members], Members], words: str | None
) -> None:
    write_archive(archive, change(layout_members(layout)))
    if words is None:
        await assert_arrives(archive, layout)
    else:
        assert words in (await refused(archive)).message


@pytest.mark.parametrize(("form", "major"), [("S", None), ("x", "1")])
async def test_sparse_file_of_gnu_tar_is_refused_only_if_the_image_needs_it(
    layout: Path, archive: Path, form: str, major: str | None
) -> None:
    other = member("disk", b"x" * 600)
    if major is None:
        other.type = form.encode()
    else:
        other.pax_headers = {"GNU.sparse.major": major}
    write_archive(archive, [(other, b"x" * 600), *layout_members(layout)])
    await assert_arrives(archive, layout)


async def test_long_map_of_a_sparse_file_is_skipped(layout: Path, archive: Path) -> None:
    pack(layout, archive)
    header = bytearray(member("disk").tobuf(tarfile.GNU_FORMAT))
    header[156:157], header[482] = b"S", 1
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    extension = bytearray(512)
    extension[504] = 1
    archive.write_bytes(bytes(header) + bytes(extension) + bytes(512) + archive.read_bytes())
    await assert_arrives(archive, layout)


@pytest.mark.parametrize("signed", [False, True])
async def test_checksum_of_a_non_ascii_name_may_be_signed_or_unsigned(
    layout: Path, archive: Path, signed: bool
) -> None:
    pack(layout, archive)
    header = bytearray(member("größe").tobuf(tarfile.GNU_FORMAT))
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(byte - 256 if signed and byte > 127 else byte for byte in header)
    archive.write_bytes(bytes(header) + archive.read_bytes())
    await assert_arrives(archive, layout)
    archive.write_bytes(bytes(header).replace(b"e", b"f") + archive.read_bytes())
    assert "is not a tar archive" in (await refused(archive)).message


async def test_archive_cut_off_anywhere_is_refused_or_still_complete(
    layout: Path, archive: Path, tmp_path: Path
) -> None:
    write_archive(archive, layout_members(layout))
    whole = archive.read_bytes()
    last = max(index for index, byte in enumerate(whole) if byte)
    cut = tmp_path / "cut.tar"
    outcomes: set[str] = set()
    for end in (*range(0, len(whole), 256), last, last + 1):
        cut.write_bytes(whole[:end])
        try:
            async with await Layout.open(cut) as opened:
                contents = await read_contents(opened, opened.select())
        except errors.LayoutError as exc:
            outcomes.add(type(exc).__name__)
            assert end <= last or end % 512  # within the end marker
        else:
            assert len(contents.blobs) == len(LAYERS) + 1
    assert outcomes == {"InvalidLayoutError"}


async def test_error_about_a_missing_blob_in_an_archive_without_an_end_names_the_likely_cause(
    layout: Path, archive: Path
) -> None:
    members = layout_members(layout)
    write_archive(archive, [*members[-2:], *(one for one in members[:-2] if one[0].name != layer_name(LAYERS[0]))])
    whole = archive.read_bytes()
    archive.write_bytes(whole[: -(-len(whole.rstrip(b"\0")) // 512) * 512])
    assert "has no end marker: it may be cut off" in (await refused(archive)).message


async def test_layers_of_ten_gigabytes_are_located_without_being_read(
    tmp_path: Path, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size, layout = 10 * 1024**3, tmp_path / "large"
    digest = "0" * 64
    manifest = {
        "schemaVersion": 2,
        "config": layouts.add_blob(layout, b"{}", "application/vnd.oci.image.config.v1+json"),
        "layers": [{"mediaType": "application/octet-stream", "digest": f"sha256:{digest}", "size": size}],
    }
    layouts.write_layout(layout, [layouts.add_blob(layout, json.dumps(manifest).encode(), layouts.MANIFEST)])
    pack(layout, archive)
    header = member(f"blobs/sha256/{digest}")
    header.size = size
    with archive.open("r+b") as file:  # the large layer comes first
        rest = file.read()
        file.seek(0)
        file.write(header.tobuf(tarfile.GNU_FORMAT))
        file.seek(size, os.SEEK_CUR)
        file.write(rest)
    read = 0

    def counted(descriptor: int, count: int, offset: int) -> bytes:
        nonlocal read
        read += count
        return read_at(descriptor, count, offset)

    monkeypatch.setattr("ocipush._sources.archive.read_at", counted)
    async with await Layout.open(archive) as opened:
        contents = await read_contents(opened, opened.select())
        assert {blob.size for blob in contents.blobs} == {2, size}
        blob = await opened.open_blob(contents.blobs[0])
        assert isinstance(blob, BlobFile)
        assert (blob.offset, blob.size) == (512, size)
        blob.close()
    assert read < 20_000


async def test_archive_with_too_many_members_is_refused(
    layout: Path, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    members = layout_members(layout)
    write_archive(archive, members)
    monkeypatch.setattr(tar, "MAX_MEMBERS", len(members))
    await assert_arrives(archive, layout)
    monkeypatch.setattr(tar, "MAX_MEMBERS", len(members) - 1)
    assert f"more than {len(members) - 1} members" in (await refused(archive)).message


@pytest.mark.parametrize(
    ("first", "command"),
    [(b"\x1f\x8b\x08\0", "gunzip"), (b"\x28\xb5\x2f\xfd", "unzstd"), (b"\xfd7zXZ\0", "unxz"), (b"BZh9", "bunzip2")],
)
async def test_compressed_archive_is_refused_with_the_command_that_helps(
    archive: Path, first: bytes, command: str
) -> None:
    archive.write_bytes(first + bytes(1000))
    failure = await refused(archive)
    assert "is compressed with" in failure.message
    assert command in (failure.hint or "")


async def test_pipe_is_refused_without_a_wait(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "neither a directory nor a regular file" in (await refused(tmp_path / "pipe")).message


async def test_archive_that_is_replaced_during_the_push_is_sent_as_it_was(layout: Path, archive: Path) -> None:
    pack(layout, archive)

    def replace(event: ocipush.Event) -> None:
        if isinstance(event, ocipush.PushStarted):
            archive.with_suffix(".new").write_bytes(b"another archive")
            archive.with_suffix(".new").replace(archive)

    await assert_arrives(archive, layout, on_event=replace)


@pytest.mark.parametrize("change", ["content", "length"])
async def test_archive_that_changes_during_the_push_does_not_set_the_tag(
    layout: Path, archive: Path, change: str
) -> None:
    pack(layout, archive)
    size = archive.stat().st_size

    def write(event: ocipush.Event) -> None:
        if isinstance(event, ocipush.PushStarted):
            with archive.open("r+b") as file:
                file.truncate(1024) if change == "length" else file.write(b"?" * size)
            os.utime(archive, ns=(1, 1))

    async with Registry() as registry:
        with pytest.raises(errors.BlobCorruptError, match="has changed since it was opened"):
            await ocipush.push(archive, target=f"{registry.host}/team/app:1", on_event=write)
        assert registry.repository("team/app").tags == {}


async def test_too_many_open_files_are_not_blamed_on_the_archive(
    layout: Path, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack(layout, archive)
    async with await Layout.open(archive) as opened:
        contents = await read_contents(opened, opened.select())

        def short(_: int) -> int:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

        monkeypatch.setattr(os, "dup", short)
        with pytest.raises(errors.OcipushError, match="too many open files") as caught:
            await opened.open_blob(contents.blobs[0])
        assert not isinstance(caught.value, errors.LayoutError)


async def test_hash_of_a_blob_covers_its_part_of_the_archive(layout: Path, archive: Path) -> None:
    changed = [
        (info, content[::-1] if info.name == layer_name(LAYERS[1]) else content)
        for info, content in layout_members(layout)
    ]
    write_archive(archive, changed)
    async with Registry() as registry:
        target = f"{registry.host}/team/app:1"
        with pytest.raises(errors.BlobCorruptError, match="does not match its digest") as caught:
            await ocipush.push(archive, target=target, verify=True)
        assert registry.requests == []
    assert caught.value.path == f"{archive}: {layer_name(LAYERS[1])}"


async def test_all_platforms_of_an_index_arrive_from_an_archive(tmp_path: Path, archive: Path) -> None:
    layout = tmp_path / "index"
    children = [layouts.add_manifest(layout, [b"shared", name]) for name in (b"amd64", b"arm64")]
    layouts.write_layout(layout, [layouts.add_index(layout, children)])
    archives.pack(layout, archive)
    await assert_arrives(archive, layout)
