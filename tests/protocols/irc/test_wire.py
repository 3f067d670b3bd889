"""Lines of IRC (protocols/irc/wire.py)."""

from __future__ import annotations

import pytest

from protocols.irc import wire
from protocols.irc.wire import Message


def read(line: bytes) -> Message:
    message = wire.read(line)
    assert message is not None
    return message


@pytest.mark.parametrize(
    ("line", "prefix", "command", "params"),
    [
        (b"NICK alice\r\n", b"", "NICK", (b"alice",)),
        (b"nick alice\n", b"", "NICK", (b"alice",)),
        (b":irc.example 001 alice :Welcome home\r\n", b"irc.example", "001", (b"alice", b"Welcome home")),
        (b":a!b@c PRIVMSG bob ::)\r\n", b"a!b@c", "PRIVMSG", (b"bob", b":)")),
        (b"@time=x;y=z :a PRIVMSG  bob   :text \r\n", b"a", "PRIVMSG", (b"bob", b"text ")),
        (b"PRIVMSG a:b text\r\n", b"", "PRIVMSG", (b"a:b", b"text")),
        (b"PRIVMSG bob :\r\n", b"", "PRIVMSG", (b"bob", b"")),
        (b"QUIT", b"", "QUIT", ()),
        (b"QUIT :", b"", "QUIT", (b"",)),
    ],
)
def test_a_line(line: bytes, prefix: bytes, command: str, params: tuple[bytes, ...]) -> None:
    """IR2."""
    message = read(line)
    assert (message.prefix, message.command, message.params) == (prefix, command, params)
    assert (message.text is not None) == (b" :" in line[len(prefix) + 1 :])
    if message.text is not None:
        assert line[slice(*message.text)] == params[-1]


@pytest.mark.parametrize(
    "line", [b"", b"\r\n", b" NICK a", b"Host: example.org\r\n", b"@tags", b":prefix", b"\x16\3\1", b"12 a"]
)
def test_what_is_no_line_of_irc(line: bytes) -> None:
    assert wire.read(line) is None


def test_tags_are_no_part_of_the_body() -> None:
    line = b"@time=2026 :a!b@c PRIVMSG bob :text\r\n"
    assert line[read(line).body :] == b":a!b@c PRIVMSG bob :text\r\n"
    assert read(b"NICK a\r\n").body == 0


def test_a_parameter_that_is_not_there_is_empty() -> None:
    assert read(b"NICK\r\n").param(0) == b""


@pytest.mark.parametrize("target", [b"bob", b"[bob]", b"_bob", b"b\xc3\xb6b", b"0ABC", b"bob@irc.example"])
def test_one_nick(target: bytes) -> None:
    assert wire.is_one_nick(target)


@pytest.mark.parametrize(
    "target", [b"", b"#chan", b"&chan", b"+chan", b"!chan", b"@#chan", b"%#c", b"~#c", b"$mask", b"a,b"]
)
def test_channels_and_lists_are_not_one_nick(target: bytes) -> None:
    """IR24."""
    assert not wire.is_one_nick(target)


def test_nicks_are_the_same_in_any_case() -> None:
    assert wire.is_same_nick(b"Al[ce]~", b"aL{CE}^")
    assert not wire.is_same_nick(b"alice", b"alicia")


@pytest.mark.parametrize(
    ("line", "left"),
    [
        (b":s CAP * LS :multi-prefix tls sasl\r\n", b":s CAP * LS :multi-prefix sasl\r\n"),
        (b":s CAP * LS * :tls STS=port=6697\r\n", b":s CAP * LS * :\r\n"),
        (b":s CAP alice NEW :tls\r\n", b":s CAP alice NEW :\r\n"),
        (b":s CAP alice ACK :tls\r\n", b":s CAP alice ACK :tls\r\n"),
        (b":s CAP * LS :starttls-not\r\n", b":s CAP * LS :starttls-not\r\n"),
        (b":s CAP * LS\r\n", b":s CAP * LS\r\n"),
        (b":s NOTICE * LS :tls\r\n", b":s NOTICE * LS :tls\r\n"),
    ],
)
def test_capabilities_are_taken_out_of_a_list(line: bytes, left: bytes) -> None:
    assert wire.without_capabilities(line, read(line), frozenset({b"tls", b"sts"})) == left
