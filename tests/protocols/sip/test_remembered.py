"""Values that are remembered say what they would say if each were read anew."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from protocols.contract.addresses import Malformed
from protocols.sip.remembered import read_address, read_uri, read_via
from protocols.sip.values import parse_address, parse_via


def test_long_values_are_not_remembered() -> None:
    short, long = b"<sip:a@%b>" % (b"h" * 20), b"<sip:%b@h>" % (b"a" * 600)
    assert read_address(short) is read_address(short)
    assert read_address(long) is not read_address(long)
    assert read_address(long) == read_address(long)
    uri, via = b"sip:" + b"a" * 600 + b"@h", b"SIP/2.0/UDP h;branch=" + b"a" * 600
    assert read_uri(uri) == read_uri(uri) is not read_uri(uri)
    assert read_via(via) == read_via(via) is not read_via(via)


@pytest.mark.parametrize(
    "value",
    [
        b"<sip:a@b.example>;tag=x1",
        b'"A;tag=no" <sip:a@b.example;tag=uri>;q=0.5;tag=x1;lang="de;tag=y;"',
        b"sip:a@b.example;tag=x1;user=phone",
        b"<sip:a@b.example>;tag=x1;tag=x1",
        b"<sip:a@b.example>;tag=x1;tag=x2",
        b"<sip:a@b.example>;x=y;TAG=x0;tag=x1",
        b"<sip:a@b.example;tag=x1",
        b"<sip:a@b.example;tag=x1>",
    ],
)
def test_a_tag_is_read_apart_from_the_rest_and_all_is_as_if_it_were_not(value: bytes) -> None:
    assert outcome(read_address, value) == outcome(parse_address, value)


@pytest.mark.parametrize(
    "value",
    [
        b"SIP/2.0/UDP 192.0.2.1:5061;branch=z9hG4bK1",
        b"SIP/2.0/UDP [2001:db8::1];rport=5;branch=z9hG4bK1;received=192.0.2.9;maddr=h.example",
        b"SIP / 2.0 / UDP h.example : 5060 ;branch=z9hG4bK1 (a comment)",
        b"SIP/2.0/UDP h.example;branch=z9hG4bK1;branch=z9hG4bK1;ttl=1",
        b"SIP/2.0/UDP h.example;branch=z9hG4bK1;branch=z9hG4bK2",
        b'SIP/2.0/UDP h.example;a=";branch=no;";branch=z9hG4bK1;b=";branch=no;"',
        b"SIP/2.0/UDP h.example (;branch=z9hG4bK1)",
        b"SIP/2.0/UDP ;branch=z9hG4bK1",
    ],
)
def test_a_branch_is_read_apart_from_the_rest_and_all_is_as_if_it_were_not(value: bytes) -> None:
    assert outcome(read_via, value) == outcome(parse_via, value)


def outcome(read: Callable[[bytes], object], value: bytes) -> object:
    """What is read, or why it is not."""
    try:
        return read(value)
    except Malformed as error:
        return str(error)
