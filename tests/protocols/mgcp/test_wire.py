"""Messages of MGCP as bytes (protocols/mgcp/wire.py)."""

from __future__ import annotations

import time

import pytest

from protocols.contract.addresses import Malformed
from protocols.mgcp import wire
from protocols.mgcp.wire import NotMgcp, descriptions, read_message, split

COMMAND = b"CRCX 1204 aaln/1@gw.example.net MGCP 1.0\r\n"
SDP = b"v=0\r\nc=IN IP4 192.0.2.9\r\nm=audio 4000 RTP/AVP 0\r\n"


def test_a_command_is_read_with_its_parameters_and_where_its_description_stands() -> None:
    data = COMMAND + b"c: A3\r\nL :p:20, a:PCMU\r\n nonsense\r\nM:\trecvonly \r\n\r\n" + SDP
    message = read_message(data)
    assert (message.verb, message.number, message.name) == (b"CRCX", 1204, b"aaln/1@gw.example.net")
    assert [(one.name, one.value) for one in message.parameters] == [
        (b"C", b"A3"),
        (b"L", b"p:20, a:PCMU"),
        (b"M", b"recvonly"),
    ]
    assert all(data[one.span.start : one.span.end] == one.value for one in message.parameters)
    assert data[message.body.start : message.body.end] == SDP
    assert message.is_command


def test_a_response_has_a_code_and_a_comment_in_any_words() -> None:
    message = read_message(b"200 1204 OK, \xe4\nI: F\n")
    assert (message.code, message.number, message.text, message.first(b"I")) == (200, 1204, b"OK, \xe4", b"F")
    assert not message.is_command
    assert read_message(b"000 7").code == 0


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\r\n",
        b"GET / HTTP/1.1\r\n",
        b"INVITE sip:a@b SIP/2.0\r\n",
        b"CRC 1 a@b MGCP 1.0\r\n",
        b"CRCX one a@b MGCP 1.0\r\n",
        b"CRCX 1234567890 a@b MGCP 1.0\r\n",
        b"CRCX 1 a@b MGCP\r\n",
        b"CRCX 1 a@b MGCP 1.0\rX: 1\r",
        b"CRCX 1 a\0@b MGCP 1.0\r\n",
        b"20 1 OK\r\n",
        b"2000 1 OK\r\n",
        b" 200 1 OK\r\n",
    ],
)
def test_what_has_no_first_line_of_mgcp_is_none(data: bytes) -> None:
    """MG5."""
    with pytest.raises(NotMgcp):
        read_message(data)
    assert not wire.is_command(data) and not wire.is_response(data)


@pytest.mark.parametrize(
    "data",
    [
        b"CRCX 0 a@b MGCP 1.0\r\n",
        COMMAND + b"X: " + b"a" * wire.MAX_BYTES,
        COMMAND + b"X: 1\r\n" * (wire.MAX_LINES + 1),
        COMMAND + b"X: a\0b\r\n",
        COMMAND + b"X: a\rI: 2\r\n",
        b"CRCX 1 " + b"a" * (wire.MAX_ENDPOINT_BYTES + 1) + b" MGCP 1.0\r\n",
    ],
)
def test_what_is_too_long_or_read_in_two_ways_is_malformed(data: bytes) -> None:
    """MG10."""
    with pytest.raises(Malformed):
        read_message(data)


def test_two_values_of_what_decides_are_refused_and_of_all_else_the_first_counts() -> None:
    message = read_message(COMMAND + b"I: 1\r\ni: 2\r\n")
    with pytest.raises(Malformed):
        message.only(b"I")
    assert (message.first(b"I"), message.only(b"C"), message.first(b"C")) == (b"1", b"", b"")


@pytest.mark.parametrize(
    ("data", "parts"),
    [
        (b"a\r\n", [(b"a\r\n", b"")]),
        (b"a\n.\nb\n", [(b"a\n", b".\n"), (b"b\n", b"")]),
        (b"a\r\n.\r\nb\r\n.", [(b"a\r\n", b".\r\n"), (b"b\r\n", b".")]),
        (b"a\r\n..\r\n. \r\n", [(b"a\r\n..\r\n. \r\n", b"")]),
        (b".\r\na", [(b"", b".\r\n"), (b"a", b"")]),
        (b"", [(b"", b"")]),
    ],
)
def test_messages_of_a_datagram_stand_between_lines_with_a_single_dot(
    data: bytes, parts: list[tuple[bytes, bytes]]
) -> None:
    """MG7."""
    assert list(split(data)) == parts
    assert b"".join(text + separator for text, separator in split(data)) == data


def test_two_descriptions_have_an_empty_line_between_them() -> None:
    data = b"200 1 OK\r\n\r\n" + SDP + b"\r\n" + SDP
    found = descriptions(data, read_message(data).body)
    assert [data[span.start : span.end] for span in found] == [SDP + b"\r\n", SDP]
    assert descriptions(b"200 1 OK\r\n\r\nx=1\r\n", read_message(b"200 1 OK\r\n\r\nx=1\r\n").body) == []


def test_what_a_gateway_has_counted_is_read_as_far_as_it_is_numbers() -> None:
    assert wire.counted(b"PS=10, OS=1600,PR=20 , XX=-1, LA=9, PS") == {"PS": 10, "OS": 1600, "PR": 20, "LA": 9}
    assert wire.counted(b"PS=" + b"9" * 400) == {}


@pytest.mark.parametrize(
    "junk", [b" ", b"\t", b"\n", b"\r\n", b":", b".\n", b"@", b"[", b"a=", b"v=0\n", b"X: ", b"Z: @[::1], "]
)
def test_no_input_takes_long(junk: bytes) -> None:
    """X9."""
    data = (COMMAND + junk * wire.MAX_BYTES)[: wire.MAX_BYTES]
    begin = time.process_time()
    for text, _ in split(data):
        try:
            message = read_message(text)
        except Malformed:
            continue
        descriptions(text, message.body)
        wire.counted(message.first(b"P"))
    assert time.process_time() - begin < 0.1
