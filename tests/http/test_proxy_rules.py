from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import httpx
import pytest

from ocipush._http.proxy import Proxy, ProxyFailedError, ProxyRules

if TYPE_CHECKING:
    from collections.abc import Mapping

PROXY = "http://proxy.example:3128"


def proxy_for(url: str, *direct: str, **proxies: str) -> str | None:
    rules = ProxyRules(proxies or {"all": PROXY}, direct)
    found = rules.proxy_for(httpx.URL(url))
    return str(found) if found else None


@pytest.mark.parametrize(
    ("environment", "url", "proxy"),
    [
        ({}, "https://r.example/", None),
        ({"HTTPS_PROXY": PROXY}, "https://r.example/", "proxy.example:3128"),
        ({"HTTPS_PROXY": PROXY}, "http://r.example/", None),
        ({"https_proxy": PROXY}, "https://r.example/", "proxy.example:3128"),
        ({"HTTP_PROXY": PROXY}, "http://r.example/", "proxy.example:3128"),
        ({"HTTP_PROXY": PROXY}, "https://r.example/", None),
        ({"http_proxy": PROXY}, "http://r.example/", "proxy.example:3128"),
        ({"ALL_PROXY": PROXY}, "http://r.example/", "proxy.example:3128"),
        ({"all_proxy": PROXY}, "https://r.example/", "proxy.example:3128"),
        ({"ALL_PROXY": PROXY, "HTTPS_PROXY": "http://other.example"}, "https://r.example/", "other.example:80"),
        ({"HTTPS_PROXY": PROXY, "https_proxy": "http://other.example"}, "https://r.example/", "other.example:80"),
        ({"HTTPS_PROXY": ""}, "https://r.example/", None),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "r.example"}, "https://r.example/", None),
        ({"HTTPS_PROXY": PROXY, "no_proxy": "a.example, R.Example"}, "https://r.example/", None),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "a.example b.example"}, "https://b.example/", None),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "*"}, "https://r.example/", None),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": ""}, "https://r.example/", "proxy.example:3128"),
    ],
)
def test_environment_names_the_proxies(
    environment: Mapping[str, str], url: str, proxy: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    found = ProxyRules.from_environment().proxy_for(httpx.URL(url))
    assert (str(found) if found else None) == proxy


@pytest.mark.parametrize(
    ("entry", "url", "covered"),
    [
        ("*", "https://r.example/", True),
        ("r.example", "https://r.example/", True),
        ("r.example", "https://r.example./", True),
        ("r.example", "https://a.r.example/", True),
        ("r.example", "https://ar.example/", False),
        ("r.example", "https://r.example.evil.example/", False),
        (".r.example", "https://a.b.r.example/", True),
        (".r.example", "https://ar.example/", False),
        ("*.r.example", "https://a.r.example/", True),
        ("*.r.example", "https://ar.example/", False),
        ("r.example.", "https://r.example/", True),
        (".", "https://r.example/", False),
        ("", "https://r.example/", False),
        ("r.example:5000", "https://r.example:5000/", True),
        ("r.example:5000", "https://r.example/", False),
        ("r.example:443", "https://r.example/", True),
        ("r.example:80", "http://r.example/", True),
        ("r.example:80", "https://r.example/", False),
        ("r.example:x", "https://r.example/", False),
        ("10.1.2.3", "https://10.1.2.3/", True),
        ("10.1.2.3", "https://10.1.2.33/", False),
        ("10.1.2.3:5000", "https://10.1.2.3:5000/", True),
        ("10.1.2.3:5000", "https://10.1.2.3:5001/", False),
        ("1.2.3", "https://9.1.2.3/", False),
        ("10.0.0.0/8", "https://10.200.0.1:5000/", True),
        ("10.0.0.0/8", "https://11.0.0.1/", False),
        ("10.0.0.1/8", "https://10.9.9.9/", True),
        ("10.0.0.0/8", "https://r.example/", False),
        ("fd00::/8", "https://[fd12::1]/", True),
        ("fd00::/8", "https://[fe80::1]/", False),
        ("fd12::1", "https://[fd12:0::1]/", True),
        ("[fd12::1]", "https://[fd12::1]/", True),
        ("[fd12::1]:5000", "https://[fd12::1]:5000/", True),
        ("[fd12::1]:5000", "https://[fd12::1]/", False),
        ("10.0.0.0/8", "https://[::ffff:10.0.0.1]/", True),
    ],
)
def test_no_proxy_covers_names_with_their_subdomains_addresses_networks_and_ports(
    entry: str, url: str, covered: bool
) -> None:
    assert (proxy_for(url, "other.example", entry) is None) == covered


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:5000", "127.0.0.1", "127.9.9.9:5000", "[::1]", "[::1]:5000", "[::ffff:127.0.0.1]"]
)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_loopback_never_uses_a_proxy(scheme: str, host: str) -> None:
    assert proxy_for(f"{scheme}://{host}/") is None


@pytest.mark.parametrize("host", ["0.0.0.0", "localhost.example", "128.0.0.1", "[::2]"])
def test_name_that_only_resembles_loopback_uses_the_proxy(host: str) -> None:
    assert proxy_for(f"https://{host}/") == "proxy.example:3128"


@pytest.mark.parametrize(
    ("url", "scheme", "shown"),
    [
        ("http://proxy.example:3128", "http", "proxy.example:3128"),
        ("http://proxy.example:3128/", "http", "proxy.example:3128"),
        ("proxy.example:3128", "http", "proxy.example:3128"),
        ("http://proxy.example", "http", "proxy.example:80"),
        ("https://proxy.example", "https", "proxy.example:443"),
        ("HTTP://Proxy.Example", "http", "proxy.example:80"),
        ("http://[fd00::1]:3128", "http", "[fd00::1]:3128"),
        ("http://bücher.example", "http", "xn--bcher-kva.example:80"),
        ("socks5://proxy.example", "socks5", "proxy.example:1080"),
        ("socks5h://user:secret@proxy.example:1081", "socks5h", "proxy.example:1081"),
    ],
)
def test_url_of_a_proxy_is_read(url: str, scheme: str, shown: str) -> None:
    proxy = Proxy.parse(url)
    assert (proxy.scheme, str(proxy)) == (scheme, shown)
    assert proxy.is_socks == scheme.startswith("socks")


@pytest.mark.parametrize(
    ("login", "sent"),
    [
        ("user:secret", "user:secret"),
        ("user:", "user:"),
        ("user", "user:"),
        (":secret", ":secret"),
        ("us%40er:p%2Fa%3As%25s", "us@er:p/a:s%s"),
        ("user:p:q", "user:p:q"),
        ("user:p@ss", "user:p@ss"),
        ("us%C3%A9r:p%C3%A4ss", "usér:päss"),
    ],
)
def test_login_of_a_proxy_is_percent_decoded_and_sent_as_basic(login: str, sent: str) -> None:
    proxy = Proxy.parse(f"http://{login}@proxy.example:3128")
    [(name, value)] = proxy.headers
    assert name == b"Proxy-Authorization"
    assert value == b"Basic " + base64.b64encode(sent.encode())
    assert str(proxy) == "proxy.example:3128"


def test_proxy_without_a_login_gets_no_header() -> None:
    assert Proxy.parse("http://proxy.example").headers == []


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://user:top/secret@proxy.example:3128", "percent-encoded"),
        ("http://user:9/secret@proxy.example:3128", "percent-encoded"),
        ("http://user:top?secret@proxy.example:3128", "percent-encoded"),
        ("http://user:9?secret@proxy.example:3128", "percent-encoded"),
        ("http://user:9#secret@proxy.example:3128", "percent-encoded"),
        ("http://user:secret@", "percent-encoded"),
        ("http://", "percent-encoded"),
        ("http://user:secret@proxy.example:port", "percent-encoded"),
        ("http://user:secret@proxy.example:99999", "port"),
        ("http://user:secret@proxy.example:0", "port"),
        ("ftp://user:secret@proxy.example", "must begin with http://, https://, socks5://"),
        ("socks4://user:secret@proxy.example", "must begin with http://, https://, socks5://"),
    ],
)
def test_invalid_url_of_a_proxy_is_an_error_that_does_not_quote_it(url: str, words: str) -> None:
    with pytest.raises(ProxyFailedError, match=words) as caught:
        Proxy.parse(url)
    assert "secret" not in str(caught.value)
    assert not caught.value.temporary


def test_no_repr_shows_the_password_of_a_proxy() -> None:
    url = "http://user:secret@proxy.example"
    basic = base64.b64encode(b"user:secret").decode()
    shown = repr(Proxy.parse(url)) + repr(ProxyRules({"all": url}, ("a.example",)))
    assert "secret" not in shown
    assert basic not in shown
    assert "a.example" in shown
