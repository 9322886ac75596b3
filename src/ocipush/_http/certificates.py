"""The certificates that files hold: authorities to trust, and the client's own. A bad file is told before any request."""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NoReturn

from ..errors import OcipushError
from .tls import Context

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_HINT: Final = "certificates and keys are read from PEM files"
_HUB_DIRECTORIES: Final = ("registry-1.docker.io", "index.docker.io", "docker.io")


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """Files with certificates, beside the system's.

    Attributes:
        ca_file: certificate authorities: a PEM file, or a directory of such files.
        cert: the client's certificate, PEM, with those of its issuers.
        key: its private key; None: in the same file.
        directory: what Docker keeps in ``certs.d/HOST:PORT``: authorities in ``*.crt``, certificates in ``*.cert``, and
            their keys in ``*.key``.
    """

    ca_file: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    directory: Path | None = None

    def context(self, *, verify: bool) -> Context:
        """TLS settings with all of them. It reads files: call it in a worker thread.

        Raises:
            OcipushError: a file cannot be read or used; it says which one.
        """
        context = Context(verify=verify)
        if self.ca_file is not None:
            files = _in(self.ca_file, "crt", "pem") if self.ca_file.is_dir() else [self.ca_file]
            if not files:
                raise OcipushError(
                    f"the directory {self.ca_file} has no certificates",
                    hint="ca_file= takes a PEM file, or a directory of files *.crt or *.pem",
                )
            _trust(context, files)
        if self.cert is not None:
            _present(context, self.cert, self.key)
        if self.directory is not None:
            _trust(context, _in(self.directory, "crt"))
            for cert, key in _pairs(self.directory):
                _present(context, cert, key)
        return context


def directory_for(cert_dir: Path, registry: str) -> Path | None:
    """The directory of a registry's certificates: ``HOST:PORT`` in ``cert_dir``, or ``cert_dir`` if it has files itself."""
    names = (registry, *_HUB_DIRECTORIES) if registry in _HUB_DIRECTORIES else (registry,)
    for name in names:
        if (found := cert_dir / name).is_dir():
            return found
    if not cert_dir.is_dir():
        raise OcipushError(
            f"{cert_dir} is not a directory",
            hint="cert_dir= takes a directory such as /etc/docker/certs.d",
        )
    return cert_dir if _in(cert_dir, "crt", "cert", "key") else None


def _in(directory: Path, *suffixes: str) -> list[Path]:
    try:
        found = sorted(directory.iterdir())
    except OSError as exc:
        raise OcipushError(f"{directory} cannot be read: {exc.strerror}") from exc
    return [path for path in found if path.suffix.removeprefix(".") in suffixes]


def _pairs(directory: Path) -> list[tuple[Path, Path]]:
    certs, keys = _in(directory, "cert"), set(_in(directory, "key"))
    for cert in certs:
        if (key := cert.with_suffix(".key")) not in keys:
            raise OcipushError(f"{cert} has no key {key.name}", hint="a certificate authority is a file *.crt")
    for key in sorted(keys):
        if (cert := key.with_suffix(".cert")) not in certs:
            raise OcipushError(f"{key} has no certificate {cert.name}")
    return [(cert, cert.with_suffix(".key")) for cert in certs]


def _trust(context: ssl.SSLContext, files: Sequence[Path]) -> None:
    for file in files:
        _check_file(file, "the CA file")
        try:
            context.load_verify_locations(file)
        except (OSError, ssl.SSLError) as exc:
            raise OcipushError(f"the CA file {file} cannot be used: {exc}", hint=_HINT) from exc


def _present(context: ssl.SSLContext, cert: Path, key: Path | None) -> None:
    _check_file(cert, "the client certificate")
    if key is not None:
        _check_file(key, "the key")
    where = f"the key {key}" if key is not None else f"the key in {cert}"
    try:
        context.load_cert_chain(cert, key, password=_refuse)
    except _EncryptedKeyError:
        hint = "decrypt it with `openssl pkey`, into a file that only you can read"
        raise OcipushError(f"{where} is encrypted", hint=hint) from None
    except ssl.SSLError as exc:
        reason = exc.reason or ""
        if reason == "KEY_VALUES_MISMATCH":
            raise OcipushError(f"{where} does not belong to the client certificate {cert}") from exc
        both = f"the client certificate {cert}{f' or its key {key}' if key is not None else ' and its key'}"
        raise OcipushError(
            f"{both} cannot be used: {reason or 'not PEM'}",
            hint="both must be PEM: the certificate with those of its issuers, and the private key",
        ) from exc


class _EncryptedKeyError(Exception):
    """A key has a password."""


def _refuse() -> NoReturn:
    raise _EncryptedKeyError


def _check_file(path: Path, what: str) -> None:
    """Fail for what OpenSSL would not name, and for a FIFO, which it would wait for."""
    try:
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | getattr(os, "O_NONBLOCK", 0))):
            regular = path.is_file()
    except OSError as exc:
        raise OcipushError(f"{what} {path} cannot be read: {exc.strerror}", hint=_HINT) from exc
    if not regular:
        raise OcipushError(f"{what} {path} is not a regular file", hint=_HINT)
