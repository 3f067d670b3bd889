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
from protocols.h323 import per
from protocols.h323.per import Found, Step, Walk
from protocols.h323.schema import Field, Fields, Leaf, List, Ref, Schema, Size, Type

Wanted = Mapping[str, "Wanted | str"]
MAX_PLANS = 128
"""For so many combinations of optional components a sequence remembers its steps."""
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

    def compile(self, kind: Type, wanted: Wanted | str | None) -> Step:
        """The step over a type. wanted: what is wanted of it; a label: the type itself; None: nothing by its name."""
        match kind:
            case Ref(name) if wanted is None:
                return self._unnamed(name)
            case Ref(name):
                return self.compile(self._schema[name], wanted)
            case List():
                return _list(per.count_of(kind.size), self.compile(kind.of, wanted))
            case Leaf():
                return _value(kind, wanted) if isinstance(wanted, str) else per.skip(kind)
            case Fields(is_choice=True):
                return self._choice(kind, wanted)
            case Fields() if isinstance(wanted, str):
                return _span(self._sequence(kind, None), wanted, True)
        return self._sequence(kind, wanted)

    def _unnamed(self, name: str) -> Step:
        if self._by_value is not None and name in ("TransportAddress", "UnicastAddress", "MulticastAddress"):
            return self.compile(self._schema[name], self._by_value)
        if name not in self._plain:
            # A type may contain itself: until its step is made, others find it by its name.
            self._plain[name] = lambda walk, at: plain[name](walk, at)
            plain = self._plain
            self._plain[name] = self.compile(self._schema[name], None)
        return self._plain[name]

    # -- sequences and choices -----------------------------------------------------------------------------------------

    def _sequence(self, kind: Fields, wanted: Wanted | str | None) -> Step:
        steps = tuple((field.is_optional, self.compile(field.type, _below(wanted, field))) for field in kind.root)
        return _sequence(steps, _additions(self._known(kind, wanted)) if kind.is_extensible else None)

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
        root = [self._alternative(field, wanted) for field in kind.root]
        known = {number: self._alternative(field, wanted) for number, field in kind.added.items()}
        names = [field.name for field in kind.root]
        others = {number: field.name for number, field in kind.added.items()}
        return _choice(root, known, kind.is_extensible, cast("str | None", tag), names, others)

    def _alternative(self, field: Field, wanted: Wanted | str | None) -> Step:
        if not isinstance(wanted, str):
            return self.compile(field.type, _below(wanted, field))
        kind = self._resolved(field.type)
        if isinstance(kind, Fields) and kind.is_choice:
            return self.compile(kind, wanted)
        if isinstance(kind, Fields) and (octets := self._octets_of_host(kind)):
            return _address(octets, _additions({}) if kind.is_extensible else None, wanted)
        if isinstance(kind, Leaf) and kind.kind in ("CHARS", "INT", "BOOL"):
            return self.compile(kind, wanted)
        return _span(self.compile(field.type, None), wanted, Other(field.name))

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


# -- steps -------------------------------------------------------------------------------------------------------------


def _sequence(steps: tuple[tuple[bool, Step], ...], additions: Step | None) -> Step:
    """X.691 s.18: a bit that says whether there are additions, one for each optional component, and what is there."""
    options = sum(is_optional for is_optional, _ in steps)
    width = options + (additions is not None)
    mask = (1 << width) - 1
    plans: dict[int, tuple[Step, ...]] = {}

    def planned(head: int) -> tuple[Step, ...]:
        """The steps for such a preamble."""
        plan: list[Step] = []
        left = options
        for is_optional, step in steps:
            left -= is_optional
            if not is_optional or head >> left & 1:
                plan.append(step)
        if additions is not None and head >> options & 1:
            plan.append(additions)
        if len(plans) < MAX_PLANS:
            plans[head] = tuple(plan)
        return tuple(plan)

    def step(walk: Walk, at: int) -> int:
        walk.fuel -= 1
        end = at + width
        if walk.fuel < 0 or end > walk.limit:
            raise Malformed("it ends early" if walk.fuel >= 0 else "it has too many parts")
        head = (int.from_bytes(walk.data[at >> 3 : (end + 7) >> 3], "big") >> (-end & 7)) & mask
        plan = plans.get(head)
        for one in planned(head) if plan is None else plan:
            end = one(walk, end)
        return end

    return step


def _additions(known: Mapping[int, Step]) -> Step:
    """X.691 s.18.7 to 18.9: how many additions there could be, a bit for each, and those that are there. Each has its
    length, by which it is skipped if nothing in it is wanted."""

    plans: dict[tuple[int, int], tuple[Step | None, ...]] = {}

    def planned(count: int, there: int) -> tuple[Step | None, ...]:
        """For each addition that is there, the step through it. None: it is skipped."""
        if count > per.MAX_ADDITIONS:
            raise Malformed(f"{count} extension additions")
        plan = tuple(known.get(number) for number in range(count) if there >> (count - 1 - number) & 1)
        if len(plans) < MAX_PLANS:
            plans[count, there] = plan
        return plan

    def step(walk: Walk, at: int) -> int:
        head = per.bits(walk, at, 7)
        count, at = (head + 1, at + 7) if head < 64 else per.length(walk, at + 1)
        there = per.bits(walk, at, count)
        at += count
        plan = plans.get((count, there))
        for inner in planned(count, there) if plan is None else plan:
            at = _open(walk, at, inner)
        return at

    return step


def _open(walk: Walk, at: int, inner: Step | None) -> int:
    """A value that has its length before it (X.691 s.11.2). If it cannot be read it is skipped, and counted."""
    walk.fuel -= 1
    if walk.fuel < 0:
        raise Malformed("it has too many parts")
    octets, at = per.length(walk, at)
    end = at + 8 * octets
    if end > walk.limit:
        raise Malformed("it ends early")
    if inner is None:
        return end
    mark, depth, limit = len(walk.found), walk.depth, walk.limit
    walk.depth, walk.limit = depth + 1, end
    try:
        is_read = depth < per.MAX_DEPTH and inner(walk, at) <= end
    except (Malformed, IndexError):
        is_read = False
    walk.depth, walk.limit = depth, limit
    if not is_read:
        walk.broken += 1
        del walk.found[mark:]
    return end


def _choice(
    root: list[Step],
    known: Mapping[int, Step],
    is_extensible: bool,
    tag: str | None,
    names: list[str],
    others: Mapping[int, str],
) -> Step:
    """X.691 s.23. tag: the label under which the name of the alternative is kept."""
    width, count = (len(root) - 1).bit_length(), len(root)
    head = width + is_extensible
    beyond, mask = 1 << width, (1 << head) - 1

    def step(walk: Walk, at: int) -> int:
        end = at + head
        if end > walk.limit:
            raise Malformed("it ends early")
        number = (int.from_bytes(walk.data[at >> 3 : (end + 7) >> 3], "big") >> (-end & 7)) & mask
        if number >= beyond:
            number, end = per.small(walk, at + 1)
            if tag is not None:
                walk.found.append((tag, at >> 3, at >> 3, others.get(number, "unknown")))
            return _open(walk, end, known.get(number))
        if number >= count:
            raise Malformed("no such alternative")
        if tag is not None:
            walk.found.append((tag, at >> 3, at >> 3, names[number]))
        return root[number](walk, end)

    return step


def _list(count: per.Count, inner: Step) -> Step:
    """X.691 s.19: how many there are, and one after the other."""

    def step(walk: Walk, at: int) -> int:
        many, at = count(walk, at)
        walk.fuel -= many
        walk.depth += 1
        if walk.fuel < 0 or walk.depth > per.MAX_DEPTH:
            raise Malformed("it has too many parts")
        for _ in range(many):
            at = inner(walk, at)
        walk.depth -= 1
        return at

    return step


# -- what is found -----------------------------------------------------------------------------------------------------


def _address(octets: int, additions: Step | None, label: str) -> Step:
    """An address and its port, from an octet's border on."""
    marker = int(additions is not None)

    def step(walk: Walk, at: int) -> int:
        is_extended = marker and per.bits(walk, at, 1)
        begin = (at + marker + 7) >> 3
        end = begin + octets + 2
        if end * 8 > walk.limit:
            raise Malformed("it ends early")
        walk.found.append((label, begin, end, None))
        return additions(walk, end * 8) if is_extended and additions is not None else end * 8

    return step


def _span(inner: Step, label: str, value: object) -> Step:
    """Something that is wanted as a whole."""

    def step(walk: Walk, at: int) -> int:
        end = inner(walk, at)
        walk.found.append((label, (at + 7) >> 3, end >> 3, value))
        return end

    return step


def _value(leaf: Leaf, label: str) -> Step:
    """A value that is wanted."""
    match leaf.kind:
        case "INT":
            read: per.Count = per.number(leaf)
        case "BOOL":
            read = _flag
        case "CHARS" | "OCTETS":
            return _text(leaf, label)
        case _:
            return _span(per.skip(leaf), label, True)

    def step(walk: Walk, at: int) -> int:
        value, end = read(walk, at)
        walk.found.append((label, at >> 3, end >> 3, value))
        return end

    return step


def _flag(walk: Walk, at: int) -> tuple[int, int]:
    return per.bits(walk, at, 1), at + 1


def _text(leaf: Leaf, label: str) -> Step:
    """A string. Its octets are where it is said to be found; that of letters of four bits is written out."""
    unit = leaf.bits or 8
    units = per.begin_of_units(unit, leaf.size)

    def step(walk: Walk, at: int) -> int:
        many, begin = units(walk, at)
        end = begin + unit * many
        if end > walk.limit:
            raise Malformed("it ends early")
        start, stop = begin >> 3, (end + 7) >> 3
        octets = walk.data[start:stop]
        walk.found.append((label, start, stop, _written(leaf, octets, many) if leaf.kind == "CHARS" else octets))
        return end

    return step


def _written(leaf: Leaf, data: bytes, many: int) -> str:
    if leaf.bits == 16:
        return data.decode("utf-16-be", "replace")
    if leaf.bits == 8:
        return data.decode("latin-1")
    letters = leaf.alphabet.ljust(16, "?")
    return "".join(letters[digit >> 4] + letters[digit & 15] for digit in data)[:many]
