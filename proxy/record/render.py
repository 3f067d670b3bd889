"""Renders values and facts as they stand in a line of the log."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from enum import Enum
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from json.encoder import encode_basestring_ascii
from math import isfinite
from types import NoneType
from typing import Any

from protocols.contract.addresses import Endpoint, Transport

MAX_VALUE_LENGTH = 256

# One encoder serves all lines: json.dumps would make one for each.
to_json = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


def members(facts: Mapping[str, Any]) -> str:
    """The members of a JSON object, each with the comma before it."""
    return "".join([f',"{key}":{RENDERERS.get(type(value), value_json)(value)}' for key, value in facts.items()])


def object(facts: Mapping[str, Any]) -> str:
    """A JSON object within a line. Its keys may be any text, not only our own words."""
    members = [
        f"{encode_basestring_ascii(key)}:{RENDERERS.get(type(value), value_json)(value)}"
        for key, value in facts.items()
    ]
    return f"{{{','.join(members)}}}"


def value_json(value: Any) -> str:
    """A value as JSON."""
    return to_json(plain(value))


def _text_json(value: str) -> str:
    return encode_basestring_ascii(value if len(value) <= MAX_VALUE_LENGTH else plain(value))


def _bytes_json(value: bytes) -> str:
    """What a peer has sent. Mostly nothing in it needs to be escaped."""
    if len(value) <= MAX_VALUE_LENGTH:
        text = value.decode("latin-1")
        if text.isascii() and text.isprintable() and "\\" not in text:
            return encode_basestring_ascii(text)
    return encode_basestring_ascii(plain(value))


# For types that come in every line, this is how their values are rendered at once. All others are made plain first.
RENDERERS: dict[type, Callable[[Any], str]] = {
    str: _text_json,
    bytes: _bytes_json,
    float: lambda value: repr(value) if isfinite(value) else "null",
    int: repr,
    NoneType: lambda _: "null",
    Endpoint: lambda value: f'"{value}"',
    Transport: {transport: f'"{transport.value}"' for transport in Transport}.__getitem__,
    dict: object,
    list: lambda values: f"[{','.join([RENDERERS.get(type(value), value_json)(value) for value in values])}]",
    IPv4Network: lru_cache(maxsize=1024)(value_json),
    IPv6Network: lru_cache(maxsize=1024)(value_json),
}

RENDERERS[tuple] = RENDERERS[list]


@lru_cache(maxsize=2)
def until_second(second: int) -> str:
    """The time until the second, remembered for the lines of the same second."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))


def now() -> str:
    """The time as a line has it: RFC 3339, UTC, microseconds, always of one width, so that lines sort."""
    second, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
    return f"{until_second(second)}.{nanoseconds // 1000:06d}Z"


def plain(value: Any) -> Any:
    """A value as the log shows it: peer bytes escaped and cut with their true length noted (rule X18)."""
    match value:
        case float():
            return value if isfinite(value) else None  # infinity means for ever, and JSON has no such number
        case bool() | int() | None:
            return value
        case str():
            return value if len(value) <= MAX_VALUE_LENGTH else _cut(value, len(value))
        case bytes() | bytearray() | memoryview():
            text = bytes(value[:MAX_VALUE_LENGTH]).decode("latin-1").encode("unicode_escape").decode("ascii")
            return text if len(value) <= MAX_VALUE_LENGTH else _cut(text, len(value))
        case Endpoint() | IPv4Address() | IPv6Address():
            return str(value)
        case Enum():
            return value.value
        case dict():
            return {str(key): plain(item) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [plain(item) for item in value]
        case _:
            text = str(value)
            return _cut(text, len(text))


def _cut(text: str, true_length: int) -> str:
    """The beginning of a long text, with its true length noted."""
    return text if true_length <= MAX_VALUE_LENGTH else f"{text[:MAX_VALUE_LENGTH]}... ({true_length} bytes)"
