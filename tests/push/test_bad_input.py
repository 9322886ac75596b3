"""Bad input: each is its typed error and one message with a hint, and the registry never hears of it (rules.md)."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from click.testing import CliRunner
from tests import layouts

import ocipush
from ocipush import errors
from ocipush._cli.commands import cli
from ocipush._cli.hints import rewrite_hint
from ocipush.testing.pytest_plugin import ocipush_registry as _fixture

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ocipush.testing import Registry

ocipush_registry = _fixture
INDEX = "application/vnd.oci.image.index.v1+json"
REF = "org.opencontainers.image.ref.name"
ZERO = "sha256:" + "0" * 64
SCHEMA_1 = "application/vnd.docker.distribution.manifest.v1+prettyjws"
CONFIG_ONLY = {"config": {"digest": ZERO, "size": 1}}


def nothing(store: Path) -> None:
    """Leave the good image as it is."""


def empty_store(store: Path) -> None:
    (store / "app").rename(store.parent / "elsewhere")


def no_store(store: Path) -> None:
    empty_store(store)
    store.rmdir()


def file_for_a_store(store: Path) -> None:
    no_store(store)
    store.write_text("")


def record(ref: str | None) -> Callable[[Path], None]:
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


def spoil(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1] + b" ")


def extend(path: Path) -> None:
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


def nested(store: Path) -> None:
    child = root(store)
    for _ in range(8):
        document = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [child]}
        child = layouts.add_blob(store / "app", json.dumps(document).encode(), INDEX)
    write_index(store, [child])


def old_child(store: Path) -> None:
    child = layouts.add_blob(store / "app", b'{"schemaVersion": 1}', SCHEMA_1)
    root_document({"schemaVersion": 2, "mediaType": INDEX, "manifests": [child]}, INDEX)(store)


def cycle(length: int) -> Callable[[Path], None]:
    """Indexes that name each other. Their digests lie: no document can hold its own digest, or that of its parent."""

    def make(store: Path) -> None:
        digests = [f"sha256:{number:064}" for number in range(1, length + 1)]
        raws = [
            json.dumps(
                {
                    "schemaVersion": 2,
                    "mediaType": INDEX,
                    "manifests": [{"mediaType": INDEX, "size": 200, "digest": digests[(number + 1) % length]}],
                }
            )
            .ljust(200)
            .encode()
            for number in range(length)
        ]
        for digest, raw in zip(digests, raws, strict=True):
            blob_path(store, digest).write_bytes(raw)
        write_index(store, [{"mediaType": INDEX, "digest": digests[0], "size": 200}])

    return make


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


def listen_at(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        here = Path.cwd()
        os.chdir(path.parent)  # a path longer than 108 bytes is no address
        try:
            one.bind(path.name)
        finally:
            os.chdir(here)


def several(store: Path) -> None:
    write_index(store, [root(store), layouts.add_manifest(store / "app", [b"other"])])


def near(store: Path) -> None:
    layouts.write_layout(
        store / "alpine-3_18_0", [layouts.add_manifest(store / "alpine-3_18_0", [b"x"])], ref="docker.io/alpine:3.18.0"
    )


def twins(store: Path) -> None:
    for name in ("one", "two"):
        layouts.write_layout(store / name, [layouts.add_manifest(store / name, [b"x"])], ref="host.example/twin:1")


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
    Case("unknown image", near, NOT_FOUND, "no image 'alpine-3_18_1'", "'alpine-3_18_0'", image="alpine-3_18_1"),
    Case("unknown reference", near, NOT_FOUND, "no image", "'docker.io/alpine:3.18.0'", image="docker.io/alpine:3.18"),
    Case("nothing near", nothing, NOT_FOUND, "no image 'zzz'", "ocipush image list", image="zzz"),
    Case("white space for an image", nothing, NOT_FOUND, "no image ''", "ocipush image list", image=" "),
    Case("image that climbs", nothing, NOT_FOUND, "no image '../outside'", "ocipush image list", image="../outside"),
    Case("empty store", empty_store, NOT_FOUND, "no image 'app'", "the store is empty"),
    Case("missing store", no_store, NOT_FOUND, "no image 'app'", "store="),
    Case("store that is a file", file_for_a_store, NOT_FOUND, "no image 'app'", "store="),
    Case(
        "two of one reference", twins, errors.AmbiguousImageError, "one, two", "directory", image="host.example/twin:1"
    ),
    Case("endless name", nothing, NOT_FOUND, "no image 'xxx", "ocipush image list", image="x" * 5000),
    # the target
    Case("no recorded reference", record(None), NO_TARGET, "records no reference", "target=", target=None),
    Case("recorded tag", record("latest"), NO_TARGET, "'latest'", "target=", target=None),
    Case("recorded nonsense", record("{host}/A//b"), REFERENCE, "A//b", "target=", target=None),
    Case("empty target", nothing, REFERENCE, "it is empty", "registry.example/", target=""),
    Case("scheme", nothing, REFERENCE, "must not have a scheme", "drop 'https://'", target="https://{host}/a:1"),
    Case("upper case", nothing, REFERENCE, "repository 'Team/App'", "'team/app'", target="{host}/Team/App:1"),
    Case("empty part", nothing, REFERENCE, "repository 'a//b'", "registry.example/", target="{host}/a//b:1"),
    Case("bad tag", nothing, REFERENCE, "tag '-1'", "registry.example/", target="{host}/a:-1"),
    Case("endless tag", nothing, REFERENCE, "tag 'xxx", "registry.example/", target="{host}/a:" + "x" * 5000),
    Case("endless registry", nothing, REFERENCE, "registry '_.x", "registry.example/", target="_.x" * 2000 + "_./a"),
    Case("recorded endlessly", record("x" * 5000), NO_TARGET, "'xxx", "target=", target=None),
    Case("bad port", nothing, REFERENCE, "port 99999", "registry.example/", target="host.example:99999/a:1"),
    Case("bad digest", nothing, REFERENCE, "the digest is not", "registry.example/", target="{host}/a@sha256:abc"),
    Case("other digest", nothing, errors.DigestMismatchError, ZERO, "name a tag", target="{host}/a@" + ZERO),
    # the logins
    Case("logins not JSON", nothing, LOGIN, "not JSON, at line 2", "authfile=", logins='{\n"a'),
    Case("logins no object", nothing, LOGIN, "not a JSON object", "authfile=", logins="[]"),
    Case("logins that nest", nothing, LOGIN, "nested more than 100 levels deep", "authfile=", logins="[" * 100_000),
    Case("logins twice", nothing, LOGIN, "duplicate key", "authfile=", logins='{"registries":{},"registries":{}}'),
    Case("registries no object", nothing, LOGIN, "registries: Input", "authfile=", logins='{"registries":1}'),
    Case("login no object", nothing, LOGIN, "{host}", "authfile=", logins='{"registries":{"{host}":1}}'),
    Case("password a number", nothing, LOGIN, "{host}", "authfile=", logins=login('"password":1')),
    Case("password half a character", nothing, LOGIN, "{host}", "authfile=", logins=login('"password":"\\ud800"')),
    # index.json and oci-layout
    Case("no index.json", lambda store: (store / "app/index.json").unlink(), INVALID, "not an OCI layout"),
    Case("index.json empty", index_text(" "), INVALID, "not JSON"),
    Case("index.json cut off", index_text('{"manifests": ['), INVALID, "not JSON"),
    Case("index.json with a mark", index_text("\ufeff{}"), INVALID, "BOM"),
    Case("index.json no object", index_text("[]"), INVALID, "not a JSON object"),
    Case("index.json that nests", index_text("[" * 100_000), INVALID, "nested more than 100 levels deep"),
    Case("index.json over 4 MiB", index_text(" " * (4 << 20 | 1)), INVALID, "4 MiB", "no larger index.json"),
    Case("index.json twice", index_text('{"manifests": [], "manifests": []}'), INVALID, "duplicate key"),
    Case("index.json a manifest", index_text(json.dumps({"config": {"digest": ZERO, "size": 1}})), INVALID, "index"),
    Case("index.json both", lambda store: write_index(store, [root(store)], layers=[]), INVALID, "at once", "disagree"),
    Case("no image in it", lambda store: write_index(store, []), NO_MANIFEST, "no image"),
    Case("several images", several, errors.AmbiguousImageError, "several images", "ref="),
    Case("endless ref", nothing, NO_MANIFEST, "'xxx", "ref=", options={"ref": "x" * 5000}),
    Case("no such ref", nothing, NO_MANIFEST, "'7'", "ref=", options={"ref": "7"}),
    Case("layout 2", layout_text('{"imageLayoutVersion": "2.0.0"}'), INVALID, "'2.0.0'", "newer"),
    Case("layout of a version like", layout_text('{"imageLayoutVersion": "1.0.x"}'), INVALID, "'1.0.x'", "newer"),
    Case("layout of no version", layout_text("{}"), INVALID, "None", "newer"),
    Case("layout not JSON", layout_text("{"), INVALID, "not JSON"),
    Case(
        "layout linked out",
        link_to_outside(lambda store: store / "app/oci-layout"),
        INVALID,
        "symbolic link",
        "`cp -rL`",
    ),
    # digests, sizes, depth
    Case("root with ..", changed_root(digest="sha256:../../../outside"), INVALID, "not a digest"),
    Case("layer with ..", changed_layers({"digest": "sha256:../../x"}), INVALID, "not a digest"),
    Case("layer of no algorithm", changed_layers({"digest": "md5:" + "0" * 32}), INVALID, "not a digest"),
    Case("layer of negative size", changed_layers({"size": -1}), INVALID, "layers.0.size"),
    Case("layer of two sizes", changed_layers({}, {"size": 6}), INVALID, "two sizes, 5 and 6"),
    Case("cycle of one", cycle(1), CORRUPT, "does not match its descriptor"),
    Case("cycle of three", cycle(3), CORRUPT, "does not match its descriptor"),
    Case("index that nests", nested, INVALID, "nested more than 8 deep", "registries do not accept"),
    # manifests
    Case("no manifest", lambda store: manifest(store).unlink(), MISSING, "No such file"),
    Case("manifest of another digest", lambda store: spoil(manifest(store)), CORRUPT, "does not match its descriptor"),
    Case("manifest of another size", lambda store: extend(manifest(store)), CORRUPT, "does not match its descriptor"),
    Case("manifest over 4 MiB", root_document(b" " * (4 << 20 | 1)), INVALID, "4 MiB", "larger manifests"),
    Case("manifest not JSON", root_document(b"{"), INVALID, "not JSON"),
    Case("manifest of UTF-16", root_document(json.dumps(CONFIG_ONLY).encode("utf-16")), INVALID, "not UTF-8"),
    Case("manifest with NaN", root_document(b'{"config": NaN}'), INVALID, "NaN is not a JSON number"),
    Case("manifest of schema 1", changed_manifest(schemaVersion=1), INVALID, "schemaVersion"),
    Case(
        "manifest of Docker's first kind",
        root_document({"schemaVersion": 1}, SCHEMA_1),
        INVALID,
        "no longer accept",
        "re-create",
    ),
    Case("child of Docker's first kind", old_child, INVALID, "no longer accept", "re-create"),
    Case("manifest twice", root_document(b'{"config": {}, "config": {}}'), INVALID, "duplicate key"),
    Case("manifest without config", root_document({"layers": []}), INVALID, "config"),
    Case("manifest and index", changed_manifest(manifests=[]), INVALID, "at once", "disagree"),
    Case("manifest called index", changed_manifest(mediaType=INDEX), INVALID, "its descriptor says"),
    Case("media type of two lines", root_document(CONFIG_ONLY, "a/b\r\nX: y"), INVALID, "invalid media type"),
    Case("media type not ASCII", root_document(CONFIG_ONLY, "应用/b"), INVALID, "invalid media type"),
    # blobs
    Case("missing blob", lambda store: layer(store).unlink(), MISSING, "No such file"),
    Case("blob too short", lambda store: layer(store).write_bytes(b""), CORRUPT, "has 0 bytes"),
    Case("blob too long", lambda store: extend(layer(store)), CORRUPT, "has 6 bytes"),
    Case("blob linked out", link_to_outside(layer), MISSING, "symbolic link", "`cp -rL`"),
    Case("manifest linked out", link_to_outside(manifest), MISSING, "symbolic link", "`cp -rL`"),
    Case("blobs linked out", link_to_outside(lambda store: store / "app/blobs"), MISSING, "symbolic link", "`cp -rL`"),
    Case(
        "sha256 linked out",
        link_to_outside(lambda store: store / "app/blobs/sha256"),
        MISSING,
        "symbolic link",
        "`cp -rL`",
    ),
    Case(
        "index.json linked out",
        link_to_outside(lambda store: store / "app/index.json"),
        INVALID,
        "symbolic link",
        "`cp -rL`",
    ),
    Case("blob a directory", replace_layer(Path.mkdir), MISSING, "not a regular file"),
    Case("blob a fifo", replace_layer(os.mkfifo), MISSING, "not a regular file"),
    Case("blob a socket", replace_layer(listen_at), MISSING, "No such device"),
    # options
    Case("no CA file", nothing, errors.OcipushError, "/no/ca.pem", "PEM", options={"ca_file": "/no/ca.pem"}),
    Case("CA file no PEM", nothing, errors.OcipushError, "/dev/null", "PEM", options={"ca_file": "/dev/null"}),
]


@dataclass
class Told:
    """What the person was told, however they asked."""

    error: type[BaseException]
    message: str
    hint: str


def by_library(backend: str, image: str, options: dict[str, Any]) -> Told:
    options = {name: value for name, value in options.items() if value is not None}
    with pytest.raises(errors.OcipushError) as caught:
        anyio.run(partial(ocipush.push, image, **options), backend=backend)
    return Told(type(caught.value), caught.value.message, caught.value.hint or "")


def by_command(image: str, options: dict[str, Any]) -> Told:
    names = {
        "store": "images-store-dir",
        "authfile": "authfile",
        "target": "target",
        "ref": "ref",
        "ca_file": "ca-file",
    }
    words = [f"--{names[name]}={value}" for name, value in options.items() if value is not None]
    done = CliRunner().invoke(cli, ["image", "push", *words, "--", image])
    assert isinstance(done.exception, SystemExit)
    assert (done.exit_code, done.stdout) == (1, "")
    lines = done.stderr.splitlines()
    assert [line.partition(": ")[0] for line in lines] == ["error", "hint"], done.stderr
    return Told(errors.OcipushError, lines[0].partition(": ")[2], lines[1].partition(": ")[2])


@pytest.mark.parametrize("way", ["asyncio", "trio", "command"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "-"))
def test_bad_input_is_told_once_and_no_registry_hears_of_it(
    case: Case, way: str, tmp_path: Path, ocipush_registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = ocipush_registry.host
    store, authfile = tmp_path / "store", tmp_path / "auth.json"
    image = store / "app"
    layouts.write_layout(image, [layouts.add_manifest(image, [b"layer"])], ref=f"{host}/team/app:1")
    case.spoil(store)
    for path in (image / "index.json", authfile):
        if path.is_file() and not path.is_symlink():
            path.write_text(path.read_text().replace("{host}", host))
    if case.logins is not None:
        authfile.write_text(case.logins.replace("{host}", host))
        authfile.chmod(0o600)
    target = case.target.replace("{host}", host) if case.target is not None else None
    options = {"store": store, "authfile": authfile, "target": target, **case.options}
    told = by_command(case.image, options) if way == "command" else by_library(way, case.image, options)
    if way != "command":
        assert told.error is case.error
    assert case.words.replace("{host}", host) in told.message
    hint = rewrite_hint(case.hint) or "" if way == "command" else case.hint
    assert hint in told.hint
    assert told.hint
    assert way == "command" or "--" not in told.hint
    assert len(told.message) < 1000
    assert (ocipush_registry.connections, ocipush_registry.requests) == (0, [])


@pytest.mark.parametrize(
    ("words", "error", "hint"),
    [
        (["push"], "missing argument 'IMAGE'", "`ocipush push --help`"),
        (["image", "push", "app", "b"], "unexpected extra argument (b)", "`ocipush image push --help`"),
        (["push", "--nope", "app"], "'--nope'", "`ocipush push --help`"),
        (["frob"], "no such command 'frob'", "`ocipush --help`"),
        (["push", "--tls-verify=maybe", "app"], "'maybe' is neither true nor false", "`ocipush push --help`"),
        (["push", "--ref"], "'--ref' requires an argument", "--help`"),
        (["login", "x", "-u", "a", "-p", "b", "--password-stdin"], "exclude each other", "`ocipush login --help`"),
        (["login", "x", "-u", "", "-p", "b"], "must not be empty", "`ocipush login --help`"),
    ],
)
def test_wrong_usage_exits_with_2_and_says_where_the_usage_is(words: list[str], error: str, hint: str) -> None:
    done = CliRunner().invoke(cli, words, prog_name="ocipush")
    assert (done.exit_code, done.stdout) == (2, "")
    first, second = [line for line in done.stderr.splitlines() if not line.startswith("warning: ")]
    assert first.startswith("error: ")
    assert error in first
    assert second.startswith("hint: ")
    assert hint in second


# What belongs to somebody else. Root may read everything, so the push runs as nobody, in a process of its own that has
# imported what it needs before it gives up its rights: nobody may not be allowed to read the sources either.
AS_NOBODY = """
import os, sys
import anyio._backends._asyncio, httpx, rich.console
import ocipush._push.pusher, ocipush._cli.hints, ocipush._cli.progress
from ocipush._cli.commands import cli
from ocipush._cli.hints import rewrite_hint
if os.getuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
cli.main(sys.argv[1:])
"""


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """A directory that nobody may read, too: pytest's own are private to their user."""
    with tempfile.TemporaryDirectory(prefix="ocipush-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.mark.parametrize(
    ("secret", "words", "hint"),
    [
        ("auth.json", "auth.json cannot be read: Permission denied", "--authfile"),
        ("private", "auth.json cannot be read: Permission denied", "--authfile"),
        ("store", "store cannot be read: Permission denied", "--images-store-dir"),
        ("store/app", "app cannot be read as a layout: Permission denied", "run as a user who may read it"),
        ("store/app/index.json", "index.json cannot be opened: Permission denied", "run as a user who may read it"),
        ("store/app/oci-layout", "oci-layout cannot be opened: Permission denied", "run as a user who may read it"),
        ("store/app/blobs", "cannot be opened: Permission denied", "run as a user who may read it"),
        ("layer", "cannot be opened: Permission denied", "run as a user who may read it"),
        ("ca.pem", "ca.pem cannot be used: [Errno 13] Permission denied", "PEM"),
    ],
)
def test_what_may_not_be_read_is_told_and_no_registry_hears_of_it(
    secret: str, words: str, hint: str, open_directory: Path, ocipush_registry: Registry
) -> None:
    here = open_directory
    image, authfile, ca_file = here / "store" / "app", here / "private" / "auth.json", here / "ca.pem"
    layouts.write_layout(image, [layouts.add_manifest(image, [b"layer"])])
    authfile.parent.mkdir()
    for path in (authfile, ca_file):
        path.write_text("{}")
    hidden = {"auth.json": authfile, "layer": layer(here / "store")}.get(secret, here / secret)
    hidden.chmod(0)
    options = {"authfile": authfile, "images-store-dir": here / "store", "target": f"{ocipush_registry.host}/a:1"}
    if secret == "ca.pem":
        options["ca-file"] = ca_file
    done = subprocess.run(
        [sys.executable, "-c", AS_NOBODY, "push", *(f"--{name}={value}" for name, value in options.items()), "app"],
        capture_output=True,
        text=True,
        check=False,
        env={name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")},
    )
    hidden.chmod(0o700)
    assert (done.returncode, done.stdout) == (1, ""), done.stderr
    error, told_hint = done.stderr.splitlines()
    assert error.startswith("error: ")
    assert words in error
    assert told_hint.startswith("hint: ")
    assert hint in told_hint
    assert (ocipush_registry.connections, ocipush_registry.requests) == (0, [])
