"""The forms of SANE (protocols/sane/wire.py)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from protocols.contract.addresses import Malformed
from protocols.sane import wire
from protocols.sane.wire import Form, Status, Stream
from tests.harness.sane_messages import descriptor, started, string, words


def walked(form: Callable[[], Form[Any]], data: bytes, size: int) -> list[Any]:
    """What the form returns each time it has walked a message. All bytes go on as they came."""
    found: list[Any] = []

    def repeated() -> Form[None]:
        while True:
            yield wire.SOMETHING
            stream.begin()
            found.append((yield from form()))

    stream = Stream(repeated())
    went = b""
    for at in range(0, len(data), size):
        stream.held += data[at : at + size]
        while (part := stream.step()) is not None:
            went += part
    assert went == data and not stream.held
    return found


EMPTY = string(None)
Row = tuple[str, Callable[[], Form[Any]], bytes, Any]
MESSAGES: list[Row] = [
    ("word", wire.word, b"\xff\xff\xff\xfe", 0xFFFFFFFE),
    ("string", wire.string, string(b"text"), 5),
    ("no string", wire.string, EMPTY, 0),
    ("name", wire.name, string(b"test:0"), b"test:0"),
    ("no name", wire.name, EMPTY, b""),
    ("version", wire.version, words(0x0100_0003), 3),
    ("value", lambda: wire.control_option(False), words(7, 1, 1, 1, 8, 2, 3, 4), 7),
    ("text", lambda: wire.control_option(False), words(7, 1, 1, 3, 4, 4) + b"abc\0", 7),
    ("button", lambda: wire.control_option(False), words(7, 1, 1, 4, 0, 0), 7),
    ("automatic", lambda: wire.control_option(False), words(7, 1, 2), 7),
    ("automatic, old", lambda: wire.control_option(True), words(7, 1, 2, 1, 0, 0), 7),
    ("initialized", wire.initialized, words(0, 0x0101_0002), (0, 2)),
    ("not initialized", wire.initialized, words(11, 0xDEAD_BEEF), (11, 0)),
    ("devices", wire.devices, words(0, 2, 0) + string(b"a") * 4 + words(1), None),
    ("no devices", wire.devices, words(0, 0), None),
    ("no option", wire.option_descriptors, words(1, 1), None),
    ("free option", wire.option_descriptors, words(1) + descriptor(words(0)), None),
    ("range", wire.option_descriptors, words(1) + descriptor(words(1, 0, 1, 2, 3)), None),
    ("no range", wire.option_descriptors, words(1) + descriptor(words(1, 1)), None),
    ("words", wire.option_descriptors, words(1) + descriptor(words(2, 3, 2, 1, 2)), None),
    ("strings", wire.option_descriptors, words(1) + descriptor(words(3, 2) + string(b"a") + EMPTY), None),
    ("controlled", wire.controlled, words(0, 0, 1, 4, 1, 9) + EMPTY, 0),
    ("asked", wire.controlled, words(0, 0, 0, 0, 0) + string(b"test"), 5),
    ("parameters", wire.parameters, words(*range(7)), None),
]


@pytest.mark.parametrize("size", [1, 3, 4, 1000])
@pytest.mark.parametrize("row", MESSAGES, ids=lambda row: row[0])
def test_a_message_ends_where_its_form_says(row: Row, size: int) -> None:
    """SA2, SA6, SA7: two of them behind each other are told apart, however they are cut."""
    _, form, message, returned = row
    assert walked(form, message * 2, size) == [returned] * 2


@pytest.mark.parametrize(
    ("form", "message", "reason"),
    [
        (wire.string, words(0x0010_0001), "1048577 elements"),
        (wire.string, words(0xFFFF_FFFF), "4294967295 elements"),
        (wire.devices, words(0, 0x0004_0001), "262145 elements"),
        (wire.devices, words(0, 1, 2), "2 in the place of a pointer"),
        (wire.version, words(0x0200_0000), "version 2"),
        (wire.controlled, words(0, 0, 6), "an option of type 6"),
        (wire.controlled, words(0, 0, 5, 0, 1), "1 elements in an option without a value"),
        (wire.option_descriptors, words(1) + descriptor(words(4)), "a constraint of type 4"),
    ],
)
def test_what_has_no_form_is_still_held_when_it_is_found(
    form: Callable[[], Form[Any]], message: bytes, reason: str
) -> None:
    def said() -> Form[None]:
        yield from form()

    stream = Stream(said())
    stream.held += message
    with pytest.raises(Malformed, match=reason):
        while stream.step() is not None:
            pass
    assert stream.held == message[-4:]


def test_a_port_is_replaced_and_nothing_else() -> None:
    head = started(40001)
    assert wire.with_port(head, 50002) == started(50002)
    assert wire.read_started(head) == (0, 40001, 0x1234, 0)
    assert wire.refused(head) == words(Status.ACCESS_DENIED, 0, 0x1234, 0)


def test_a_status_has_a_name_or_a_number() -> None:
    assert [wire.status_text(status) for status in (0, 3, 11, 12, 0xFFFF_FFFF)] == [
        "good", "device_busy", "access_denied", "12", "4294967295",
    ]  # fmt: skip
