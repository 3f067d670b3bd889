"""Values that the configuration writes as one word, such as ports, addresses and marks: their types, and how they are
read.

Each `parse_` function takes what YAML holds there, or a value that is parsed already. It raises a PydanticCustomError
whose text ends up behind file, line and column.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

from pydantic import ValidationInfo
from pydantic_core import PydanticCustomError

from protocols.contract.addresses import Endpoint, Host, Network, Transport

_PROTOCOL_NUMBERS = {6: Transport.TCP, 17: Transport.UDP}
"""FortiOS writes the IP protocol as a number."""


def suggest(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?`, or nothing when no known word is near."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""


def wrong(text: str) -> PydanticCustomError:
    """A problem in our own words; pydantic puts "Value error, " before those of a ValueError."""
    return PydanticCustomError("pinhole", "{text}", {"text": text})


@dataclass(frozen=True, slots=True, order=True)
class PortRange:
    """Ports `first` to `last`, both included."""

    first: int
    last: int

    def __contains__(self, port: int) -> bool:
        return self.first <= port <= self.last

    def __len__(self) -> int:
        return self.last - self.first + 1

    def __str__(self) -> str:
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"


@dataclass(frozen=True, slots=True)
class Mark:
    """A firewall mark: `value` in the bits of `mask`. The other bits belong to other programs."""

    value: int
    mask: int

    def __str__(self) -> str:
        return f"{self.value:#x}/{self.mask:#x}"


@dataclass(frozen=True, slots=True)
class Dnat:
    """Where sessions of a policy are dialled instead. `port` None: the port that the client dialled."""

    host: Host
    port: int | None

    def __str__(self) -> str:
        if self.port is None:
            return str(self.host)
        return f"[{self.host}]:{self.port}" if self.host.version == 6 else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Target:
    """A host of others, by address or name, and a port of it."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def plain_host(host: Host) -> Host:
    """An IPv4-mapped IPv6 address as the IPv4 address that it stands for; any other address as it is (rule X5)."""
    return (isinstance(host, IPv6Address) and host.ipv4_mapped) or host


def _number(text: str, highest: int) -> int | None:
    """The number of these decimal digits, up to `highest`. None: the text is anything else (rule X4)."""
    return int(text) if re.fullmatch(r"[0-9]{1,10}", text) and int(text) <= highest else None


_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def parse_seconds(value: Any) -> float:
    """A length of time in seconds, written as a number of seconds or with a unit."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    match = re.fullmatch(r"([0-9]{1,10}(?:\.[0-9]{1,10})?)(ms|s|m|h|d)", value) if isinstance(value, str) else None
    if match is None:
        raise wrong(f"expected a time: seconds, or with a unit as 90s, 3m, 2h, 1d; not {value!r}")
    return float(match[1]) * _UNITS[match[2]]


def parse_ports(value: Any) -> PortRange:
    """A port or a range of ports."""
    if isinstance(value, PortRange):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        first = last = value
    elif isinstance(value, str) and (match := re.fullmatch(r"([0-9]{1,5})\s*(?:-\s*([0-9]{1,5}))?", value)):
        first, last = int(match[1]), int(match[2] or match[1])
    else:
        raise wrong("expected a port or a range FIRST-LAST of ports")
    if not (1 <= first <= 65535 and 1 <= last <= 65535):
        raise wrong("a port is a number from 1 to 65535")
    if first > last:
        raise wrong(f"the range runs backwards; did you mean {last}-{first}?")
    return PortRange(first, last)


def parse_pool(value: Any) -> PortRange:
    """The range of ports that may be opened."""
    ports = parse_ports(value)
    if ports.first < 1024:
        raise wrong("ports below 1024 belong to well-known services and are never opened; begin at 1024 or above")
    return ports


def parse_host(value: Any) -> Host:
    """The address of a single host."""
    try:
        host = ip_address(value) if isinstance(value, str) else value
    except ValueError:
        raise wrong(f"{value!r} is not an IP address") from None
    if not isinstance(host, Host):
        raise wrong("expected an IP address")
    if host.is_unspecified or host.is_multicast or (isinstance(host, IPv6Address) and host.scope_id):
        raise wrong(f"{host} is not the address of one host")
    return plain_host(host)


def parse_network(value: Any) -> Network:
    """A network, or a single address as a network."""
    if isinstance(value, str):
        try:
            value = ip_network(value)
        except ValueError:
            try:
                loose = ip_network(value, strict=False)
            except ValueError:
                raise wrong(f"{value!r} is not an IP network or address") from None
            raise wrong(f"{value} has bits set outside its prefix; did you mean {loose}?") from None
    if not isinstance(value, Network):
        raise wrong("expected an IP network, as 10.1.0.0/24 or fd01::/64")
    if isinstance(value, IPv6Network) and value.network_address.scope_id:
        raise wrong(f"{value} names a zone: which line a session comes by is said by `from`")
    mapped = value.network_address.ipv4_mapped if isinstance(value, IPv6Network) and value.prefixlen >= 96 else None
    return ip_network((mapped, value.prefixlen - 96)) if mapped else value


def parse_protocol(value: Any) -> Transport:
    """The transport of an entry."""
    if isinstance(value, Transport):
        return value
    if isinstance(value, int) and not isinstance(value, bool) and value in _PROTOCOL_NUMBERS:
        return _PROTOCOL_NUMBERS[value]
    if isinstance(value, str) and value.lower() in ("tcp", "udp"):
        return Transport(value.lower())
    raise wrong("expected tcp or udp (or their numbers, 6 and 17)")


def parse_dnat(value: Any) -> Dnat:
    """An address, or an address and a port, to dial instead."""
    if isinstance(value, Dnat):
        return value
    if not isinstance(value, str):
        raise wrong("expected ADDRESS or ADDRESS:PORT")
    match = re.fullmatch(r"\[(?P<v6>[^]]*)\](?::(?P<p6>.*))?|(?P<v4>[^:]*):(?P<p4>[^:]*)", value)
    if match is None:
        return Dnat(parse_host(value), None)
    host = parse_host(match["v6"] or match["v4"])
    digits = match["p6"] if match["v6"] else match["p4"]
    if digits is None:
        return Dnat(host, None)
    port = _number(digits, 65535)
    if not port:
        raise wrong(f"{digits!r} is not a port; expected ADDRESS or ADDRESS:PORT, with IPv6 as [ADDRESS]:PORT")
    return Dnat(host, port)


def parse_listen(value: Any) -> Endpoint:
    """An address of this host, and a port above those of services. A port alone stands for one of loopback."""
    if isinstance(value, Endpoint):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        value = f"127.0.0.1:{value}"
    match = re.fullmatch(r"(?:\[(?P<v6>[0-9a-fA-F:.]+)\]|(?P<v4>[0-9.]+)):(?P<port>[0-9]{1,5})", str(value))
    if match is None:
        raise wrong("expected ADDRESS:PORT, with IPv6 as [ADDRESS]:PORT, or a port of loopback; 0.0.0.0 is all of IPv4")
    try:
        host = plain_host(ip_address(match["v6"] or match["v4"]))
    except ValueError:
        raise wrong(f"{match['v6'] or match['v4']!r} is not an IP address") from None
    port = int(match["port"])
    if not 1024 <= port <= 65535:
        raise wrong("a port from 1024 to 65535, since those below belong to services")
    return Endpoint(host, port)


def parse_target(value: Any) -> Target:
    """A host of others and a port."""
    if isinstance(value, Target):
        return value
    match = re.fullmatch(
        r"(?:\[(?P<v6>[0-9a-fA-F:.]+)\]|(?P<name>[0-9A-Za-z_.-]{1,253})):(?P<port>[0-9]{1,5})", str(value)
    )
    if match is None:
        raise wrong("expected HOST:PORT, with IPv6 as [ADDRESS]:PORT")
    if match["v6"] is not None or re.fullmatch(r"[0-9.]+", match["name"]):
        parse_host(match["v6"] or match["name"])
    if not 1 <= int(match["port"]) <= 65535:
        raise wrong("a port is a number from 1 to 65535")
    return Target(match["v6"] or match["name"], int(match["port"]))


def parse_snat(value: Any) -> Any:
    """The words `none` or `interface`, or a tuple of addresses."""
    if value in ("none", "interface"):
        return value
    items = value if isinstance(value, list | tuple) else [value]
    if not items:
        raise wrong("the list of addresses is empty; for no source NAT write none")
    try:
        return tuple(parse_host(item) for item in items)
    except PydanticCustomError as error:
        raise wrong(f"{error.message()}; expected none, interface, an address or a list of addresses") from None


def parse_action(value: Any, info: ValidationInfo) -> bool:
    """True for accept."""
    if isinstance(value, bool) and info.mode == "python":
        return value
    if value not in ("accept", "deny"):
        raise wrong("expected accept or deny")
    return bool(value == "accept")


def parse_mark(value: Any) -> Mark:
    """A mark with its mask."""
    if isinstance(value, Mark):
        return value
    match = re.fullmatch(r"(0x[0-9a-fA-F]{1,8}|[0-9]{1,10})/(0x[0-9a-fA-F]{1,8}|[0-9]{1,10})", str(value))
    if match is None:
        raise wrong("expected VALUE/MASK, as 0x1000000/0x1000000: the mask says which bits of the mark are ours")
    number, mask = int(match[1], 0), int(match[2], 0)
    if not number or mask > 0xFFFFFFFF:
        raise wrong("a mark has 32 bits, and at least one of them must be set")
    if number & ~mask:
        raise wrong(f"the mark has bits outside its mask {mask:#x}")
    return Mark(number, mask)


def parse_route_mark(value: Any) -> int:
    """The mark of a routing rule."""
    number = _number_or_hex(value)
    if number is None or not 1 <= number <= 0xFFFFFFFF:
        raise wrong("expected the mark of a routing rule, 1 to 0xffffffff, as 0x2")
    return number


def _number_or_hex(value: Any) -> int | None:
    """A number, written in decimal or hexadecimal digits. None: it is neither."""
    if isinstance(value, str) and re.fullmatch(r"0x[0-9a-fA-F]{1,8}|[0-9]{1,10}", value):
        return int(value, 0) if value.startswith("0x") else int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def parse_table(value: Any) -> int:
    """The number of a routing table that is not the system's own."""
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 0xFFFFFFFF:
        raise wrong("expected the number of a routing table of our own, 1 to 4294967295")
    if value in (253, 254, 255):
        raise wrong(f"routing table {value} is one of the system's own (default, main, local)")
    return value


def parse_path(value: Any) -> str:
    """An absolute path."""
    if not isinstance(value, str) or not value.startswith("/") or "\0" in value:
        raise wrong("expected an absolute path")
    return value


def parse_socket_path(value: Any) -> str:
    """The path of a UNIX socket."""
    path = parse_path(value)
    if len(path.encode()) > 107:
        raise wrong("the path is longer than the 107 bytes that the name of a UNIX socket can have")
    return path


def parse_interface(value: Any) -> str:
    """The name of a network interface."""
    # The kernel's own rule (dev_valid_name): 1 to 15 bytes, no slash, no colon, no blank, not "." or "..".
    if not isinstance(value, str) or not re.fullmatch(r"[^\s/:\0]{1,15}", value) or value in (".", ".."):
        raise wrong("expected the name of a network interface, at most 15 characters")
    return value


def parse_user(value: Any) -> str:
    """The name or number of a user, as text."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 0xFFFFFFFF:
        return str(value)
    # These are the names that useradd(8) allows; digits alone are a number.
    if isinstance(value, str) and re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}\$?|[0-9]{1,9}", value):
        return value
    raise wrong("expected the name or the number of a user of this host")


def parse_group(value: Any) -> str:
    """The name or number of a group, as text."""
    try:
        return parse_user(value)
    except PydanticCustomError:
        raise wrong("expected the name or the number of a group of this host") from None


def as_socket(value: Any) -> Any:
    """A plain path stands for a socket there."""
    return {"path": value} if isinstance(value, str) else value


def parse_name(value: Any) -> str:
    """The name of a policy."""
    if not isinstance(value, str) or not value.isprintable() or value != value.strip() or not 1 <= len(value) <= 63:
        raise wrong("expected a name of 1 to 63 printable characters")
    return value


def one_or_many(value: Any) -> Any:
    """A single value stands for a list of one, and `any` for an empty list."""
    items = tuple(value) if isinstance(value, list | tuple) else (value,)
    if "any" not in items:
        return items
    if len(items) > 1:
        raise wrong("`any` stands alone")
    return ()


def ports_or_many(value: Any) -> Any:
    """A single port or range stands for a list of one."""
    items = tuple(value) if isinstance(value, list | tuple) else (value,)
    if not items:
        raise wrong("the list of ports is empty")
    return items
