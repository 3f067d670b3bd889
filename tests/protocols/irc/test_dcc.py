"""Offers as they are written (protocols/irc/dcc.py)."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from protocols.irc import dcc
from protocols.irc.dcc import Dcc, Offer, Resume
from protocols.toolbox.spans import Span


def said(text: bytes) -> tuple[bytes, Dcc]:
    line = b"PRIVMSG bob :\x01DCC " + text
    read = dcc.read(line, Span(13, len(line)))
    assert read is not None
    return line, read


def offers(text: bytes) -> list[Offer]:
    return list(dcc.offers(*said(text)))


def resumes(text: bytes) -> list[Resume]:
    return list(dcc.resumes(*said(text)))


@pytest.mark.parametrize(
    ("text", "name", "host", "port", "size", "token"),
    [
        (b"SEND file 167837698 5000 12345\x01", b"file", "10.1.0.2", 5000, 12345, None),
        (b"SEND file 167837698 5000\x01", b"file", "10.1.0.2", 5000, None, None),
        (b"SEND file 167837698 5000 12345 77\x01", b"file", "10.1.0.2", 5000, 12345, b"77"),
        (b"SEND file 167837698 5000 12345", b"file", "10.1.0.2", 5000, 12345, None),
        (b'SEND "my file" 167837698 5000 1\x01', b"my file", "10.1.0.2", 5000, 1, None),
        (b"SEND my file 167837698 5000 1\x01", b"my file", "10.1.0.2", 5000, 1, None),
        (b"TSEND file 167837698 5000 1T\x01", b"file", "10.1.0.2", 5000, 1, None),
        (b"TSEND file 167837698 5000 1 T\x01", b"file", "10.1.0.2", 5000, 1, b"T"),
        (b"SEND file 10.1.0.2 5000 1\x01", b"file", "10.1.0.2", 5000, 1, None),
        (b"SEND file fd01::2 5000 1\x01", b"file", "fd01::2", 5000, 1, None),
        (b"SEND file 16843009 0 1 77\x01", b"file", "1.1.1.1", 0, 1, b"77"),
        (b"SEND file 0 0 1 77\x01", b"file", "0.0.0.0", 0, 1, b"77"),
        (b"SEND file 4294967295 65535 1\x01", b"file", "255.255.255.255", 65535, 1, None),
        (b"SEND  file   167837698  5000  1  \x01", b"file", "10.1.0.2", 5000, 1, None),
        (b'SEND "" 167837698 5000 1\x01', b"", "10.1.0.2", 5000, 1, None),
        (b"SEND a\x10nb\\ac\\\\d\x10\x10 167837698 5000 1\x01", b"a\nb\x01c\\d\x10", "10.1.0.2", 5000, 1, None),
        (b"CHAT chat 167837698 5000\x01", b"chat", "10.1.0.2", 5000, None, None),
        (b"CHAT CHAT 16843009 0 60\x01", b"CHAT", "1.1.1.1", 0, None, b"60"),
        (b'CHAT "chat" 167837698 5000\x01', b"chat", "10.1.0.2", 5000, None, None),
    ],
)
def test_an_offer(text: bytes, name: bytes, host: str, port: int, size: int | None, token: bytes | None) -> None:
    """IR8, IR9."""
    first = offers(text)[0]
    assert (first.name, first.host, first.port, first.size, first.token) == (name, ip_address(host), port, size, token)


@pytest.mark.parametrize(
    "text",
    [
        b"SEND\x01",
        b"SEND file\x01",
        b"SEND file 167837698\x01",
        b"SEND 167837698 5000\x01",
        b"SEND file 4294967296 5000 1\x01",
        b"SEND file 42949672950 5000 1\x01",
        b"SEND file 167837698 65536 1\x01",
        b"SEND file 167837698 99999999999999999999999 1\x01",
        b"SEND file -167837698 5000 1\x01",
        b"SEND file +167837698 5000 1\x01",
        b"SEND file 0167837698 5000 1\x01",
        b"SEND file 0xa010002 5000 1\x01",
        b"SEND file 167837698 05000 1\x01",
        b"SEND file 010.1.0.2 5000 1\x01",
        b"SEND file 10.1.0.256 5000 1\x01",
        b"SEND file fd01::2%eth0 5000 1\x01",
        b"SEND file fd01:::2 5000 1\x01",
        b"SEND file 167837698 5000 -1\x01",
        b"SEND file 167837698 5000 1 2 3 4 5 x\x01",
        b'SEND "file" 167837698\x01',
        b'SEND "my file 167837698\x01',
        b"CHAT 167837698 5000\x01",
        b"CHAT chat 167837698 5000 1 2\x01",
        b"CHAT chat \xd9\xa1 5000\x01",
    ],
)
def test_what_is_no_offer(text: bytes) -> None:
    """IR9: signs, leading zeros, and what is out of range could be read in another way by others."""
    assert offers(text) == []


def test_a_name_that_ends_in_digits_can_be_read_in_more_ways_than_one() -> None:
    read = [(offer.name, str(offer.host), offer.port) for offer in offers(b"SEND a 167837699 167837698 5000 1\x01")]
    assert read == [(b"a 167837699", "10.1.0.2", 5000)]
    read = [(offer.name, str(offer.host), offer.port) for offer in offers(b"SEND a 16843009 4000 167837698 5000\x01")]
    assert read == [(b"a", "1.1.1.1", 4000), (b"a 16843009 4000", "10.1.0.2", 5000)]


@pytest.mark.parametrize(
    ("text", "read"),
    [
        (b"RESUME file.ext 5000 1024\x01", [(b"file.ext", 5000)]),
        (b"ACCEPT file.ext 5000 1024 77\x01", [(b"file.ext", 5000), (b"file.ext 5000", 1024)]),
        (b'RESUME "my file" 5000 1024\x01', [(b"my file", 5000)]),
        (b"RESUME my 2 5000 1024\x01", [(b"my", 2), (b"my 2", 5000)]),
        (b"RESUME file 0 1024 77\x01", [(b"file", 0), (b"file 0", 1024)]),
        (b"RESUME file 5000\x01", []),
        (b"RESUME file 65536 1\x01", []),
        (b"RESUME\x01", []),
    ],
)
def test_a_resume(text: bytes, read: list[tuple[bytes, int]]) -> None:
    assert [(resume.name, resume.port) for resume in resumes(text)] == read


@pytest.mark.parametrize(
    "text",
    [
        b"DCC SEND f 1 2\x01",
        b" \x01DCC SEND f 1 2\x01",
        b"\x01 DCC SEND f 1 2\x01",
        b"\x01DCCSEND f\x01",
        b"\x01DCC",
        b"",
    ],
)
def test_only_a_text_that_begins_with_it_says_something_by_dcc(text: bytes) -> None:
    """IR6."""
    assert dcc.read(text, Span(0, len(text))) is None


def test_what_stands_behind_the_end_mark_is_none_of_it() -> None:
    _, read = said(b"CHAT chat 167837698 5000\x01 and 5 more")
    assert [word.text for word in read.words] == [b"chat", b"167837698", b"5000"]
    assert read.type == "CHAT"


@pytest.mark.parametrize(
    ("host", "like", "written"),
    [
        ("198.51.100.1", b"167837698", b"3325256705"),
        ("198.51.100.1", b"10.1.0.2", b"198.51.100.1"),
        ("2001:db8::1", b"167837698", b"2001:db8::1"),
        ("198.51.100.1", b"fd01::2", b"3325256705"),
    ],
)
def test_an_address_is_written_as_the_one_in_its_place(host: str, like: bytes, written: bytes) -> None:
    assert dcc.written(ip_address(host), like) == written
