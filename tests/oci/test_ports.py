"""The port of a registry: a number that a server can have."""

from __future__ import annotations

import pytest

import ocipush
from ocipush.errors import InvalidReferenceError


@pytest.mark.parametrize("port", [0, 65536, 99999])
@pytest.mark.parametrize("host", ["registry.example", "[::1]", "localhost", "10.0.0.1"])
def test_invalid_port_is_refused(host: str, port: int) -> None:
    with pytest.raises(InvalidReferenceError, match=f"port {port} is not between 1 and 65535"):
        ocipush.Reference.parse(f"{host}:{port}/app:1")


@pytest.mark.parametrize("port", [1, 443, 65535])
@pytest.mark.parametrize("host", ["registry.example", "[::1]", "localhost", "10.0.0.1"])
def test_valid_port_is_kept(host: str, port: int) -> None:
    assert ocipush.Reference.parse(f"{host}:{port}/app:1").registry == f"{host}:{port}"
