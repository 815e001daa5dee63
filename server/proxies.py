"""Who is really asking, behind proxies that we trust: for limits per address, and for nothing else.

`X-Forwarded-For` is a list to which each proxy adds the peer it saw. It is read from the right, as far as the
peers are trusted: the first address that is not a trusted proxy is the client's. Whatever stands to the left of
it may be invented, and a header from an untrusted peer is not read at all.
"""

import functools
import ipaddress
from collections.abc import Iterable

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

READ_MOST = 16  # proxies between us and a client


class BadProxies(ValueError):
    """The text names what is no address and no network."""


@functools.cache
def trusted(text: str) -> tuple[Network, ...]:
    """Comma-separated addresses and networks (`10.0.0.0/8, ::1`). Raises BadProxies."""
    networks = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        try:
            networks.append(ipaddress.ip_network(part))
        except ValueError as error:
            raise BadProxies(f"{error}: give addresses or networks, separated by commas") from None
    return tuple(networks)


def client_of(peer: str, forwarded: Iterable[str], proxies: tuple[Network, ...]) -> str:
    """The client's address, as text; `forwarded` are the headers in their order. What cannot be read as an
    address ends the search: the proxy that passed it on counts."""
    address = _address(peer)
    if address is None or not _within(address, proxies):
        return peer
    hops = [hop for header in forwarded for hop in header.split(",")]
    for hop in reversed(hops[-READ_MOST:]):
        before = _address(hop.strip())
        if before is None:
            break
        address = before
        if not _within(address, proxies):
            break
    return str(address)


def _address(text: str) -> Address | None:
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _within(address: Address, proxies: tuple[Network, ...]) -> bool:
    return any(address in network for network in proxies)
