"""The clouds' metadata services, which hand out logins to whoever can ask: no registry may point there."""

from __future__ import annotations

import pytest

from ocipush._http.addresses import AddressPolicy, Privacy, privacy_of
from ocipush.errors import UnsafeLocationError

SERVICES = {
    "AWS, Azure, Google and most others": "169.254.169.254",
    "AWS, IPv6": "fd00:ec2::254",
    "Google, IPv6": "fd20:ce::254",
    "Alibaba": "100.100.100.200",
    "Azure's wire server": "168.63.129.16",
    "Azure's wire server, mapped": "::ffff:168.63.129.16",
}
OWN = {
    "unknown": None,
    "public": "192.0.2.1",
    "private": "10.0.0.1",
    "private, IPv6": "fd20:ce::1",
    "this machine": "127.0.0.1",
}


@pytest.mark.parametrize("service", SERVICES.values(), ids=SERVICES)
@pytest.mark.parametrize("own", OWN.values(), ids=OWN)
def test_no_registry_may_point_to_a_metadata_service(own: str | None, service: str) -> None:
    policy = AddressPolicy("https://registry.example")
    if own is not None:
        policy.note(own)
    host = f"[{service}]" if ":" in service else service
    with pytest.raises(UnsafeLocationError):
        policy.check(f"https://{host}/latest")  # spelt out
    with pytest.raises(UnsafeLocationError):
        policy.admit("https://other.example/latest", [service])  # as a name resolves to it


@pytest.mark.parametrize("service", SERVICES.values(), ids=SERVICES)
def test_metadata_service_is_as_private_as_a_link_local_address(service: str) -> None:
    assert privacy_of(service) is Privacy.LINK_LOCAL


@pytest.mark.parametrize("neighbour", ["168.63.129.15", "168.63.129.17", "168.63.128.16"])
def test_addresses_next_to_a_metadata_service_are_public(neighbour: str) -> None:
    assert privacy_of(neighbour) is Privacy.PUBLIC


@pytest.mark.parametrize("neighbour", ["fd20:ce::253", "fd20:ce::255", "100.100.100.201"])
def test_addresses_next_to_a_metadata_service_are_private(neighbour: str) -> None:
    assert privacy_of(neighbour) is Privacy.PRIVATE
