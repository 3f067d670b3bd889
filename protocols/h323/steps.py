"""Steps over the parts of a message: what begins with bits that say what stands there, lists, and what is wanted.

Sequences and choices begin with a few bits, which say what comes, and often with one another: an address of H.245 is a
choice in a choice, with a sequence in it, and all three are decided by seven bits. So a step looks at the next eight
bits together, and for each of their values it knows how many of them count and what comes then.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from protocols.contract.addresses import Malformed
from protocols.h323 import per
from protocols.h323.per import Step, Walk
from protocols.h323.schema import Leaf

MAX_PLANS = 128
"""For so many combinations of many optional components, or of additions, the steps are remembered."""
LOOKED_AT = 8
"""So many bits are looked at together."""

Plan = tuple[Step, ...]
"""Steps that are taken one after the other."""
Head = Callable[[int, int], "tuple[int, Plan] | None"]
"""Decides by the next bits, of which there are so many: how many of them count, and which steps come after them. None:
they are too few."""


class Headed:
    """Makes the steps over sequences and choices."""

    def __init__(self) -> None:
        self._heads: dict[Step, Head] = {}
        self._tags: set[Step] = set()

    def _step(self, head: Head) -> Step:
        """The step over what begins with this head."""
        decided: list[tuple[int, Plan] | None] = [None] * (1 << LOOKED_AT)

        def decide(bits: int) -> tuple[int, Plan]:
            """Whatever these bits decide: what stands here, and what that begins with."""
            taken, plan = 0, list[Step]()
            rest: list[Step] = [step]
            while rest:
                left = LOOKED_AT - taken
                head = self._heads.get(rest[0])
                if rest[0] in self._tags:
                    plan.append(rest.pop(0))
                elif head is not None and (more := head(bits & (1 << left) - 1, left)) is not None:
                    taken, rest = taken + more[0], [*more[1], *rest[1:]]
                else:
                    break
            found = decided[bits] = taken, (*plan, *rest)
            return found

        def step(walk: Walk, at: int) -> int:
            walk.fuel -= 1
            if walk.fuel < 0:
                raise Malformed("it has too many parts")
            index = at >> 3
            bits = (walk.data[index] << 8 | walk.data[index + 1]) >> 8 - (at & 7) & 255
            taken, plan = decided[bits] or decide(bits)
            at += taken
            for one in plan:
                at = one(walk, at)
            return at

        self._heads[step] = head
        return step

    def sequence(self, steps: Sequence[tuple[bool, Step]], additions: Step | None) -> Step:
        """X.691 s.18: a bit that says whether there are additions, one for each optional component, and what is there.
        steps: of each component, and whether it is optional. additions: None if there can be none."""
        options = sum(is_optional for is_optional, _ in steps)
        width = options + (additions is not None)

        def planned(head: int) -> Plan:
            """The steps for such a preamble."""
            plan: list[Step] = []
            left = options
            for is_optional, step in steps:
                left -= is_optional
                if not is_optional or head >> left & 1:
                    plan.append(step)
            if additions is not None and head >> options & 1:
                plan.append(additions)
            return tuple(plan)

        if width > LOOKED_AT:
            return _wide(width, planned)
        return self._step(lambda bits, left: (width, planned(bits >> left - width)) if left >= width else None)

    def choice(
        self, root: Sequence[tuple[str, Step]], known: Mapping[int, tuple[str, Step]] | None, tag: str | None
    ) -> Step:
        """X.691 s.23. root: name and step of each alternative; known: the same of those behind the extension marker, by
        their numbers (None: there is no marker). tag: the label under which the name of the alternative is kept."""
        marker = int(known is not None)
        width = (len(root) - 1).bit_length() + marker

        def chosen(name: str, step: Step) -> Plan:
            return (step,) if tag is None else (self._tag(tag, name), step)

        def beyond(number: int) -> Plan:
            """An alternative behind the extension marker."""
            name, step = (known or {}).get(number, ("unknown", None))
            return chosen(name, opened(step))

        def far_beyond(walk: Walk, at: int) -> int:
            """One with a number that is not small."""
            number, at = per.small(walk, at)
            for step in beyond(number):
                at = step(walk, at)
            return at

        def head(bits: int, left: int) -> tuple[int, Plan] | None:
            if left < width:
                return None
            if marker and bits >> left - 1:
                if left < LOOKED_AT:
                    return None
                return (1, (far_beyond,)) if bits & 64 else (8, beyond(bits & 63))
            number = bits >> left - width
            if number >= len(root):
                raise Malformed("no such alternative")
            return width, chosen(*root[number])

        return self._step(head)

    def _tag(self, label: str, name: str) -> Step:
        """What is chosen is wanted by its name."""

        def step(walk: Walk, at: int) -> int:
            walk.found.append((label, at >> 3, at >> 3, name))
            return at

        self._tags.add(step)
        return step

    def address(self, octets: int, additions: Step | None, label: str) -> Step:
        """An address and its port, from an octet's border on."""

        def step(walk: Walk, at: int) -> int:
            begin = at + 7 >> 3
            end = begin + octets + 2
            walk.found.append((label, begin, end, None))
            return end << 3

        return self.sequence(((False, step),), additions)

    def listed(self, count: per.Count, inner: Step) -> Step:
        """X.691 s.19: how many there are, and one after the other."""
        is_counted = inner in self._heads  # by the step itself

        def step(walk: Walk, at: int) -> int:
            many, at = count(walk, at)
            if not is_counted:
                walk.fuel -= many
            walk.depth += 1
            if walk.fuel < 0 or walk.depth > per.MAX_DEPTH:
                raise Malformed("it has too many parts")
            for _ in range(many):
                at = inner(walk, at)
            walk.depth -= 1
            return at

        return step


def _wide(width: int, planned: Callable[[int], Plan]) -> Step:
    """The step over a sequence with more optional components than are looked at together."""
    plans: dict[int, Plan] = {}

    def step(walk: Walk, at: int) -> int:
        walk.fuel -= 1
        if walk.fuel < 0:
            raise Malformed("it has too many parts")
        head = per.bits(walk, at, width)
        plan = plans.get(head)
        if plan is None:
            plan = planned(head)
            if len(plans) < MAX_PLANS:
                plans[head] = plan
        at += width
        for one in plan:
            at = one(walk, at)
        return at

    return step


def additions(known: Mapping[int, Step]) -> Step:
    """X.691 s.18.7 to 18.9: how many additions there could be, a bit for each, and those that are there. Each has its
    length, by which it is skipped if nothing in it is wanted."""

    plans: dict[tuple[int, int], Plan] = {}

    def planned(count: int, there: int) -> Plan:
        """The steps through the additions that are there."""
        if count > per.MAX_ADDITIONS:
            raise Malformed(f"{count} extension additions")
        plan = tuple(opened(known.get(number)) for number in range(count) if there >> (count - 1 - number) & 1)
        if len(plans) < MAX_PLANS:
            plans[count, there] = plan
        return plan

    def step(walk: Walk, at: int) -> int:
        head = per.bits(walk, at, 7)
        count, at = (head + 1, at + 7) if head < 64 else per.length(walk, at + 1)
        there = per.bits(walk, at, count)
        at += count
        plan = plans.get((count, there))
        for one in planned(count, there) if plan is None else plan:
            at = one(walk, at)
        return at

    return step


def opened(inner: Step | None) -> Step:
    """The step over a value that has its length before it (X.691 s.11.2). If it cannot be read it is skipped, and
    counted. None: it is skipped in any case."""
    if inner is None:
        return per.over_octets

    def step(walk: Walk, at: int) -> int:
        walk.fuel -= 1
        if walk.fuel < 0:
            raise Malformed("it has too many parts")
        octets, at = per.length(walk, at)
        end = at + 8 * octets
        mark, depth, limit = len(walk.found), walk.depth, walk.limit
        if end > limit:
            raise Malformed("it ends early")
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

    return step


# -- what is found -----------------------------------------------------------------------------------------------------


def span(inner: Step, label: str, value: object) -> Step:
    """Something that is wanted as a whole."""

    def step(walk: Walk, at: int) -> int:
        end = inner(walk, at)
        walk.found.append((label, (at + 7) >> 3, end >> 3, value))
        return end

    return step


def value(leaf: Leaf, label: str) -> Step:
    """A value that is wanted."""
    match leaf.kind:
        case "INT":
            read: per.Count = per.number(leaf)
        case "BOOL":
            read = _flag
        case "CHARS" | "OCTETS":
            return _text(leaf, label)
        case _:
            return span(per.skip(leaf), label, True)

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
