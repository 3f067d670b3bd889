"""Messages of H.323 as pycrate reads and writes them, which no one here wrote: what the walkers are held against.

A message is decoded with all that is nested in it. In a value, an OCTET STRING that carries another message stands as
that message's value. pycrate comes by tools/setup (tests/interop/pycrate.lock), beside what the tests import.
"""

from __future__ import annotations

import copy
import importlib
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from ipaddress import ip_address
from pathlib import Path
from typing import Any

PLACE = Path(__file__).parents[2] / ".cache" / "pycrate"
NESTED = {"fastStart": "OpenLogicalChannel", "h245Control": "Control", "parallelH245Control": "Control"}
"""Component -> what each of its OCTET STRINGs carries."""
_MODULES = {
    "UserInformation": ("H225", "H323_MESSAGES", "H323_UserInformation"),
    "Ras": ("H225", "H323_MESSAGES", "RasMessage"),
    "Control": ("H245", "MULTIMEDIA_SYSTEM_CONTROL", "MultimediaSystemControlMessage"),
    "OpenLogicalChannel": ("H245", "MULTIMEDIA_SYSTEM_CONTROL", "OpenLogicalChannel"),
}
_HOSTS = {"ipAddress": ("ip", "port"), "ip6Address": ("ip", "port")}
_HOSTS |= {"iPAddress": ("network", "tsapIdentifier"), "iP6Address": ("network", "tsapIdentifier")}
"""Alternatives that are an address and a port, and what these are called in them."""
At = tuple[str, int]
VERSION = (0, 0, 8, 2250, 0, 4)
"""The protocolIdentifier of H.225.0, version 4."""
NO_UUIES = dict.fromkeys(
    (
        "setup", "callProceeding", "connect", "alerting", "information", "releaseComplete", "facility", "progress",
        "empty", "status", "statusInquiry", "setupAcknowledge", "notify",
    ),
    False,
)  # fmt: skip
"""What a gatekeeper answers that does not want to be told of signalling."""
UNKNOWN = b"of a later version"
FURTHEST = 64
"""The number of an addition that makes a bitmap as long as a walker takes."""


def missing() -> str:
    """What is not there; empty when all is."""
    return "" if (PLACE / "lock").exists() else "pycrate"


@cache
def kind(name: str) -> Any:
    """The type of a message, as pycrate has it."""
    if str(PLACE) not in sys.path:
        sys.path.append(str(PLACE))
        _mend(importlib.import_module("pycrate_asn1rt.codecs").ASN1CodecPER)
    file, module, found = _MODULES[name]
    return getattr(getattr(importlib.import_module(f"pycrate_asn1dir.{file}"), module), found)


class Addition(bytes):
    """The octets of an extension addition that nobody knows."""


def _mend(codec: Any) -> None:
    """pycrate writes the additions of a sequence before the bitmap that stands before them, and so aligns them where
    they are aligned already."""
    write_known, write_octets = codec.encode_unconst_open, codec.encode_unconst_buf

    def from_border(write: Callable[[Any], Any], value: Any) -> Any:
        before = codec._off[-1]
        codec._off[-1] = 0
        written = write(value)
        codec._off[-1] += before
        return written

    codec.encode_unconst_open = lambda value: from_border(write_known, value)
    codec.encode_unconst_buf = lambda value: (
        from_border(write_octets, value) if isinstance(value, Addition) else write_octets(value)
    )


class Unreadable(Exception):
    """pycrate does not read it."""


def decoded(name: str, data: bytes) -> Any:
    """The value of a message. Raises Unreadable."""
    found = kind(name)
    try:
        found.from_aper(data)
    except Exception as error:  # whatever it raises: it says no
        raise Unreadable(str(error)) from error
    return _nested(copy.deepcopy(found.get_val()), decoded)


def encoded(name: str, value: Any) -> bytes:
    """A message of this value."""
    found = kind(name)
    found.set_val(_nested(copy.deepcopy(value), encoded))
    return bytes(found.to_aper())


def _nested(value: Any, turn: Callable[[str, Any], Any]) -> Any:
    """The value with all that it carries turned."""
    match value:
        case dict():
            for key, part in value.items():
                if key in NESTED and isinstance(part, list):
                    value[key] = [turn(NESTED[key], one) for one in part]
                else:
                    value[key] = _nested(part, turn)
        case tuple() if len(value) == 2 and isinstance(value[0], str):
            return value[0], _nested(value[1], turn)
        case list():
            return [_nested(one, turn) for one in value]
    return value


def transport(at: At) -> tuple[str, dict[str, Any]]:
    """An address as H.225.0 has it."""
    host = ip_address(at[0])
    return "ipAddress" if host.version == 4 else "ip6Address", {"ip": host.packed, "port": at[1]}


def mapped(value: Any, addresses: Mapping[tuple[bytes, int], tuple[bytes, int]]) -> Any:
    """The value with addresses in the place of others, wherever they stand in it."""
    match value:
        case (str(name), dict(inner)) if name in _HOSTS:
            host, port = _HOSTS[name]
            to = addresses.get((inner[host], inner[port]), (inner[host], inner[port]))
            return name, inner | {host: to[0], port: to[1]}
        case dict():
            return {key: mapped(part, addresses) for key, part in value.items()}
        case tuple() if len(value) == 2 and isinstance(value[0], str):
            return value[0], mapped(value[1], addresses)
        case list():
            return [mapped(one, addresses) for one in value]
    return value


def hosts(value: Any) -> list[tuple[bytes, int]]:
    """Every address and port in a value, in the order of the message."""
    match value:
        case (str(name), dict(inner)) if name in _HOSTS:
            host, port = _HOSTS[name]
            return [(inner[host], inner[port])]
        case dict():
            return [found for part in value.values() for found in hosts(part)]
        case tuple() | list():
            return [found for part in value for found in hosts(part)]
    return []


# -- messages of later versions ----------------------------------------------------------------------------------------


def lengthened(name: str, value: Any, number: int = FURTHEST) -> Any:
    """The value with an unknown extension addition of this number in each sequence that may have one."""
    return _lengthened(kind(name), copy.deepcopy(value), number)


def _lengthened(of: Any, value: Any, number: int) -> Any:
    match value:
        case dict():
            for key in value:
                if key in NESTED and isinstance(value[key], list):
                    value[key] = [lengthened(NESTED[key], one, number) for one in value[key]]
                elif key in of._cont:
                    value[key] = _lengthened(of._cont[key], value[key], number)
            if of._ext is not None and len(of._ext) < number:
                value[f"_ext_{number}"] = Addition(UNKNOWN)
        case (str(chosen), inner) if of.TYPE == "CHOICE" and chosen in of._cont:
            return chosen, _lengthened(of._cont[chosen], inner, number)
        case list() if of.TYPE.endswith(" OF"):
            return [_lengthened(of._cont, one, number) for one in value]
    return value


def with_unknown_alternatives(name: str, value: Any) -> Iterator[Any]:
    """The value again and again, each time with another one of its choices made as no one knows it."""
    yield from _with_unknown(kind(name), value)


def _with_unknown(of: Any, value: Any) -> Iterator[Any]:
    match value:
        case dict():
            for key, part in value.items():
                if key in NESTED and isinstance(part, list):
                    for at, one in enumerate(part):
                        for other in with_unknown_alternatives(NESTED[key], one):
                            yield value | {key: [*part[:at], other, *part[at + 1 :]]}
                elif key in of._cont:
                    for other in _with_unknown(of._cont[key], part):
                        yield value | {key: other}
        case (str(chosen), inner) if of.TYPE == "CHOICE" and chosen in of._cont:
            if of._ext is not None:
                yield "_ext_60", UNKNOWN
            for other in _with_unknown(of._cont[chosen], inner):
                yield chosen, other
        case list() if of.TYPE.endswith(" OF"):
            for at, one in enumerate(value):
                for other in _with_unknown(of._cont, one):
                    yield [*value[:at], other, *value[at + 1 :]]
