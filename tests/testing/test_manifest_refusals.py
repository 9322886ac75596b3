"""How registries refuse a manifest: because its tag is immutable, or because they miss its blobs."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import httpx
import pytest

from ocipush.testing import DIALECTS, IMMUTABLE_TAGS, Cut, Dialect, Registry, TagRefusal

pytestmark = pytest.mark.anyio
TYPE = "application/vnd.oci.image.manifest.v1+json"


def sha(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def client(registry: Registry) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=registry.url, trust_env=False)


async def put(http: httpx.AsyncClient, identifier: str, *blobs: bytes) -> httpx.Response:
    layers = [{"digest": sha(blob)} for blob in blobs]
    raw = json.dumps({"mediaType": TYPE, "layers": layers}).encode()
    return await http.put(f"/v2/team/app/manifests/{identifier}", content=raw, headers={"content-type": TYPE})


def with_blobs(registry: Registry, *blobs: bytes) -> None:
    registry.repository("team/app").blobs.update({sha(blob): blob for blob in blobs})


# As in the reports that the table names.
REFUSALS: dict[str, tuple[int, str, str, object]] = {
    "acr": (
        405,
        "UNSUPPORTED",
        "The operation is disallowed on this registry, repository or image. The tag is locked.",
        None,
    ),
    "artifactory": (
        403,
        "MANIFEST_INVALID",
        "manifest invalid",
        {"description": "HTTP 403 Forbidden: Not enough permissions to delete/overwrite artifact"},
    ),
    "docker-hub": (403, "DENIED", "tag 1 is immutable and cannot be overwritten", None),
    "ecr": (
        400,
        "TAG_INVALID",
        (
            "The image tag '1' already exists in the 'team/app' repository and cannot be overwritten because the tag is"
            " immutable."
        ),
        None,
    ),
    "gar": (
        400,
        "MANIFEST_INVALID",
        (
            'The request is attempting to modify the previously published manifest version/digest for tag "1" while'
            " immutable tags are enabled"
        ),
        None,
    ),
    "harbor": (412, "PRECONDITION", "Failed to process request due to 'team/app:1' configured as immutable.", None),
    "nexus": (
        400,
        "BLOB_UPLOAD_INVALID",
        "blob upload invalid",
        "Repository does not allow updating assets: docker-hosted",
    ),
    "ocir": (409, "CONFLICT", "tag already exists", None),
}


def test_table_has_every_registry_with_immutable_tags() -> None:
    assert REFUSALS.keys() == IMMUTABLE_TAGS.keys()
    assert all(isinstance(one, TagRefusal) for one in IMMUTABLE_TAGS.values())


@pytest.mark.parametrize("blob", [b"same", b"other"])
@pytest.mark.parametrize("name", REFUSALS)
async def test_immutable_tag_is_set_once_and_refused_in_the_words_of_that_registry(name: str, blob: bytes) -> None:
    async with Registry(dialect=Dialect(immutable_tags=name)) as registry, client(registry) as http:
        with_blobs(registry, b"same", b"other")
        first = await put(http, "1", b"same")
        refused = await put(http, "1", blob)
        (error,) = refused.json()["errors"]
        seen = (refused.status_code, error["code"], error["message"], error.get("detail"))
        assert (first.status_code, seen) == (201, REFUSALS[name])
        assert registry.repository("team/app").tags == {"1": first.headers["docker-content-digest"]}
        assert (await put(http, "2", blob)).status_code == 201


async def test_manifest_can_be_put_by_digest_though_tags_are_immutable() -> None:
    raw = json.dumps({"mediaType": TYPE, "layers": []}).encode()
    async with Registry(dialect=Dialect(immutable_tags="ocir")) as registry, client(registry) as http:
        assert [(await put(http, sha(raw))).status_code for _ in range(2)] == [201, 201]


@pytest.mark.parametrize("name", REFUSALS)
async def test_manifest_whose_answer_was_lost_is_there_and_its_repeat_is_refused(name: str) -> None:
    lost = Cut("PUT /v2/*/manifests/*", of="answer")
    dialect = Dialect(immutable_tags=name)
    async with Registry(dialect=dialect, faults=[lost]) as registry, client(registry) as http:
        with pytest.raises(httpx.TransportError):
            await put(http, "1")
        again = await put(http, "1")
        head = await http.head("/v2/team/app/manifests/1")
        assert (again.status_code, head.status_code) == (REFUSALS[name][0], 200)


def test_name_of_a_registry_without_immutable_tags_is_refused() -> None:
    with pytest.raises(ValueError, match=r"immutable_tags must be one of acr, .*, not 'quay'"):
        Dialect(immutable_tags="quay")


NAMED: dict[str, list[dict[str, object]]] = {
    "all": [
        {"code": "MANIFEST_BLOB_UNKNOWN", "message": "blob unknown to registry", "detail": sha(b"1")},
        {"code": "MANIFEST_BLOB_UNKNOWN", "message": "blob unknown to registry", "detail": sha(b"2")},
    ],
    "first": [{"code": "MANIFEST_BLOB_UNKNOWN", "message": "blob unknown to registry", "detail": sha(b"1")}],
    "message": [{"code": "MANIFEST_BLOB_UNKNOWN", "message": f"unknown blob {sha(b'1')}", "detail": {}}],
    "none": [{"code": "MANIFEST_BLOB_UNKNOWN", "message": "blob unknown to registry"}],
}


@pytest.mark.parametrize("named", NAMED)
async def test_missing_blobs_are_named_in_each_way(named: Any) -> None:
    async with Registry(dialect=Dialect(missing_named=named)) as registry, client(registry) as http:
        refused = await put(http, "1", b"1", b"2")
        assert (refused.status_code, refused.json()["errors"]) == (404, NAMED[named])
        with_blobs(registry, b"1")
        refused = await put(http, "1", b"1", b"2")
        assert str(refused.json()).count(sha(b"1")) == 0
        assert str(refused.json()).count(sha(b"2")) == (named != "none")
        with_blobs(registry, b"2")
        assert (await put(http, "1", b"1", b"2")).status_code == 201


async def test_missing_blobs_get_the_status_and_code_that_the_dialect_says() -> None:
    dialect = Dialect(missing_status=400, missing_code="BLOB_UNKNOWN", missing_named="message")
    async with Registry(dialect=dialect) as registry, client(registry) as http:
        refused = await put(http, "1", b"1")
        assert (refused.status_code, refused.json()["errors"][0]["code"]) == (400, "BLOB_UNKNOWN")


async def test_layer_with_urls_is_not_missed() -> None:
    layer = {"digest": sha(b"foreign"), "urls": ["https://example.com/layer"]}
    raw = json.dumps({"mediaType": TYPE, "layers": [layer]}).encode()
    async with Registry(dialect=DIALECTS["eventual"]) as registry, client(registry) as http:
        answer = await http.put("/v2/team/app/manifests/1", content=raw, headers={"content-type": TYPE})
        assert answer.status_code == 201
