"""docker-registry whose blobs are served by another server, and behind a slow line with a proxy that cuts requests."""

from __future__ import annotations

import http.client
import os
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from tests import layouts
from tests.real.broken import RestartableRegistry, file_server, free_port, registry_home, running
from tests.real.images import digests_in, reachable, root_of, run
from tests.real.relay import Relay, relaying

import ocipush
import ocipush.sync

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]
MIB = 1024 * 1024
DISTRIBUTIONS = [
    pytest.param("docker-registry", id="2.8"),
    pytest.param(
        "registry",
        id="3",
        marks=pytest.mark.skipif(shutil.which("registry") is None, reason="Debian has no distribution 3"),
    ),
]


@pytest.fixture
def home() -> Iterator[Path]:
    with registry_home() as made:
        yield made


def image(path: Path, *layers: bytes) -> Path:
    layouts.write_layout(path, [layouts.add_manifest(path, list(layers), path.name.encode())])
    return path


def push(source: Path, target: str, **options: Any) -> ocipush.PushResult:
    return ocipush.sync.push(source, target=target, authfile=source / "none", **options)


def assert_same(layout: Path, target: str, directory: Path) -> None:
    """Read an image back by skopeo, which follows redirects."""
    run("skopeo", "copy", "--src-tls-verify=false", "--preserve-digests", f"docker://{target}", f"dir:{directory}")
    assert digests_in(directory) == reachable(layout, root_of(layout)["digest"])


def status_of(host: str, path: str) -> int:
    connection = http.client.HTTPConnection(host)
    connection.request("HEAD", path)
    status = connection.getresponse().status
    connection.close()
    return status


@pytest.mark.parametrize("program", DISTRIBUTIONS)
def test_layer_that_is_there_is_found_behind_a_redirect(program: str, home: Path, tmp_path: Path) -> None:
    shared = os.urandom(3 * MIB)
    first, second = image(tmp_path / "first", shared, b"one"), image(tmp_path / "second", shared, b"two")
    files = free_port()
    registry = RestartableRegistry(home, program=program, redirect=f"http://127.0.0.1:{files}/")
    with running(registry), file_server(home / "nginx", registry.data, files):
        result = push(first, f"{registry.host}/app:1")
        assert {blob.outcome for blob in result.blobs} == {"uploaded"}
        (large,) = (blob.digest for blob in result.blobs if blob.size == len(shared))
        assert status_of(registry.host, f"/v2/app/blobs/{large}") == 307
        result = push(second, f"{registry.host}/app:2")
        assert [blob.outcome for blob in result.blobs if blob.digest == large] == ["exists"]
        assert result.sent < MIB
        for source, tag in ((first, "1"), (second, "2")):
            assert_same(source, f"{registry.host}/app:{tag}", tmp_path / f"copy-{tag}")


@pytest.mark.parametrize("program", DISTRIBUTIONS)
def test_commit_whose_answer_was_lost_is_recovered_behind_a_redirect(program: str, home: Path, tmp_path: Path) -> None:
    source = image(tmp_path / "app", os.urandom(3 * MIB))
    files = free_port()
    registry = RestartableRegistry(home, program=program, redirect=f"http://127.0.0.1:{files}/")
    with (
        running(registry),
        file_server(home / "nginx", registry.data, files),
        relaying(Relay(registry.port, lose=3 * MIB)) as relay,
    ):
        result = push(source, f"{relay.host}/app:1", retry=ocipush.RetryPolicy(base=0.1))
        assert relay.cuts == 1
        assert relay.sent < 4 * MIB
        assert result.sent < 4 * MIB
        assert_same(source, f"{registry.host}/app:1", tmp_path / "copy")


LIMIT = 1.25  # seconds that a request may take
TIMES = 10  # as long takes what is pushed


@pytest.mark.parametrize("layers", [1, 4])
@pytest.mark.parametrize("program", DISTRIBUTIONS)
def test_layers_arrive_over_a_line_where_they_take_ten_times_as_long_as_a_request_may(
    program: str, layers: int, home: Path, tmp_path: Path
) -> None:
    size = 16 * MIB // layers
    source = image(tmp_path / "app", *(os.urandom(size) for _ in range(layers)))
    registry = RestartableRegistry(home, program=program)
    rate = round(layers * size / (TIMES * LIMIT))
    with running(registry), relaying(Relay(registry.port, rate=rate, limit=LIMIT)) as relay:
        push(source, f"{relay.host}/app:1", retry=ocipush.RetryPolicy(base=0.1))
        assert relay.cuts > 0
        # Not `result.sent`: of a request that is cut, what the system has in its buffer is never sent.
        assert relay.sent < 1.5 * layers * size
        assert_same(source, f"{registry.host}/app:1", tmp_path / "copy")
