"""A web service that pushes in the background: an ASGI application, such as Starlette and FastAPI run.

    EXAMPLE_STORE=DIRECTORY uvicorn examples.background_push:app

``POST /push?image=IMAGE&target=REF`` answers 202 immediately, with a URL; ``GET /pushes/1`` reports the progress. One
``Pusher`` and one task group live as long as the application: its lifespan opens them, and at shutdown waits until the
running pushes have finished. In Starlette, put the same ``async with`` into the lifespan function.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import anyio

import ocipush

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    from anyio.abc import TaskGroup

    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]


@dataclass
class State:
    """What the service reports about one push."""

    image: str
    state: str = "running"
    sent: int = 0
    size: int = 0
    digest: str | None = None
    error: str | None = None


class Service:
    """The application. It remembers every push; a real service would delete old ones."""

    def __init__(self, store: str) -> None:
        self._store = store
        self._pushes: list[State] = []
        self._pusher: ocipush.Pusher
        self._tasks: TaskGroup

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            status, body = self._answer(scope["method"], scope["path"], scope["query_string"].decode())
            headers = [(b"content-type", b"application/json")]
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": json.dumps(body).encode()})

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()  # lifespan.startup
        async with ocipush.Pusher(store=self._store) as self._pusher, anyio.create_task_group() as self._tasks:
            await send({"type": "lifespan.startup.complete"})
            await receive()  # lifespan.shutdown
        await send({"type": "lifespan.shutdown.complete"})

    def _answer(self, method: str, path: str, query: str) -> tuple[int, dict[str, Any]]:
        given = {name: values[-1] for name, values in parse_qs(query).items()}
        if (method, path) == ("POST", "/push"):
            if "image" not in given:
                return 400, {"error": "the parameter image is missing"}
            self._pushes.append(state := State(given["image"]))
            self._tasks.start_soon(self._push, state, given.get("target"))
            return 202, {"url": f"/pushes/{len(self._pushes)}"}
        number = path.removeprefix("/pushes/")
        if method == "GET" and number.isdecimal() and 0 < int(number) <= len(self._pushes):
            return 200, asdict(self._pushes[int(number) - 1])
        return 404, {"error": "not found"}

    async def _push(self, state: State, target: str | None) -> None:
        offsets: dict[str, int] = {}

        def on_event(event: ocipush.Event) -> None:
            if isinstance(event, ocipush.PushStarted):
                state.size = event.size
            elif isinstance(event, ocipush.BlobProgress):
                offsets[event.digest] = event.offset
                state.sent = sum(offsets.values())

        try:
            result = await self._pusher.push(state.image, target=target, on_event=on_event)
        except ocipush.OcipushError as error:  # an exception that leaves the task would cancel the service's task group
            state.state, state.error = "failed", str(error)
        else:
            state.state, state.digest = "done", result.digest


app = Service(os.environ.get("EXAMPLE_STORE", "/var/lib/ar/images"))
