from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocipush._http.addresses import AddressPolicy, Privacy, literal, privacy_of
from ocipush.errors import UnsafeLocationError

if TYPE_CHECKING:
    import ipaddress

PUBLIC, PRIVATE, LINK_LOCAL, LOOPBACK = Privacy


@pytest.mark.parametrize(
    ("address", "privacy"),
    [
        ("8.8.8.8", PUBLIC),
        ("2606:4700::1111", PUBLIC),
        ("172.32.0.1", PUBLIC),
        ("100.63.255.255", PUBLIC),
        ("10.0.0.1", PRIVATE),
        ("172.16.0.1", PRIVATE),
        ("172.31.255.255", PRIVATE),
        ("192.168.1.1", PRIVATE),
        ("100.64.0.1", PRIVATE),
        ("100.127.255.255", PRIVATE),
        ("198.18.0.1", PRIVATE),
        ("224.0.0.1", PRIVATE),
        ("255.255.255.255", PRIVATE),
        ("fc00::1", PRIVATE),
        ("fd12:3456::1", PRIVATE),
        ("ff02::1", PRIVATE),
        ("169.254.169.254", LINK_LOCAL),
        ("fe80::1", LINK_LOCAL),
        ("fe80::1%eth0", LINK_LOCAL),
        ("febf::1", LINK_LOCAL),
        ("fd00:ec2::254", LINK_LOCAL),
        ("100.100.100.200", LINK_LOCAL),
        ("127.0.0.1", LOOPBACK),
        ("127.255.255.254", LOOPBACK),
        ("0.0.0.0", LOOPBACK),
        ("0.1.2.3", LOOPBACK),
        ("::", LOOPBACK),
        ("::1", LOOPBACK),
        ("::ffff:8.8.8.8", PUBLIC),
        ("::ffff:127.0.0.1", LOOPBACK),
        ("::ffff:169.254.169.254", LINK_LOCAL),
        ("::127.0.0.1", LOOPBACK),
        ("2002:7f00:1::", LOOPBACK),
        ("2002:a00:1::", PRIVATE),
        ("2002:808:808::", PUBLIC),
        ("64:ff9b::a9fe:a9fe", LINK_LOCAL),
        ("64:ff9b::808:808", PUBLIC),
        ("64:ff9b:1::808:808", PRIVATE),
        ("2001:0:a00:1::", PRIVATE),
    ],
)
def test_address_is_as_private_as_the_most_private_one_inside_it(address: str, privacy: Privacy) -> None:
    assert privacy_of(address) is privacy


@given(st.ip_addresses())
def test_no_address_that_python_calls_local_is_public(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    privacy = privacy_of(str(address))
    if address.is_loopback or address.is_unspecified:
        assert privacy is LOOPBACK
    elif address.is_link_local:
        assert privacy is LINK_LOCAL
    elif address.is_multicast:
        assert privacy > PUBLIC


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("127.1", "127.0.0.1"),
        ("0x7f000001", "127.0.0.1"),
        ("2130706433", "127.0.0.1"),
        ("0177.0.0.1", "127.0.0.1"),
        ("169.254.169.254.", "169.254.169.254"),
        ("[::1]", "::1"),
        ("LOCALHOST", "127.0.0.1"),
        ("a.localhost.", "127.0.0.1"),
        ("registry.example", None),
        ("1.2.3.4.5", None),
        ("räksmörgås.example", None),
        ("", None),
    ],
)
def test_every_spelling_of_an_address_is_recognised(host: str, address: str | None) -> None:
    assert literal(host) == address


def guard(own: str | None, **options: object) -> AddressPolicy:
    made = AddressPolicy("https://registry.example", **options)  # type: ignore[arg-type]
    if own is not None:
        made.note(own)
    return made


OWN = {PUBLIC: "192.0.2.7", PRIVATE: "10.7.7.7", LINK_LOCAL: "169.254.7.7", LOOPBACK: "127.7.7.7"}
ADDRESS = {PUBLIC: "192.0.2.1", PRIVATE: "10.9.9.9", LINK_LOCAL: "169.254.9.9", LOOPBACK: "127.9.9.9"}


@pytest.mark.parametrize("own", [None, *Privacy])
@pytest.mark.parametrize("other", list(Privacy))
def test_registry_may_not_point_to_a_more_private_or_link_local_address(own: Privacy | None, other: Privacy) -> None:
    one = guard(None if own is None else OWN[own])
    allowed = other <= (own or PUBLIC) and other is not LINK_LOCAL
    if allowed:
        assert one.admit("https://other.example/", [ADDRESS[other]]) == [ADDRESS[other]]
        return
    with pytest.raises(UnsafeLocationError, match=str(other)) as caught:
        one.admit("https://other.example:444/x?sig=secret", [ADDRESS[other]])
    assert "allow other.example:444 with allow_hosts=" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_link_local_registry_may_point_to_its_own_address() -> None:
    one = guard("169.254.1.1")
    assert one.admit("https://169.254.1.1:8443/", ["169.254.1.1"])
    with pytest.raises(UnsafeLocationError):
        one.admit("https://169.254.169.254/", ["169.254.169.254"])


def test_registry_with_several_addresses_is_as_private_as_the_most_public_one() -> None:
    one = guard("10.0.0.1")
    one.note("192.0.2.1")
    one.note("127.0.0.1")
    with pytest.raises(UnsafeLocationError):
        one.admit("https://other.example/", ["10.0.0.2"])


def test_only_the_allowed_ones_of_several_addresses_are_used() -> None:
    assert guard("192.0.2.1").admit("https://other.example/", ["10.0.0.1", "192.0.2.2"]) == ["192.0.2.2"]


@pytest.mark.parametrize(
    ("allowed", "url", "ok"),
    [
        ("other.example", "https://other.example/", True),
        ("Other.Example:443", "https://other.example/", True),
        ("other.example:444", "https://other.example:444/", True),
        ("other.example:444", "https://other.example/", False),
        ("other.example", "https://other.example.evil.example/", False),
        ("10.0.0.9", "https://10.0.0.9:8443/", True),
        ("[fd00::9]:443", "https://[fd00::9]/", True),
        ("fd00::9", "https://[fd00::9]/", True),
    ],
)
def test_host_that_the_user_allows_may_have_any_address(allowed: str, url: str, ok: bool) -> None:
    one = guard("192.0.2.1", allow_hosts=[allowed])
    if ok:
        one.check(url)
        assert one.admit(url, ["10.0.0.9"])
    else:
        with pytest.raises(UnsafeLocationError):
            one.admit(url, ["10.0.0.9"])


def test_literal_address_is_checked_without_a_connection() -> None:
    one = guard("192.0.2.1")
    for host in ("10.0.0.1", "localhost", "0x7f.1", "[::ffff:169.254.169.254]"):
        with pytest.raises(UnsafeLocationError):
            one.check(f"https://{host}/")
    one.check("https://other.example/")


def test_privacy_of_a_registry_named_by_its_address_is_known_without_a_connection() -> None:
    AddressPolicy("https://10.0.0.1:5000").check("https://10.0.0.2/")
    AddressPolicy("http://localhost:5000").check("http://127.0.0.1:5001/")
    with pytest.raises(UnsafeLocationError):
        AddressPolicy("https://10.0.0.1:5000").check("https://127.0.0.1/")


def test_plain_http_stays_on_this_machine_unless_it_is_allowed() -> None:
    strict = AddressPolicy("http://127.0.0.1:5000")
    strict.check("http://localhost:5001/")
    for url in ("http://other.example/", "http://10.0.0.1/"):
        with pytest.raises(UnsafeLocationError, match=r"plain HTTP|private"):
            strict.check(url)
    with pytest.raises(UnsafeLocationError):
        strict.admit("http://other.example/", ["192.0.2.1"])
    AddressPolicy("http://127.0.0.1:5000", plain_http=True).check("http://other.example/")


def test_host_that_the_user_allows_still_needs_tls() -> None:
    one = AddressPolicy("http://127.0.0.1:5000", allow_hosts=["other.example"])
    with pytest.raises(UnsafeLocationError, match="plain HTTP"):
        one.check("http://other.example/")
    with pytest.raises(UnsafeLocationError):
        one.admit("http://other.example/", ["10.0.0.1"])
    assert one.admit("https://other.example/", ["169.254.169.254"])


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        ("http://other.example/", "tls_verify=False"),
        ("http://192.0.2.1/", "tls_verify=False"),
        ("http://169.254.169.254/", None),
        ("http://100.100.100.200/", None),
        ("https://169.254.169.254/", "allow 169.254.169.254 with allow_hosts="),
    ],
)
def test_plain_http_is_only_recommended_where_it_would_be_allowed(url: str, hint: str | None) -> None:
    with pytest.raises(UnsafeLocationError) as caught:
        AddressPolicy("http://127.0.0.1:5000").check(url)
    if hint is None:
        assert caught.value.hint is None
    else:
        assert hint in (caught.value.hint or "")


def test_request_to_the_registry_is_unrestricted_unless_it_must_be_this_machine() -> None:
    assert AddressPolicy("https://registry.example").conditions("https://registry.example/v2/") == {}
    assert AddressPolicy("http://registry.example", plain_http=True).conditions("http://registry.example/v2/") == {}
    confined = AddressPolicy("http://a.localhost:5000").conditions("http://a.localhost:5000/v2/")
    assert confined["direct"]
    assert confined["admit"](["127.0.0.1", "10.0.0.1"]) == ["127.0.0.1"]
    named = AddressPolicy("http://registry.example").conditions("http://registry.example/v2/")
    assert named["admit"](["10.0.0.1", "127.0.0.1"]) == ["127.0.0.1"]
    other = AddressPolicy("https://registry.example").conditions("https://other.example/")
    assert other.keys() == {"admit"}
    assert other["admit"](["192.0.2.1", "10.0.0.1"]) == ["192.0.2.1"]


@pytest.mark.parametrize(
    ("url", "own"),
    [
        ("https://registry.example/v2/", True),
        ("https://registry.example.evil.example/", False),
        ("https://registry.example:8443/", False),
        ("https://registry.example./", False),
        ("http://registry.example/", False),
    ],
)
def test_only_the_origin_of_the_registry_is_exempt(url: str, own: bool) -> None:
    assert guard(None).is_own(url) is own
