"""Requests and responses, as the parts of the registry see them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol
from urllib.parse import parse_qs, unquote, urlsplit

if TYPE_CHECKING:
    from pathlib import Path

    import h11


class BodyTooLargeError(ValueError):
    """A request body is larger than the limit."""


@dataclass(slots=True)
class Response:
    """A response; a `Path` as body is streamed from disk."""

    status: int
    headers: dict[str, str] = field(default_factory=dict[str, str])
    body: bytes | Path = b""


@dataclass(slots=True)
class RecordedRequest:
    """One request, with the status of its response.

    Attributes:
        status: 0 until the response is ready.
        body_size: bytes of the body that were received.
        violation: why a strict registry reports the request; empty if it does not.
    """

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str] = field(repr=False)
    status: int = 0
    body_size: int = 0
    violation: str = ""


class Incoming(Protocol):
    """A body that arrives."""

    async def begin(self) -> None:
        """Fire the faults that hit the request before the first byte of its body."""
        ...

    async def receive(self) -> bytes:
        """Return the next piece, empty at the end."""
        ...


class Request:
    """A request whose body is read as it arrives."""

    def __init__(self, head: h11.Request, body: Incoming) -> None:
        self.target: str = head.target.decode("ascii")
        target = urlsplit(self.target)
        self.method: str = head.method.decode("ascii")
        self.path: str = unquote(target.path)
        query = parse_qs(target.query, keep_blank_values=True)
        self.query: dict[str, str] = {name: values[-1] for name, values in query.items()}
        self.scopes: list[str] = query.get("scope", [])  # the only parameter that may occur several times
        self.headers: dict[str, str] = {k.decode("ascii"): v.decode("latin-1") for k, v in head.headers}
        self.record: RecordedRequest = RecordedRequest(self.method, self.path, self.query, self.headers)
        self.violations: list[str] = []  # why a strict registry reports it
        self._body = body
        self._kept: list[bytes] | None = None
        self._replay: list[bytes] | None = None

    async def begin(self) -> None:
        """Fire the faults that hit the request before the first byte of its body."""
        await self._body.begin()

    @property
    def body_size(self) -> int:
        """Bytes of the body that were received so far."""
        return self.record.body_size

    @property
    def length(self) -> int | None:
        """Bytes of the body; None when the request does not say."""
        if "transfer-encoding" in self.headers:
            return None
        return int(self.headers.get("content-length", "0"))

    async def receive(self) -> bytes:
        """Return the next piece of the body, empty at its end."""
        if self._replay is not None:
            return self._replay.pop(0) if self._replay else b""
        piece = await self._body.receive()
        self.record.body_size += len(piece)
        if self._kept is not None:
            self._kept.append(piece)
        return piece

    def keep(self) -> None:
        """Keep the body as it is received, for `rewind`."""
        self._kept = []

    def rewind(self) -> None:
        """Make `receive` return again what was kept."""
        self._replay, self._kept = self._kept, None

    async def read(self, limit: int) -> bytes:
        """Return the whole body, at most `limit` bytes."""
        found = bytearray()
        while piece := await self.receive():
            found += piece
            if len(found) > limit:
                raise BodyTooLargeError
        return bytes(found)
