"""Every push scenario ends with exactly the image in every registry's dialect, and without a request that it forbids."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

import anyio
import pytest
from tests import layouts

import ocipush
from ocipush import errors
from ocipush.testing import (
    DIALECTS,
    IMMUTABLE_TAGS,
    BearerAuth,
    Cut,
    Dialect,
    Duplicate,
    Fault,
    GatewayTimeout,
    Registry,
    WebPage,
)

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio
AT_ONCE = ocipush.RetryPolicy(base=0.001)
REPOSITORIES = ("team/app", "team/other")
LAYERS = [b"first" * 400, b"second" * 500, b"third" * 600]
LARGE = bytes(range(256)) * (3 * 1024 * 4)  # 3 MiB
SIZE_REFUSALS = (400, 404, 500, 503)
WHERE: tuple[Literal["port", "path"], ...] = ("port", "path")


@dataclass
class Push:
    """Pushes layouts to one registry, and remembers what each repository should then hold."""

    registry: Registry
    pusher: ocipush.Pusher
    directory: Path
    blobs: dict[str, dict[str, bytes]] = field(default_factory=dict)
    documents: dict[str, dict[str, bytes]] = field(default_factory=dict)
    tags: dict[str, dict[str, str]] = field(default_factory=dict)

    def layout(self, name: str, layers: list[bytes], config: bytes = b"{}") -> Path:
        layout = self.directory / name
        layouts.write_layout(layout, [layouts.add_manifest(layout, layers, config)])
        return layout

    async def __call__(self, layout: Path, repository: str = "team/app", tag: str = "1") -> ocipush.PushResult:
        result = await self.pusher.push(layout, target=f"{self.registry.host}/{repository}:{tag}")
        blobs, documents = layouts.contents(layout)
        self.blobs.setdefault(repository, {}).update(blobs)
        self.documents.setdefault(repository, {}).update(documents)
        self.tags.setdefault(repository, {})[tag] = result.digest
        return result

    def check(self) -> None:
        for name in REPOSITORIES:
            held = self.registry.repository(name)
            assert held.blobs == self.blobs.get(name, {})
            assert {digest: one.raw for digest, one in held.manifests.items()} == self.documents.get(name, {})
            assert held.tags == self.tags.get(name, {})
            # A session stays open only where the registry does not let this login delete one.
            asked = [one for one in self.registry.requests if one.method == "DELETE" and f"/{name}/" in one.path]
            assert len(held.uploads) == sum(one.status == 401 for one in asked)
        assert [(one.method, one.path, one.violation) for one in self.registry.unexpected] == []


async def fresh_image(push: Push) -> None:
    result = await push(push.layout("app", LAYERS))
    assert [blob.outcome for blob in result.blobs] == ["uploaded"] * 4


async def unchanged_image(push: Push) -> None:
    layout = push.layout("app", LAYERS)
    await push(layout)
    asked = len(push.registry.requests)
    assert (await push(layout)).unchanged
    assert {request.method for request in push.registry.requests[asked:]} <= {"HEAD", "GET"}


async def one_changed_layer(push: Push) -> None:
    await push(push.layout("old", LAYERS))
    result = await push(push.layout("new", [*LAYERS[:2], b"changed" * 700], b'{"changed":1}'))
    assert sorted(blob.outcome for blob in result.blobs) == ["exists", "exists", "uploaded", "uploaded"]


async def index_with_children(push: Push) -> None:
    layout = push.directory / "many"
    children = [layouts.add_manifest(layout, [*LAYERS[:2], extra], extra) for extra in (b"amd64", b"arm64", b"s390x")]
    layouts.write_layout(layout, [layouts.add_index(layout, children)])
    await push(layout)


async def second_repository(push: Push) -> None:
    layout = push.layout("app", LAYERS)
    await push(layout)
    result = await push(layout, "team/other")
    assert {blob.outcome for blob in result.blobs} in ({"mounted"}, {"uploaded"})


async def duplicate_layers(push: Push) -> None:
    await push(push.layout("twice", [LAYERS[0], LAYERS[1], LAYERS[0]]))


async def empty_layer(push: Push) -> None:
    await push(push.layout("hollow", [LAYERS[0], b""]))


async def large_layer(push: Push) -> None:
    await push(push.layout("large", [LAYERS[0], LARGE]))


async def several_at_once(push: Push) -> None:
    images = [push.layout(f"image-{n}", [*LAYERS, b"%d" % n], b'{"n":%d}' % n) for n in range(4)]
    async with anyio.create_task_group() as tasks:
        for n, image in enumerate(images):
            tasks.start_soon(push, image, REPOSITORIES[n % 2], f"{n}")


Scenario = Callable[[Push], Awaitable[None]]
SCENARIOS: list[Scenario] = [
    fresh_image,
    unchanged_image,
    one_changed_layer,
    index_with_children,
    second_repository,
    duplicate_layers,
    empty_layer,
    large_layer,
    several_at_once,
]


EVENTUAL = DIALECTS["eventual"]
VARIANTS = {
    **{
        f"redirect-{status}-{where}": Dialect(blob_redirect=status, blob_storage=where)
        for status in (302, 303, 307)
        for where in WHERE
    },
    **{f"body-limit-{status}": replace(DIALECTS["body-limit-403"], max_body_status=status) for status in SIZE_REFUSALS},
    **{f"tags-of-{name}": Dialect(immutable_tags=name) for name in IMMUTABLE_TAGS},
    "missing-first": replace(EVENTUAL, missing_named="first"),
    "missing-in-message": replace(EVENTUAL, missing_named="message", missing_status=400, missing_code="BLOB_UNKNOWN"),
    "missing-unnamed": replace(EVENTUAL, missing_named="none"),
    "eventual-4": replace(EVENTUAL, unseen_lookups=4),
    "eventual-2.8": replace(DIALECTS["distribution-2.8"], unseen_lookups=2),
}
EVERY = {**DIALECTS, **VARIANTS}


def with_small_chunks(name: str, chunk_size: int | None) -> Dialect:
    """A dialect that takes chunks of this size, where its own least is more than the tests send."""
    dialect = EVERY[name]
    return replace(dialect, min_chunk=min(dialect.min_chunk, chunk_size or 0))


CHUNK: dict[Scenario, int] = {large_layer: 1024 * 1024}  # bytes; else 700, for layers of some thousand
CASES = [
    pytest.param(backend, name, scenario, chunks, id=f"{name}-{scenario.__name__}-{'chunks' if chunks else 'whole'}")
    for row, name in enumerate(EVERY)
    for column, scenario in enumerate(SCENARIOS)
    for chunks in (None, CHUNK.get(scenario, 700))[: 2 if name in DIALECTS else 1]
    if scenario is not one_changed_layer or not EVERY[name].immutable_tags  # which that would be a change of
    for backend in [("asyncio", "trio")[(row + column + bool(chunks)) % 2]]  # as on a chess board
]


@pytest.mark.parametrize(("anyio_backend", "name", "scenario", "chunk_size"), CASES)
async def test_registry_holds_exactly_what_was_pushed(
    name: str, scenario: Scenario, chunk_size: int | None, tmp_path: Path
) -> None:
    dialect, auth = with_small_chunks(name, chunk_size), BearerAuth({"user": "secret"})
    async with Registry(dialect=dialect, repositories=REPOSITORIES, auth=auth, strict=True) as registry:
        login = {registry.host: ocipush.Login("user", "secret")}
        async with ocipush.Pusher(
            credentials=login, authfile=tmp_path / "none", retry=AT_ONCE, chunk_size=chunk_size
        ) as pusher:
            push = Push(registry, pusher, tmp_path)
            await scenario(push)
        push.check()


KIB = 1024
BLOB = LARGE[: 1024 * KIB]
BREAKS: dict[str, tuple[int | None, Fault]] = {
    "put-cut": (None, Cut("PUT *upload*", after=384 * KIB)),
    "put-not-answered": (None, Cut("PUT *upload*", of="answer", how="close")),
    "put-doubled": (None, Duplicate("PUT *upload*")),
    "put-answered-499": (None, GatewayTimeout("PUT *upload*", status=499)),
    "put-answered-524": (None, GatewayTimeout("PUT *upload*", status=524)),
    "put-page": (None, WebPage("PUT *upload*", status=500)),
    "chunk-cut": (256 * KIB, Cut("PATCH *upload*", 2, after=128 * KIB)),
    "chunk-not-answered": (256 * KIB, Cut("PATCH *upload*", 2, of="answer", how="close")),
    "chunk-answered-522": (256 * KIB, GatewayTimeout("PATCH *upload*", 2, status=522)),
}
BREAK_CASES = [
    pytest.param(backend, name, broken, id=f"{name}-{broken}")
    for row, (name, dialect) in enumerate(DIALECTS.items())
    for column, broken in enumerate(BREAKS)
    for backend in [("asyncio", "trio")[(row + column) % 2]]
    # What is never sent cannot break: no chunks to Google, no bodies in PUT to old Artifactory.
    if (broken.startswith("put") or dialect.chunks != "refused")
    and (dialect.put_body or broken in {"put-not-answered", "put-page"} or not broken.startswith("put"))
]


def goes_on(dialect: Dialect) -> bool:
    """Whether a broken upload can be resumed to the byte."""
    truthful = "chunk" not in dialect.asked_range and "first" not in dialect.asked_range
    asked = dialect.asked_status == 204 and dialect.state in {"none", "guards"}
    return truthful and asked and dialect.cut == "kept" and dialect.chunks == "taken" and not dialect.unseen_lookups


@pytest.mark.parametrize(("anyio_backend", "name", "broken"), BREAK_CASES)
async def test_blob_arrives_whole_and_once_though_its_upload_broke(name: str, broken: str, tmp_path: Path) -> None:
    chunk_size, fault = BREAKS[broken]
    dialect = with_small_chunks(name, chunk_size)
    layout = tmp_path / "app"
    layouts.write_layout(layout, [layouts.add_manifest(layout, [BLOB], BLOB)])  # the one blob that there is
    auth = BearerAuth({"user": "secret"})
    async with Registry(dialect=dialect, repositories=REPOSITORIES, auth=auth, faults=[fault], strict=True) as registry:
        login = {registry.host: ocipush.Login("user", "secret")}
        async with ocipush.Pusher(
            credentials=login, authfile=tmp_path / "none", retry=AT_ONCE, chunk_size=chunk_size
        ) as pusher:
            await pusher.push(layout, target=f"{registry.host}/team/app:1")
        held = registry.repository("team/app")
        assert registry.fired == [fault]
        assert (held.blobs, {digest: one.raw for digest, one in held.manifests.items()}) == layouts.contents(layout)
        refused = {416} if dialect.put_body else {404, 416}  # whose bodies were sent for nothing
        taken = [one for one in registry.requests if "upload" in one.path and one.status not in refused]
        again = sum(one.body_size for one in taken) - len(BLOB)
        resumed = goes_on(dialect) and not isinstance(fault, WebPage)  # of a page's request, nothing was kept
        assert again == 0 if resumed else 0 <= again <= 2 * len(BLOB)
        deletable = dialect.state != "refuses" and dialect.deleted_status == 204 and not dialect.delete_scope
        assert not (deletable and held.uploads)


@pytest.mark.parametrize(
    "name", [name for name, one in EVERY.items() if one.missing_named != "none" or not one.unseen_lookups]
)
async def test_large_layer_that_is_there_already_is_not_sent_again(
    name: str, anyio_backend: str, tmp_path: Path
) -> None:
    dialect, auth = with_small_chunks(name, None), BearerAuth({"user": "secret"})
    async with Registry(dialect=dialect, repositories=REPOSITORIES, auth=auth, strict=True) as registry:
        login = {registry.host: ocipush.Login("user", "secret")}
        for tag, layer in (("1", b"one"), ("2", b"two")):
            layout = tmp_path / tag
            layouts.write_layout(layout, [layouts.add_manifest(layout, [LARGE, layer], layer)])
            asked = len(registry.requests)
            target = f"{registry.host}/team/app:{tag}"
            result = await ocipush.push(
                layout, target=target, credentials=login, authfile=tmp_path / "none", retry=AT_ONCE
            )
        received = sum(one.body_size for one in registry.requests[asked:] if "upload" in one.path)
        assert [blob.outcome for blob in result.blobs if blob.size == len(LARGE)] == ["exists"]
        assert received < KIB


@pytest.mark.parametrize("name", IMMUTABLE_TAGS)
async def test_image_whose_first_put_was_not_answered_is_there_though_its_repeat_is_refused(
    name: str, layout: Path
) -> None:
    lost: list[Fault] = [
        Cut("PUT */manifests/*", of="answer", how="close"),
        GatewayTimeout("PUT */manifests/*", status=504),
    ]
    for fault in lost:
        async with Registry(dialect=Dialect(immutable_tags=name), faults=[fault], strict=True) as registry:
            target = f"{registry.host}/team/app:1"
            result = await ocipush.push(layout, target=target, authfile=layout / "none", retry=AT_ONCE)
            puts = [one.status for one in registry.requests if one.method == "PUT" and "/manifests/" in one.path]
            assert registry.fired == [fault]
            assert registry.repository("team/app").tags == {"1": result.digest}
            assert puts[1:] == [IMMUTABLE_TAGS[name].status]


async def test_chunks_shrink_to_what_ghcr_says_that_it_takes(tmp_path: Path) -> None:
    layout, dialect = tmp_path / "app", replace(DIALECTS["ghcr"], max_ranged_patch=1024 * KIB)
    layouts.write_layout(layout, [layouts.add_manifest(layout, [LARGE], LARGE)])
    async with Registry(dialect=dialect, strict=True) as registry:
        target = f"{registry.host}/team/app:1"
        await ocipush.push(layout, target=target, authfile=layout / "none", retry=AT_ONCE, chunk_size=2048 * KIB)
        sent = [(one.status, one.headers.get("content-range")) for one in registry.requests if "upload/" in one.path]
        assert registry.repository("team/app").uploads == {}
    patched = [place for status, place in sent if status == 202]
    assert [place for status, place in sent if status == 416] == ["0-2097151"]
    assert patched == ["0-1048575", "1048576-2097151"]


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    layout = tmp_path / "app"
    layouts.write_layout(layout, [layouts.add_manifest(layout, LAYERS)])
    return layout


@pytest.mark.parametrize(
    ("name", "error"), [("ecr", errors.RepositoryNotFoundError), ("aliyun", errors.AuthorizationError)]
)
async def test_repository_that_a_push_does_not_make_is_a_typed_error(
    name: str, error: type[errors.RegistryError], layout: Path
) -> None:
    async with Registry(dialect=name, strict=True) as registry:
        with pytest.raises(error, match="team/app does not exist") as caught:
            await ocipush.push(layout, target=f"{registry.host}/team/app:1", authfile=layout / "none", retry=AT_ONCE)
        assert caught.value.hint
        assert registry.repository("team/app").uploads == {}


@pytest.mark.parametrize("name", IMMUTABLE_TAGS)
async def test_immutable_tag_is_left_alone_where_it_is_the_same_image_and_an_error_where_not(
    name: str, layout: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    layouts.write_layout(other, [layouts.add_manifest(other, [b"other"])])
    async with (
        Registry(dialect=Dialect(immutable_tags=name), strict=True) as registry,
        ocipush.Pusher(authfile=tmp_path / "none", retry=AT_ONCE) as pusher,
    ):
        target = f"{registry.host}/team/app:1"
        first = await pusher.push(layout, target=target)
        assert (await pusher.push(layout, target=target)).unchanged
        with pytest.raises(errors.TagImmutableError, match=f"answered {IMMUTABLE_TAGS[name].status}") as caught:
            await pusher.push(other, target=target)
        assert first.digest in str(caught.value.hint)
        assert registry.repository("team/app").tags == {"1": first.digest}
        assert registry.repository("team/app").uploads == {}


async def test_warning_that_comes_with_every_answer_is_told_once(layout: Path) -> None:
    events: list[ocipush.Event] = []
    async with Registry(dialect=Dialect(warning="going away")) as registry:
        target = f"{registry.host}/team/app:1"
        await ocipush.push(layout, target=target, authfile=layout / "none", on_event=events.append)
    warnings = [event.text for event in events if isinstance(event, ocipush.RegistryWarning)]
    assert warnings == ["going away"]
