"""The names and addresses of this machine. Nothing is resolved."""

from __future__ import annotations

import ipaddress


def parse_address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return the IP address that a host is; `None` for a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def is_loopback(host: str) -> bool:
    """Return whether a host is certainly this machine: `localhost`, or a loopback address."""
    address = parse_address(host)
    return host.lower() == "localhost" if address is None else address.is_loopback
