"""What an expression of `nft --json` asks about, and the values that it is compared with (pure)."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from typing import Any

from proxy.config.values import PortRange
from proxy.doctor.rulesets import ALL_BITS, Addresses, Key, Question, Test, Value

UNKNOWN = Test(Key.OTHER)

_META = {
    "iifname": Key.IN,
    "iif": Key.IN,
    "oifname": Key.OUT,
    "oif": Key.OUT,
    "nfproto": Key.FAMILY,
    "protocol": Key.FAMILY,
    "l4proto": Key.PROTOCOL,
    "mark": Key.MARK,
    "pkttype": Key.CAST,
    "skuid": Key.OWNER,
}
_FIELDS = {
    "saddr": Key.SOURCE,
    "daddr": Key.DESTINATION,
    "sport": Key.SOURCE_PORT,
    "dport": Key.DESTINATION_PORT,
    "protocol": Key.PROTOCOL,
    "nexthdr": Key.PROTOCOL,
}
_CT = {"state": Key.STATE, "mark": Key.CONNECTION_MARK}
_FAMILIES = {"ip": "ip", "ipv4": "ip", "ip6": "ip6", "ipv6": "ip6"}
_NUMBERS = {"6": "tcp", "17": "udp", "47": "gre"}
_CASTS = {"host": "unicast"}
_PORT_NAMES = {"ftp": 21, "ftp-data": 20, "sip": 5060, "ssh": 22}


def text_of(value: object) -> str:
    return value if isinstance(value, str) else ""


def bitwise(value: dict[str, Any]) -> tuple[str, Any, Any] | None:
    """The operator, the left and the right side of a bitwise expression."""
    for operator in ("&", "|", "^"):
        operands = value.get(operator)
        if isinstance(operands, list) and len(operands) == 2:
            return operator, operands[0], operands[1]
    return None


def key_of(left: object) -> tuple[Key, int]:
    """What is asked about, and with which mask."""
    mask: object = ALL_BITS
    if isinstance(left, dict) and (operation := bitwise(left)) is not None and operation[0] == "&":
        _, left, mask = operation
    match left:
        case {"meta": {"key": str(name)}} | {"meta": str(name)}:
            key = _META.get(name, Key.OTHER)
        case {"payload": {"protocol": "tcp", "field": "flags"}}:
            key = Key.HANDSHAKE
        case {"payload": {"protocol": str(), "field": str(name)}}:
            key = _FIELDS.get(name, Key.OTHER)
        case {"ct": {"key": str(name), **more}} if not more:
            key = _CT.get(name, Key.OTHER)
        case {"fib": {"result": str(result), "flags": list(flags)}}:
            key = _fib(result, flags)
        case {"socket": {"key": "transparent"}}:
            key = Key.TRANSPARENT
        case {"socket": {"key": "wildcard"}}:
            key = Key.WILDCARD
        case _:
            key = Key.OTHER
    if key is Key.HANDSHAKE:
        return key, ALL_BITS
    if not isinstance(mask, int) or (mask != ALL_BITS and key is not Key.MARK):
        return Key.OTHER, ALL_BITS
    return key, mask


def flags_of(left: object, right: object, negated: bool, operator: str) -> Test:
    """Flags of a TCP segment: MASK/FLAGS as iptables has it, or any/FLAGS."""
    operation = bitwise(left) if isinstance(left, dict) else None
    wanted = right["set"] if isinstance(right, dict) and isinstance(right.get("set"), list) else right
    flags = ",".join(map(str, wanted)) if isinstance(wanted, list) else str(wanted)
    if operation is None:
        return Test(Key.HANDSHAKE, (f"{'any' if operator == 'in' else 'all'}/{flags}",), negated)
    mask = ",".join(map(str, operation[2])) if isinstance(operation[2], list) else str(operation[2])
    return Test(Key.HANDSHAKE, (f"{mask}/{flags}",), negated)


def implied_by(left: object) -> Iterator[Question]:
    """What a match asks without saying so. nft reads a header only in packets that have it: `ip saddr != ...` never
    fits a packet of IPv6."""
    match left:
        case {"payload": {"protocol": str(protocol)}}:
            if protocol in _FAMILIES:
                yield Test(Key.FAMILY, (protocol,))
            elif protocol != "th":
                yield Test(Key.PROTOCOL, ("ipv6-icmp" if protocol == "icmpv6" else protocol,))
        case {"concat": list(parts)}:
            for part in parts:
                yield from implied_by(part)
        case dict() if (operation := bitwise(left)) is not None:
            yield from implied_by(operation[1])


def _fib(result: str, flags: list[Any]) -> Key:
    if result == "type":
        return Key.SOURCE_TYPE if "saddr" in flags else Key.DESTINATION_TYPE
    return Key.WAY_BACK if "saddr" in flags else Key.OTHER


def compared(key: Key, values: list[Any], operator: str) -> Question:
    """A comparison of ports, such as `tcp dport >= 1024`, as a range. Any other comparison is not known."""
    number = values[0] if values and isinstance(values[0], int) else None
    if number is None or key not in (Key.SOURCE_PORT, Key.DESTINATION_PORT, Key.MARK):
        return UNKNOWN
    last = ALL_BITS if key is Key.MARK else 65535
    first, last = {
        "<": (0, number - 1),
        "<=": (0, number),
        ">": (number + 1, last),
        ">=": (number, last),
    }[operator]
    if key is Key.MARK:
        return Test(key, ((first, last),))
    return Test(key, (PortRange(max(first, 0), min(last, 65535)),))


def value_of(key: Key, value: object) -> Value | None:
    """A value of a form that is known. None: its form is not known."""
    match key:
        case Key.SOURCE | Key.DESTINATION:
            return _address(value)
        case Key.SOURCE_PORT | Key.DESTINATION_PORT:
            pair = _pair(value)
            return PortRange(*pair) if pair and 0 <= pair[0] <= pair[1] <= 65535 else None
        case Key.MARK:
            return _pair(value)
        case Key.FAMILY:
            return _FAMILIES.get(text_of(value))
        case Key.PROTOCOL:
            text = str(value) if isinstance(value, str | int) else ""
            return _NUMBERS.get(text, text) or None
        case Key.OWNER:
            return str(value) if isinstance(value, int | str) else None
        case Key.CAST:
            return _CASTS.get(text_of(value), text_of(value)) or None
        case _:
            return text_of(value) or None


def _pair(value: object) -> tuple[int, int] | None:
    match value:
        case bool():
            return None
        case int():
            return value, value
        case str() if value in _PORT_NAMES:
            return _PORT_NAMES[value], _PORT_NAMES[value]
        case {"range": [int(first), int(last)]}:
            return first, last
        case {"prefix": {"addr": int(first), "len": int(length)}} if 0 <= length <= 32:
            return first, first | ALL_BITS >> length
    return None


def _address(value: object) -> Addresses | None:
    try:
        match value:
            case str():
                host = ip_address(value)
                return Addresses(host.version, int(host), int(host))
            case {"range": [str(first), str(last)]}:
                low, high = ip_address(first), ip_address(last)
                return Addresses(low.version, int(low), int(high)) if low.version == high.version else None
            case {"prefix": {"addr": str(first), "len": int(length)}}:
                network = ip_network(f"{first}/{length}", strict=False)
                return Addresses(network.version, int(network.network_address), int(network.broadcast_address))
    except ValueError:
        pass
    return None
