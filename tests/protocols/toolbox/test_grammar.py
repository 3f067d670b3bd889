from __future__ import annotations

from ipaddress import ip_address

import pytest
from pyparsing import ParserElement

from protocols.contract.addresses import Malformed
from protocols.toolbox.grammar import IPV4, IPV6, PORT, read


@pytest.mark.parametrize(
    ("piece", "text", "value"),
    [
        (IPV4, b"192.0.2.1", ip_address("192.0.2.1")),
        (IPV4, b"0.0.0.0", ip_address("0.0.0.0")),
        (IPV6, b"2001:DB8:0::1", ip_address("2001:db8::1")),
        (IPV6, b"::", ip_address("::")),
        (IPV6, b"::ffff:192.0.2.1", ip_address("::ffff:192.0.2.1")),
        (PORT, b"0", 0),
        (PORT, b"00021", 21),
        (PORT, b"65535", 65535),
    ],
)
def test_a_value_is_read(piece: ParserElement, text: bytes, value: object) -> None:
    assert read(piece, text) == value


@pytest.mark.parametrize(
    ("piece", "text"),
    [
        (IPV4, b""),
        (IPV4, b"192.0.2"),
        (IPV4, b"192.0.2.256"),
        (IPV4, b"192.0.2.01"),
        (IPV4, b"192.0.2.1.1"),
        (IPV4, b" 192.0.2.1"),
        (IPV4, b"192.0.2.1x"),
        (IPV4, b"2001:db8::1"),
        (IPV4, "\u066192.0.2.1".encode()),
        (IPV6, b"192.0.2.1"),
        (IPV6, b"2001:db8::1%eth0"),
        (IPV6, b"2001:db8::1::2"),
        (IPV6, b"[::1]"),
        (IPV6, b"1:" * 40),
        (PORT, b"65536"),
        (PORT, b"000021"),
        (PORT, b"+21"),
        (PORT, b"2_1"),
        (PORT, b"0x15"),
        (PORT, b""),
    ],
)
def test_what_is_not_exactly_a_value_is_refused(piece: ParserElement, text: bytes) -> None:
    with pytest.raises(Malformed):
        read(piece, text)
