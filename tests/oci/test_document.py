from __future__ import annotations

import base64
import contextlib
import json
from dataclasses import FrozenInstanceError, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocipush._oci.descriptor import REF_NAME, Descriptor, Platform
from ocipush._oci.digest import Digest
from ocipush._oci.document import Index, Manifest, parse_document
from ocipush._oci.media_types import OCI_INDEX, OCI_MANIFEST
from ocipush.errors import InvalidLayoutError

CONFIG = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": "sha256:" + "a" * 64, "size": 2}
LAYER = {"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": "sha512:" + "b" * 128, "size": 0}


def document(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


def test_manifest_keeps_the_bytes_it_was_parsed_from() -> None:
    raw = document(schemaVersion=2, config=CONFIG, layers=[LAYER], unknown=1)
    manifest = parse_document(raw, where="m", media_type=OCI_MANIFEST)
    assert isinstance(manifest, Manifest)
    assert manifest.raw == raw
    assert [blob.digest.algorithm for blob in manifest.blobs] == ["sha512", "sha256"]


def test_index_gives_platform_and_reference_of_its_manifests() -> None:
    child = {
        **CONFIG,
        "platform": {"os": "linux", "architecture": "arm", "variant": "v7", "os.version": "1"},
        "annotations": {REF_NAME: "latest"},
    }
    index = parse_document(document(manifests=[child, CONFIG]), where="i")
    assert isinstance(index, Index)
    first, second = index.manifests
    assert (str(first.platform), first.ref_name, second.ref_name) == ("linux/arm/v7", "latest", None)
    assert first.platform is not None
    assert first.platform.os_version == "1"
    assert str(Platform()) == "unknown"


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"{", "is not JSON"),
        (b"\xff", "is not JSON"),
        (b"[]", "is not a JSON object"),
        (b'{"a":1,"a":2}', "the key 'a' stands there twice"),
        (b'{"a":' * 100_000, "nests too deep"),
        (document(manifests=[], layers=[]), "manifest and an image index at once"),
        (document(mediaType=OCI_INDEX, manifests=[]), "calls itself"),
        (document(manifests=[]), "but holds an index"),
        (document(mediaType=[OCI_MANIFEST], config=CONFIG, layers=[]), "media type that is no string"),
        (document(mediaType={}, config=CONFIG, layers=[]), "media type that is no string"),
        (document(layers=[]), "config: Field required"),
        (document(config=CONFIG, layers=[{"digest": "sha256:../x", "size": 1}]), "is not a digest"),
        (document(config={**CONFIG, "size": -1}, layers=[{"digest": 3, "size": "1"}]), r"\(and 2 more\)"),
    ],
)
def test_broken_document_is_refused_with_its_name(raw: bytes, words: str) -> None:
    with pytest.raises(InvalidLayoutError, match=words) as caught:
        parse_document(raw, where="blobs/x", media_type=OCI_MANIFEST)
    assert caught.value.path == "blobs/x"


def test_media_type_that_is_no_string_is_refused_where_none_is_expected() -> None:
    with pytest.raises(InvalidLayoutError, match="media type that is no string"):
        parse_document(document(mediaType=[None]), where="remote")


def test_embedded_content_is_used_only_when_it_has_the_digest() -> None:
    digest = Digest.of(b"{}")
    good = Descriptor(digest=digest, size=2, data=base64.b64encode(b"{}").decode())
    assert good.embedded() == b"{}"
    assert replace(good, data="e30x").embedded() is None
    assert replace(good, data="!").embedded() is None
    assert replace(good, data=None).embedded() is None


def test_foreign_layer_is_recognised_by_its_media_type() -> None:
    media_type = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
    assert Descriptor(media_type=media_type, digest=Digest.of(b""), size=0).is_foreign
    assert not Descriptor(digest=Digest.of(b""), size=0).is_foreign


def test_values_are_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        setattr(Platform(), "os", "linux")  # noqa: B010


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
