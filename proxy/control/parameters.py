"""The parameters of requests: which there are, what they mean, and how their texts are read."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Any

from proxy.control.addresses import endpoint, place
from proxy.control.errors import Wrong

UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_LAST_MOMENT = datetime(9999, 1, 1, tzinfo=UTC).timestamp()
"""There is some time left behind it, so that it may be reckoned with."""
_SECONDS = r"[0-9]{1,9}(\.[0-9]{1,6})?[smhd]?"


class Type(Enum):
    """What the text of a parameter is read as."""

    TEXT = "text"
    SECONDS = "seconds"
    INTEGER = "integer"
    TIME = "time"
    ENDPOINT = "endpoint"
    HOST = "host"
    """An address, with its port or without."""
    PLACE = "place"
    """An address, an endpoint or a network, with or without `!` before it. A filter reads it (`filters.py`)."""
    FLAG = "flag"


_V4 = r"(?:(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])\.){3}(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_V6 = "(?:[0-9a-f]{1,4}:){7}[0-9a-f]{1,4}"
_PORT = "[1-5]?[0-9]{1,4}"
_ENDPOINT = rf"(?:{_V4}|\[[0-9A-Fa-f:.]+\]):[0-9]{{1,5}}"
_ENDPOINTS = ["192.0.2.1:5060", "[2001:db8::1]:5060"]

_SCHEMAS: Mapping[Type, dict[str, Any]] = {
    Type.TEXT: {"type": "string", "minLength": 1, "maxLength": 256},
    Type.SECONDS: {"type": "string", "pattern": f"^{_SECONDS}$"},
    Type.INTEGER: {"type": "integer", "minimum": 1, "maximum": 10_000_000},
    Type.TIME: {"type": "string", "format": "date-time"},
    Type.ENDPOINT: {"type": "string", "pattern": f"^{_ENDPOINT}$", "examples": _ENDPOINTS},
    Type.HOST: {
        "anyOf": [
            {"type": "string", "format": "ipv4"},
            {"type": "string", "format": "ipv6"},
            {"type": "string", "pattern": f"^{_ENDPOINT}$"},
        ],
        "examples": ["192.0.2.1", *_ENDPOINTS],
    },
    Type.PLACE: {
        "anyOf": [
            {"type": "string", "format": "ipv4"},
            {"type": "string", "format": "ipv6"},
            {"type": "string", "pattern": rf"^!?{_V4}(?::{_PORT}|/(?:3[0-2]|[12]?[0-9]))?$"},
            {"type": "string", "pattern": rf"^!?(?:{_V6}|\[{_V6}\]:{_PORT}|{_V6}/(?:12[0-8]|1[01][0-9]|[1-9]?[0-9]))$"},
        ],
        "examples": ["192.0.2.1", "!192.0.2.0/24", *_ENDPOINTS],
    },
    Type.FLAG: {"type": "string", "enum": ["true", "false", "1", "0"]},
}


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of the query, or of the path."""

    name: str
    type: Type
    says: str
    is_required: bool = False
    in_path: bool = False
    words: tuple[str, ...] = ()
    """The values that it may have. Empty: any that its type allows."""

    @property
    def description(self) -> dict[str, Any]:
        """The parameter in the OpenAPI description."""
        schema = dict(_SCHEMAS[self.type])
        if self.words:
            schema = {"type": "string", "enum": list(self.words)}
        if self.in_path:
            schema["minLength"] = 1
        return {
            "name": self.name,
            "in": "path" if self.in_path else "query",
            "required": self.is_required or self.in_path,
            "description": self.says,
            "schema": schema,
        }

    def read(self, text: str) -> Any:
        """The value that the text stands for. Raises Wrong."""
        if self.words and text not in self.words:
            raise self._wrong(text, " or ".join(self.words))
        match self.type:
            case Type.TEXT | Type.PLACE:
                # An empty filter would let everything through, and is what a script sends whose variable is not set.
                if not 1 <= len(text) <= 256:
                    raise self._wrong(text, "1 to 256 characters")
                return text
            case Type.SECONDS:
                return self._seconds(text)
            case Type.INTEGER:
                if not re.fullmatch(r"[0-9]{1,8}", text) or not 1 <= int(text) <= 10_000_000:
                    raise self._wrong(text, "a number from 1 to 10000000")
                return int(text)
            case Type.TIME:
                return self._time(text)
            case Type.ENDPOINT:
                if (at := endpoint(text)) is None:
                    raise self._wrong(text, "ADDRESS:PORT, or [ADDRESS]:PORT with IPv6")
                return str(at)
            case Type.HOST:
                if (at := place(text)) is None:
                    raise self._wrong(text, "an address, ADDRESS:PORT, or [ADDRESS]:PORT with IPv6")
                return str(at) if at.port else at.host_text
            case Type.FLAG:
                if text not in ("true", "false", "1", "0"):
                    raise self._wrong(text, "true or false")
                return text not in ("false", "0")

    def _seconds(self, text: str) -> float:
        if not re.fullmatch(_SECONDS, text):
            raise self._wrong(text, "a time as 90, 90s, 3m, 2h or 1d")
        unit = text[-1] if text[-1] in UNITS else ""
        return float(text.removesuffix(unit)) * UNITS[unit]

    def _time(self, text: str) -> float:
        try:
            moment = datetime.fromisoformat(text)
            return min(max(0.0, (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()), _LAST_MOMENT)
        except (ValueError, OverflowError):
            raise self._wrong(text, "a time as 2026-11-29T20:15:00Z") from None

    def _wrong(self, text: str, expected: str) -> Wrong:
        shown = text if len(text) <= 64 else f"{text[:64]}..."
        return Wrong(400, "bad_parameter", f"{self.name}: {shown!r}", f"{self.name} is {expected}")


def read_all(parameters: Sequence[Parameter], texts: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """The values of a query. Raises Wrong for a parameter that there is not, one that stands twice, and a value that is
    none."""
    known = {one.name: one for one in parameters if not one.in_path}
    values: dict[str, Any] = {}
    for name, text in texts:
        if name not in known:
            remedy = f"there are: {', '.join(sorted(known))}" if known else "there are none here"
            raise Wrong(400, "unknown_parameter", f"there is no parameter {name[:64]!r}", remedy)
        if name in values:
            raise Wrong(400, "bad_parameter", f"{name} stands twice", "give it once")
        values[name] = known[name].read(text)
    for name, one in known.items():
        if one.is_required and name not in values:
            raise Wrong(400, "missing_parameter", f"{name} is missing", f"{name}: {one.says}")
    return values
