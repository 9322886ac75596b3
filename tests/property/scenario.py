"""One push in a world of its own, on virtual time: an image, a registry, and what goes wrong; and what must hold after it."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import logging
import pickle
import random
import ssl
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import trio
import trio.testing
from tests import layouts
from tests.memory_network import BUFFER, MemoryRegistry, Network
from tests.virtual_time import descriptors, deterministic

import ocipush
from ocipush import errors
from ocipush._http.transport import Transport
from ocipush._registry.blobs import BlobRequests
from ocipush.testing import DIALECTS, BasicAuth, BearerAuth, GatewayTimeout, Request, Response, Restart
from ocipush.testing._faults import ByteFault

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from ocipush._registry.session import Session
    from ocipush.testing import Fault, Registry

INDEX = "application/vnd.oci.image.index.v1+json"
PASSWORD = "correct horse battery"
FOREVER = 7 * 24 * 3600.0  # virtual seconds: whatever takes as long is stuck
CLEAN_UP = 5.0  # virtual seconds that a push may go on after its deadline
HARMLESS = {"blob_redirect", "blob_storage", "missing_named"}  # fields of a dialect that cost a push nothing
MANY = 3000  # requests: whoever makes as many goes round in circles
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None

Layer = tuple[int, int]
"""A seed and a size: equal ones are one blob."""


@dataclass(frozen=True)
class Scenario:
    """What hypothesis draws; its ``repr`` is a permanent case.

    Attributes:
        images: the layers of each image; several make an index.
        old: layers of the image that the tag names before.
        elsewhere: uploads go to another origin.
        pushes: how many pushes of it are made at once.
        lifetime: virtual seconds that a token is good for.
        resume: upload sessions are kept in a directory.
        also: fields of the dialect that differ from what its name says.
    """

    images: tuple[tuple[Layer, ...], ...] = (((0, 10),),)
    faults: tuple[Fault, ...] = ()
    old: tuple[Layer, ...] | None = None
    auth: str = "open"
    secure: bool = True
    elsewhere: bool = False
    attempts: int = 3
    deadline: float | None = None
    chunk_size: int | None = None
    pushes: int = 1
    lifetime: float = 300.0
    resume: bool = False
    seed: int = 0
    dialect: str = "spec"
    also: tuple[tuple[str, Any], ...] = ()


@dataclass
class Outcome:
    """What is left to look at: the registry, and how the pushes ended."""

    scenario: Scenario
    registry: Registry
    digest: str
    size: int
    results: list[ocipush.PushResult] = field(default_factory=list[ocipush.PushResult])
    failures: list[errors.OcipushError] = field(default_factory=list[errors.OcipushError])
    seconds: float = 0.0

    @property
    def received(self) -> int:
        """Bytes of blobs that reached the registry, those sent again included."""
        return sum(request.body_size for request in self.registry.requests if "/upload" in request.path)

    @property
    def sent(self) -> int:
        return sum(result.sent for result in self.results)


class _Log(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def content(layer: Layer) -> bytes:
    seed, size = layer
    return random.Random(seed * 1_000_003 + size).randbytes(size)


def write_image(path: Path, images: tuple[tuple[Layer, ...], ...]) -> dict[str, Any]:
    """Write a layout; the descriptor of its root."""
    manifests = [
        layouts.add_manifest(path, [content(layer) for layer in image], json.dumps({"n": n}).encode())
        for n, image in enumerate(images)
    ]
    if len(manifests) > 1:
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}
        manifests = [layouts.add_blob(path, json.dumps(index).encode(), INDEX)]
    layouts.write_layout(path, manifests)
    return manifests[0]


def blobs_of(path: Path) -> dict[str, bytes]:
    return {f"sha256:{blob.name}": blob.read_bytes() for blob in (path / "blobs" / "sha256").iterdir()}


def run(scenario: Scenario) -> Outcome:
    """Play a scenario on virtual time, and check what must hold of any."""
    before = descriptors()
    with tempfile.TemporaryDirectory(dir=MEMORY) as directory, deterministic(scenario.seed):
        path = Path(directory) / "image"
        root = write_image(path, scenario.images)
        outcome = trio.run(_Play(scenario, path, root).run, clock=trio.testing.MockClock(autojump_threshold=0))
    assert descriptors() <= before, "descriptors are left open"
    return outcome


class _Play:
    def __init__(self, scenario: Scenario, path: Path, root: dict[str, Any]) -> None:
        self.scenario = scenario
        self.path = path
        self.blobs = blobs_of(path)
        self.digest = str(root["digest"])
        self.network = Network()
        self.log = _Log()
        self.told: list[str] = []
        users = {"you": PASSWORD}
        kinds: dict[str, Callable[[], Any]] = {
            "open": lambda: None,
            "basic": lambda: BasicAuth(users),
            "bearer": lambda: BearerAuth(users, clock=trio.current_time, lifetime=scenario.lifetime),
        }
        self.auth = kinds["bearer" if scenario.dialect == "harbor" else scenario.auth]()  # by its service it is known
        self.host = "registry.test:5000"
        options: dict[str, Any] = {
            "secure": scenario.secure,
            "dialect": replace(DIALECTS[scenario.dialect], **dict(scenario.also)),
            "repositories": ["app"],
            "intercept": self._intercept,
        }
        self.registry = MemoryRegistry(self.network, name=self.host, auth=self.auth, faults=scenario.faults, **options)
        self.storage = MemoryRegistry(self.network, name="storage.test", **options)
        self.storage._storage = self.registry._storage
        self.storage._routes.endpoints = self.registry._routes.endpoints
        self.sessions: set[str] = set()

    async def run(self) -> Outcome:
        scenario, outcome = self.scenario, Outcome(self.scenario, self.registry, self.digest, 0)
        outcome.size = sum(len(blob) for blob in self.blobs.values())
        before = self._prepare()
        logger = logging.getLogger("ocipush")
        logger.addHandler(self.log)
        level, logger.level = logger.level, logging.DEBUG
        try:
            with trio.fail_after(FOREVER), self._noting_sessions():
                async with self.registry, self.storage:
                    tasks = trio.lowlevel.current_statistics().tasks_living
                    transport = Transport(ssl.create_default_context(), connect=self.network.connect)
                    async with self._pusher(transport) as pusher, anyio.create_task_group() as group:
                        for _ in range(scenario.pushes):
                            group.start_soon(self._push, pusher, outcome)
                    assert self.network.open == 0, "connections are left open"
                    await trio.testing.wait_all_tasks_blocked()
                    left = trio.lowlevel.current_statistics().tasks_living
                    assert left <= tasks + self._serving(), "tasks are left"
                    outcome.seconds = trio.current_time()
        finally:
            logger.removeHandler(self.log)
            logger.level = level
        for failure in outcome.failures:
            assert str(failure)
            assert type(pickle.loads(pickle.dumps(failure))) is type(failure)
        self._check_requests(outcome)
        self._check_remote(outcome, before)
        self._check_secrets(outcome)
        return outcome

    @contextlib.contextmanager
    def _noting_sessions(self) -> Generator[None]:
        """Note each session that the engine has heard of."""
        start = BlobRequests.start_upload

        async def noting(*args: Any, **options: Any) -> Session | None:
            session = await start(*args, **options)
            if session is not None:
                self.sessions.add(session.location.partition("?")[0].rpartition("/")[2])
            return session

        BlobRequests.start_upload = noting  # type: ignore[method-assign]
        try:
            yield
        finally:
            BlobRequests.start_upload = start  # type: ignore[method-assign]

    def _serving(self) -> int:
        """Tasks of the registry that a fault, or a slow line, may hold up."""
        if "line_rate" in dict(self.scenario.also):
            return self.registry.connections + self.storage.connections
        return sum(isinstance(fault, ByteFault | GatewayTimeout) for fault in self.registry.fired)

    def _pusher(self, transport: Transport) -> ocipush.Pusher:
        scenario = self.scenario
        login = {self.host: ocipush.Login("you", PASSWORD)} if self.auth else {}
        return ocipush.Pusher(
            store=self.path.parent,
            authfile=self.path.parent / "none",
            credentials=login,
            tls_verify=False,
            retry=ocipush.RetryPolicy(attempts=scenario.attempts, deadline=scenario.deadline),
            transport=transport,
            chunk_size=scenario.chunk_size,
            resume_dir=self.path.parent / "sessions" if scenario.resume else None,
        )

    async def _push(self, pusher: ocipush.Pusher, outcome: Outcome) -> None:
        try:
            result = await pusher.push(self.path, target=f"{self.host}/app:1", on_event=self._tell)
        except errors.OcipushError as exc:  # and nothing else
            outcome.failures.append(exc)
        else:
            assert result.digest == self.digest
            outcome.results.append(result)

    def _tell(self, event: ocipush.Event) -> None:
        self.told.append(repr(event))

    def _prepare(self) -> str | None:
        """Put the old image where the tag names it: its digest."""
        if self.scenario.old is None:
            return None
        with tempfile.TemporaryDirectory(dir=MEMORY) as directory:
            path = Path(directory) / "old"
            write_image(path, (self.scenario.old,))
            return self.registry.hold("app", path, "1")

    async def _intercept(self, request: Request) -> Response | None:
        assert len(self.registry.requests) < MANY, "requests without end"
        if not self.scenario.elsewhere or request.method != "POST":
            return None
        answer = await self.registry._routes.answer(request)
        if (location := answer.headers.get("Location")) and answer.status == 202:
            path = location.removeprefix(self.registry.url)
            answer.headers["Location"] = f"{self.storage.url}{path}"
        return answer

    def _check_remote(self, outcome: Outcome, before: str | None) -> None:
        """The tag names what it named before, or the image, which is whole then."""
        repository = self.registry._storage.repository_blocking("app")
        now = repository.tags.get("1")
        if outcome.results:
            assert now == self.digest
        assert now in {before, self.digest}
        if now == self.digest:
            for digest, blob in self.blobs.items():
                manifest = repository.manifests.get(digest)
                assert (manifest.raw if manifest else repository.blobs[digest]) == blob
        for digest, held in repository.blobs.items():
            assert isinstance(held, bytes)
            assert digest == f"sha256:{hashlib.sha256(held).hexdigest()}", "the registry holds what is corrupt"
        ended = {
            request.path.rpartition("/")[2]
            for request in outcome.registry.requests
            if request.method == "DELETE" or request.status == 404
        }
        left = (repository.uploads.keys() & self.sessions) - ended
        down = any(isinstance(fault, Restart) for fault in self.registry.fired)
        kept = self.scenario.resume  # for another process to go on with
        assert down or kept or not left, f"{len(left)} sessions are left that nobody tried to delete"

    def _check_requests(self, outcome: Outcome) -> None:
        assert not any("authorization" in request.headers for request in self.storage.requests)
        assert not any("cookie" in request.headers for request in self.registry.requests)
        assert not self.registry.unexpected, self.registry.unexpected
        outcome.registry.requests += self.storage.requests
        resuming = self.scenario.dialect in {"spec", "distribution-3", "distribution-s3"}
        if resuming and self.scenario.chunk_size is None and dict(self.scenario.also).keys() <= HARMLESS:
            assert outcome.received <= outcome.size + self._excused(outcome)
        if self.scenario.deadline is not None:
            assert outcome.seconds <= self.scenario.deadline + CLEAN_UP

    def _excused(self, outcome: Outcome) -> int:
        """Bytes that may be sent again: a fault can spoil one blob and make it fail once more, a restart all that are sent."""
        largest = max(map(len, self.blobs.values()))
        restarts = sum(isinstance(fault, Restart) for fault in self.registry.fired)
        return 2 * (largest * (len(self.registry.fired) - restarts) + outcome.size * restarts)

    def _check_secrets(self, outcome: Outcome) -> None:
        secrets = {PASSWORD, base64.b64encode(f"you:{PASSWORD}".encode()).decode()}
        secrets |= set(self.auth._tokens) if isinstance(self.auth, BearerAuth) else set()
        words = "\n".join([*self.told, *self.log.lines, *map(str, outcome.failures), *map(repr, outcome.failures)])
        assert not any(secret in words for secret in secrets), "a secret was told"


__all__ = ["BUFFER", "HARMLESS", "Outcome", "Scenario", "run"]
