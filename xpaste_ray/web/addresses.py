"""Which URLs and which network addresses may be asked.

A list of URLs is other people's text: it must not make this machine ask its neighbours, itself, or the
service that hands out a cloud machine's keys (169.254.169.254).
"""

import re
import socket
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

from yarl import URL

from xpaste_ray.errors import RowError

MAX_URL_CHARACTERS = 4096

# IANA's special-purpose registries, and what is reserved. Python's `is_global` differs between its releases.
_NOT_PUBLIC_IPV4 = tuple(
    map(
        ip_network,
        (
            "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
            "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15",
            "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
        ),
    )
)  # fmt: skip
_PUBLIC_IPV6 = IPv6Network("2000::/3")  # all that is given out as global unicast
_NOT_PUBLIC_IPV6 = tuple(map(IPv6Network, ("2001::/23", "2001:db8::/32", "3fff::/20")))
_NAT64 = IPv6Network("64:ff9b::/96")

_LOCAL_NAMES = ("localhost", "localdomain", "local", "internal")
_NAME = re.compile(r"(?=.{1,254}$)([a-z0-9_-]{1,63}\.)*[a-z0-9_-]{1,63}\.?", re.IGNORECASE)
_NUMERIC = re.compile(r"[0-9]+|0x[0-9a-f]*", re.IGNORECASE)


class AddressRefused(OSError):
    """A connection to an address that is not public."""

    def __init__(self) -> None:
        super().__init__("the address is not public")  # the same for each: asyncio then keeps the type


def parse_url(text: str) -> URL:
    """An http or https URL with a host and without credentials. RowError "bad_url"."""
    if len(text) > MAX_URL_CHARACTERS:
        raise RowError("bad_url", f"longer than {MAX_URL_CHARACTERS} characters")
    try:
        url = URL(text.strip())
        host, port = url.raw_host, url.port
    except ValueError as error:
        raise RowError("bad_url", str(error)) from None
    if url.scheme not in ("http", "https") or not host:
        raise RowError("bad_url", "not http://host/... or https://host/...")
    if ":" not in host and not _NAME.fullmatch(host):
        raise RowError("bad_url", f"{host!r} is no name of a host")
    if url.user is not None or url.password is not None:
        raise RowError("bad_url", "it holds credentials")
    if not port:
        raise RowError("bad_url", "port 0")
    return url.with_fragment(None)


def check_host(host: str, allow_private: bool = False) -> None:
    """Refuse what can be refused by a URL's host alone, before a name is looked up.

    RowError "private_address", and "bad_url" for an address in an unusual form (127.1, 0x7f000001), which
    libraries read differently.
    """
    name = host.rstrip(".").lower()
    last = name.rpartition(".")[2]
    if ":" not in name and _NUMERIC.fullmatch(last):
        try:
            IPv4Address(name)
        except ValueError:
            if not allow_private and _is_unusual_private(name):
                raise RowError("private_address") from None
            raise RowError("bad_url", "its host is an address in an unusual form") from None
    if allow_private:
        return
    try:
        private = not is_public(name)
    except ValueError:
        private = last in _LOCAL_NAMES  # a name
    if private:
        raise RowError("private_address")


def _is_unusual_private(name: str) -> bool:
    try:
        return not is_public(socket.inet_ntoa(socket.inet_aton(name)))
    except (OSError, ValueError):
        return False


def is_public(text: str) -> bool:
    """Whether an IP address is one of the public internet. IPv6 addresses that stand for an IPv4 one are as
    public as that is. ValueError if it is no address."""
    address = ip_address(text.partition("%")[0])
    if isinstance(address, IPv6Address):
        return all(map(_is_public_ipv4, _carried(address))) and _is_public_ipv6(address)
    return _is_public_ipv4(address)


def _is_public_ipv4(address: IPv4Address) -> bool:
    return not any(address in network for network in _NOT_PUBLIC_IPV4)


def _is_public_ipv6(address: IPv6Address) -> bool:
    if address.ipv4_mapped or address in _NAT64:
        return True  # as what it carries
    return address in _PUBLIC_IPV6 and not any(address in network for network in _NOT_PUBLIC_IPV6)


def _carried(address: IPv6Address) -> list[IPv4Address]:
    """The IPv4 addresses in it: mapped, 6to4, NAT64. (Teredo's, 2001::/32, is refused as a whole.)"""
    carried = [address.ipv4_mapped, address.sixtofour]
    if address in _NAT64:
        carried.append(IPv4Address(int(address) & 0xFFFFFFFF))
    return [one for one in carried if one is not None]


AddrInfo = tuple[int, int, int, str, tuple[object, ...]]
"""As `socket.getaddrinfo` gives them."""


def public_socket(address: AddrInfo) -> socket.socket:
    """A socket for the very address that is about to be connected to, if it is public; else AddressRefused.

    However a host is written, and whatever its name resolved to a moment ago, every connection passes here.
    """
    family, kind, protocol, _, (host, *_) = address
    if not is_public(str(host)):
        raise AddressRefused
    return socket.socket(family, kind, protocol)
