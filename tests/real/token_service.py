"""A token service as the distribution project specifies it ("Docker Registry v2 authentication"), for docker-registry.

It runs in a thread, speaks TLS, and signs JSON web tokens that docker-registry accepts because its certificate is one of
the bundle that docker-registry was given. Tests read what it was asked and what it issued.
"""

from __future__ import annotations

import base64
import json
import ssl
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    import trustme

LEEWAY = 60  # seconds that docker-registry accepts a token after it has expired


def _base64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


@dataclass
class TokenService:
    """What it grants, and to whom; a test may change it at any moment.

    Attributes:
        users: passwords by user name.
        anonymous: the actions that are granted without a login.
        lifetime: whole seconds that docker-registry accepts a token for, less up to one.
        promised: the lifetime in its answer, ``expires_in``.
        withheld: how many of the next tokens lack the right to push.
        queries: the query of each request.
        tokens: each token that was issued, and what it grants.
    """

    certificate: trustme.LeafCert
    users: Mapping[str, str]
    anonymous: tuple[str, ...] = ()
    lifetime: int = 300
    promised: int = 300
    withheld: int = 0
    name: str = "registry of the tests"
    realm: str = ""
    queries: list[dict[str, list[str]]] = field(default_factory=list[dict[str, list[str]]])
    tokens: list[tuple[str, dict[str, Any]]] = field(default_factory=list[tuple[str, dict[str, Any]]])

    def issue(self, user: str, scopes: list[str]) -> str:
        """Sign a token for ``user``; an empty one is anonymous."""
        access: list[dict[str, Any]] = []
        for scope in " ".join(scopes).split():
            kind, _, rest = scope.partition(":")
            name, _, asked = rest.rpartition(":")
            granted = [action for action in asked.split(",") if user or action in self.anonymous]
            if self.withheld and "push" in granted:
                granted.remove("push")
            access.append({"type": kind, "name": name, "actions": granted})
        self.withheld = max(0, self.withheld - 1)
        now = int(time.time())
        claims = {
            "iss": self.name,
            "sub": user,
            "aud": self.name,
            "exp": now + self.lifetime - LEEWAY,
            "nbf": now - 10,
            "iat": now,
            "jti": str(len(self.tokens)),
            "access": access,
        }
        der = ssl.PEM_cert_to_DER_cert(self.certificate.cert_chain_pems[0].bytes().decode())
        header = {"typ": "JWT", "alg": "ES256", "x5c": [base64.b64encode(der).decode()]}
        signed = f"{_base64(json.dumps(header).encode())}.{_base64(json.dumps(claims).encode())}"
        key = serialization.load_pem_private_key(self.certificate.private_key_pem.bytes(), password=None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        r, s = utils.decode_dss_signature(key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        token = f"{signed}.{_base64(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"
        self.tokens.append((token, claims))
        return token

    def user_of(self, authorization: str | None) -> str | None:
        """Who asks; empty without a login, None where the login is wrong."""
        if authorization is None:
            return ""
        name, _, password = base64.b64decode(authorization.removeprefix("Basic ")).decode().partition(":")
        return name if self.users.get(name) == password else None

    @contextmanager
    def running(self) -> Generator[TokenService]:
        """Serve on a free port of this machine; ``realm`` is its URL."""
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                query = parse_qs(urlsplit(self.path).query)
                service.queries.append(query)
                user = service.user_of(self.headers["Authorization"])
                if user is None:
                    self._answer(401, {"errors": [{"code": "UNAUTHORIZED", "message": "wrong user or password"}]})
                else:
                    token = service.issue(user, query.get("scope", []))
                    self._answer(200, {"token": token, "expires_in": service.promised})

            def _answer(self, status: int, content: dict[str, Any]) -> None:
                body = json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
                """Stay quiet."""

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.certificate.configure_cert(context)
            server.socket = context.wrap_socket(server.socket, server_side=True)
            self.realm = f"https://127.0.0.1:{server.server_port}/token"
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
            thread.start()
            try:
                yield self
            finally:
                server.shutdown()
                thread.join()
