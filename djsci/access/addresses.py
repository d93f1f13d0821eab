"""From which address a request comes; a forwarding header counts only from a known proxy."""

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

from djsci import conf

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


def client_address(meta: Mapping[str, Any]) -> str:
    """The client's address, or "" where the server names none (a Unix socket).

    `X-Forwarded-For` is read from its right end, and only as far as `TRUSTED_PROXIES` wrote it.
    """
    nearest = _parse(str(meta.get("REMOTE_ADDR") or ""))
    if nearest is None:
        return ""
    proxies = trusted_proxies()
    for text in reversed(str(meta.get("HTTP_X_FORWARDED_FOR") or "").split(",")):
        if not _is_in(nearest, proxies):
            break
        further = _parse(text)
        if further is None:
            break
        nearest = further
    return str(nearest)


def scope_address(scope: Mapping[str, Any]) -> str:
    """`client_address` of an ASGI scope."""
    forwarded = [value for name, value in scope.get("headers", ()) if name == b"x-forwarded-for"]
    client = scope.get("client") or ("", 0)
    return client_address(
        {
            "REMOTE_ADDR": client[0],
            "HTTP_X_FORWARDED_FOR": b",".join(forwarded).decode("latin-1"),
        }
    )


def trusted_proxies() -> list[Network]:
    """The networks of `TRUSTED_PROXIES`. Raises `ValueError` for what is none."""
    return [ip_network(str(entry).strip(), strict=False) for entry in conf.get("TRUSTED_PROXIES")]


def neighbourhood(address: str) -> str:
    """What one person may be assumed to hold: an IPv4 address, or an IPv6 network of 64 bits."""
    parsed = _parse(address)
    if parsed is None:
        return "unknown"
    return str(parsed if parsed.version == 4 else ip_network((int(parsed), 64), strict=False))


def _parse(text: str) -> Address | None:
    try:
        parsed = ip_address(text.strip().removeprefix("[").removesuffix("]").partition("%")[0])
    except ValueError:
        return None
    mapped = parsed.ipv4_mapped if isinstance(parsed, IPv6Address) else None
    return mapped or parsed


def _is_in(address: Address, networks: list[Network]) -> bool:
    return any(address.version == network.version and address in network for network in networks)
