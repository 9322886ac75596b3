"""The development registry's faults, seen by a client that says and counts every byte."""

from __future__ import annotations

import hashlib
import json
import ssl
import time
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Literal

import anyio
import anyio.lowlevel
import pytest
import trio
import trio.testing
import trustme
from anyio.streams.tls import TLSStream
from tests.memory_network import MemoryRegistry, Network

from ocipush.testing import (
    BearerAuth,
    Cut,
    Drip,
    Duplicate,
    EarlyAnswer,
    ExpireTokens,
    Fault,
    RateLimit,
    Refuse,
    Registry,
    Restart,
    Stall,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from anyio.abc import ByteStream

    Ending = Literal["reset", "close", "half-close"]

UPLOAD = "PUT /v2/*/blobs/uploads/*"
BLOB = b"0123456789" * 10
DIGEST = f"sha256:{hashlib.sha256(BLOB).hexdigest()}"
both = pytest.mark.anyio


@pytest.fixture(params=["plain", "tls"])
def registry(request: pytest.FixtureRequest) -> Callable[..., Registry]:
    context = None
    if request.param == "tls":
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        trustme.CA().issue_cert("127.0.0.1").configure_cert(context)

    def make(*faults: Fault, **options: Any) -> Registry:
        return Registry(faults=faults, ssl_context=context, **options)

    return make


async def connect(registry: Registry) -> ByteStream:
    host, _, port = registry.host.partition(":")
    stream: ByteStream = await anyio.connect_tcp(host, int(port))
    if registry.url.startswith("https"):
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        try:
            stream = await TLSStream.wrap(stream, server_side=False, ssl_context=context, standard_compatible=False)
        except BaseException:
            await anyio.aclose_forcefully(stream)
            raise
    return stream


async def receive_all(stream: ByteStream) -> tuple[bytes, str]:
    """What comes, and how it ends."""
    found = b""
    try:
        while True:
            found += await stream.receive()
    except anyio.EndOfStream:
        return found, "end"
    except anyio.BrokenResourceError:
        return found, "reset"


async def talk(registry: Registry, *said: bytes) -> tuple[bytes, str]:
    async with await connect(registry) as stream:
        for part in said:
            await stream.send(part)
        return await receive_all(stream)


def request(line: str, body: bytes = b"", *, length: int | None = None, more: str = "") -> bytes:
    size = len(body) if length is None else length
    return f"{line} HTTP/1.1\r\nHost: r\r\nContent-Length: {size}\r\n{more}\r\n".encode() + body


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


async def open_session(registry: Registry) -> str:
    answer, _ = await talk(registry, request("POST /v2/a/blobs/uploads/", more="Connection: close\r\n"))
    head = answer.decode().lower()
    return head.partition("location: ")[2].partition("\r\n")[0]


def put(location: str, body: bytes = BLOB) -> bytes:
    return request(f"PUT {location}?digest={DIGEST}", body, more="Connection: close\r\n")


def kept(registry: Registry) -> int:
    (upload,) = registry.repository("a").uploads.values()
    return upload.size


@both
@pytest.mark.parametrize("after", [0, 1, 37, 100])
@pytest.mark.parametrize(("how", "seen"), [("reset", "reset"), ("close", "end"), ("half-close", "end")])
async def test_cut_request_keeps_exactly_the_bytes_before_the_cut(
    registry: Callable[..., Registry], how: Ending, seen: str, after: int
) -> None:
    fault = Cut(UPLOAD, after=after, how=how)
    async with registry(fault) as server:
        location = await open_session(server)
        if how == "half-close":  # it reads on until the client closes
            async with await connect(server) as stream:
                await stream.send(put(location))
                with pytest.raises(anyio.EndOfStream):
                    await stream.receive()
        else:
            answer, ending = await talk(server, put(location))
            assert answer == b""
            assert ending == seen or (after < 100 and ending == "reset")  # something unread turns a close into one
        assert server.fired == [fault]
        assert server.requests[-1].status == 0
        assert kept(server) == after
        answer, _ = await talk(server, put(location, BLOB[after:]))
        assert status_of(answer) == 201


@both
@pytest.mark.parametrize("how", ["reset", "close"])
async def test_cut_answer_ends_after_exactly_so_many_bytes_and_the_request_is_carried_out(
    registry: Callable[..., Registry], how: Ending
) -> None:
    async with registry() as server:
        whole, _ = await talk(server, put(await open_session(server)))
    for after in (0, 1, len(whole) - 1, len(whole)):
        async with registry(Cut(UPLOAD, of="answer", after=after, how=how)) as server:
            answer, ending = await talk(server, put(await open_session(server)))
            assert len(answer) == after or (how == "reset" and len(answer) < after)  # TLS loses what a reset overtakes
            assert ending == ("reset" if how == "reset" else "end")
            assert server.repository("a").blobs == {DIGEST: BLOB}


@both
@pytest.mark.parametrize("how", ["half-close", "close"])
async def test_early_answer_comes_while_the_body_is_still_to_come(
    registry: Callable[..., Registry], how: Ending
) -> None:
    fault = EarlyAnswer(UPLOAD, after=10, status=413, body=b"too large", headers={"X-Limit": "9"}, how=how)
    async with registry(fault) as server:
        location = await open_session(server)
        async with await connect(server) as stream:
            await stream.send(request(f"PUT {location}?digest={DIGEST}", b"x" * 10, length=1000))
            answer = b""
            while not answer.endswith(b"too large"):
                answer += await stream.receive()
            assert answer.startswith(b"HTTP/1.1 413 ")
            assert b"\r\nX-Limit: 9\r\n" in answer
            with pytest.raises(anyio.EndOfStream):
                await stream.receive()
        assert kept(server) == 10
        assert server.fired == [fault]


@both
async def test_restart_ends_every_connection_and_the_same_port_answers_again(
    registry: Callable[..., Registry],
) -> None:
    fault = Restart(UPLOAD, nth=1, after=40)
    async with registry(fault, Restart(UPLOAD, nth=2, after=40, keep_sessions=False)) as server:
        location, host = await open_session(server), server.host
        async with await connect(server) as idle:
            answer, _ = await talk(server, put(location))
            assert answer == b""
            assert (await receive_all(idle))[0] == b""
        assert kept(server) == 40
        while len(server.fired) < 2:  # it may not listen again yet, or what it heard last died with it
            assert not await try_to_talk(server, put(location, BLOB[40:]))
        while not (seen := await try_to_talk(server, put(location))):
            pass
        assert status_of(seen) == 404
        assert server.host == host


async def try_to_talk(registry: Registry, said: bytes) -> bytes | None:
    await anyio.lowlevel.checkpoint()
    try:
        return (await talk(registry, said))[0]
    except (OSError, anyio.BrokenResourceError, anyio.EndOfStream):
        return None


@both
async def test_duplicated_commit_is_carried_out_and_answered_as_the_second_one_is(
    registry: Callable[..., Registry],
) -> None:
    async with registry(Duplicate(UPLOAD)) as server:
        answer, _ = await talk(server, put(await open_session(server)))
        assert status_of(answer) == 404
        assert b"BLOB_UPLOAD_UNKNOWN" in answer
        assert server.repository("a").blobs == {DIGEST: BLOB}


@both
async def test_expired_tokens_are_void_and_new_ones_are_not(registry: Callable[..., Registry]) -> None:
    auth = BearerAuth({}, anonymous=["pull", "push"])
    async with registry(ExpireTokens("HEAD *", 2), auth=auth) as server:

        async def token() -> str:
            answer, _ = await talk(server, request("GET /token?scope=repository:a:pull", more="Connection: close\r\n"))
            return str(json.loads(answer.partition(b"\r\n\r\n")[2])["token"])

        async def ask(token: str) -> int:
            fields = f"Authorization: Bearer {token}\r\nConnection: close\r\n"
            return status_of((await talk(server, request("HEAD /v2/a/manifests/1", more=fields)))[0])

        first = await token()
        assert [await ask(first), await ask(first), await ask(first)] == [404, 401, 401]
        assert await ask(await token()) == 404


@both
async def test_fault_hits_the_nth_request_that_matches_and_as_many_as_it_says() -> None:
    faults = [Refuse("HEAD /v2/a/*", 2, times=2, status=500), Refuse("HEAD /v2/b/*", status=502)]
    async with Registry(faults=faults) as server:

        async def ask(name: str) -> int:
            line = request(f"HEAD /v2/{name}/manifests/1", more="Connection: close\r\n")
            return status_of((await talk(server, line))[0])

        assert [await ask(name) for name in "aababaab"] == [404, 500, 502, 500, 404, 404, 404, 404]
        assert server.fired == [faults[0], faults[1], faults[0]]


@both
async def test_fault_beyond_the_end_of_a_request_never_fires() -> None:
    async with Registry(faults=[Cut(UPLOAD, after=101), Cut("POST *", after=1)]) as server:
        answer, _ = await talk(server, put(await open_session(server)))
        assert status_of(answer) == 201
        assert server.fired == []


@both
async def test_rate_limit_says_when_to_come_back_in_each_notation() -> None:
    notations: list[Any] = ["seconds", "date", "milliseconds", "forbidden"]
    faults = [RateLimit("*", n + 1, wait=1.5, notation=notation) for n, notation in enumerate(notations)]
    async with Registry(faults=faults) as server:
        line = request("GET /v2/", more="Connection: close\r\n")
        before = time.time()
        seconds, date, milliseconds, forbidden = [(await talk(server, line))[0].decode() for _ in notations]
    assert [status_of(one.encode()) for one in (seconds, date, milliseconds, forbidden)] == [429, 429, 429, 403]
    assert "Retry-After: 2\r\n" in seconds
    stated = date.partition("Retry-After: ")[2].partition("\r\n")[0]
    assert parsedate_to_datetime(stated).timestamp() - before >= 1.5
    assert "retry-after: 1500ms, allowed: 2000/minute" in milliseconds
    assert "TOOMANYREQUESTS" in milliseconds
    assert "secondary rate limit" in forbidden
    assert "Retry-After" not in milliseconds + forbidden


@pytest.mark.parametrize("wrong", [{"nth": 0}, {"times": 0}])
def test_faults_are_counted_from_one(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="from 1"):
        Cut("*", **wrong)


def in_virtual_time(fault: Fault, body: bytes) -> tuple[float, bytes]:
    """How long a PUT takes, and its answer."""

    async def main() -> tuple[float, bytes]:
        network = Network()
        async with MemoryRegistry(network, secure=False, faults=[fault]) as server:
            upload = await server._storage.repository_blocking("a").start()
            wire = await network.connect("registry.test", 80, None, None)
            began = trio.current_time()
            wire.put(request(f"PUT /v2/a/blobs/uploads/{upload.id}?digest={DIGEST}", body))
            answer = b""
            with anyio.move_on_after(1000):
                while b"\r\n\r\n" not in answer:
                    await wire.readable()
                    answer += wire.receive_now() or b""
            wire.close()
            return trio.current_time() - began, answer

    return trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def test_stalled_request_or_answer_waits_as_long_as_the_fault_says() -> None:
    for fault in (Stall(UPLOAD, after=50, seconds=30), Stall(UPLOAD, of="answer", after=20, seconds=30)):
        took, answer = in_virtual_time(fault, BLOB)
        assert took == pytest.approx(30)
        assert status_of(answer) == 201


def test_stall_without_end_never_answers() -> None:
    for fault, seen in ((Stall(UPLOAD, after=50), b""), (Stall(UPLOAD, of="answer", after=9), b"HTTP/1.1 ")):
        took, answer = in_virtual_time(fault, BLOB)
        assert took == pytest.approx(1000)
        assert answer == seen


def test_drip_lets_so_many_bytes_pass_in_a_second() -> None:
    took, answer = in_virtual_time(Drip(UPLOAD, after=40, rate=4), BLOB)
    assert took == pytest.approx(60 / 4)
    assert status_of(answer) == 201
    took, answer = in_virtual_time(Drip(UPLOAD, of="answer", rate=10), BLOB)
    assert took == pytest.approx(len(answer) / 10, abs=1)
