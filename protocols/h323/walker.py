"""Finds what is wanted in a message, and skips everything else: no message is decoded, and none is encoded again.

A walker is compiled once, from a schema and from what is wanted: a tree of the names that lead there.

    {"setup": {"h245Address": "h245Address", "fastStart": "fastStart"}, "*": {...}}
    {"reason": {"": "reason"}}           "" stands for the name of the alternative that was chosen

At its leaves stand labels. What lies off these ways is stepped over; of extension additions, also of versions that are
not born yet, only the length is looked at (HF12, HF15). An address is found as a span of 6 or 18 whole octets, which
can be replaced without another octet of the message moving (HF17).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, cast

from protocols.contract.addresses import Malformed
from protocols.h323 import per, steps
from protocols.h323.per import Found, Step, Walk
from protocols.h323.schema import Field, Fields, Leaf, List, Ref, Schema, Size, Type

Wanted = Mapping[str, "Wanted | str"]
_NUMBER = Size(0, 65535)


class Other(str):
    """The name of what stands where an address was wanted, and is none of IP."""

    __slots__ = ()


class Walked(NamedTuple):
    """What was found in a message, in the order in which it stands there."""

    found: list[Found]
    end: int
    """How many octets the message has."""
    broken: int
    """How many of its parts could not be read."""


class Walker:
    """Walks one kind of message."""

    __slots__ = ("_step",)

    def __init__(self, schema: Schema, root: str, wanted: Wanted, by_value: str | None = None) -> None:
        """by_value: the label of all addresses that `wanted` does not name. None: they are skipped."""
        self._step = _Compiler(schema, by_value).compile(Ref(root), wanted)

    def walk(self, data: bytes) -> Walked:
        """Walk the message at the beginning of `data`. Raises Malformed."""
        walk = Walk(data)
        try:
            end = self._step(walk, 0)
        except IndexError:
            raise Malformed("it ends early") from None
        if end > walk.limit:
            raise Malformed("it ends early")
        return Walked(walk.found, (end + 7) >> 3, walk.broken)


class _Compiler:
    """Makes steps of types."""

    def __init__(self, schema: Schema, by_value: str | None) -> None:
        self._schema = schema
        self._by_value = by_value
        self._plain: dict[str, Step] = {}
        """Type -> the step over it where nothing in it is named."""
        self._carriers: dict[str, bool] = {}
        """Type -> whether it has addresses."""
        self._headed = steps.Headed()

    def compile(self, kind: Type, wanted: Wanted | str | None) -> Step:
        """The step over a type. wanted: what is wanted of it; a label: the type itself; None: nothing by its name."""
        match kind:
            case Ref(name) if wanted is None:
                return self._unnamed(name)
            case Ref(name):
                return self.compile(self._schema[name], wanted)
            case List():
                return self._headed.listed(per.count_of(kind.size), self.compile(kind.of, wanted))
            case Leaf():
                return steps.value(kind, wanted) if isinstance(wanted, str) else per.skip(kind)
            case Fields(is_choice=True):
                return self._choice(kind, wanted)
            case Fields() if isinstance(wanted, str):
                return steps.span(self._sequence(kind, None), wanted, True)
        return self._sequence(kind, wanted)

    def _unnamed(self, name: str) -> Step:
        if name not in self._plain:
            # A type may contain itself: until its step is made, others find it by its name.
            self._plain[name] = lambda walk, at: plain[name](walk, at)
            plain = self._plain
            is_address = name in ("TransportAddress", "UnicastAddress", "MulticastAddress")
            self._plain[name] = self.compile(self._schema[name], self._by_value if is_address else None)
        return self._plain[name]

    # -- sequences and choices -----------------------------------------------------------------------------------------

    def _sequence(self, kind: Fields, wanted: Wanted | str | None) -> Step:
        root = [(field.is_optional, self.compile(field.type, _below(wanted, field))) for field in kind.root]
        return self._headed.sequence(root, steps.additions(self._known(kind, wanted)) if kind.is_extensible else None)

    def _known(self, kind: Fields, wanted: Wanted | str | None) -> dict[int, Step]:
        """The additions in which there is something to be found."""
        known: dict[int, Step] = {}
        for number, field in kind.added.items():
            below = _below(wanted, field)
            if below is not None or (self._by_value is not None and self._carries(field.type)):
                known[number] = self.compile(field.type, below)
        return known

    def _choice(self, kind: Fields, wanted: Wanted | str | None) -> Step:
        tag = wanted.get("") if isinstance(wanted, Mapping) else None
        root = [(field.name, self._alternative(field, wanted)) for field in kind.root]
        known = {number: (field.name, self._alternative(field, wanted)) for number, field in kind.added.items()}
        return self._headed.choice(root, known if kind.is_extensible else None, cast("str | None", tag))

    def _alternative(self, field: Field, wanted: Wanted | str | None) -> Step:
        if not isinstance(wanted, str):
            return self.compile(field.type, _below(wanted, field))
        kind = self._resolved(field.type)
        if isinstance(kind, Fields) and kind.is_choice:
            return self.compile(kind, wanted)
        if isinstance(kind, Fields) and (octets := self._octets_of_host(kind)):
            return self._headed.address(octets, steps.additions({}) if kind.is_extensible else None, wanted)
        if isinstance(kind, Leaf) and kind.kind in ("CHARS", "INT", "BOOL"):
            return self.compile(kind, wanted)
        return steps.span(self.compile(field.type, None), wanted, Other(field.name))

    def _octets_of_host(self, kind: Fields) -> int:
        """How many octets the host has, if this is an address and a port. 0: it is something else."""
        match [self._resolved(field.type) for field in kind.root]:
            case [Leaf("OCTETS", (4 | 16 as octets, _)), Leaf("INT", size)] if size == _NUMBER:
                return octets
        return 0

    def _resolved(self, kind: Type) -> Type:
        while isinstance(kind, Ref):
            kind = self._schema[kind.name]
        return kind

    def _carries(self, kind: Type) -> bool:
        match kind:
            case Ref("TransportAddress" | "UnicastAddress" | "MulticastAddress"):
                return True
            case Ref(name):
                if name not in self._carriers:
                    self._carriers[name] = False
                    self._carriers[name] = self._carries(self._schema[name])
                return self._carriers[name]
            case List():
                return self._carries(kind.of)
            case Fields():
                return any(self._carries(field.type) for field in (*kind.root, *kind.added.values()))
        return False


def _below(wanted: Wanted | str | None, field: Field) -> Wanted | str | None:
    """What is wanted of a component."""
    return wanted.get(field.name, wanted.get("*")) if isinstance(wanted, Mapping) else None
