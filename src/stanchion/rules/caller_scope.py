"""Whether a key may be used: for this model and operation, from this address, at this time.

Names of models are compared by patterns (`*`, `?`, `[ab]`), with capitals told apart, on what the caller wrote as
`model`: a route's name is a model like any other.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Literal

from stanchion.core.caller import CallerKey

Fault = Literal[
    "key_revoked", "key_expired", "network_not_allowed", "operation_not_allowed", "model_not_allowed"
]
_WITH_PORT = re.compile(r"\[([0-9A-Fa-f:.]+)\](?::\d+)?|(\d+\.\d+\.\d+\.\d+):\d+")
LIST = "models"  # which models there are may be asked with every key that works
Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


def fault_of(key: CallerKey, now: float, *, operation: str, address: str) -> Fault | None:
    """Say why the key may not be used; None if it may.  `now` is in seconds since 1970."""
    if key.revoked_at:
        return "key_revoked"
    if key.expires_at and now >= key.expires_at:
        return "key_expired"
    scopes = key.scopes
    if scopes.networks and not in_networks(address, scopes.networks):
        return "network_not_allowed"
    if scopes.operations and operation not in scopes.operations and operation != LIST:
        return "operation_not_allowed"
    return None


def allows_model(key: CallerKey, model: str) -> bool:
    """Say whether the key may ask for a model."""
    patterns = key.scopes.models
    return not patterns or any(fnmatchcase(model, pattern) for pattern in patterns)


def in_networks(address: str, networks: Iterable[str]) -> bool:
    """Say whether an address lies in one of the networks; one that cannot be read lies in none."""
    found = read_address(address)
    return found is not None and any(found in _network(network) for network in networks)


def read_address(text: str) -> Address | None:
    """Read an address, also with a port; an IPv4 address in IPv6's clothes is what it is."""
    text = text.strip()
    port = _WITH_PORT.fullmatch(text)
    try:
        found = ip_address((port[1] or port[2]) if port is not None else text)
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return mapped or found


def read_network(text: str) -> str:
    """Read a network and return its usual form.  Raises ValueError."""
    try:
        return str(ip_network(text.strip()))
    except ValueError:
        raise ValueError(f"{text[:50]!r} is no network: write it as 10.0.0.0/8 or 2001:db8::/32") from None


def client_address(peer: str, forwarded: str, trusted: Iterable[str]) -> str:
    """Return the client's address: the last in `x-forwarded-for` that no proxy of ours has.

    Read from the right: only what trusted proxies appended is believed, and what a client writes stands left of it.
    """
    trusted = tuple(trusted)
    if not trusted or not forwarded or not in_networks(peer, trusted):
        return peer
    hops = forwarded.split(",")
    for hop in reversed(hops):
        if not in_networks(hop, trusted):
            return hop.strip()
    return hops[0].strip()


@lru_cache(maxsize=1024)
def _network(text: str) -> Network:
    return ip_network(text)
