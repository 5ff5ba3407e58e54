"""Where the API listens, and who may ask there."""

import ipaddress
import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

from pipeline.errors import ConfigurationError

_FORM = "HOST:PORT is expected, such as 127.0.0.1:8080 or [::1]:8080"


@dataclass(frozen=True, slots=True)
class Address:
    """A host, by name or number, and a port; 0: any that is free."""

    host: str
    port: int


def parse(text: str) -> Address:
    """``HOST:PORT``, or a port alone, which is this machine's own.

    Raises:
        ConfigurationError: it is neither.
    """
    given = f"127.0.0.1:{text}" if text.isdecimal() else text
    try:
        parts = urlsplit(f"//{given}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or port is None or parts.netloc != given or "@" in given:
        raise ConfigurationError(f"{text!r} is no address to listen at; {_FORM}")
    return Address(host, port)


def listen(
    address: Address,
    *,
    has_token: bool,
    needs: str = "set PIPELINE_SERVE_TOKEN, which they have to send as a bearer token",
) -> socket.socket:
    """A listening socket. Others than this machine reach it only where a token is asked for.

    Args:
        needs: what makes it be asked for.

    Raises:
        ConfigurationError: there is no token, or the address cannot be had.
    """
    try:
        found = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        family, _, _, _, place = found[0]
        if not has_token and not is_loopback(str(place[0])):
            raise ConfigurationError(
                f"{address.host} can be reached from other machines, so {needs}; 127.0.0.1 needs "
                "none"
            )
        listening = socket.create_server(place[:2], family=family)
        # asyncio sets it for sockets that name their protocol, which those of create_server() do
        # not. Without it the body of an answer waits 40 ms for the acknowledgement of its head.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listening
    except OSError as exc:
        raise ConfigurationError(
            f"cannot listen at {address.host} port {address.port}: {exc.strerror or exc}"
        ) from exc


def is_loopback(host: str) -> bool:
    """Whether a number or name is this machine's own, as it stands."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_own_host(header: str) -> bool:
    """Whether a ``Host`` header names this machine's loopback.

    What a browser sends for a name that somebody else lets point here does not.
    """
    try:
        return is_loopback(urlsplit(f"//{header}").hostname or "")
    except ValueError:
        return False
