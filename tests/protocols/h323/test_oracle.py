"""What the walkers find, and what is replaced there, is what pycrate reads: every address, and nothing else."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest

from protocols.contract.addresses import Malformed
from protocols.h323.walker import Walker
from protocols.h323.wanted import walkers
from tests.harness import h323_oracle as oracle
from tests.harness.h323_oracle import Unreadable, decoded, encoded, hosts, lengthened, mapped, with_unknown_alternatives
from tests.protocols.h323.recorded import OTHERS, messages, own

pytestmark = pytest.mark.skipif(
    bool(oracle.missing()), reason=f"not installed (tools/setup --test): {oracle.missing()}"
)

Message = tuple[str, bytes, Any]
"""What it is, its octets, and its value as pycrate reads it."""


def by_name(is_mapped: bool) -> dict[str, Walker]:
    found = walkers(is_mapped)
    return {
        "UserInformation": found.call,
        "Control": found.control,
        "OpenLogicalChannel": found.channel,
        "Ras": found.ras,
    }


NAT, ROUTED = by_name(True), by_name(False)


def labelled(
    which: dict[str, Walker], name: str, message: bytes, base: int = 0
) -> Iterator[tuple[str, int, int, object]]:
    """What the walkers find in a message and all that is nested in it."""
    walked = which[name].walk(message)
    assert (walked.broken, walked.end) == (0, len(message))
    for label, start, end, value in walked.found:
        if label in oracle.NESTED:
            yield from labelled(which, oracle.NESTED[label], message[start:end], base + start)
        else:
            yield label, base + start, base + end, value


def spans(name: str, message: bytes) -> list[tuple[int, int]]:
    """Where addresses are found."""
    return [
        (start, end)
        for _, start, end, value in labelled(NAT, name, message)
        if value is None and end - start in (6, 18)
    ]


def addresses(name: str, message: bytes) -> list[tuple[bytes, int]]:
    return [(message[at : end - 2], int.from_bytes(message[end - 2 : end], "big")) for at, end in spans(name, message)]


def meant(name: str, message: bytes) -> list[tuple[str, bytes]]:
    """The addresses that are found without NAT, as what."""
    found = labelled(ROUTED, name, message)
    return [(label, message[start:end]) for label, start, end, value in found if value is None and end - start == 6]


@pytest.fixture(scope="module", params=["asterisk", "others"])
def read(request: pytest.FixtureRequest) -> list[Message]:
    """The messages of a capture that pycrate reads (HF18: it fails on one of those that others have recorded)."""
    recorded = own() if request.param == "asterisk" else messages(OTHERS)
    found = []
    for name, message in recorded:
        try:
            found.append((name, message, decoded(name, message)))
        except Unreadable:
            assert request.param == "others" and name == "UserInformation"
    assert len(found) >= len(recorded) - 1
    return found


@pytest.fixture(scope="module")
def written(read: list[Message]) -> list[Message]:
    """Those of them that pycrate can also write (HF18: not the one with an empty OBJECT IDENTIFIER)."""
    found = []
    for name, message, value in read:
        try:
            encoded(name, value)
        except Exception:
            assert name == "Ras"
            continue
        found.append((name, message, value))
    assert len(found) >= len(read) - 1
    return found


def test_every_address_of_a_message_is_found_and_nothing_else(read: list[Message]) -> None:
    assert any(hosts(value) for _, _, value in read)
    for name, message, value in read:
        assert addresses(name, message) == hosts(value)


def test_where_addresses_are_replaced_nothing_else_is_another(read: list[Message]) -> None:
    for name, message, value in read:
        found = dict.fromkeys(hosts(value))
        new = {old: (bytes((203, 0, 113, number)), 40000 + number) for number, old in enumerate(found)}
        changed = bytearray(message)
        for start, end in spans(name, message):
            host, port = new[message[start : end - 2], int.from_bytes(message[end - 2 : end], "big")]
            changed[start:end] = host + port.to_bytes(2, "big")
        assert decoded(name, bytes(changed)) == mapped(value, new)


@pytest.mark.parametrize("number", [40, oracle.FURTHEST])
def test_longer_bitmaps_hide_nothing(written: list[Message], number: int) -> None:
    """HF12, HF66: every sequence has an addition of a later version, up to the longest bitmap that is taken."""
    for name, _, value in written:
        longer = lengthened(name, value, number)
        now, later = encoded(name, value), encoded(name, longer)
        assert (len(later) > len(now)) is (longer != value)
        assert addresses(name, later) == hosts(value)
        assert meant(name, later) == meant(name, now)


def test_unknown_alternatives_hide_nothing_but_themselves(written: list[Message]) -> None:
    tried = 0
    for name, _, value in written:
        for other in with_unknown_alternatives(name, value):
            later = encoded(name, other)
            assert decoded(name, later) == other
            assert addresses(name, later) == hosts(other)
            tried += 1
    assert tried > 100


# -- bombs -------------------------------------------------------------------------------------------------------------

INSIDE = ("ipAddress", {"ip": bytes((10, 1, 0, 2)), "port": 1720})


def feature(content: Any) -> dict[str, Any]:
    return {"id": ("standard", 1), "parameters": [{"id": ("standard", 1), "content": content}]}


def nested(depth: int) -> Any:
    """A feature with a parameter that holds a feature with ..., and an address at the end."""
    content: Any = ("transport", INSIDE)
    for _ in range(depth):
        content = ("nested", [feature(content)])
    return content


def with_features(content: Any) -> bytes:
    """A Setup with one, and with addresses before and behind it."""
    _, message = own()[0]
    value = decoded("UserInformation", message)
    value["h323-uu-pdu"]["genericData"] = [feature(content)]
    return encoded("UserInformation", value)


def test_an_address_in_a_feature_is_found() -> None:
    message = with_features(nested(3))
    assert addresses("UserInformation", message) == hosts(decoded("UserInformation", message))
    assert addresses("UserInformation", message)[-1] == (bytes((10, 1, 0, 2)), 1720)


@pytest.mark.parametrize("depth", [30, 300])
def test_a_bomb_is_skipped_and_hides_no_address_around_it(depth: int) -> None:
    """HF16."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(40 * depth + limit)  # pycrate's, not the walker's
    try:
        message = with_features(nested(depth))
    finally:
        sys.setrecursionlimit(limit)
    walked = NAT["UserInformation"].walk(message)
    assert walked.broken
    labels = [label for label, *_ in walked.found]
    assert {"destCallSignalAddress", "sourceCallSignalAddress", "fastStart"} <= set(labels)
    assert walked.end == len(message)


def test_too_many_parts_are_refused() -> None:
    """HF16."""
    name, message = own()[0]
    value = decoded(name, message)
    setup = value["h323-uu-pdu"]["h323-message-body"][1]
    setup["destinationAddress"] = [("dialledDigits", "1")] * 3000
    assert addresses(name, encoded(name, value)) == hosts(value)
    setup["destinationAddress"] *= 2
    for walker in (NAT[name], ROUTED[name]):
        with pytest.raises(Malformed, match="too many parts"):
            walker.walk(encoded(name, value))
