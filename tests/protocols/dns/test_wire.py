"""How messages are read (protocols/dns/wire.py): names, pointers and lengths, with dnspython as the judge."""

from __future__ import annotations

import dns.message
import dns.name
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.contract.addresses import Malformed
from protocols.dns.exchange import read_question
from protocols.dns.wire import (
    HEADER_BYTES,
    Names,
    Record,
    answer_without_records,
    question_end,
    read_header,
    read_records,
    text_of_name,
    type_name,
    wire_of_name,
)
from tests.protocols.dns.messages import answer, question

HEADER = b"\x12\x34\x81\x80\0\1\0\1\0\0\0\0"
QUESTION = b"\3www\7example\0\0\1\0\1"
FIXED = b"\0\1\0\1\0\0\x0e\x10\0\4\xc0\0\2\1"


def read(message: bytes) -> tuple[list[Record], Names]:
    return read_records(message, read_header(message), question_end(message))


def with_owner(owner: bytes) -> bytes:
    return HEADER + QUESTION + owner + FIXED


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (b"\3www\7example\0", b"www.example."),
        (b"\xc0\x0c", b"www.example."),
        (b"\xc0\x10", b"example."),
        (b"\3ftp\xc0\x10", b"ftp.example."),
        (b"\0", b"."),
    ],
)
def test_a_name_is_read_with_and_without_pointers(owner: bytes, name: bytes) -> None:
    """DN1."""
    (record,), names = read(with_owner(owner))
    assert text_of_name(names.labels(record.name_at)) == name
    assert (record.section, record.type, record.klass) == (1, 1, 1)


AT = HEADER_BYTES + len(QUESTION)


@pytest.mark.parametrize(
    ("owner", "why"),
    [
        (b"\xc0" + bytes((AT,)), "back"),
        (b"\xc0" + bytes((AT + 1,)), "back"),
        (b"\xff\xff", "back"),
        (b"\xc0\x00", "back"),
        (b"\xc0\x0b", "back"),
        (b"\1a\xc0" + bytes((AT,)), "back"),
        (b"\x40a", "unknown kind"),
        (b"\x80a", "unknown kind"),
        (b"\x3f" * 64 * 4, "too long"),
    ],
    ids=repr,
)
def test_a_name_that_is_none_is_refused(owner: bytes, why: str) -> None:
    """DN1: a pointer leads to before the name, no label has other high bits, and a name has 255 bytes at most."""
    with pytest.raises(Malformed, match=why):
        read(with_owner(owner))


def test_two_pointers_that_lead_to_each_other_end() -> None:
    first = HEADER_BYTES + len(QUESTION)
    circle = HEADER[:7] + b"\2" + HEADER[8:] + QUESTION
    circle += b"\1a\xc0\x0c" + FIXED + b"\xc0" + bytes((first + 2,)) + FIXED
    read(circle)  # a pointer to a pointer that stands before it
    with pytest.raises(Malformed, match="back"):
        read(circle.replace(b"\1a\xc0\x0c", b"\1a\xc0" + bytes((first + 4 + len(FIXED),))))


def test_a_name_has_255_bytes_at_most_however_it_is_written() -> None:
    longest = b"\x3f" + b"a" * 63
    tail = longest * 3  # 192 bytes
    fits = HEADER + tail + b"\x3d" + b"b" * 61 + b"\0" + b"\0\1\0\1"
    assert question_end(fits) == len(fits)
    with pytest.raises(Malformed, match="too long"):
        question_end(HEADER + tail + b"\x3e" + b"b" * 62 + b"\0" + b"\0\1\0\1")
    asked = HEADER + tail + b"\0" + b"\0\1\0\1"
    read(asked + b"\x3d" + b"b" * 61 + b"\xc0\x0c" + FIXED)
    with pytest.raises(Malformed, match="too long"):
        read(asked + b"\x3e" + b"b" * 62 + b"\xc0\x0c" + FIXED)


def test_a_place_that_was_walked_counts_the_same_the_second_time() -> None:
    asked = HEADER[:7] + b"\2" + HEADER[8:] + (b"\x3f" + b"a" * 63) * 3 + b"\0" + b"\0\1\0\1"
    owner = b"\x3d" + b"b" * 61 + b"\xc0\x0c"
    assert len(read(asked + (owner + FIXED) * 2)[0]) == 2
    with pytest.raises(Malformed, match="too long"):
        read(asked + owner + FIXED + b"\x3e" + b"b" * 62 + b"\xc0\x0c" + FIXED)


def test_a_chain_of_pointers_has_an_end() -> None:
    """DN1: some servers point to pointers, none to a hundred of them."""
    many = HEADER[:6] + (200).to_bytes(2, "big") + HEADER[8:] + QUESTION
    for number in range(200):
        at = HEADER_BYTES if not number else HEADER_BYTES + len(QUESTION) + (number - 1) * (2 + len(FIXED))
        many += (0xC000 | at).to_bytes(2, "big") + FIXED
    read(many)  # each is remembered
    last = HEADER_BYTES + len(QUESTION) + 198 * (2 + len(FIXED))
    with pytest.raises(Malformed, match="pointers"):
        Names(many).end(last)


@pytest.mark.parametrize("size", range(HEADER_BYTES + len(QUESTION), len(with_owner(b"\xc0\x0c"))))
def test_a_record_that_is_cut_is_refused(size: int) -> None:
    with pytest.raises(Malformed):
        read(with_owner(b"\xc0\x0c")[:size])


@pytest.mark.parametrize("size", range(len(HEADER + QUESTION)))
def test_a_question_that_is_cut_is_refused(size: int) -> None:
    """DN5."""
    with pytest.raises(Malformed):
        read_question(b"\x12\x34\1\0\0\1\0\0\0\0\0\0"[:size] + QUESTION[: max(0, size - HEADER_BYTES)])


def test_counts_that_lie_are_found_out() -> None:
    message = with_owner(b"\xc0\x0c")
    for at in (7, 9, 11):
        more = bytearray(message)
        more[at] += 1
        with pytest.raises(Malformed):
            read(bytes(more))


def test_a_question_has_no_pointer() -> None:
    """Nothing but the header stands before it."""
    with pytest.raises(Malformed, match="none"):
        question_end(HEADER + b"\xc0\x0c\0\1\0\1")


@given(st.integers(0, 400), st.integers(0, 255), st.binary(max_size=3))
def test_what_is_accepted_is_read_as_others_read_it(at: int, byte: int, more: bytes) -> None:
    """A message with any byte of it replaced: where dnspython finds a name, so do we, and it is the same one."""
    asked = question("www.example", "SRV", use_edns=0)
    message = bytearray(
        answer(
            asked,
            "www.example. 3600 IN SRV 1 2 80 a.www.example.",
            "www.example. 3600 IN SRV 2 2 80 b.other.example.",
            more=("a.www.example. 60 IN A 192.0.2.1", "b.other.example. 60 IN AAAA 2001:db8::1"),
        )
    )
    message[at % len(message)] = byte
    data = bytes(message) + more
    try:
        found, names = read(data)
    except Malformed:
        return
    for record in found:
        theirs, length = dns.name.from_wire(data, record.name_at)
        assert theirs.to_wire() == names.labels(record.name_at)
        assert record.name_at + length == record.fixed_at


def test_names_are_written_as_people_do_and_back() -> None:
    assert text_of_name(wire_of_name("WWW.example")) == b"www.example."
    assert wire_of_name(".") == b"\0"
    for wrong in ("a..b", "a" * 64, ".".join(["a" * 60] * 5), "é.example"):
        with pytest.raises(ValueError):
            wire_of_name(wrong)


def test_an_answer_of_ours_is_no_longer_than_its_question() -> None:
    asked = question("www.example")
    refused = dns.message.from_wire(answer_without_records(asked, question_end(asked), 5))
    assert refused.rcode() == 5 and dns.message.from_wire(asked).is_response(refused)
    assert answer_without_records(asked, HEADER_BYTES, 1)[4:] == bytes(8)


def test_what_is_shorter_than_a_header_is_no_message() -> None:
    with pytest.raises(Malformed, match="no message"):
        read_header(HEADER[:-1])


def test_types_are_called_by_their_names() -> None:
    assert (type_name(65), type_name(65280)) == ("HTTPS", "TYPE65280")
