"""nginx that demands a client certificate, in front of docker-registry."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import trustme
from tests.real.broken import RestartableRegistry, nginx, registry_home, running

import ocipush
from ocipush import errors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.anyio, pytest.mark.real]


class Front:
    """nginx, and directories with what its clients need.

    Attributes:
        certs: like Docker's ``certs.d``.
        strangers: the same with the certificate of an authority that nginx does not know.
    """

    def __init__(self, home: Path) -> None:
        self.host = ""
        self.certs, self.strangers = home / "certs.d", home / "strangers.d"
        self.ca, other = trustme.CA(), trustme.CA()
        server = self.ca.issue_cert("127.0.0.1")
        self.ca.cert_pem.write_to_path(home / "ca.pem")
        server.private_key_pem.write_to_path(home / "server.key")
        server.cert_chain_pems[0].write_to_path(home / "server.pem")
        self.settings = (
            f"ssl_certificate {home / 'server.pem'};",
            f"ssl_certificate_key {home / 'server.key'};",
            f"ssl_client_certificate {home / 'ca.pem'};",
            "ssl_verify_client on;",
        )
        self._issuers = {self.certs: self.ca, self.strangers: other}

    def serve(self, host: str) -> None:
        """Write the certificates for the clients of this host."""
        self.host = host
        for certs, issuer in self._issuers.items():
            directory = certs / host
            directory.mkdir(parents=True)
            issued = issuer.issue_cert("client@example.org")
            self.ca.cert_pem.write_to_path(directory / "ca.crt")
            issued.cert_chain_pems[0].write_to_path(directory / "client.cert")
            issued.private_key_pem.write_to_path(directory / "client.key")


@pytest.fixture
def front() -> Iterator[Front]:
    with registry_home() as home:
        made, registry = Front(home), RestartableRegistry(home)
        location = ("proxy_set_header X-Forwarded-Proto https;", "client_max_body_size 0;")
        with running(registry), nginx(home / "nginx", registry.host, *location, tls=made.settings) as host:
            made.serve(host)
            yield made


async def test_push_with_docker_and_podmans_directory_arrives_and_skopeo_reads_it(
    front: Front, store: Path, tmp_path: Path
) -> None:
    target = f"{front.host}/team/app:v1"
    options: dict[str, Any] = {"store": store, "target": target, "authfile": tmp_path / "none"}
    result = await ocipush.push("umoci", cert_dir=front.certs, **options)
    command = ["skopeo", "inspect", f"--cert-dir={front.certs / front.host}", "--format", "{{.Digest}}"]
    run = subprocess.run([*command, f"docker://{target}"], capture_output=True, text=True, check=False)
    assert run.stdout.strip() == result.digest, run.stderr
    directory = front.certs / front.host
    files: dict[str, Any] = {
        "ca_file": directory / "ca.crt",
        "cert": directory / "client.cert",
        "key": directory / "client.key",
    }
    assert (await ocipush.push("umoci", **files, **options)).unchanged


@pytest.mark.parametrize("kind", ["none", "stranger"])
async def test_error_says_that_a_client_certificate_is_required(
    front: Front, store: Path, tmp_path: Path, kind: str
) -> None:
    ca_file = front.certs / front.host / "ca.crt"
    options: dict[str, Any] = {"cert_dir": front.strangers} if kind == "stranger" else {"ca_file": ca_file}
    with pytest.raises(errors.OcipushError) as caught:
        await ocipush.push(
            "umoci", store=store, target=f"{front.host}/team/app:v1", authfile=tmp_path / "none", **options
        )
    assert "SSL certificate" in caught.value.message
    assert "pass one with cert= and key=" in (caught.value.hint or "")
