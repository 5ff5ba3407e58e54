"""Which network addresses a reference may make the pipeline connect to.

The tables follow the IANA special-purpose address registries. They do not lean on
``ipaddress.is_global``, whose answers changed between Python releases.
"""

import ipaddress
import queue
import re
import socket
import threading
from collections.abc import Sequence

from pipeline.errors import ConfigurationError, PermanentRowError, TransientRowError
from pipeline.loaders.content import Deadline

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_REFUSED_V4 = [
    (ipaddress.ip_network(network), what)
    for network, what in (
        ("0.0.0.0/8", "this network"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "shared (CGNAT)"),
        ("127.0.0.0/8", "loopback"),
        ("168.63.129.16/32", "a cloud's metadata service"),
        ("169.254.0.0/16", "link-local"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "reserved"),
        ("192.0.2.0/24", "for documentation"),
        ("192.88.99.0/24", "a 6to4 relay"),
        ("192.168.0.0/16", "private"),
        ("198.18.0.0/15", "for benchmarks"),
        ("198.51.100.0/24", "for documentation"),
        ("203.0.113.0/24", "for documentation"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved"),
    )
]
_GLOBAL_V6 = ipaddress.ip_network("2000::/3")
_REFUSED_V6 = [
    (ipaddress.ip_network(network), what)
    for network, what in (
        ("::/128", "unspecified"),
        ("::1/128", "loopback"),
        ("::ffff:0:0/96", "IPv4-mapped"),
        ("64:ff9b::/96", "NAT64"),
        ("64:ff9b:1::/48", "NAT64"),
        ("fc00::/7", "private"),
        ("fe80::/10", "link-local"),
        ("fec0::/10", "site-local"),
        ("ff00::/8", "multicast"),
        ("2001::/32", "Teredo"),
        ("2001::/23", "reserved"),
        ("2001:db8::/32", "for documentation"),
        ("2002::/16", "6to4"),
        ("3fff::/20", "for documentation"),
    )
]

_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_NUMERIC = re.compile(r"(?:0x[0-9a-f]*|[0-9]+)")


def parse_networks(texts: Sequence[str]) -> list[Network]:
    """The private networks that an operator opened, from CIDR notation."""
    try:
        return [ipaddress.ip_network(text, strict=False) for text in texts]
    except ValueError as exc:
        raise ConfigurationError(
            f"PIPELINE_HTTP_ALLOW_PRIVATE: {exc}; expected networks such as 10.0.0.0/8"
        ) from exc


def why_refused(address: Address, allowed: Sequence[Network] = ()) -> str | None:
    """Why ``address`` is no public unicast address; None when it may be connected to."""
    if any(address in network for network in allowed if network.version == address.version):
        return None
    refused = _REFUSED_V4 if address.version == 4 else _REFUSED_V6
    for network, what in refused:
        if address in network:
            return what
    if address.version == 6 and address not in _GLOBAL_V6:
        return "not a public address"
    return None


def check_host(host: str) -> str:
    """The host of a URL that was read, as it is looked up: without brackets and a last dot.

    Args:
        host: in ASCII, and an address in its usual form, as ``urls`` has it.

    Raises:
        PermanentRowError: ``bad_reference``, also for what only some programs take for an
            address (``0x7f.1``).
    """
    if host.startswith("["):
        return host[1:-1]  # str(IPv6Address) writes ::ffff:1.2.3.4 otherwise from Python 3.13 on
    name = host.removesuffix(".")
    labels = name.split(".")
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise PermanentRowError("bad_reference", "not a host name in the URL")
    if _NUMERIC.fullmatch(labels[-1]):
        try:
            return str(ipaddress.IPv4Address(name))  # four plain decimals without leading zeros
        except ValueError as exc:
            raise PermanentRowError(
                "bad_reference", "an address in an unusual form; expected four decimal numbers"
            ) from exc
    return name


def resolve(host: str, port: int, allowed: Sequence[Network], deadline: Deadline) -> list[Address]:
    """Every address of ``host``, all of them checked.

    Raises:
        PermanentRowError: ``forbidden_address`` if any of them is refused.
        TransientRowError: ``unreachable`` when there is none, ``timeout``.
    """
    addresses = _look_up(host, port, deadline)
    for address in addresses:
        if reason := why_refused(address, allowed):
            raise PermanentRowError(
                "forbidden_address",
                f"{host} leads to an address that is {reason}; expected a public one "
                "(private networks are opened with PIPELINE_HTTP_ALLOW_PRIVATE)",
            )
    return addresses


def _look_up(host: str, port: int, deadline: Deadline) -> list[Address]:
    try:
        return [ipaddress.ip_address(host)]
    except ValueError:
        pass
    answers: queue.SimpleQueue[list[Address] | OSError] = queue.SimpleQueue()

    def ask() -> None:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            answers.put(list(dict.fromkeys(ipaddress.ip_address(row[4][0]) for row in found)))
        except (OSError, UnicodeError, ValueError) as exc:
            answers.put(exc if isinstance(exc, OSError) else OSError(str(exc)))

    # getaddrinfo cannot be given a time limit; a daemon thread can be left behind
    threading.Thread(target=ask, name="resolve", daemon=True).start()
    try:
        answer = answers.get(timeout=deadline.left())
    except queue.Empty:
        raise deadline.passed() from None
    if isinstance(answer, OSError) or not answer:
        raise TransientRowError("unreachable", f"the host name {host} cannot be resolved")
    return answer
