"""Many images in one call: shared blobs are uploaded once and mounted elsewhere, and a failure stays with its job."""

from __future__ import annotations

import os
import pickle
from typing import TYPE_CHECKING, Any

import pytest
from tests import layouts

import ocipush
from ocipush import Job, errors
from ocipush.testing import Dialect, Registry, Request, Response

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

pytestmark = pytest.mark.anyio

BASE = [os.urandom(size) for size in (40_000, 30_000, 20_000)]
OWN = 10_000


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Twelve images that share nine tenths of their bytes."""
    for number in range(12):
        layout = tmp_path / "store" / f"image{number}"
        layers = [*BASE, bytes([number]) * OWN]
        layouts.write_layout(layout, [layouts.add_manifest(layout, layers, b'{"n": %d}' % number)])
    return tmp_path / "store"


def jobs_for(store: Path, host: str, repository: str = "r{}/app:1") -> list[Job]:
    names = sorted(one.name for one in store.iterdir())
    return [Job(name, f"{host}/{repository.format(number)}") for number, name in enumerate(names)]


def received(registry: Registry) -> int:
    return sum(request.body_size for request in registry.requests if "/uploads/" in request.path)


async def check_whole(registry: Registry, store: Path, report: ocipush.PushReport) -> None:
    for one in report.jobs:
        assert one.result is not None
        name, tag = one.result.reference.partition("/")[2].rsplit(":", 1)
        blobs, documents = layouts.contents(store / str(one.job.source))
        repository = registry.repository(name)
        assert repository.tags[tag] == one.result.digest
        assert blobs.keys() <= repository.blobs.keys()
        assert documents.keys() <= repository.manifests.keys()


async def test_shared_blobs_are_uploaded_once_and_mounted_in_the_other_repositories(store: Path) -> None:
    async with Registry() as registry:
        report = await ocipush.push_many(jobs_for(store, registry.host), store=store, authfile=store / "none")
        assert report.ok
        distinct = sum(map(len, BASE)) + 12 * (OWN + 8)
        assert received(registry) <= 1.02 * distinct
        await check_whole(registry, store, report)
    outcomes = [blob.outcome for result in report.results for blob in result.blobs]
    assert outcomes.count("mounted") == 11 * len(BASE)


async def test_blobs_shared_within_one_repository_are_uploaded_once(store: Path) -> None:
    async with Registry() as registry:
        report = await ocipush.push_many(
            jobs_for(store, registry.host, "app:{}"), store=store, authfile=store / "none", parallel=12
        )
        assert report.ok
        assert received(registry) == sum(map(len, BASE)) + sum(
            len(b"\0" * OWN) + len(b'{"n": %d}' % n) for n in range(12)
        )
        await check_whole(registry, store, report)


async def test_registry_without_mounts_gets_each_blob_once_per_repository(store: Path) -> None:
    async def intercept(request: Request) -> Response | None:
        asks = (
            request.method == "POST"
            and "from=" in request.query
            and f"from={request.path.split('/')[2]}" not in request.query
        )
        return Response(405) if asks else None

    async with Registry(intercept=intercept) as registry:
        report = await ocipush.push_many(jobs_for(store, registry.host), store=store, authfile=store / "none")
        assert report.ok
        assert received(registry) <= 1.02 * 12 * (sum(map(len, BASE)) + OWN + 10)
        await check_whole(registry, store, report)


async def test_repeated_run_makes_one_request_per_image(store: Path) -> None:
    async with Registry() as registry:
        jobs = jobs_for(store, registry.host)
        await ocipush.push_many(jobs, store=store, authfile=store / "none")
        registry.requests.clear()
        report = await ocipush.push_many(jobs, store=store, authfile=store / "none")
        assert len(registry.requests) == len(jobs)
    assert all(result.unchanged for result in report.results)


async def test_failure_stays_with_its_job_and_the_report_is_in_order(store: Path) -> None:
    async with Registry() as registry:
        jobs = jobs_for(store, registry.host)
        jobs[3:3] = [Job("missing", f"{registry.host}/x:1"), Job("missing too", f"{registry.host}/y:1")]
        jobs[7] = Job(jobs[7].source, "127.0.0.1:1/dead:1")
        retry = ocipush.RetryPolicy(attempts=1)
        report = await ocipush.push_many(jobs, store=store, authfile=store / "none", retry=retry)
    assert [one.job for one in report.jobs] == jobs
    assert [number for number, one in enumerate(report.jobs) if one.error] == [3, 4, 7]
    assert not report.ok
    assert len(report.results) == 11
    assert {cause.partition(":")[0]: len(found) for cause, found in report.causes().items()} == {
        "ImageNotFoundError": 2,
        "ConnectFailedError": 1,
    }
    assert type(pickle.loads(pickle.dumps(report)).jobs[3].error) is errors.ImageNotFoundError


async def test_first_failure_can_end_the_others(store: Path) -> None:
    async with Registry() as registry:
        jobs = [Job("missing", f"{registry.host}/x:1"), *jobs_for(store, registry.host)]
        report = await ocipush.push_many(jobs, store=store, authfile=store / "none", stop_on_error=True)
        assert [bool(one.error) for one in report.jobs] == [True, *[False] * 12]
        assert registry.requests == []
    assert report.results == ()


async def test_two_images_for_one_tag_are_refused_before_the_first_request(store: Path) -> None:
    async with Registry() as registry:
        jobs = [*jobs_for(store, registry.host), Job("image1", f"{registry.host}/r0/app:1")]
        with pytest.raises(errors.ConflictingJobsError, match="r0/app:1") as caught:
            await ocipush.push_many(jobs, store=store, authfile=store / "none")
        assert registry.requests == []
    assert caught.value.reference.endswith("/r0/app:1")
    assert caught.value.hint


async def test_same_image_twice_for_one_tag_is_pushed(store: Path) -> None:
    async with Registry() as registry:
        jobs = [Job("image1", f"{registry.host}/a:1"), Job("image1", f"{registry.host}/a:1")]
        assert (await ocipush.push_many(jobs, store=store, authfile=store / "none")).ok


async def test_jobs_may_come_from_an_iterator_or_an_async_one(store: Path) -> None:
    async def later() -> AsyncIterator[Job]:
        for job in jobs_for(store, registry.host, "later{}:1"):
            yield job

    def now() -> Iterator[Job]:
        yield from jobs_for(store, registry.host, "now{}:1")

    async with Registry() as registry, ocipush.Pusher(store=store, authfile=store / "none") as pusher:
        for jobs in (now(), later()):
            assert len((await pusher.push_many(jobs)).results) == 12
        assert (await pusher.push_many([])).ok


@pytest.mark.parametrize(
    ("options", "error"), [({"tag": "1"}, TypeError), ({"mount_from": "BAD"}, ValueError), ({"verify": 1}, TypeError)]
)
async def test_wrong_option_of_a_job_is_refused_before_the_first_request(
    store: Path, options: Any, error: type[Exception]
) -> None:
    async with Registry() as registry:
        jobs = [*jobs_for(store, registry.host), Job("image1", f"{registry.host}/z:1", options)]
        with pytest.raises(error):
            await ocipush.push_many(jobs, store=store, authfile=store / "none")
        assert registry.requests == []


async def test_events_of_all_pushes_arrive_and_an_exception_of_the_callback_ends_them(store: Path) -> None:
    events: list[ocipush.Event] = []

    def stop(event: ocipush.Event) -> None:
        events.append(event)
        if len(events) == 40:
            raise LookupError("enough")

    async with Registry() as registry:
        with pytest.raises(LookupError, match="enough"):
            await ocipush.push_many(jobs_for(store, registry.host), store=store, authfile=store / "none", on_event=stop)
    assert len({event.push_id for event in events}) > 1


def test_blocking_twin_pushes_many(store: Path, ocipush_registry: Registry) -> None:
    report = ocipush.sync.push_many(
        jobs_for(store, ocipush_registry.host, "sync{}:1"), store=store, authfile=store / "none", parallel=3
    )
    assert len(report.results) == 12
    assert report.sent > 0
    assert report.requests > 12
    assert report.seconds > 0


async def test_registry_behind_a_dialect_without_mounts_still_gets_every_image(store: Path) -> None:
    async with Registry(dialect=Dialect()) as registry:
        report = await ocipush.push_many(
            jobs_for(store, registry.host), store=store, authfile=store / "none", concurrency=1, large_concurrency=1
        )
        await check_whole(registry, store, report)
