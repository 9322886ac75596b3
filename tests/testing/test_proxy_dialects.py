"""What proxies in front of a registry do: limits in size and time, slow lines, web pages, and answers that come too late."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest
import trio
import trio.testing
from tests.memory_network import MemoryRegistry, Network

from ocipush.testing import DIALECTS, Cut, Dialect, Duplicate, GatewayTimeout, Registry, Stall, WebPage

if TYPE_CHECKING:
    from collections.abc import Callable

    from anyio.abc import ByteStream

    from ocipush.testing import Fault

both = pytest.mark.anyio
UPLOAD = "PUT /v2/*/blobs/uploads/*"
BLOB = b"0123456789" * 10
DIGEST = f"sha256:{hashlib.sha256(BLOB).hexdigest()}"


def request(line: str, body: bytes = b"", *, length: int | None = None, more: str = "") -> bytes:
    size = len(body) if length is None else length
    return f"{line} HTTP/1.1\r\nHost: r\r\nContent-Length: {size}\r\n{more}\r\n".encode() + body


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


async def connect(registry: Registry) -> ByteStream:
    host, _, port = registry.host.partition(":")
    return await anyio.connect_tcp(host, int(port))


async def talk(registry: Registry, said: bytes) -> tuple[bytes, str]:
    """What is answered, and how the connection ends."""
    found = b""
    async with await connect(registry) as stream:
        await stream.send(said)
        try:
            while True:
                found += await stream.receive()
        except anyio.EndOfStream:
            return found, "end"
        except anyio.BrokenResourceError:
            return found, "reset"


async def session(registry: Registry) -> str:
    """The path of a new upload session that is closed with `BLOB`."""
    upload = await registry._storage.repository_blocking("a").start()
    return f"/v2/a/blobs/uploads/{upload.id}?digest={DIGEST}"


TITLES = {
    400: b"<title>400 Bad Request - Request body too large</title>",
    403: b"<title>403 Forbidden</title>",
    404: b"<title>404 Not Found - The request filtering module",
    413: b"<title>413 Request Entity Too Large</title>",
    500: b"<title>500 Internal Server Error</title>",
    503: b"<title>503 Service Unavailable</title>",
}


@both
@pytest.mark.parametrize("status", TITLES)
async def test_body_over_the_limit_gets_a_web_page_before_it_is_sent_and_the_connection_ends(status: int) -> None:
    dialect = Dialect(max_body=99, max_body_status=status)
    async with Registry(dialect=dialect) as registry:
        answer, ending = await talk(registry, request(f"PUT {await session(registry)}", b"", length=100))
        assert (status_of(answer), ending) == (status, "end")
        assert b"text/html" in answer
        assert TITLES[status] in answer
        small = request(f"PATCH {await session(registry)}", b"x" * 99, more="Connection: close\r\n")
        assert status_of((await talk(registry, small))[0]) == 202


def test_one_named_dialect_refuses_large_bodies_as_a_firewall_does() -> None:
    assert (DIALECTS["body-limit"].max_body_status, DIALECTS["body-limit-403"].max_body_status) == (413, 403)


@both
@pytest.mark.parametrize("status", [400, 403, 404, 500, 503])
async def test_web_page_comes_instead_of_the_answer_and_nothing_is_processed(status: int) -> None:
    fault = WebPage(UPLOAD, status=status)
    async with Registry(faults=[fault]) as registry:
        line, close = f"PUT {await session(registry)}", "Connection: close\r\n"
        answer, _ = await talk(registry, request(line, BLOB) + request("GET /v2/", more=close))
        page, _, following = answer.partition(b"</html>\n")
        assert (status_of(page), status_of(following)) == (status, 200)
        assert b"text/html" in page
        assert f"<title>{status} ".encode() in page
        assert (registry.fired, registry.repository("a").blobs) == ([fault], {})
        assert registry.requests[-2].body_size == len(BLOB)  # it was sent, though nobody wanted it
        assert status_of((await talk(registry, request(line, BLOB, more=close)))[0]) == 201


@both
@pytest.mark.parametrize("status", [499, 504, 520, 522, 524])
async def test_gateway_timeout_is_the_answer_to_what_was_processed(status: int) -> None:
    fault = GatewayTimeout(UPLOAD, status=status)
    async with Registry(faults=[fault]) as registry:
        line = request(f"PUT {await session(registry)}", BLOB, more="Connection: close\r\n")
        answer, _ = await talk(registry, line)
        assert (status_of(answer), registry.requests[-1].status) == (status, status)
        assert b"text/html" in answer
        assert b"<title>%d " % status in answer
        assert (registry.fired, registry.repository("a").blobs) == ([fault], {DIGEST: BLOB})
        assert status_of((await talk(registry, line))[0]) == 404


@both
async def test_gateway_timeout_and_a_proxy_that_repeats_the_request_go_together() -> None:
    faults: list[Fault] = [GatewayTimeout(UPLOAD, status=524), Duplicate(UPLOAD)]
    async with Registry(faults=faults) as registry:
        line = request(f"PUT {await session(registry)}", BLOB, more="Connection: close\r\n")
        answer, _ = await talk(registry, line)
        assert status_of(answer) == 524
        assert (registry.fired, registry.repository("a").blobs) == (faults, {DIGEST: BLOB})


@both
@pytest.mark.parametrize(
    ("fields", "seen"),
    [
        ({"time_limit_end": "reset"}, (b"", "reset")),
        ({"time_limit_end": "close"}, (b"", "end")),
        ({"time_limit_end": "half-close"}, (b"", "end")),
        ({"time_limit_status": 408, "time_limit_end": "half-close"}, (b"HTTP/1.1 408", "end")),
        ({"time_limit_status": 504, "time_limit_end": "close"}, (b"HTTP/1.1 504", "end")),
    ],
)
async def test_request_over_the_time_limit_ends_as_the_dialect_says(
    fields: dict[str, Any], seen: tuple[bytes, str]
) -> None:
    async with Registry(dialect=Dialect(time_limit=0.05, **fields)) as registry:
        half = request(f"PUT {await session(registry)}", BLOB[:50], length=100)
        async with await connect(registry) as stream:
            await stream.send(half)
            found, ending = b"", "end"
            try:
                while True:
                    found += await stream.receive()
            except anyio.EndOfStream:
                pass
            except anyio.BrokenResourceError:
                ending = "reset"
        assert (found[:12], ending) == seen
        assert (b"text/html" in found) is bool(seen[0])
        assert registry.requests[-1].status == 0
        (upload,) = registry.repository("a").uploads.values()
        assert bytes(upload.data) == BLOB[:50]


def in_virtual_time(dialect: Dialect, talk: Callable[[Wire], Any], *faults: Fault) -> Any:
    async def main() -> Any:
        network = Network()
        async with MemoryRegistry(network, secure=False, dialect=dialect, faults=faults) as registry:
            return await talk(Wire(network, registry))

    return trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


@dataclass
class Wire:
    """Requests on virtual time, each on a connection of its own."""

    network: Network
    registry: Registry
    answers: list[bytes] = field(default_factory=list[bytes])

    async def upload(self, pieces: list[bytes], pause: float = 0.0, *, size: int | None = None) -> tuple[bytes, float]:
        """Close a new session with these pieces of its body; what is answered, and after how many seconds."""
        path = await session(self.registry)
        return await self.ask(f"PUT {path}", pieces, pause, size=size)

    async def ask(
        self, line: str, pieces: list[bytes], pause: float = 0.0, *, size: int | None = None
    ) -> tuple[bytes, float]:
        began = trio.current_time()
        wire = await self.network.connect("registry.test", 80, None, None)
        length = sum(map(len, pieces)) if size is None else size
        wire.put(request(line, length=length))
        try:
            for piece in pieces:
                with anyio.move_on_after(pause):
                    await wire.readable()
                    break
                wire.put(piece)
                await wire.drain()
            answer = b""
            while b"\r\n\r\n" not in answer:
                await wire.readable()
                more = wire.receive_now()
                if not more:
                    break
                answer += more
        except httpx.ReadError:  # a reset
            answer = b""
        wire.close()
        return answer, trio.current_time() - began


def test_request_that_takes_less_than_the_limit_is_answered_and_a_longer_one_is_cut_at_the_limit() -> None:
    dialect = Dialect(time_limit=10)
    pieces = [BLOB[at : at + 10] for at in range(0, 100, 10)]

    async def talk(wire: Wire) -> list[tuple[int, float]]:
        quick, slow = await wire.upload(pieces, 0.9), await wire.upload(pieces, 1.5)
        return [(status_of(quick[0]), quick[1]), (len(slow[0]), slow[1])]

    assert in_virtual_time(dialect, talk) == [(201, pytest.approx(9)), (0, pytest.approx(10))]


def test_limit_for_bodies_leaves_other_requests_alone() -> None:
    dialect = Dialect(time_limit=10, time_limit_of="bodies")

    async def talk(wire: Wire) -> list[tuple[bool, float]]:
        put, head = await wire.upload([BLOB[:50]], size=100), await wire.ask("HEAD /v2/a/manifests/1", [])
        return [(bool(put[0]), put[1]), (bool(head[0]), head[1])]

    stalls = Stall("HEAD *", of="answer", seconds=30)
    assert in_virtual_time(dialect, talk, stalls) == [(False, pytest.approx(10)), (True, pytest.approx(30))]


def test_limit_for_all_requests_cuts_an_answer_that_comes_too_late() -> None:
    dialect = Dialect(time_limit=10, time_limit_status=504)

    async def talk(wire: Wire) -> tuple[int, float, bool]:
        answer, took = await wire.upload([BLOB])
        return status_of(answer), took, DIGEST in wire.registry.repository("a").blobs

    for stall in (Stall(UPLOAD, of="answer", seconds=30), GatewayTimeout(UPLOAD, status=524, wait=10)):
        assert in_virtual_time(dialect, talk, stall) == (504, pytest.approx(10), True)


def test_limit_never_puts_a_web_page_into_an_answer_that_has_begun() -> None:
    dialect = Dialect(time_limit=10, time_limit_status=504)

    async def talk(wire: Wire) -> tuple[bytes, float]:
        return await wire.upload([BLOB])

    answer, took = in_virtual_time(dialect, talk, Stall(UPLOAD, of="answer", after=9, seconds=30))
    assert (answer, took) == (b"HTTP/1.1 ", pytest.approx(10))


def test_limit_counts_each_request_of_a_connection_from_its_own_head() -> None:
    async def talk(wire: Wire) -> list[int]:
        connection, statuses = await wire.network.connect("registry.test", 80, None, None), list[int]()
        for _ in range(3):
            await trio.sleep(8)
            connection.put(request("HEAD /v2/a/manifests/1"))
            await connection.readable()
            statuses.append(status_of(connection.receive_now() or b""))
        connection.close()
        return statuses

    assert in_virtual_time(Dialect(time_limit=10), talk) == [404, 404, 404]


@pytest.mark.parametrize(
    ("name", "held"), [("distribution-3", 50), ("distribution-2.8", 50), ("zot", None), ("ecr", 0)]
)
def test_cut_by_the_limit_leaves_the_session_as_a_cut_of_the_connection_does(name: str, held: int | None) -> None:
    dialect = replace(DIALECTS[name], time_limit=10, unknown_repository="made", state="none")

    async def talk(wire: Wire) -> list[int]:
        await wire.upload([BLOB[:50]], size=100)
        return [upload.size for upload in wire.registry.repository("a").uploads.values()]

    assert in_virtual_time(dialect, talk) == ([] if held is None else [held])


def test_half_closed_request_is_over_for_the_registry_while_the_client_still_sends() -> None:
    async def talk(wire: Wire) -> list[int]:
        path = await session(wire.registry)
        (upload,) = wire.registry.repository("a").uploads.values()
        connection = await wire.network.connect("registry.test", 80, None, None)
        connection.put(request(f"PUT {path}", BLOB[:50], length=100))
        await trio.sleep(9)
        sizes = [upload.size]
        await trio.sleep(2)
        connection.put(BLOB[50:60])
        await trio.sleep(1)
        sizes.append(upload.size)
        connection.close()
        return sizes

    dialect = Dialect(time_limit=10, time_limit_end="half-close", cut="acknowledged")
    assert in_virtual_time(dialect, talk) == [50, 0]


def test_registry_that_keeps_complete_bodies_alone_tells_of_no_others() -> None:
    async def talk(wire: Wire) -> list[str]:
        path = (await session(wire.registry)).partition("?")[0]
        ranges: list[str] = []

        async def ask() -> None:
            answer, _ = await wire.ask(f"GET {path}", [])
            ranges.append(answer.decode().partition("Range: ")[2].partition("\r\n")[0])

        await wire.ask(f"PATCH {path}", [BLOB[:30]])
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wire.ask, f"PATCH {path}", [BLOB[30:60], BLOB[60:]], 10)
            await trio.sleep(15)
            await ask()
        await ask()
        return ranges

    assert in_virtual_time(Dialect(cut="acknowledged"), talk) == ["0-29", "0-99"]
    assert in_virtual_time(Dialect(), talk) == ["0-59", "0-99"]


def test_slow_line_is_shared_by_all_connections_in_turns() -> None:
    async def talk(wire: Wire) -> list[float]:
        took: list[float] = []

        async def one() -> None:
            answer, seconds = await wire.upload([bytes(50_000)])
            assert status_of(answer) == 400  # another digest
            took.append(seconds)

        async with anyio.create_task_group() as tasks:
            for _ in range(4):
                tasks.start_soon(one)
        return took

    took = in_virtual_time(Dialect(line_rate=5000), talk)
    assert max(took) == pytest.approx(40, rel=0.05)
    assert min(took) > 35  # none has the line to itself


def test_slow_line_and_limit_in_time_let_through_what_a_smaller_body_needs() -> None:
    async def talk(wire: Wire) -> list[bool]:
        return [bool((await wire.upload([bytes(size)]))[0]) for size in (20_000, 40_000)]

    assert in_virtual_time(Dialect(line_rate=5000, time_limit=5), talk) == [True, False]


def test_named_limits_are_those_of_a_proxy_that_cuts_after_a_minute() -> None:
    limits = {name: one.time_limit for name, one in DIALECTS.items() if one.time_limit}
    assert limits == {"time-limit": 60, "time-limit-2.8": 60}


def test_gateway_timeout_waits_as_long_as_it_says() -> None:
    async def talk(wire: Wire) -> tuple[int, float]:
        answer, took = await wire.upload([BLOB])
        return status_of(answer), took

    fault = GatewayTimeout(UPLOAD, status=524, wait=100)
    assert in_virtual_time(Dialect(), talk, fault) == (524, pytest.approx(100))


@both
async def test_slow_line_over_sockets_loses_nothing() -> None:
    document = json.dumps({"mediaType": "x", "layers": []}).encode()
    async with Registry(dialect=Dialect(line_rate=200_000)) as registry:
        body = document.ljust(20_000)
        line = request("PUT /v2/a/manifests/1", body, more="Content-Type: x\r\nConnection: close\r\n")
        answer, _ = await talk(registry, line)
        assert status_of(answer) == 201
        assert registry.repository("a").manifests[f"sha256:{hashlib.sha256(body).hexdigest()}"].raw == body


@both
async def test_request_may_be_cut_by_a_fault_before_the_limit() -> None:
    fault = Cut(UPLOAD, after=10)
    async with Registry(dialect=Dialect(time_limit=30), faults=[fault]) as registry:
        answer, _ = await talk(registry, request(f"PUT {await session(registry)}", BLOB))
        assert (answer, registry.fired) == (b"", [fault])
