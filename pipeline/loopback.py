"""Which hosts are this machine."""

import ipaddress

__all__ = ["is_loopback"]


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine: 127.0.0.0/8, ``::1``, ``localhost`` or a name below it.

    The names are dialled without asking a name server (RFC 6761), so it is true of them, too.
    """
    name = host.removeprefix("[").removesuffix("]").rstrip(".").casefold()
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return name == "localhost" or name.endswith(".localhost")
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback
