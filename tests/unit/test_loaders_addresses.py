"""Which addresses and which forms of a URL are refused."""

import ipaddress

import pytest

from pipeline.errors import ConfigurationError, RowError
from pipeline.loaders import Loader, LoadOptions
from pipeline.loaders.addresses import check_host, parse_networks, why_refused
from pipeline.loaders.urls import parse_url


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("0.0.0.0", "this network"),
        ("0.1.2.3", "this network"),
        ("10.1.2.3", "private"),
        ("100.64.0.1", "CGNAT"),
        ("100.100.100.200", "CGNAT"),
        ("100.127.255.255", "CGNAT"),
        ("127.0.0.1", "loopback"),
        ("127.255.255.254", "loopback"),
        ("168.63.129.16", "metadata"),
        ("169.254.169.254", "link-local"),
        ("172.16.0.1", "private"),
        ("172.31.255.255", "private"),
        ("192.0.0.170", "reserved"),
        ("192.0.2.1", "documentation"),
        ("192.88.99.1", "6to4"),
        ("192.168.1.1", "private"),
        ("198.18.0.1", "benchmarks"),
        ("198.51.100.1", "documentation"),
        ("203.0.113.1", "documentation"),
        ("224.0.0.1", "multicast"),
        ("239.255.255.255", "multicast"),
        ("240.0.0.1", "reserved"),
        ("255.255.255.255", "reserved"),
        ("::", "unspecified"),
        ("::1", "loopback"),
        ("::7f00:1", "not a public address"),
        ("::ffff:127.0.0.1", "IPv4-mapped"),
        ("::ffff:8.8.8.8", "IPv4-mapped"),
        ("64:ff9b::7f00:1", "NAT64"),
        ("64:ff9b::808:808", "NAT64"),
        ("64:ff9b:1::1", "NAT64"),
        ("100::1", "not a public address"),
        ("2001::1", "Teredo"),
        ("2001:2::1", "reserved"),
        ("2001:db8::1", "documentation"),
        ("2002:7f00:1::", "6to4"),
        ("2002:808:808::1", "6to4"),
        ("3fff::1", "documentation"),
        ("4000::1", "not a public address"),
        ("fc00::1", "private"),
        ("fd12:3456::1", "private"),
        ("fe80::1", "link-local"),
        ("fec0::1", "site-local"),
        ("ff02::1", "multicast"),
    ],
)
def test_addresses_that_are_refused(address: str, why: str) -> None:
    assert why in (why_refused(ipaddress.ip_address(address)) or "")


@pytest.mark.parametrize(
    "address",
    ["1.1.1.1", "8.8.8.8", "100.63.255.255", "100.128.0.1", "172.15.0.1", "172.32.0.1",
     "192.0.1.1", "198.20.0.1", "223.255.255.255", "2606:4700::1111", "2a00:1450::1",
     "2001:4860:4860::8888"],
)  # fmt: skip
def test_public_addresses_are_allowed(address: str) -> None:
    assert why_refused(ipaddress.ip_address(address)) is None


def test_private_networks_open_only_where_listed() -> None:
    allowed = parse_networks(["10.1.0.0/16", "fd00::/8"])
    for address, open_ in {
        "10.1.2.3": True,
        "10.2.2.3": False,
        "127.0.0.1": False,
        "fd00::1": True,
        "fc00::1": False,
        "::ffff:10.1.2.3": False,
        "64:ff9b::a01:203": False,
    }.items():
        assert (why_refused(ipaddress.ip_address(address), allowed) is None) is open_, address


def test_a_setting_that_is_no_network_is_named() -> None:
    with pytest.raises(ConfigurationError, match="PIPELINE_HTTP_ALLOW_PRIVATE"):
        parse_networks(["10.0.0.0/33"])


@pytest.mark.parametrize(
    "url",
    [
        "http://256.0.0.1/",
        "http://1.2.3.4.5/",
        "http://example.0x7f/",
        "http://me@example.com/",
        "http://me:secret@example.com/",
        "http://exa mple.com/",
        "http://exam\x00ple.com/",
        "http://",
        "http://:80/",
        "http://example.com:0/",
        "http://example.com:65536/",
        "http://example.com:x/",
        "http://[::1",
        "http://[fe80::1%25eth0]/",
        "http://[2606:4700::1%eth0]/",
        "http://[v1.x]/",
        "http://::1/",
        "http://-example.com/",
        "http://127.0.0.1%00.example.com/",
        "http://example..com/",
        f"http://{'a' * 64}.com/",
        "http://" + ".".join(["a" * 60] * 5) + "/",
    ],
)
def test_urls_that_name_no_host_and_port_are_refused(url: str) -> None:
    with pytest.raises(RowError) as failure:
        parse_url(url)
    assert failure.value.code == "bad_reference"
    assert "secret" not in failure.value.message


@pytest.mark.parametrize(
    "host",
    [
        "2130706433",
        "0x7f000001",
        "0x7F.0.0.1",
        "0177.0.0.1",
        "127.1",
        "127.0.1",
        "127.0.0.01",
        "127.0.0.1.",
        "\uff11\uff12\uff17.1",
        "127\u30020\u30021",
        "127.0.0%2e1",
        "@127.0.0.1",
    ],
)
def test_an_address_is_itself_however_it_is_written(host: str) -> None:
    assert parse_url(f"http://{host}/").host == "127.0.0.1"
    with Loader(LoadOptions()) as loader, pytest.raises(RowError) as failure:
        loader.load(f"http://{host}/")
    assert failure.value.code == "forbidden_address"


def test_other_schemes_are_refused() -> None:
    for url in ("ftp://example.com/", "file:///etc/passwd"):
        with pytest.raises(RowError) as failure:
            parse_url(url)
        assert failure.value.code == "unsupported_scheme"


def test_numbers_that_are_plain_addresses_are_taken_as_such() -> None:
    assert check_host("127.0.0.1") == "127.0.0.1"
    assert check_host("[2606:4700::1]") == "2606:4700::1"
    assert check_host("example.com.") == "example.com"
    assert check_host("3com.example") == "3com.example"


def test_a_url_is_taken_apart() -> None:
    url = parse_url("HTTPS://B\u00fccher.example:8443/pfad/\u00fc x.jpg?q=\u00fc&r=%20#part")
    assert url.origin == "https://xn--bcher-kva.example:8443"
    assert url.host_header == "xn--bcher-kva.example:8443"
    assert url.target == "/pfad/%C3%BC%20x.jpg?q=%C3%BC&r=%20"
    assert parse_url("http://example.com").target == "/"
    assert parse_url("http://example.com").host_header == "example.com"
    assert parse_url("http://[2606:4700::1]:80/").origin == "http://[2606:4700::1]:80"
