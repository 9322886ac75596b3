from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from ocipush._http.tls import Context

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def settings(context: ssl.SSLContext) -> dict[str, object]:
    names = ("check_hostname", "verify_mode", "verify_flags", "options", "minimum_version", "keylog_filename")
    return {name: getattr(context, name) for name in names}


def test_context_is_the_standard_one_but_for_the_authorities(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys"))
    context, standard = Context(), ssl.create_default_context()
    assert settings(context) == settings(standard)
    assert context.cert_store_stats()["x509"] == 0
    assert context.lacks_authorities
    context.load_authorities()
    assert context.cert_store_stats() == standard.cert_store_stats()
    assert not context.lacks_authorities


def test_context_that_verifies_nothing_needs_no_authorities() -> None:
    context = Context(verify=False)
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_NONE, False)
    assert not context.lacks_authorities
