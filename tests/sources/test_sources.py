from __future__ import annotations

import json
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from tests import layouts

import ocipush
from ocipush import errors
from ocipush._credentials.authfile import find_login
from ocipush._sources.layout import Layout
from ocipush._sources.open import open_source
from ocipush._sources.store import match_image
from ocipush._sources.verify import verify_blobs
from ocipush._sources.walk import read_contents

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

INDEX = "application/vnd.oci.image.index.v1+json"
pytestmark = pytest.mark.anyio


def two_images(layout: Path) -> None:
    manifests = [layouts.add_manifest(layout, [layer]) for layer in (b"a", b"b")]
    for manifest, ref in zip(manifests, ("host.example/app:1", "host.example/app:2"), strict=True):
        manifest["annotations"] = {"org.opencontainers.image.ref.name": ref}
    layouts.write_layout(layout, manifests)


def multi_arch(layout: Path) -> None:
    children = [layouts.add_manifest(layout, [b"shared", layer]) for layer in (b"amd64", b"arm64")]
    other = layouts.add_blob(layout, b"attachment", "application/octet-stream")
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [*children, other]}
    layouts.write_layout(layout, [layouts.add_blob(layout, json.dumps(index).encode(), INDEX)])


async def test_one_of_several_is_chosen_by_reference_tag_or_digest(tmp_path: Path) -> None:
    two_images(tmp_path / "app")
    async with await Layout.open(tmp_path / "app") as layout:
        first, second = layout.index.manifests
        assert layout.select("2") == layout.select("host.example/app:2") == layout.select(second.digest) == second
        with pytest.raises(errors.AmbiguousImageError, match="ref=") as caught:
            layout.select()
        assert first.digest in caught.value.candidates[0]
        for other in ("3", "", "app:2", second.digest.encoded):
            with pytest.raises(errors.ManifestNotFoundError, match="no image that matches"):
                layout.select(other)
    with closing(match_image(tmp_path, "host.example/app:2")) as match:
        assert match.descriptor == second


def test_reference_that_two_images_of_a_layout_record_is_ambiguous(tmp_path: Path) -> None:
    layout = tmp_path / "app"
    manifests = [layouts.add_manifest(layout, [layer]) for layer in (b"a", b"b")]
    for manifest in manifests:
        manifest["annotations"] = {"org.opencontainers.image.ref.name": "host.example/app:1"}
    layouts.write_layout(layout, manifests)
    with pytest.raises(errors.AmbiguousImageError, match="for several images") as caught:
        match_image(tmp_path, "host.example/app:1")
    assert caught.value.candidates == tuple(manifest["digest"] for manifest in manifests)
    layouts.write_layout(layout, [manifests[0], manifests[0]])
    with closing(match_image(tmp_path, "host.example/app:1")) as match:
        assert match.layout.path == layout


async def test_two_names_of_one_image_are_both_shown_and_the_first_is_where_it_goes(tmp_path: Path) -> None:
    layout = tmp_path / "app"
    manifests = [layouts.add_manifest(layout, [layer]) for layer in (b"a", b"a", b"b")]
    for manifest, tag in zip(manifests, "123", strict=True):
        manifest["annotations"] = {"org.opencontainers.image.ref.name": f"host.example/app:{tag}"}
    layouts.write_layout(layout, manifests)
    async with await Layout.open(layout) as opened:
        assert opened.select(manifests[0]["digest"]).ref_name == "host.example/app:1"
        with pytest.raises(errors.AmbiguousImageError) as caught:
            opened.select()
    assert len(caught.value.candidates) == len(manifests)


def containerd(tag: str, name: str) -> dict[str, str]:
    return {"org.opencontainers.image.ref.name": tag, "io.containerd.image.name": name}


async def test_full_name_that_containerd_records_is_found_and_is_no_target(tmp_path: Path) -> None:
    layout = tmp_path / "app"
    manifests = [layouts.add_manifest(layout, [layer]) for layer in (b"a", b"b")]
    for manifest, tag in zip(manifests, "12", strict=True):
        manifest["annotations"] = containerd(tag, f"host.example/app:{tag}")
    layouts.write_layout(layout, manifests)
    async with await Layout.open(layout) as opened:
        for ref in ("2", "host.example/app:2"):
            assert opened.select(ref).digest == manifests[1]["digest"]
        with pytest.raises(errors.AmbiguousImageError) as caught:
            opened.select()
    assert caught.value.candidates[0].startswith("host.example/app:1  -  image  sha256:")
    with closing(match_image(tmp_path, "host.example/app:2")) as match:
        assert match.descriptor is not None
        assert match.descriptor.digest == manifests[1]["digest"]
    assert ocipush.list_images(tmp_path)[0].ref == "host.example/app:1"
    with pytest.raises(errors.TargetRequiredError):
        await ocipush.push("host.example/app:2", store=tmp_path)


async def test_signature_beside_an_image_does_not_make_a_choice_of_it(tmp_path: Path) -> None:
    layout = tmp_path / "app"
    image = layouts.add_manifest(layout, [b"layer"])
    about = {
        "schemaVersion": 2,
        "config": layouts.add_blob(layout, b"{}", "application/vnd.cncf.notary.signature"),
        "layers": [],
        "subject": image,
    }
    signature = layouts.add_blob(layout, json.dumps(about).encode(), layouts.MANIFEST)
    tagged = layouts.add_manifest(layout, [b"cosign"])
    tagged["annotations"] = {"org.opencontainers.image.ref.name": image["digest"].replace(":", "-") + ".sig"}
    dropped = layouts.add_blob(layout, b"{}", "application/vnd.oci.artifact.manifest.v1+json")
    lost = {"mediaType": layouts.MANIFEST, "digest": "sha256:" + "0" * 64, "size": 5}
    layouts.write_layout(layout, [signature, tagged, image, dropped])
    async with await Layout.open(layout) as opened:
        assert opened.select().digest == image["digest"]
        assert opened.select(signature["digest"]).digest == signature["digest"]
    layouts.write_layout(layout, [signature, tagged])
    async with await Layout.open(layout) as opened:
        with pytest.raises(errors.AmbiguousImageError):
            opened.select()
    layouts.write_layout(layout, [image, lost])
    async with await Layout.open(layout) as opened:
        with pytest.raises(errors.AmbiguousImageError):
            opened.select()


async def test_signature_that_is_not_pushed_with_its_image_is_counted(tmp_path: Path) -> None:
    layout = tmp_path / "app"
    image = layouts.add_manifest(layout, [b"layer"])
    signature = layouts.add_manifest(layout, [b"cosign"])
    tag = image["digest"].replace(":", "-") + ".sig"
    signature["annotations"] = {"org.opencontainers.image.ref.name": tag}
    for manifests, count in (([image, signature], 1), ([image], 0)):
        layouts.write_layout(layout, manifests)
        async with open_source(layout, ref=image["digest"], store=tmp_path) as found:
            assert [text.rpartition(": ")[2] for text in found.warnings] == [str(count)] * count


async def test_bad_descriptor_is_warned_of_and_the_others_are_pushed(tmp_path: Path) -> None:
    layout = tmp_path / "app"
    image = layouts.add_manifest(layout, [b"layer"])
    layouts.write_layout(layout, [{**image, "digest": "md5:0"}, image])
    async with await Layout.open(layout) as opened:
        assert opened.select().digest == image["digest"]
        assert "index.json: a descriptor is ignored: manifests.0: digest: 'md5:0' is not a digest" in opened.warnings[0]


@pytest.mark.parametrize("version", ["1.0.0", "1.0.12", "1.1.0"])
async def test_layout_of_any_version_of_one_is_read(tmp_path: Path, version: str) -> None:
    layouts.write_layout(tmp_path / "app", [layouts.add_manifest(tmp_path / "app", [b"layer"])])
    (tmp_path / "app" / "oci-layout").write_text(json.dumps({"imageLayoutVersion": version}))
    async with await Layout.open(tmp_path / "app") as opened:
        assert opened.warnings == ()


async def test_lists_that_go_wrote_as_null_are_empty(tmp_path: Path) -> None:
    layout = tmp_path / "app"
    manifest = {
        "schemaVersion": 2,
        "config": layouts.add_blob(layout, b"{}", "application/vnd.oci.image.config.v1+json"),
        "layers": None,
    }
    layouts.write_layout(layout, [layouts.add_blob(layout, json.dumps(manifest).encode(), layouts.MANIFEST)])
    async with await Layout.open(layout) as opened:
        assert len((await read_contents(opened, opened.select())).blobs) == 1


@pytest.mark.parametrize("index", ["{}", '{"schemaVersion": 2}', '{"schemaVersion": 2, "manifests": null}'])
def test_layout_of_no_image_is_listed_without_a_digest(tmp_path: Path, index: str) -> None:
    layouts.write_layout(tmp_path / "app", [])
    (tmp_path / "app" / "index.json").write_text(index)
    assert [(image.name, image.ref, image.digest) for image in ocipush.list_images(tmp_path)] == [("app", None, None)]


async def test_child_of_an_index_without_a_media_type_is_read_as_the_manifest_it_is(tmp_path: Path) -> None:
    layout = tmp_path / "app"
    child = {**layouts.add_manifest(layout, [b"layer"]), "mediaType": ""}
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [child]}
    layouts.write_layout(layout, [layouts.add_blob(layout, json.dumps(index).encode(), INDEX)])
    async with await Layout.open(layout) as opened:
        contents = await read_contents(opened, opened.select())
    assert [document.media_type for document in contents.documents] == [layouts.MANIFEST, INDEX]


def edit_index(**fields: Any) -> Callable[[Path], None]:
    def edit(layout: Path) -> None:
        value = json.loads((layout / "index.json").read_text())
        (layout / "index.json").write_text(json.dumps({**value, **fields}))

    return edit


def write(name: str, content: bytes) -> Callable[[Path], None]:
    def damage(layout: Path) -> None:
        (layout / name).write_bytes(content)

    return damage


def without_index(layout: Path) -> None:
    (layout / "index.json").unlink()


def resize(layout: Path) -> None:
    next(path for path in (layout / "blobs/sha256").iterdir() if path.read_bytes() == b"layer").write_bytes(b"layers")


def corrupt(layout: Path) -> None:
    next(path for path in (layout / "blobs/sha256").iterdir() if path.read_bytes() == b"layer").write_bytes(b"LAYER")


def link_out(layout: Path) -> None:
    blob = next(path for path in (layout / "blobs/sha256").iterdir() if path.read_bytes() == b"layer")
    (layout.parent / "outside").write_bytes(b"layer")
    blob.unlink()
    blob.symlink_to(layout.parent / "outside")


def directory(layout: Path) -> None:
    blob = next(path for path in (layout / "blobs/sha256").iterdir() if path.read_bytes() == b"layer")
    blob.unlink()
    blob.mkdir()


def break_manifest(layout: Path) -> None:
    blob = next(path for path in (layout / "blobs/sha256").iterdir() if b"layers" in path.read_bytes())
    blob.write_bytes(blob.read_bytes().replace(b'"schemaVersion": 2', b'"schemaVersion": 3'))


@pytest.mark.parametrize(
    ("damage", "error", "words"),
    [
        (write("index.json", b"{"), errors.InvalidLayoutError, "not JSON"),
        (without_index, errors.InvalidLayoutError, "not an OCI layout"),
        (write("index.json", b" " * 67108865), errors.InvalidLayoutError, "64 MiB"),
        (write("oci-layout", b'{"imageLayoutVersion":"2"}'), errors.InvalidLayoutError, "version"),
        (edit_index(manifests=[]), errors.ManifestNotFoundError, "no image"),
        (edit_index(manifests=[{"digest": "sha256:../../x", "size": 1}]), errors.InvalidLayoutError, "not a digest"),
        (edit_index(manifests=[{"digest": "sha256:" + "0" * 64, "size": 5000000}]), errors.InvalidLayoutError, "4 MiB"),
        (
            edit_index(manifests=[{"digest": "sha256:" + "0" * 64, "size": 5}]),
            errors.BlobMissingError,
            "cannot be opened",
        ),
        (resize, errors.BlobCorruptError, "has 6 bytes"),
        (corrupt, errors.BlobCorruptError, "does not match its digest"),
        (link_out, errors.BlobMissingError, "symbolic link"),
        (directory, errors.BlobMissingError, "not a regular file"),
        (break_manifest, errors.BlobCorruptError, "does not match its descriptor"),
    ],
)
async def test_damaged_layout_is_its_typed_error(
    tmp_path: Path, damage: Callable[[Path], Any], error: type[errors.OcipushError], words: str
) -> None:
    layout = tmp_path / "app"
    layouts.write_layout(layout, [layouts.add_manifest(layout, [b"layer"])])
    damage(layout)
    with pytest.raises(error, match=words):
        async with await Layout.open(layout) as opened:
            await verify_blobs(opened, await read_contents(opened, opened.select()))


async def test_index_is_read_children_first_and_shared_blobs_once(tmp_path: Path) -> None:
    multi_arch(tmp_path / "app")
    (tmp_path / "app" / "oci-layout").unlink()
    async with await Layout.open(tmp_path / "app") as layout:
        assert "has no oci-layout file" in layout.warnings[0]
        contents = await read_contents(layout, layout.select())
        await verify_blobs(layout, contents)
        assert [document.media_type for document in contents.documents] == [layouts.MANIFEST] * 2 + [INDEX]
        assert sorted(blob.size for blob in contents.blobs) == [2, 5, 5, 6, 10]
        assert contents.size == sum(len(document.raw) for document in contents.documents) + 28
        opened = await layout.open_blob(contents.blobs[0])
        assert not isinstance(opened, bytes)
        async with opened:
            assert opened.size == contents.blobs[0].size


async def test_path_that_is_no_directory_is_no_layout(tmp_path: Path) -> None:
    with pytest.raises(errors.InvalidLayoutError, match="cannot be read as a layout"):
        await Layout.open(tmp_path / "absent")


def warnings(store: Path, image: str) -> tuple[str, ...]:
    with closing(match_image(store, image)) as match:
        return match.warnings


def test_store_names_what_is_near_what_is_broken_and_what_is_ambiguous(tmp_path: Path) -> None:
    store = tmp_path / "store"
    with pytest.raises(errors.ImageNotFoundError, match="there is no directory"):
        match_image(store, "app")
    store.mkdir()
    with pytest.raises(errors.ImageNotFoundError, match="store is empty"):
        match_image(store, "app")
    for name in ("one", "two"):
        layouts.write_layout(store / name, [layouts.add_manifest(store / name, [b"x"])], ref="host.example/app:1")
    layouts.write_layout(
        store / "alpine", [layouts.add_manifest(store / "alpine", [b"x"])], ref="docker.io/library/alpine:3"
    )
    (store / "broken").mkdir()
    (store / ".hidden").mkdir()
    with pytest.raises(errors.AmbiguousImageError, match="one, two"):
        match_image(store, "host.example/app:1")
    with pytest.raises(errors.ImageNotFoundError, match="did you mean 'alpine'"):
        match_image(store, "alpin")
    for broken in ("broken", "broken:1"):
        with pytest.raises(errors.InvalidLayoutError, match="not an OCI layout"):
            match_image(store, broken)
    assert "its name only" in warnings(store, " alpine:4 ")[0]
    assert warnings(store, "alpine:3") == ()
    layouts.write_layout(store / "bare", [layouts.add_manifest(store / "bare", [b"x"])], ref="1.0")
    assert warnings(store, "bare:1.0") == ()
    assert warnings(store, "bare:2")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "not JSON, at line 1"),
        ("[]", "not a JSON object"),
        ('{"registries": []}', "registries: Input should be an object"),
        ('{"registries": {"h": 1}}', "entry of h"),
        ('{"registries": {}, "registries": {}}', "duplicate key"),
    ],
)
def test_malformed_login_file_is_never_an_anonymous_push(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "auth.json"
    path.write_text(text)
    with pytest.raises(errors.CredentialError, match=words):
        find_login("h", authfile=path)
    with pytest.raises(errors.CredentialError, match="cannot be read"):
        find_login("h", authfile=tmp_path)
    with pytest.raises(errors.CredentialError, match="needs a registry"):
        ocipush.save_login(" ", ocipush.Login("u", "p"), authfile=path)


def test_login_is_removed_under_any_name_of_docker_hub(tmp_path: Path) -> None:
    path = tmp_path / "made" / "private" / "auth.json"
    ocipush.save_login("docker.io", ocipush.Login("u", "p"), authfile=path)
    assert path.parent.parent.stat().st_mode & 0o777 == 0o700
    assert ocipush.remove_login("index.docker.io", authfile=path)
    assert find_login("docker.io", authfile=path) is None


def test_login_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "file").touch()
    for path in (tmp_path / "loop", tmp_path / "file" / "auth.json"):
        with pytest.raises(errors.CredentialError, match="cannot be"):
            ocipush.save_login("host.example", ocipush.Login("u", "p"), authfile=path)


@pytest.mark.parametrize(
    "registry", ["https://host.example", "host.example/team", "myregistry", "host.example:99999", "a b.example", "h:x"]
)
def test_login_that_no_push_would_look_for_is_refused(tmp_path: Path, registry: str) -> None:
    with pytest.raises(errors.InvalidReferenceError, match="not a valid re"):
        ocipush.save_login(registry, ocipush.Login("u", "p"), authfile=tmp_path / "auth.json")
    assert list(tmp_path.iterdir()) == []


def test_login_of_half_a_character_is_refused_before_the_file_is_touched(tmp_path: Path) -> None:
    with pytest.raises(errors.CredentialError, match="not text"):
        ocipush.save_login("host.example", ocipush.Login("u", "\udcff"), authfile=tmp_path / "auth.json")
    assert list(tmp_path.iterdir()) == []


def test_logout_makes_nothing_where_there_was_no_login(tmp_path: Path) -> None:
    assert not ocipush.remove_login("host.example", authfile=tmp_path / "none" / "auth.json")
    assert list(tmp_path.iterdir()) == []


def test_logins_that_go_wrote_as_null_are_none(tmp_path: Path) -> None:
    path = tmp_path / "auth.json"
    path.write_text('{"registries": null}')
    assert find_login("host.example", authfile=path) is None
    ocipush.save_login("host.example", ocipush.Login("u", "p"), authfile=path)
    assert find_login("host.example", authfile=path) == ocipush.Login("u", "p")


def test_login_goes_where_a_link_points_and_keeps_what_it_does_not_know(tmp_path: Path) -> None:
    (tmp_path / "real.json").write_text('{"other": 1, "registries": {"a": {"username": "x", "password": "y"}}}')
    (tmp_path / "auth.json").symlink_to(tmp_path / "real.json")
    ocipush.save_login("b.example", ocipush.Login("u", "p"), authfile=tmp_path / "auth.json")
    assert (tmp_path / "auth.json").is_symlink()
    written = json.loads((tmp_path / "real.json").read_text())
    assert (written["other"], set(written["registries"])) == (1, {"a", "b.example"})
    assert (tmp_path / "real.json").stat().st_mode & 0o777 == 0o600


def test_store_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(errors.LayoutError, match="cannot be read"):
        ocipush.list_images(tmp_path / "loop")


def test_docker_hub_login_is_found_under_its_aliases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OCIPUSH_AUTHFILE", str(tmp_path / "auth.json"))
    ocipush.save_login("docker.io", ocipush.Login("u", "p"))
    assert find_login("index.docker.io") == ocipush.Login("u", "p")
    ocipush.save_login("empty.example", ocipush.Login("u", ""))
    assert find_login("empty.example") is None
