"""Bad input: images, targets, login files, layouts and options, with the error and the hint for each."""

from __future__ import annotations

import json
import os
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests import layouts

from ocipush import errors

if TYPE_CHECKING:
    from collections.abc import Callable

REF = "org.opencontainers.image.ref.name"
ZERO = "sha256:" + "0" * 64
SCHEMA_1 = "application/vnd.docker.distribution.manifest.v1+prettyjws"
CONFIG_ONLY = {"config": {"digest": ZERO, "size": 1}}


def unchanged(store: Path) -> None:
    """Leave the good image as it is."""


def empty_store(store: Path) -> None:
    (store / "app").rename(store.parent / "elsewhere")


def no_store(store: Path) -> None:
    empty_store(store)
    store.rmdir()


def file_instead_of_store(store: Path) -> None:
    no_store(store)
    store.write_text("")


def recorded(ref: str | None) -> Callable[[Path], None]:
    return lambda store: write_index(store, [{**root(store), "annotations": {REF: ref} if ref else None}])


def root(store: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((store / "app" / "index.json").read_text())["manifests"][0]
    return value


def manifest(store: Path) -> Path:
    return blob_path(store, root(store)["digest"])


def layer(store: Path) -> Path:
    return blob_path(store, json.loads(manifest(store).read_text())["layers"][0]["digest"])


def blob_path(store: Path, digest: str) -> Path:
    return store / "app" / "blobs" / digest.replace(":", "/")


def write_index(store: Path, manifests: list[dict[str, Any]], **fields: Any) -> None:
    manifests = [{key: value for key, value in one.items() if value is not None} for one in manifests]
    (store / "app" / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": manifests, **fields}))


def index_text(text: str) -> Callable[[Path], Any]:
    return lambda store: (store / "app" / "index.json").write_text(text)


def layout_text(text: str) -> Callable[[Path], Any]:
    return lambda store: (store / "app" / "oci-layout").write_text(text)


def login(password: str) -> str:
    return '{"registries": {"{host}": {"username": "u", ' + password + "}}}"


def change_content(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1] + b" ")


def append_byte(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b" ")


def root_document(document: dict[str, Any] | bytes, media_type: str = layouts.MANIFEST) -> Callable[[Path], None]:
    """Make a document the layout's root, with the right digest."""

    def make(store: Path) -> None:
        raw = document if isinstance(document, bytes) else json.dumps(document).encode()
        write_index(store, [layouts.add_blob(store / "app", raw, media_type)])

    return make


def changed_manifest(**fields: Any) -> Callable[[Path], None]:
    def make(store: Path) -> None:
        root_document({**json.loads(manifest(store).read_text()), **fields})(store)

    return make


def changed_root(**fields: Any) -> Callable[[Path], None]:
    return lambda store: write_index(store, [{**root(store), **fields}])


def changed_layers(*changes: dict[str, Any]) -> Callable[[Path], None]:
    """Replace the layers by the first, changed in each of these ways."""

    def make(store: Path) -> None:
        first = json.loads(manifest(store).read_text())["layers"][0]
        changed_manifest(layers=[{**first, **change} for change in changes])(store)

    return make


def nested_indexes(store: Path) -> None:
    child = root(store)
    for _ in range(8):
        document = {"schemaVersion": 2, "mediaType": layouts.INDEX, "manifests": [child]}
        child = layouts.add_blob(store / "app", json.dumps(document).encode(), layouts.INDEX)
    write_index(store, [child])


def schema_1_child(store: Path) -> None:
    child = layouts.add_blob(store / "app", b'{"schemaVersion": 1}', SCHEMA_1)
    root_document({"schemaVersion": 2, "mediaType": layouts.INDEX, "manifests": [child]}, layouts.INDEX)(store)


def cycle(length: int) -> Callable[[Path], None]:
    """Indexes that name each other. Their digests lie: no document can hold its own digest, or that of its parent."""

    def make(store: Path) -> None:
        digests = [f"sha256:{number:064}" for number in range(1, length + 1)]
        raws = [
            json.dumps(
                {
                    "schemaVersion": 2,
                    "mediaType": layouts.INDEX,
                    "manifests": [{"mediaType": layouts.INDEX, "size": 200, "digest": digests[(number + 1) % length]}],
                }
            )
            .ljust(200)
            .encode()
            for number in range(length)
        ]
        for digest, raw in zip(digests, raws, strict=True):
            blob_path(store, digest).write_bytes(raw)
        write_index(store, [{"mediaType": layouts.INDEX, "digest": digests[0], "size": 200}])

    return make


def huge_index(store: Path) -> None:
    (store / "app/index.json").write_bytes(b" " * (64 << 20 | 1))


def link_to_outside(place: Callable[[Path], Path]) -> Callable[[Path], None]:
    def make(store: Path) -> None:
        inside = place(store)
        outside = store.parent / "outside"
        inside.rename(outside)
        inside.symlink_to(outside)

    return make


def replace_layer(make: Callable[[Path], Any]) -> Callable[[Path], None]:
    def replace(store: Path) -> None:
        path = layer(store)
        path.unlink()
        make(path)

    return replace


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        here = Path.cwd()
        os.chdir(path.parent)  # a path longer than 108 bytes is no address
        try:
            one.bind(path.name)
        finally:
            os.chdir(here)


def several_images(store: Path) -> None:
    write_index(store, [root(store), layouts.add_manifest(store / "app", [b"other"])])


def similar_image(store: Path) -> None:
    layouts.write_image(store / "alpine-3_18_0", b"x", ref="docker.io/alpine:3.18.0")


def two_with_one_reference(store: Path) -> None:
    for name in ("one", "two"):
        layouts.write_image(store / name, b"x", ref="host.example/twin:1")


@dataclass(frozen=True)
class Case:
    name: str
    spoil: Callable[[Path], Any]
    error: type[errors.OcipushError]
    words: str
    hint: str = "copy the image into the store again"
    image: str = "app"
    target: str | None = "{host}/team/app:1"
    logins: str | None = None
    options: dict[str, Any] = field(default_factory=dict[str, Any])


NOT_FOUND = errors.ImageNotFoundError
INVALID = errors.InvalidLayoutError
NO_MANIFEST = errors.ManifestNotFoundError
MISSING = errors.BlobMissingError
CORRUPT = errors.BlobCorruptError
REFERENCE = errors.InvalidReferenceError
NO_TARGET = errors.TargetRequiredError
LOGIN = errors.CredentialError
CASES = [
    # the image
    Case(
        "unknown image", similar_image, NOT_FOUND, "no image 'alpine-3_18_1'", "'alpine-3_18_0'", image="alpine-3_18_1"
    ),
    Case(
        "unknown reference",
        similar_image,
        NOT_FOUND,
        "no image",
        "'docker.io/alpine:3.18.0'",
        image="docker.io/alpine:3.18",
    ),
    Case("no similar image", unchanged, NOT_FOUND, "no image 'zzz'", "ocipush image list", image="zzz"),
    Case("blank image", unchanged, NOT_FOUND, "no image ''", "ocipush image list", image=" "),
    Case(
        "image outside the store",
        unchanged,
        NOT_FOUND,
        "no image 'app/../../outside'",
        "ocipush image list",
        image="app/../../outside",
    ),
    Case("empty store", empty_store, NOT_FOUND, "no image 'app'", "the store is empty"),
    Case("missing store", no_store, NOT_FOUND, "no image 'app'", "store="),
    Case("store that is a file", file_instead_of_store, NOT_FOUND, "no image 'app'", "store="),
    Case(
        "two images with one reference",
        two_with_one_reference,
        errors.AmbiguousImageError,
        "one, two",
        "directory",
        image="host.example/twin:1",
    ),
    Case("long name", unchanged, NOT_FOUND, "no image 'xxx", "ocipush image list", image="x" * 5000),
    # the target
    Case("no recorded reference", recorded(None), NO_TARGET, "records no reference", "target=", target=None),
    Case("recorded tag", recorded("latest"), NO_TARGET, "'latest'", "target=", target=None),
    Case("recorded nonsense", recorded("{host}/A//b"), REFERENCE, "A//b", "target=", target=None),
    Case("empty target", unchanged, REFERENCE, "it is empty", "registry.example/", target=""),
    Case("scheme", unchanged, REFERENCE, "must not have a scheme", "drop 'https://'", target="https://{host}/a:1"),
    Case("upper case", unchanged, REFERENCE, "repository 'Team/App'", "'team/app'", target="{host}/Team/App:1"),
    Case("empty part", unchanged, REFERENCE, "repository 'a//b'", "registry.example/", target="{host}/a//b:1"),
    Case("bad tag", unchanged, REFERENCE, "tag '-1'", "registry.example/", target="{host}/a:-1"),
    Case("long tag", unchanged, REFERENCE, "tag 'xxx", "registry.example/", target="{host}/a:" + "x" * 5000),
    Case("long registry", unchanged, REFERENCE, "registry '_.x", "registry.example/", target="_.x" * 2000 + "_./a"),
    Case("long recorded reference", recorded("x" * 5000), NO_TARGET, "'xxx", "target=", target=None),
    Case("bad port", unchanged, REFERENCE, "port 99999", "registry.example/", target="host.example:99999/a:1"),
    Case("bad digest", unchanged, REFERENCE, "the digest is not", "registry.example/", target="{host}/a@sha256:abc"),
    Case("other digest", unchanged, errors.DigestMismatchError, ZERO, "name a tag", target="{host}/a@" + ZERO),
    # the logins
    Case("logins not JSON", unchanged, LOGIN, "not JSON, at line 2", "authfile=", logins='{\n"a'),
    Case("logins not an object", unchanged, LOGIN, "not a JSON object", "authfile=", logins="[]"),
    Case("logins that nest", unchanged, LOGIN, "nested more than 100 levels deep", "authfile=", logins="[" * 100_000),
    Case(
        "logins with a duplicate key",
        unchanged,
        LOGIN,
        "duplicate key",
        "authfile=",
        logins='{"registries":{},"registries":{}}',
    ),
    Case("registries not an object", unchanged, LOGIN, "registries: Input", "authfile=", logins='{"registries":1}'),
    Case("login not an object", unchanged, LOGIN, "{host}", "authfile=", logins='{"registries":{"{host}":1}}'),
    Case("password a number", unchanged, LOGIN, "{host}", "authfile=", logins=login('"password":1')),
    Case(
        "password with a lone surrogate", unchanged, LOGIN, "{host}", "authfile=", logins=login('"password":"\\ud800"')
    ),
    # index.json and oci-layout
    Case("no index.json", lambda store: (store / "app/index.json").unlink(), INVALID, "not an OCI layout"),
    Case("index.json empty", index_text(" "), INVALID, "not JSON"),
    Case("index.json cut off", index_text('{"manifests": ['), INVALID, "not JSON"),
    Case("index.json with a BOM", index_text("\ufeff{}"), INVALID, "BOM"),
    Case("index.json not an object", index_text("[]"), INVALID, "not a JSON object"),
    Case("index.json that nests", index_text("[" * 100_000), INVALID, "nested more than 100 levels deep"),
    Case("index.json over 64 MiB", huge_index, INVALID, "64 MiB", "no larger index.json"),
    Case("index.json with a duplicate key", index_text('{"manifests": [], "manifests": []}'), INVALID, "duplicate key"),
    Case("index.json a manifest", index_text(json.dumps({"config": {"digest": ZERO, "size": 1}})), INVALID, "index"),
    Case(
        "index.json with layers",
        lambda store: write_index(store, [root(store)], layers=[]),
        INVALID,
        "at once",
        "disagree",
    ),
    Case("index.json without images", lambda store: write_index(store, []), NO_MANIFEST, "no image"),
    Case("several images", several_images, errors.AmbiguousImageError, "several images", "ref="),
    Case("long ref", unchanged, NO_MANIFEST, "'xxx", "ref=", options={"ref": "x" * 5000}),
    Case("unknown ref", unchanged, NO_MANIFEST, "'7'", "ref=", options={"ref": "7"}),
    Case("layout 2", layout_text('{"imageLayoutVersion": "2.0.0"}'), INVALID, "'2.0.0'", "newer"),
    Case("layout of a version like", layout_text('{"imageLayoutVersion": "1.0.x"}'), INVALID, "'1.0.x'", "newer"),
    Case("layout of no version", layout_text("{}"), INVALID, "None", "newer"),
    Case("layout not JSON", layout_text("{"), INVALID, "not JSON"),
    Case(
        "layout that is a link to outside",
        link_to_outside(lambda store: store / "app/oci-layout"),
        INVALID,
        "symbolic link",
        "`cp -rL`",
    ),
    # digests, sizes, depth
    Case("root with ..", changed_root(digest="sha256:../../../outside"), INVALID, "not a digest"),
    Case("layer with ..", changed_layers({"digest": "sha256:../../x"}), INVALID, "not a digest"),
    Case("layer with an unknown algorithm", changed_layers({"digest": "md5:" + "0" * 32}), INVALID, "not a digest"),
    Case("layer with a negative size", changed_layers({"size": -1}), INVALID, "layers.0.size"),
    Case("layer with two sizes", changed_layers({}, {"size": 6}), INVALID, "two sizes, 5 and 6"),
    Case("cycle of one", cycle(1), CORRUPT, "does not match its descriptor"),
    Case("cycle of three", cycle(3), CORRUPT, "does not match its descriptor"),
    Case("index that nests", nested_indexes, INVALID, "nested more than 8 deep", "registries do not accept"),
    # manifests
    Case("no manifest", lambda store: manifest(store).unlink(), MISSING, "No such file"),
    Case(
        "manifest of another digest",
        lambda store: change_content(manifest(store)),
        CORRUPT,
        "does not match its descriptor",
    ),
    Case(
        "manifest of another size", lambda store: append_byte(manifest(store)), CORRUPT, "does not match its descriptor"
    ),
    Case("manifest over 4 MiB", root_document(b" " * (4 << 20 | 1)), INVALID, "4 MiB", "larger manifests"),
    Case("manifest not JSON", root_document(b"{"), INVALID, "not JSON"),
    Case("manifest of UTF-16", root_document(json.dumps(CONFIG_ONLY).encode("utf-16")), INVALID, "not UTF-8"),
    Case("manifest with NaN", root_document(b'{"config": NaN}'), INVALID, "NaN is not a JSON number"),
    Case("manifest of schema 1", changed_manifest(schemaVersion=1), INVALID, "schemaVersion"),
    Case(
        "manifest of schema 1 by its media type",
        root_document({"schemaVersion": 1}, SCHEMA_1),
        INVALID,
        "no longer accept",
        "re-create",
    ),
    Case("child of schema 1", schema_1_child, INVALID, "no longer accept", "re-create"),
    Case("manifest with a duplicate key", root_document(b'{"config": {}, "config": {}}'), INVALID, "duplicate key"),
    Case("manifest without config", root_document({"layers": []}), INVALID, "config"),
    Case("manifest and index", changed_manifest(manifests=[]), INVALID, "at once", "disagree"),
    Case("manifest called index", changed_manifest(mediaType=layouts.INDEX), INVALID, "its descriptor says"),
    Case("media type with a line break", root_document(CONFIG_ONLY, "a/b\r\nX: y"), INVALID, "invalid media type"),
    Case("media type not ASCII", root_document(CONFIG_ONLY, "应用/b"), INVALID, "invalid media type"),
    # blobs
    Case("missing blob", lambda store: layer(store).unlink(), MISSING, "No such file"),
    Case("blob too short", lambda store: layer(store).write_bytes(b""), CORRUPT, "has 0 bytes"),
    Case("blob too long", lambda store: append_byte(layer(store)), CORRUPT, "has 6 bytes"),
    Case("blob that is a link to outside", link_to_outside(layer), MISSING, "symbolic link", "`cp -rL`"),
    Case("manifest that is a link to outside", link_to_outside(manifest), MISSING, "symbolic link", "`cp -rL`"),
    Case(
        "blobs that is a link to outside",
        link_to_outside(lambda store: store / "app/blobs"),
        MISSING,
        "symbolic link",
        "`cp -rL`",
    ),
    Case(
        "sha256 that is a link to outside",
        link_to_outside(lambda store: store / "app/blobs/sha256"),
        MISSING,
        "symbolic link",
        "`cp -rL`",
    ),
    Case(
        "index.json that is a link to outside",
        link_to_outside(lambda store: store / "app/index.json"),
        INVALID,
        "symbolic link",
        "`cp -rL`",
    ),
    Case("directory instead of a blob", replace_layer(Path.mkdir), MISSING, "not a regular file"),
    Case("FIFO instead of a blob", replace_layer(os.mkfifo), MISSING, "not a regular file"),
    Case("socket instead of a blob", replace_layer(make_socket), MISSING, "No such device"),
    # options
    Case("no CA file", unchanged, errors.OcipushError, "/no/ca.pem", "PEM", options={"ca_file": "/no/ca.pem"}),
    Case("CA file not PEM", unchanged, errors.OcipushError, "/dev/null", "PEM", options={"ca_file": "/dev/null"}),
]
