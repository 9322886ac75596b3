from __future__ import annotations

import base64
import contextlib
import json
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from ocipush._oci.descriptor import CONTAINERD_NAME, REF_NAME, Descriptor, Platform, has_document
from ocipush._oci.digest import Digest
from ocipush._oci.document import MAX_DESCRIPTORS, Index, Manifest, parse_document, parse_layout_index
from ocipush._oci.media_types import OCI_INDEX, OCI_MANIFEST
from ocipush.errors import InvalidLayoutError

CONFIG = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": "sha256:" + "a" * 64, "size": 2}
LAYER = {"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": "sha512:" + "b" * 128, "size": 0}


def document(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


def index_of(raw: bytes) -> Index:
    index = parse_document(raw, where="i")
    assert isinstance(index, Index)
    return index


def test_blobs_of_a_manifest_are_its_layers_and_then_its_config() -> None:
    raw = document(schemaVersion=2, mediaType=OCI_MANIFEST, config=CONFIG, layers=[LAYER], unknown=1)
    manifest = parse_document(raw, where="m", media_type=OCI_MANIFEST)
    assert isinstance(manifest, Manifest)
    assert [blob.digest for blob in manifest.blobs] == [LAYER["digest"], CONFIG["digest"]]
    assert [blob.digest.algorithm for blob in manifest.blobs] == ["sha512", "sha256"]
    assert (manifest.schema_version, manifest.media_type) == (2, OCI_MANIFEST)


def test_every_field_of_a_document_is_read() -> None:
    child = {
        **CONFIG,
        "urls": ["https://a.example/x"],
        "annotations": {REF_NAME: "latest", "": ""},
        "data": "e30=",
        "platform": {"os": "windows", "architecture": "amd64"},
        "artifactType": "a/b",
    }
    raw = document(mediaType=OCI_INDEX, artifactType="c/d", subject=LAYER, annotations={"e": "f"}, manifests=[child])
    index = parse_document(raw, where="i")
    assert index.model_dump(mode="json", by_alias=True, exclude_defaults=True) == json.loads(raw)


def test_platform_keeps_the_version_and_features_of_the_operating_system() -> None:
    platform = {
        "os": "windows",
        "architecture": "amd64",
        "os.version": "10.0.20348.2700",
        "os.features": ["win32k", "x"],
    }
    index = parse_document(document(manifests=[{**CONFIG, "platform": platform}]), where="i")
    assert isinstance(index, Index)
    found = index.manifests[0].platform
    assert found is not None
    assert (found.os_version, found.os_features) == ("10.0.20348.2700", ("win32k", "x"))
    assert str(found) == "windows/amd64"
    assert "os_features=('win32k', 'x')" in repr(found)


@pytest.mark.parametrize(
    ("platform", "text"),
    [
        ({}, "unknown"),
        ({"os": "linux"}, "linux"),
        ({"os": "linux", "architecture": "arm", "variant": "v7"}, "linux/arm/v7"),
        ({"os": "linux", "architecture": "arm64", "os.features": None}, "linux/arm64"),
        ({"os": "unknown", "architecture": "unknown"}, "unknown/unknown"),
    ],
)
def test_platform_is_printed_as_os_architecture_and_variant(platform: dict[str, Any], text: str) -> None:
    assert str(Platform.model_validate(platform)) == text


@pytest.mark.parametrize(
    ("annotations", "names", "full"),
    [
        ({}, (), None),
        ({REF_NAME: "1.0"}, ("1.0",), "1.0"),
        ({CONTAINERD_NAME: "r.example/app:1.0"}, ("r.example/app:1.0",), "r.example/app:1.0"),
        ({REF_NAME: "1.0", CONTAINERD_NAME: "r.example/app:1.0"}, ("1.0", "r.example/app:1.0"), "r.example/app:1.0"),
        ({REF_NAME: "a.example/b:2", CONTAINERD_NAME: "r.example/app:1"}, ("a.example/b:2", "r.example/app:1"), "a.example/b:2"),
        ({REF_NAME: "r.example/app:1", CONTAINERD_NAME: "r.example/app:1"}, ("r.example/app:1",), "r.example/app:1"),
    ],
)  # fmt: skip
def test_names_are_those_of_both_annotations_and_the_fuller_one_is_shown(
    annotations: dict[str, str], names: tuple[str, ...], full: str | None
) -> None:
    (one,) = index_of(document(manifests=[{**CONFIG, "annotations": annotations}])).manifests
    assert (one.names, one.full_name) == (names, full)


@pytest.mark.parametrize(
    ("fields", "read"),
    [
        ({"annotations": {"x": None}}, {"annotations": {"x": ""}}),
        ({"platform": {"architecture": None, "os": None}}, {"platform": Platform()}),
    ],
)
def test_null_is_read_as_the_empty_string_that_go_reads(fields: dict[str, Any], read: dict[str, Any]) -> None:
    (one,) = index_of(document(manifests=[{**CONFIG, **fields}])).manifests
    assert {name: getattr(one, name) for name in read} == read


def test_bad_descriptor_of_a_layout_spoils_only_itself() -> None:
    bad = [{**CONFIG, "digest": "md5:0"}, 7, {**CONFIG, "annotations": {"a": 1}}]
    index, problems = parse_layout_index(document(manifests=[bad[0], CONFIG, *bad[1:]]), where="index.json")
    assert [one.digest for one in index.manifests] == [CONFIG["digest"]]
    assert [text.partition(":")[0] for text in problems] == ["manifests.0", "manifests.2", "manifests.3"]
    for others in ({"manifests": bad}, {"manifests": [CONFIG, bad[0]], "schemaVersion": 1}, {"config": CONFIG}):
        with pytest.raises(InvalidLayoutError):
            parse_layout_index(document(**others), where="index.json")


def test_index_gives_the_references_of_its_manifests() -> None:
    named, empty = ({**CONFIG, "annotations": {REF_NAME: name}} for name in ("latest", ""))
    index = parse_document(document(manifests=[named, empty, CONFIG]), where="i")
    assert isinstance(index, Index)
    assert [one.ref_name for one in index.manifests] == ["latest", None, None]


@pytest.mark.parametrize(
    ("raw", "index"),
    [
        (document(manifests=None), False),
        (document(manifests=[]), False),
        (document(), True),
        (document(config=CONFIG, layers=None), False),
        (document(config=CONFIG), False),
    ],
)
def test_null_or_missing_list_is_empty(raw: bytes, index: bool) -> None:
    found = parse_document(raw, where="x", index=index)
    assert (found.manifests if isinstance(found, Index) else found.layers) == ()


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"{", "is not JSON"),
        (b"\xff", "is not UTF-8"),
        (b"[]", "is not a JSON object"),
        (b'{"a":1,"a":2}', "has a duplicate key: 'a'"),
        (b'{"config":{"size":1,"size":1}}', "has a duplicate key: 'size'"),
        (b'{"a":' * 100_000, "is nested more than 100 levels deep"),
        (document(manifests=[], layers=[]), "is an image manifest and an image index at once"),
        (document(mediaType=OCI_INDEX, manifests=[]), f"has the media type '{OCI_INDEX}', but its descriptor says"),
        (document(manifests=[]), f"has the media type {OCI_MANIFEST}, but holds an index"),
        (document(mediaType=[OCI_MANIFEST], config=CONFIG, layers=[]), "has a mediaType that is not a string"),
        (document(mediaType={}, config=CONFIG, layers=[]), "has a mediaType that is not a string"),
        (document(layers=[]), "is not a valid manifest: config: Field required"),
        (document(config=CONFIG, schemaVersion=1), "schemaVersion: Input should be 2"),
        (document(config=CONFIG, layers=[{"digest": "sha256:../x", "size": 1}]), r"layers.0.digest: 'sha256:../x' is not a digest"),
        (document(config={**CONFIG, "size": -1}), "config.size: Input should be greater than or equal to 0"),
        (document(config={**CONFIG, "size": 2**63}), "config.size: Input should be less than 9223372036854775808"),
        (document(config={**CONFIG, "size": "1"}), "config.size: Input should be a valid integer"),
        (document(config={**CONFIG, "size": True}), "config.size: Input should be a valid integer"),
        (document(config={**CONFIG, "size": 1.0}), "config.size: Input should be a valid integer"),
        (document(config={**CONFIG, "mediaType": None}), "config.mediaType: Input should be a valid string"),
        (document(config={**CONFIG, "platform": {"os.features": "win32k"}}), "config.platform.os.features: Input should be a list"),
        (document(config=CONFIG, annotations={"a": 1}), "annotations: the value of 'a' is not a string"),
        (document(config=CONFIG, annotations={"a": "\ud800"}), "annotations: the value of 'a' is not a string"),
        (document(config=CONFIG, layers=[LAYER] * (MAX_DESCRIPTORS + 1)), "layers: more than 20,000 items"),
    ],
)  # fmt: skip
def test_invalid_document_is_refused_with_its_name_and_first_problem(raw: bytes, words: str) -> None:
    with pytest.raises(InvalidLayoutError) as caught:
        parse_document(raw, where="blobs/x", media_type=OCI_MANIFEST)
    assert caught.value.path == "blobs/x"
    assert caught.value.message.startswith("blobs/x ")
    assert words in caught.value.message
    assert caught.value.message.isprintable()


def test_index_may_have_as_many_manifests_as_the_limit_allows() -> None:
    short = {"digest": CONFIG["digest"], "size": 1}
    index = parse_document(document(manifests=[short] * MAX_DESCRIPTORS), where="i")
    assert isinstance(index, Index)
    assert len(index.manifests) == MAX_DESCRIPTORS
    with pytest.raises(InvalidLayoutError, match="is not a valid index: manifests: more than 20,000 items"):
        parse_document(document(manifests=[short] * (MAX_DESCRIPTORS + 1)), where="i")


@pytest.mark.parametrize(
    ("model", "value"),
    [
        (Index, {"manifests": [1] * 1000}),
        (Index, {"manifests": [{**CONFIG, "digest": "x"}] * 1000}),
        (Manifest, {"config": CONFIG, "layers": [{**LAYER, "size": -1}] * 1000}),
        (Descriptor, {**CONFIG, "urls": [1] * 1000}),
        (Descriptor, {**CONFIG, "annotations": {str(number): number for number in range(1000)}}),
        (Platform, {"os.features": [1] * 1000}),
    ],
)
def test_first_bad_item_ends_the_check_of_a_list(model: type[BaseModel], value: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        model.model_validate(value)
    assert caught.value.error_count() == 1


def test_media_type_that_is_not_a_string_is_refused_even_when_none_is_expected() -> None:
    with pytest.raises(InvalidLayoutError, match="mediaType that is not a string"):
        parse_document(document(mediaType=[None]), where="remote")


def test_error_does_not_keep_the_document_alive() -> None:
    with pytest.raises(InvalidLayoutError) as caught:
        parse_document(document(config={}), where="x")
    cause = caught.value.__cause__
    assert type(cause) is ValueError
    assert (cause.__cause__, cause.__context__) == (None, None)


def test_embedded_content_is_used_only_when_it_has_the_digest() -> None:
    digest = Digest.of(b"{}")
    good = Descriptor(digest=digest, size=2, data=base64.b64encode(b"{}").decode())
    assert good.embedded() == b"{}"
    assert good.model_copy(update={"data": "e30x"}).embedded() is None
    assert good.model_copy(update={"data": "!"}).embedded() is None
    assert good.model_copy(update={"data": None}).embedded() is None


def test_foreign_layer_is_recognised_by_its_media_type() -> None:
    media_type = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
    assert Descriptor(mediaType=media_type, digest=Digest.of(b""), size=0).is_foreign
    assert not Descriptor(digest=Digest.of(b""), size=0).is_foreign


def test_child_of_an_index_is_a_document_unless_its_media_type_says_otherwise() -> None:
    child = Descriptor(digest=Digest.of(b""), size=0)
    assert has_document(child)
    assert has_document(child.model_copy(update={"media_type": OCI_MANIFEST}))
    assert not has_document(child.model_copy(update={"media_type": "application/octet-stream"}))


@pytest.mark.parametrize("value", [Platform(os="linux"), Descriptor(digest=Digest.of(b""), size=0)])
def test_values_are_frozen_comparable_and_hashable(value: Platform | Descriptor) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        setattr(value, "os", "linux")  # noqa: B010
    same = pickle.loads(pickle.dumps(value))
    assert same == value
    assert hash(same) == hash(value)


def test_fields_are_read_only_by_their_json_names() -> None:
    index = parse_document(document(manifests=[], media_type=OCI_INDEX, schema_version=1), where="x")
    assert (index.media_type, index.schema_version) == (None, None)


@given(st.text(max_size=150))
def test_text_becomes_a_digest_only_when_it_is_safe_in_a_path(text: str) -> None:
    try:
        digest = Digest.parse(text)
    except ValueError:
        return
    assert digest.encoded.isalnum()


@given(st.binary(max_size=200))
def test_any_bytes_are_parsed_or_refused(raw: bytes) -> None:
    with contextlib.suppress(InvalidLayoutError):
        parse_document(raw, where="fuzz")


@pytest.mark.parametrize(
    "value", [None, 1, b"sha256:" + b"a" * 64, "sha256:" + "A" * 64, "sha256:" + "a" * 63, "a" * 10**6]
)
def test_digest_field_accepts_only_digests(value: object) -> None:
    with pytest.raises(ValidationError) as caught:
        Descriptor.model_validate({**CONFIG, "digest": value})
    assert [error["loc"] for error in caught.value.errors()] == [("digest",)]
    assert len(caught.value.errors()[0]["msg"]) < 250
