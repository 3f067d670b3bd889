"""What the answers of the control socket look like: the fields of each row, with their types and a sentence each.

The tables that are made of these say it once. The OpenAPI description is generated from them, and so are the filters of
each list.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Any

Row = dict[str, Any]


class Kind(Enum):
    """What kind of value a field has."""

    TEXT = "text"
    WORD = "word"
    """A text that is one of few, or a name: a filter compares it as a whole."""
    ENDPOINT = "endpoint"
    """HOST:PORT, or [HOST]:PORT."""
    NETWORKS = "networks"
    INTEGER = "integer"
    SECONDS = "seconds"
    TIME = "time"
    FLAG = "flag"
    WORDS = "words"
    INTEGERS = "integers"
    OBJECT = "object"


_SCHEMAS: Mapping[Kind, Mapping[str, Any]] = {
    Kind.TEXT: {"type": "string"},
    Kind.WORD: {"type": "string"},
    Kind.ENDPOINT: {"type": "string", "examples": ["192.0.2.1:5060", "[2001:db8::1]:5060"]},
    Kind.NETWORKS: {"type": "array", "items": {"type": "string"}},
    Kind.INTEGER: {"type": "integer"},
    Kind.SECONDS: {"type": "number"},
    Kind.TIME: {"type": "string", "format": "date-time"},
    Kind.FLAG: {"type": "boolean"},
    Kind.WORDS: {"type": "array", "items": {"type": "string"}},
    Kind.INTEGERS: {"type": "array", "items": {"type": "integer"}},
    Kind.OBJECT: {"type": "object"},
}


def stamp(moment: float) -> str:
    """Seconds since 1970 as answers and lines of the audit log have them: RFC 3339, UTC, microseconds."""
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a row."""

    kind: Kind
    says: str
    """What it means, as a sentence without its full stop."""
    may_be_null: bool = False
    may_be_absent: bool = False
    rows: Shape | None = None
    """The rows of a list of objects. It goes before `kind`."""

    @property
    def schema(self) -> dict[str, Any]:
        """The JSON Schema of the field."""
        if self.rows is not None:
            return {"type": "array", "items": self.rows.reference, "description": self.says}
        schema = dict(_SCHEMAS[self.kind])
        if self.may_be_null:
            schema["type"] = [schema["type"], "null"]
        return {**schema, "description": self.says}


@dataclass(frozen=True, slots=True)
class Shape:
    """An object of JSON with these fields."""

    name: str
    says: str
    fields: Mapping[str, Field]
    is_open: bool = False
    """Whether there may be other fields beside these."""

    @property
    def reference(self) -> dict[str, str]:
        """The reference to it within the OpenAPI description."""
        return {"$ref": f"#/components/schemas/{self.name}"}

    @property
    def schema(self) -> dict[str, Any]:
        """Its JSON Schema."""
        return {
            "type": "object",
            "description": self.says,
            "properties": {name: field.schema for name, field in self.fields.items()},
            "required": [name for name, field in self.fields.items() if not field.may_be_absent],
            **({} if self.is_open else {"additionalProperties": False}),
        }

    @property
    def within(self) -> tuple[Shape, ...]:
        """The shapes that its fields refer to."""
        return tuple(field.rows for field in self.fields.values() if field.rows is not None)
