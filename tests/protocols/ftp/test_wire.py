"""Reading and writing FTP's lines; what an engine does with them is in test_ftp.py."""

from __future__ import annotations

import time

import pytest

from protocols.contract.addresses import Malformed
from protocols.ftp import wire
from tests.harness.playbook import endpoint


@pytest.mark.parametrize(
    ("line", "verb", "argument"),
    [
        (b"PASV\r\n", "PASV", b""),
        (b"pasv \r\n", "PASV", b""),
        (b"RETR a  b\r\n", "RETR", b"a  b"),
        (b"\tPORT\t1,2,3,4,5,6\n", "PORT", b"1,2,3,4,5,6"),
        (b"\xff\xf4\xff\xf2ABOR\r\n", "ABOR", b""),
        (b"\xf2ABOR\r\n", "ABOR", b""),
        (b"\xff\xfa\x18\x00xterm\xff\xf0NOOP\r\n", "NOOP", b""),
        (b"CWD \xff\xff\xe9\r\n", "CWD", b"\xff\xe9"),
        (b"\r\n", "", b""),
        (b"\xff\xf1\r\n", "", b""),
        (b"\xff", "", b""),
    ],
)
def test_a_command_line_is_taken_apart(line: bytes, verb: str, argument: bytes) -> None:
    assert wire.read_command(line) == (verb, argument)


def test_telnet_commands_are_kept_for_the_line_that_replaces_theirs() -> None:
    assert wire.only_telnet(b"\xff\xf4\xff\xff\xff\xfd\x01PORT\r\n") == b"\xff\xf4\xff\xfd\x01"
    assert wire.only_telnet(b"PORT\r\n") == b""


@pytest.mark.parametrize("argument", [b"10,1,0,2,195,80", b"010,001,000,002,195,080"])
def test_port_is_read_in_decimal(argument: bytes) -> None:
    assert wire.read_port(argument) == endpoint("10.1.0.2:50000")


@pytest.mark.parametrize("argument", [b"|1|10.1.0.2|50000|", b"!1!10.1.0.2!50000!", b"a1a10.1.0.2a50000a"])
def test_eprt_takes_any_delimiter_that_is_no_part_of_an_address(argument: bytes) -> None:
    assert wire.read_eprt(argument, 4) == endpoint("10.1.0.2:50000")


@pytest.mark.parametrize(
    "argument", [b"", b"|", b" 1 10.1.0.2 1 ", b"|1|10.1.0.2|50000", b"|1|10.1.0.2|50000||", b"|1||1|"]
)
def test_eprt_with_other_than_three_fields_is_malformed(argument: bytes) -> None:
    with pytest.raises(Malformed):
        wire.read_eprt(argument, 4)


def test_what_is_written_is_read_again() -> None:
    v4, v6 = endpoint("192.0.2.7:61000"), endpoint("[2001:db8::7]:61000")
    assert wire.read_port(wire.read_command(wire.port_line(v4)).argument) == v4
    assert wire.read_eprt(wire.read_command(wire.eprt_line(v4)).argument, 4) == v4
    assert wire.read_eprt(wire.read_command(wire.eprt_line(v6)).argument, 6) == v6
    assert wire.read_227(wire.pasv_reply(v4))[0] == v4
    assert wire.read_229(wire.epsv_reply(61000))[0] == 61000


@pytest.mark.parametrize(
    "text",
    [
        b"1," * 4090,
        b"1 , " * 2040,
        b"(" * 8180,
        b"(|" * 4090,
        b"|" * 8180,
        b"(" + b"|a" * 4090,
        b" " * 8180,
        b"1,    " * 1360,
    ],
)
def test_replies_made_to_be_slow_are_not(text: bytes) -> None:
    began = time.process_time()
    for read in (wire.read_227, wire.read_229):
        with pytest.raises(Malformed):
            read(b"227 " + text)
    assert time.process_time() - began < 0.25
