"""Aligned basic PER (X.691): how long each leaf of a message is, and what stands in it.

A *step* takes a position in bits, and returns the position behind what it has read. Steps are made once, when a walker
is compiled. A position never goes back. So that a message is too short, or a part of it, is seen at its end, by the
position behind it: no step looks for that by itself, and one that reads past all octets there are has an IndexError,
which the walker turns into Malformed.
"""

from __future__ import annotations

from collections.abc import Callable

from protocols.contract.addresses import Malformed
from protocols.h323.schema import UNBOUNDED, Leaf, Size

MAX_FUEL = 4000
"""How many parts of one message are walked: an IRR of a busy gateway has a few hundred (HF16)."""
MAX_DEPTH = 24
"""How deep lists and additions may stand in each other (HF16). H.460 features are four deep."""
MAX_ADDITIONS = 64
"""How many extension additions a sequence may announce (HF16). The newest versions have thirty-five."""

Found = tuple[str, int, int, object]
"""What was wanted: its label, where its octets begin and end, and its value. Of an address the value is None: it is the
octets."""


class Walk:
    """One message while it is walked."""

    __slots__ = ("broken", "data", "depth", "found", "fuel", "limit")

    def __init__(self, data: bytes) -> None:
        self.data = data + bytes(2)
        """The message, and what is read behind its end by whoever looks ahead."""
        self.limit = len(data) * 8
        self.fuel = MAX_FUEL
        self.depth = 0
        self.found: list[Found] = []
        self.broken = 0
        """Parts within a length of their own that could not be read, and were skipped (HF15)."""


Step = Callable[[Walk, int], int]
Count = Callable[[Walk, int], tuple[int, int]]
"""Reads a number: it returns the number, and the position behind it."""


def bits(walk: Walk, at: int, count: int) -> int:
    """The number that so many bits make."""
    end = at + count
    return (int.from_bytes(walk.data[at >> 3 : end + 7 >> 3], "big") >> (-end & 7)) & ((1 << count) - 1)


def length(walk: Walk, at: int) -> tuple[int, int]:
    """A length that nothing bounds (X.691 s.11.9.3.5). Fragments are refused: nothing here has 16,384 parts."""
    index = (at + 7) >> 3
    first = walk.data[index]
    if first < 0x80:
        return first, (index + 1) * 8
    if first >= 0xC0:
        raise Malformed("a value in fragments")
    return (first & 0x3F) << 8 | walk.data[index + 1], (index + 2) * 8


def small(walk: Walk, at: int) -> tuple[int, int]:
    """A number that is small as a rule: that of an alternative behind the extension marker (s.11.6)."""
    if not bits(walk, at, 1):
        return bits(walk, at + 1, 6), at + 7
    count, at = length(walk, at + 1)
    return int.from_bytes(walk.data[at >> 3 : (at >> 3) + count], "big"), at + 8 * count


def whole(size: Size) -> Count:
    """Reads a whole number of this range (s.11.5, 11.7, 11.8)."""
    low, high = size
    if low is None or high is None:
        return lambda walk, at: _octets_of_number(walk, *length(walk, at))
    values = high - low + 1
    if values <= 255:
        width = (values - 1).bit_length()
        return lambda walk, at: (low + bits(walk, at, width), at + width)
    if values <= 65536:
        return _octets(1 if values == 256 else 2, low)
    most = ((high - low).bit_length() + 7) // 8
    width = (most - 1).bit_length()
    return lambda walk, at: _octets_of_number(walk, bits(walk, at, width) + 1, at + width, low)


def _octets(count: int, low: int) -> Count:
    def read(walk: Walk, at: int) -> tuple[int, int]:
        begin = at + 7 >> 3
        end = begin + count
        return low + int.from_bytes(walk.data[begin:end], "big"), end << 3

    return read


def _octets_of_number(walk: Walk, count: int, at: int, low: int = 0) -> tuple[int, int]:
    begin = at + 7 >> 3
    end = begin + count
    return low + int.from_bytes(walk.data[begin:end], "big"), end << 3


def number(leaf: Leaf) -> Count:
    """Reads the value of an INTEGER, which may lie beyond its range if that is extensible."""
    root, more = whole(leaf.size), whole(UNBOUNDED)
    if not leaf.is_extensible:
        return root
    return lambda walk, at: (more if bits(walk, at, 1) else root)(walk, at + 1)


def count_of(size: Size) -> Count:
    """Reads how many parts there are of something that has a size."""
    return length if size.high is None or size.high >= 65536 else whole(size)


def skip(leaf: Leaf) -> Step:
    """The step over a leaf."""
    size = leaf.size
    match leaf.kind:
        case "NULL":
            return lambda walk, at: at
        case "BOOL":
            return lambda walk, at: at + 1
        case "OID" | "OPEN":
            return over_octets
        case "INT" if leaf.is_extensible:
            read = number(leaf)
            return lambda walk, at: read(walk, at)[1]
        case "INT":
            return _over_number(size)
        case "ENUM":
            width = ((size.high or 1) - 1).bit_length()
            if not leaf.is_extensible:
                return lambda walk, at: at + width
            return lambda walk, at: small(walk, at + 1)[1] if bits(walk, at, 1) else at + 1 + width
        case "OCTETS":
            return over_octets if count_of(size) is length else _over_units(8, size)
        case "BITS":
            return _over_units(1, size)
        case "CHARS":
            return _over_units(leaf.bits, size)
    raise AssertionError(leaf)


def over_octets(walk: Walk, at: int) -> int:
    """The step over octets that have their number before them."""
    index = at + 7 >> 3
    first = walk.data[index]
    if first < 0x80:  # which is nearly always so
        return index + 1 + first << 3
    count, at = length(walk, at)
    return at + 8 * count


def _over_number(size: Size) -> Step:
    low, high = size
    if low is not None and high is not None and high - low < 65536:
        values = high - low + 1
        if values <= 255:
            width = (values - 1).bit_length()
            return lambda walk, at: at + width
        width = 8 if values == 256 else 16
        return lambda walk, at: (at + 7 & ~7) + width
    read = whole(size)
    return lambda walk, at: read(walk, at)[1]


def _over_units(unit: int, size: Size) -> Step:
    """Over a string of so many bits a unit (s.16, 17, 30)."""
    units = begin_of_units(unit, size)

    def step(walk: Walk, at: int) -> int:
        count, at = units(walk, at)
        return at + unit * count

    if size.high is None or size.low != size.high or size.high >= 65536:
        return step
    width = unit * size.high
    return (lambda walk, at: at + width) if width <= 16 else (lambda walk, at: (at + 7 & ~7) + width)


def begin_of_units(unit: int, size: Size) -> Count:
    """Reads how many units a string has, and where they begin. Short ones are not aligned."""
    count = count_of(size)
    is_short = size.high is not None and (unit * size.high < 16 or (unit * size.high == 16 and size.low == size.high))
    if is_short or count is length:  # behind which is an octet's border
        return count

    def step(walk: Walk, at: int) -> tuple[int, int]:
        many, at = count(walk, at)
        return many, at + 7 & ~7 if many else at

    return step
