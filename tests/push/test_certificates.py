"""Certificates from files: authorities to trust, the client's own, and directories like Docker's ``certs.d``."""

from __future__ import annotations

import datetime as dt
import os
import shutil
import ssl
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trustme
from tests import layouts

import ocipush
from ocipush import errors
from ocipush.testing import BasicAuth, Registry

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed"),
]


class Authority:
    """An authority, a registry that has a certificate of it, and what clients need, as files.

    Attributes:
        ca: the authority's certificate.
        cert, key: a client's.
    """

    def __init__(self, home: Path) -> None:
        home.mkdir()
        self.home = home
        self.authority = trustme.CA()
        self.ca, self.cert, self.key = home / "ca.crt", home / "client.cert", home / "client.key"
        self.authority.cert_pem.write_to_path(self.ca)
        issued = self.authority.issue_cert("someone@example.org")
        issued.private_key_pem.write_to_path(self.key)
        issued.cert_chain_pems[0].write_to_path(self.cert)

    def context(self, *names: str, demands: bool = False, **options: Any) -> ssl.SSLContext:
        """The settings of a server."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.authority.issue_cert(*(names or ("127.0.0.1",)), **options).configure_cert(context)
        if demands:
            self.authority.configure_trust(context)
            context.verify_mode = ssl.CERT_REQUIRED
        return context


@pytest.fixture
def ours(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ours")


@pytest.fixture
def image(tmp_path: Path) -> Path:
    directory = tmp_path / "store" / "app"
    layouts.write_layout(directory, [layouts.add_manifest(directory, [b"layer"])])
    return directory


async def push(image: Path, registry: Registry, **options: Any) -> None:
    options = {"authfile": image / "none", "retry": ocipush.RetryPolicy(attempts=1), **options}
    result = await ocipush.push(image, target=f"{registry.host}/app:1", **options)
    assert registry.repository("app").tags == {"1": result.digest}


@pytest.mark.parametrize("form", ["two files", "one file"])
async def test_client_certificate_is_presented_to_a_registry_that_demands_one(
    image: Path, ours: Authority, form: str
) -> None:
    options = {"cert": ours.cert, "key": ours.key}
    if form == "one file":
        both = ours.home / "both.pem"
        both.write_text(ours.cert.read_text() + ours.key.read_text())
        options = {"cert": both}
    async with Registry(ssl_context=ours.context(demands=True)) as registry:
        await push(image, registry, ca_file=ours.ca, **options)


async def test_client_certificate_is_presented_without_verification_too(image: Path, ours: Authority) -> None:
    async with Registry(ssl_context=ours.context(demands=True)) as registry:
        await push(image, registry, tls_verify=False, cert=ours.cert, key=ours.key)


@pytest.mark.parametrize("layout", ["HOST:PORT", "itself"])
async def test_authority_and_certificate_are_read_from_a_directory_like_those_of_docker_and_podman(
    image: Path, tmp_path: Path, ours: Authority, layout: str
) -> None:
    async with Registry(ssl_context=ours.context(demands=True)) as registry:
        certs = tmp_path / "certs.d"
        directory = certs / registry.host if layout == "HOST:PORT" else certs
        directory.parent.mkdir(exist_ok=True)
        ours.home.rename(directory)
        await push(image, registry, cert_dir=certs)


async def test_each_registry_of_one_pusher_gets_its_own_certificates_only(
    image: Path, tmp_path: Path, ours: Authority
) -> None:
    theirs, certs = Authority(tmp_path / "theirs"), tmp_path / "certs.d"
    certs.mkdir()
    async with (
        Registry(ssl_context=ours.context(demands=True)) as first,
        Registry(ssl_context=theirs.context(demands=True)) as second,
        Registry(ssl_context=theirs.context()) as third,
        ocipush.Pusher(cert_dir=certs, authfile=tmp_path / "none", retry=ocipush.RetryPolicy(attempts=1)) as pusher,
    ):
        ours.home.rename(certs / first.host)
        theirs.home.rename(certs / second.host)
        for registry in (first, second):
            await pusher.push(image, target=f"{registry.host}/app:1")
        with pytest.raises(errors.TLSVerificationError):
            await pusher.push(image, target=f"{third.host}/app:1")
        assert third.requests == []


async def test_directory_of_authorities_is_trusted(image: Path, tmp_path: Path, ours: Authority) -> None:
    Authority(tmp_path / "theirs").ca.rename(ours.home / "another.pem")
    async with Registry(ssl_context=ours.context()) as registry:
        await push(image, registry, ca_file=ours.home)


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
async def test_variables_of_openssl_name_authorities(
    image: Path, ours: Authority, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    if variable == "SSL_CERT_DIR":
        subprocess.run(["openssl", "rehash", str(ours.home)], check=True, capture_output=True)
    monkeypatch.setenv(variable, str(ours.ca if variable == "SSL_CERT_FILE" else ours.home))
    async with Registry(ssl_context=ours.context()) as registry:
        await push(image, registry)


async def test_login_check_uses_the_certificate_too(ours: Authority) -> None:
    auth = BasicAuth({"user": "password"})
    async with (
        Registry(ssl_context=ours.context(demands=True), auth=auth) as registry,
        ocipush.Pusher(ca_file=ours.ca, cert=ours.cert, key=ours.key) as pusher,
    ):
        await pusher.check_login(registry.host, ocipush.Login("user", "password"))


def encrypted(ours: Authority) -> dict[str, Any]:
    key = ours.home / "encrypted.key"
    command = ["openssl", "pkcs8", "-topk8", "-in", str(ours.key), "-out", str(key), "-passout", "pass:secret"]
    subprocess.run(command, check=True, capture_output=True)
    return {"cert": ours.cert, "key": key}


def mismatched(ours: Authority) -> dict[str, Any]:
    other = ours.home / "other.key"
    ours.authority.issue_cert("other@example.org").private_key_pem.write_to_path(other)
    return {"cert": ours.cert, "key": other}


def written(name: str, text: str = "") -> Any:
    def write(ours: Authority) -> dict[str, Any]:
        (ours.home / name).write_text(text)
        return {"cert_dir": ours.home}

    return write


def fifo(ours: Authority) -> dict[str, Any]:
    os.mkfifo(ours.home / "fifo")
    return {"cert": ours.home / "fifo"}


UNUSABLE: dict[str, tuple[Callable[[Authority], dict[str, Any]], str]] = {
    "no certificate": (lambda ours: {"cert": ours.home / "none", "key": ours.key}, "the client certificate /none cannot be read: No such file"),
    "no key": (lambda ours: {"cert": ours.cert, "key": ours.home / "none"}, "the key /none cannot be read: No such file"),
    "directory": (lambda ours: {"cert": ours.home, "key": ours.key}, "the client certificate  cannot be read: Is a directory"),
    "fifo": (fifo, "the client certificate /fifo is not a regular file"),
    "another's key": (mismatched, "the key /other.key does not belong to the client certificate /client.cert"),
    "encrypted key": (encrypted, "the key /encrypted.key is encrypted"),
    "key for certificate": (lambda ours: {"cert": ours.key, "key": ours.key}, "the client certificate /client.key or its key /client.key cannot be used"),
    "certificate for key": (lambda ours: {"cert": ours.cert, "key": ours.cert}, "the client certificate /client.cert or its key /client.cert cannot be used"),
    "no key inside": (lambda ours: {"cert": ours.cert}, "the client certificate /client.cert and its key cannot be used"),
    "certificate without key": (written("more.cert"), "/more.cert has no key more.key"),
    "key without certificate": (written("more.key"), "/more.key has no certificate more.cert"),
    "authority that is none": (written("more.crt", "none"), "the CA file /more.crt cannot be used"),
    "no such directory": (lambda ours: {"cert_dir": ours.home / "none"}, "/none is not a directory"),
    "directory without authorities": (lambda ours: {"ca_file": ours.home.parent / "store"}, "/../store has no certificates"),
}  # fmt: skip


@pytest.mark.parametrize("name", UNUSABLE)
async def test_unusable_file_is_an_error_before_the_first_request(image: Path, ours: Authority, name: str) -> None:
    make, words = UNUSABLE[name]
    async with Registry(ssl_context=ours.context()) as registry:
        with pytest.raises(errors.OcipushError) as caught:
            await push(image, registry, **{"ca_file": ours.ca, **make(ours)})
        assert registry.connections == 0
    message = caught.value.message.replace(f"{ours.home.parent}/store", "/../store")
    assert words in message.replace(str(ours.home), "")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"key": "key.pem"}, "key must not be given without cert"),
        ({"ssl_context": ssl.create_default_context(), "cert": "c.pem"}, "ssl_context must not be given with cert"),
        ({"ssl_context": ssl.create_default_context(), "cert_dir": "d"}, "ssl_context must not be given with cert"),
    ],
)
def test_options_that_exclude_each_other_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ocipush.Pusher(**options)


NOW = dt.datetime.now(dt.UTC)
DAY = dt.timedelta(days=1)


async def refusal(image: Path, registry: Registry, **options: Any) -> errors.TransportError:
    with pytest.raises(errors.TransportError) as caught:
        await push(image, registry, **options)
    assert registry.requests == []
    return caught.value


@pytest.mark.parametrize(
    ("issued", "trusted", "words", "hint"),
    [
        ({"not_before": NOW - 2 * DAY, "not_after": NOW - DAY}, True, "certificate has expired", "it has expired"),
        ({"not_before": NOW + DAY, "not_after": NOW + 2 * DAY}, True, "not yet valid", "is this machine's clock right"),
        ({"names": ["registry.example"]}, True, "IP address mismatch", "use a name that the certificate contains"),
        ({}, False, "unable to get local issuer certificate", "name its CA with ca_file="),
    ],
    ids=["expired", "not yet valid", "wrong host", "unknown CA"],
)
async def test_hint_says_what_to_do_about_an_untrusted_certificate(
    image: Path, ours: Authority, issued: dict[str, Any], trusted: bool, words: str, hint: str
) -> None:
    dates = {name: value for name, value in issued.items() if name != "names"}
    async with Registry(ssl_context=ours.context(*issued.get("names", ()), **dates)) as registry:
        error = await refusal(image, registry, **({"ca_file": ours.ca} if trusted else {}))
    assert isinstance(error, errors.TLSVerificationError)
    assert words in error.message
    assert hint in (error.hint or "")


@contextmanager
def openssl(ours: Authority, *options: str) -> Generator[str]:
    """OpenSSL's own server, which sends the alerts that real servers send; its host and port."""
    issued = ours.authority.issue_cert("127.0.0.1")
    issued.private_key_and_cert_chain_pem.write_to_path(ours.home / "server.pem")
    command = ["openssl", "s_server", "-accept", "127.0.0.1:0", "-cert", str(ours.home / "server.pem"), *options]
    command += ["-naccept", "9", "-www"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield next(line.split()[1] for line in process.stdout if line.startswith("ACCEPT "))
        finally:
            process.kill()


async def alert(image: Path, host: str, **options: Any) -> errors.TransportError:
    with pytest.raises(errors.TransportError) as caught:
        await ocipush.push(
            image,
            target=f"{host}/app:1",
            authfile=image / "none",
            retry=ocipush.RetryPolicy(attempts=1),
            **options,
        )
    return caught.value


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
@pytest.mark.parametrize("presents", ["nothing", "a stranger's"])
async def test_hint_names_the_option_for_a_required_client_certificate(
    image: Path, tmp_path: Path, ours: Authority, version: str, presents: str
) -> None:
    stranger = Authority(tmp_path / "stranger")
    options = {"cert": stranger.cert, "key": stranger.key} if presents != "nothing" else {}
    with openssl(ours, version, "-Verify", "1", "-verify_return_error", "-CAfile", str(ours.ca)) as host:
        error = await alert(image, host, ca_file=ours.ca, **options)
    assert "TLS failed" in error.message
    assert "client certificate" in (error.hint or "")
    assert "cert=" in (error.hint or "")


async def test_hint_names_the_tls_versions_for_an_old_registry(image: Path, ours: Authority) -> None:
    with openssl(ours, "-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0") as host:
        error = await alert(image, host, ca_file=ours.ca)
    assert "the server supports no TLS version that is allowed here" in error.message
    assert "TLS 1.2 or later" in (error.hint or "")
