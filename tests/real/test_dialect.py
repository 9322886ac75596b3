"""The dialect `distribution-2.8` answers a long conversation as docker-registry itself does."""

from __future__ import annotations

import hashlib
import json
import socket
import time
from typing import TYPE_CHECKING

import httpx
import pytest
from anyio.from_thread import start_blocking_portal
from tests.real.servers import docker_registry

from ocipush.testing import Registry

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.real
UPLOADS = "/v2/a/blobs/uploads/"
TYPE = "application/vnd.oci.image.manifest.v1+json"
METHODS = ("GET", "PATCH", "PUT", "DELETE")


def sha(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def summary(answer: httpx.Response) -> str:
    """What a client looks at: the status, Range, error codes, the blobs that are missing, and which headers there are."""
    body = answer.json() if "json" in answer.headers.get("content-type", "") else {}
    errors = body.get("errors", ())
    words = [answer.headers.get("range"), *(error["code"] for error in errors)]
    words += [error["detail"] for error in errors if error["code"] == "MANIFEST_BLOB_UNKNOWN"]
    words += [
        name for name in ("location", "docker-content-digest", "oci-subject", "oci-tag") if name in answer.headers
    ]
    return " ".join([str(answer.status_code), *filter(None, words)])


class Conversation:
    """Asks one registry, and keeps what it answered."""

    def __init__(self, url: str) -> None:
        self.http = httpx.Client(base_url=url, trust_env=False)
        self.seen: dict[str, str] = {}
        self.location = ""

    def ask(self, topic: str, method: str, data: bytes = b"", *, place: str = "", digest: str = "") -> None:
        """Make a request at the session's latest Location."""
        query = f"{'&' if '?' in self.location else '?'}digest={digest}" if digest else ""
        headers = {"content-range": place} if place else {}
        answer = self.http.request(method, self.location + query, content=data, headers=headers)
        self.seen[topic] = summary(answer)
        if answer.status_code in {202, 204} and "location" in answer.headers:
            self.location = answer.headers["location"]

    def open(self, *chunks: bytes) -> str:
        """Open a session, and give its first Location."""
        self.location = first = self.http.post(UPLOADS).headers["location"]
        for chunk in chunks:
            self.ask("opening", "PATCH", chunk)
        return first

    def blob(self, name: str, data: bytes) -> None:
        self.location = self.http.post(f"/v2/{name}/blobs/uploads/").headers["location"]
        self.ask("blob", "PUT", data, digest=sha(data))


def chunks(talk: Conversation) -> None:
    talk.open()
    talk.ask("the first", "PATCH", b"abc", place="0-2")
    talk.ask("the second", "PATCH", b"de", place="3-4")
    talk.ask("status", "GET")
    talk.ask("again", "PATCH", b"abc", place="0-2")
    talk.ask("ahead", "PATCH", b"abc", place="50-52")
    talk.ask("nonsense", "PATCH", b"abc", place="x")
    talk.ask("deleted", "DELETE")
    talk.ask("deleted again", "DELETE")


def closing(talk: Conversation) -> None:
    talk.open(b"abc")
    talk.ask("empty", "PUT", digest=sha(b"abc"))
    talk.open(b"abc")
    talk.ask("with the last", "PUT", b"de", digest=sha(b"abcde"))
    talk.open(b"abc")
    talk.ask("misplaced", "PUT", b"de", place="9-10", digest=sha(b"abcde"))
    talk.open()
    talk.ask("whole", "PUT", b"abc", digest=sha(b"abc"))
    talk.ask("twice", "PUT", b"abc", digest=sha(b"abc"))
    talk.open()
    talk.ask("another digest", "PUT", b"abc", digest=sha(b"xyz"))
    talk.ask("after that", "GET")
    talk.open()
    talk.ask("no digest", "PUT", b"abc", digest="sha256:1")
    talk.open()
    talk.ask("nothing", "PUT", digest=sha(b""))


def mounts(talk: Conversation) -> None:
    talk.blob("a", b"mine")
    talk.blob("b", b"theirs")
    for topic, query in {
        "itself": {"mount": sha(b"mine"), "from": "a"},
        "another": {"mount": sha(b"theirs"), "from": "b"},
        "absent": {"mount": sha(b"none"), "from": "b"},
        "from nowhere": {"mount": sha(b"mine")},
        "from an odd name": {"mount": sha(b"mine"), "from": "B!"},
        "from alone": {"from": "b"},
        "single POST": {"digest": sha(b"single")},
    }.items():
        talk.seen[topic] = summary(
            talk.http.post(UPLOADS, params=query, content=b"single" if "digest" in query else b"")
        )


def states(talk: Conversation) -> None:
    for method in METHODS:
        body = b"de" if method.startswith("P") else b""
        stale = talk.open()
        talk.ask("opening", "PATCH", b"abc")
        latest, talk.location = talk.location, stale
        talk.ask(f"stale {method}", method, body)
        talk.location = latest
        talk.ask(f"after stale {method}", "GET")
        talk.location = talk.location.partition("?")[0]
        talk.ask(f"{method} without", method, body)


def broken_bodies(talk: Conversation) -> None:
    for method in ("PATCH", "PUT"):
        talk.open(b"abc")
        url = httpx.URL(f"{talk.location}&digest={sha(b'abcxyzxyz')}" if method == "PUT" else talk.location)
        with socket.create_connection((talk.http.base_url.host, talk.http.base_url.port or 0)) as sock:
            head = f"{method} {url.raw_path.decode()} HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nxyz"
            sock.sendall(head.encode())
            sock.shutdown(socket.SHUT_WR)
            assert sock.recv(100).startswith(b"HTTP/1.1 4")
        for _ in range(100):  # the answer may come before the session knows
            talk.ask(f"after {method}", "GET")
            if not talk.seen[f"after {method}"].startswith("204"):
                break
            time.sleep(0.01)


def manifests(talk: Conversation) -> None:
    talk.blob("a", b"{}")
    config = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": sha(b"{}"), "size": 2}
    subject = {"mediaType": TYPE, "digest": sha(b"subject"), "size": 7}
    document = {"schemaVersion": 2, "mediaType": TYPE, "config": config, "layers": [], "subject": subject}
    lacking = {**document, "layers": [{**config, "digest": sha(b"1")}, {**config, "digest": sha(b"2")}]}
    kind, accept = {"content-type": TYPE}, {"accept": TYPE}
    raw = json.dumps(document).encode()
    for topic, name, content in (
        ("by digest", f"{sha(raw)}?tag=one", raw),
        ("by tag", "two", raw),
        ("again", "two", raw),
        ("without blobs", "three", json.dumps(lacking).encode()),
        ("not a manifest", "four", b"[]"),
    ):
        talk.seen[topic] = summary(talk.http.put(f"/v2/a/manifests/{name}", content=content, headers=kind))
    for topic, path in {
        "tag of the query": "/v2/a/manifests/one",
        "tag": "/v2/a/manifests/two",
        "unknown": "/v2/new/manifests/1",
        "unknown blob": f"/v2/new/blobs/{sha(b'none')}",
        "referrers": f"/v2/a/referrers/{sha(b'subject')}",
    }.items():
        talk.seen[topic] = summary(talk.http.get(path, headers=accept))


@pytest.mark.parametrize("subject", [chunks, closing, mounts, states, broken_bodies, manifests])
def test_dialect_answers_as_docker_registry_does(subject: Callable[[Conversation], None], tmp_path: Path) -> None:
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(Registry(dialect="distribution-2.8")) as ours,
        docker_registry("plain", tmp_path / "registry") as theirs,
    ):
        talks = [Conversation(f"http://{theirs.host}"), Conversation(ours.url)]
        for talk in talks:
            with talk.http:
                subject(talk)
        assert talks[1].seen == talks[0].seen
        assert len(talks[0].seen) > 2
