"""What may stand in a message, read from the tables `h225_types.py` and `h245_types.py`.

    Setup-UUIE = SEQ* protocolIdentifier:OID h245Address?:TransportAddress ... | 6/fastStart:LIST()OCTETS()
    FacilityReason = CHOICE* routeCallToGatekeeper:NULL callForwarded:NULL ... | 1/startH245:NULL

`*` an extension marker, `?` OPTIONAL or DEFAULT; behind `|` stand extension additions, each with its number. Those that
nobody wants are not there. `LIST(1..256)T` is SEQUENCE OF or SET OF, with its size; `CHARS4[0123456789]` a string of
four bits a character, and its alphabet. A name that a module takes from another one begins with that module's
(`H235.ClearToken`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple


class Size(NamedTuple):
    """A range of numbers, or of lengths. None: without a bound."""

    low: int | None
    high: int | None


UNBOUNDED = Size(None, None)


@dataclass(frozen=True, slots=True)
class Leaf:
    """A type without parts."""

    kind: str
    """INT, ENUM, OCTETS, BITS, CHARS, BOOL, NULL, OID, OPEN."""
    size: Size = UNBOUNDED
    is_extensible: bool = False
    bits: int = 0
    """Of a character."""
    alphabet: str = ""


@dataclass(frozen=True, slots=True)
class Ref:
    """A type by its name."""

    name: str


@dataclass(frozen=True, slots=True)
class List:
    """Many of one type."""

    size: Size
    of: Type


class Field(NamedTuple):
    """A component of a sequence, or an alternative of a choice."""

    name: str
    type: Type
    is_optional: bool = False


@dataclass(frozen=True, slots=True)
class Fields:
    """A sequence or a choice."""

    is_choice: bool
    root: tuple[Field, ...]
    is_extensible: bool
    added: Mapping[int, Field] = field(default_factory=dict)
    """Number of an extension addition -> what it is."""


Type = Leaf | Ref | List | Fields
Schema = Mapping[str, Type]

_FIELD = re.compile(r"(?:(?P<number>\d+)/)?(?P<name>[^:?]+)(?P<optional>\??):(?P<type>.+)")
_LEAF = re.compile(r"([A-Z]+)(\d*)(?:\[(.*)\])?(?:\((.*)\))?(\*?)")


def read(table: str) -> dict[str, Type]:
    """The types of a table by their names."""
    lines = table.strip().replace("\n  ", " ").splitlines()
    return {name: _read(text) for name, _, text in (line.partition(" = ") for line in lines)}


def _read(text: str) -> Type:
    if text.startswith(("SEQ", "CHOICE")):
        kind, *words = text.split()
        root, _, added = " ".join(words).partition("|")
        fields = tuple(field for _, field in map(_field, root.split()))
        return Fields(kind.startswith("CHOICE"), fields, kind.endswith("*"), dict(map(_field, added.split())))
    if text.startswith("LIST("):
        size, _, of = text.removeprefix("LIST(").partition(")")
        return List(_size(size), _read(of))
    leaf = _LEAF.fullmatch(text)
    if leaf is None or leaf[1] not in ("INT", "ENUM", "OCTETS", "BITS", "CHARS", "BOOL", "NULL", "OID", "OPEN"):
        return Ref(text)
    kind, bits, alphabet, size, star = leaf.groups()
    return Leaf(kind, _size(size or ""), bool(star), int(bits or 0), alphabet or "")


def _field(text: str) -> tuple[int, Field]:
    found = _FIELD.fullmatch(text)
    assert found is not None, text
    return int(found["number"] or 0), Field(found["name"], _read(found["type"]), bool(found["optional"]))


def _size(text: str) -> Size:
    if not text:
        return UNBOUNDED
    low, _, high = text.partition("..")
    return Size(int(low), int(high or low))
