"""Shared pieces of grammar: numbers and addresses as several protocols write them.

Each piece is one coarse pyparsing `Regex`, because a token costs microseconds whatever it matches, and linear, because
the text is a peer's. Text is Latin-1, one character a byte, so that positions are those of the message.

House rules (X4, X5):
- No possessive quantifier on a group, `(...)*+`: Python before 3.11.5 matches it wrongly where the group may backtrack
  (gh-106052), and Debian's is older. On a character class it is right, and makes work linear.
- Numbers are ASCII digits of bounded length, then checked for range. `int()` alone would take `+5`, ` 5`, `1_0`.
- Addresses become objects and are compared as objects. A dotted quad with leading zeros is ambiguous and refused; so is
  an address with a zone, which means nothing to another host.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import Any

from pyparsing import ParseException, ParserElement, Regex

from protocols.contract.addresses import Malformed


def _checked(make: Any) -> Any:
    """A parse action that makes a value of the token, or refuses the match."""

    def action(text: str, at: int, tokens: Any) -> Any:
        try:
            return make(tokens[0])
        except ValueError as error:
            raise ParseException(text, at, str(error)) from None

    return action


def _port(digits: str) -> int:
    """The number of these digits, if it is a port."""
    port = int(digits)
    if port > 65535:
        raise ValueError("port above 65535")
    return port


IPV4: ParserElement = Regex(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}").set_parse_action(_checked(IPv4Address)).leave_whitespace()
IPV6: ParserElement = Regex(r"[0-9A-Fa-f:.]{2,45}").set_parse_action(_checked(IPv6Address)).leave_whitespace()
PORT: ParserElement = Regex(r"[0-9]{1,5}").set_parse_action(_checked(_port)).leave_whitespace()
"""A number from 0 to 65535. The protocol says what port 0 means."""


def read(piece: ParserElement, text: bytes) -> Any:
    """The value of a text that is this piece and nothing else. Raises Malformed."""
    try:
        return piece.parse_string(text.decode("latin-1"), parse_all=True)[0]
    except ParseException as error:
        raise Malformed(error.msg) from None
