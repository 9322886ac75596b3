"""A token service for tests, and authorizers that a registry has challenged; without a socket."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import anyio

from ocipush import Login
from ocipush._http.answer import Answer
from ocipush._http.request import Request
from ocipush._registry.authorizer import Authorizer

if TYPE_CHECKING:
    from collections.abc import Callable

SCOPE = "repository:app:pull,push"
PASSWORD = Login("user", "correct horse")


@dataclass
class Asked:
    method: str
    url: str
    authorization: str | None
    form: dict[str, str]


@dataclass
class TokenService:
    """Counts what it is asked; gives tokens t1, t2, … unless ``answer`` says otherwise."""

    lifetime: Any = 300
    answer: Callable[[Asked], tuple[int, dict[str, Any]] | None] = lambda _: None
    gate: anyio.Event | None = None
    asked: list[Asked] = field(default_factory=list)

    async def __call__(self, request: Request) -> Answer:
        assert isinstance(request.body, bytes)
        form = dict(parse_qsl(request.body.decode()))
        one = Asked(request.method, request.url, request.headers.get("Authorization"), form)
        self.asked.append(one)
        number = len(self.asked)
        await anyio.sleep(0.001)
        status, reply = self.answer(one) or (200, {"token": f"t{number}", "expires_in": self.lifetime})
        return Answer(request, status, {}, json.dumps(reply).encode())


def refuse(challenge: str) -> Answer:
    return Answer(Request(method="GET", url="https://registry.example/v2/"), 401, {"www-authenticate": challenge}, b"")


def challenged(login: Login | None = PASSWORD, *, realm: str = "https://auth.example/token", **more: str) -> Authorizer:
    authorizer = Authorizer(login, registry="registry.example", tls_verify=True)
    challenge(authorizer, realm=realm, **more)
    return authorizer


def challenge(authorizer: Authorizer, used: str | None = None, *, scope: str = SCOPE, **parameters: str) -> bool:
    parameters = {"realm": "https://auth.example/token", "service": "registry", **parameters}
    words = ",".join(f'{name}="{value}"' for name, value in parameters.items())
    return authorizer.learn(refuse(f"Bearer {words}"), scope, used)
