"""Addresses as rows, lines of the audit log and requests write them: HOST:PORT, [HOST]:PORT, or a host alone."""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import ip_address

from protocols.contract.addresses import Endpoint


def endpoint(text: str) -> Endpoint | None:
    """HOST:PORT or [HOST]:PORT. None: it is neither."""
    host, _, port = text.rpartition(":")
    if not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65535:
        return None
    try:
        return Endpoint(ip_address(host.removeprefix("[").removesuffix("]")), int(port))
    except ValueError:
        return None


@lru_cache(maxsize=1024)
def place(text: str) -> Endpoint | None:
    """The same, or a host alone, whose port is 0. An IPv6 address without brackets has no port."""
    if text.endswith("]") or (text.count(":") != 1 and not text.startswith("[")):
        try:
            return Endpoint(ip_address(text.removeprefix("[").removesuffix("]")), 0)
        except ValueError:
            return None
    return endpoint(text)
