"""Packets of TFTP (protocols/tftp/wire.py)."""

from __future__ import annotations

import pytest

from protocols.contract.addresses import Malformed
from protocols.tftp.wire import Code, Opcode, Request, error, is_request, number, opcode, read_error, read_request


def test_a_request_is_a_name_and_a_mode() -> None:
    assert read_request(b"\0\1boot.img\0octet\0") == Request(True, b"boot.img", b"octet")
    assert read_request(b"\0\2backup\0NetASCII\0").mode == b"netascii"


def test_options_come_in_pairs_and_their_names_in_any_case() -> None:
    """RFC 2347."""
    request = read_request(b"\0\1f\0octet\0BLKSIZE\x001428\0tsize\x000\0")
    assert request.options == (("blksize", b"1428"), ("tsize", b"0"))


@pytest.mark.parametrize("behind", [b"\0\0\0\0", b"filling", b"odd\0", b"blksize\x001428"], ids=repr)
def test_what_stands_behind_the_last_pair_is_not_judged(behind: bytes) -> None:
    """TF1: some clients fill the packet up."""
    request = read_request(b"\0\1f\0octet\0timeout\x005\0" + behind)
    assert (request.name, dict(request.options)["timeout"]) == (b"f", b"5")


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"\0\1", "request_without_name_or_mode"),
        (b"\0\1name", "request_without_name_or_mode"),
        (b"\0\1name\0octet", "request_without_name_or_mode"),
        (b"\0\1\0octet\0", "request_without_name_or_mode"),
        (b"\0\1" + b"n" * 1500 + b"\0octet\0", "request_too_long"),
    ],
)
def test_a_request_without_both_texts_is_none(data: bytes, why: str) -> None:
    with pytest.raises(Malformed, match=why):
        read_request(data)


@pytest.mark.parametrize("data", [b"", b"\0", b"\0\3\0\1data", b"\0\4\0\1", b"RRQ file"])
def test_only_two_opcodes_begin_a_transfer(data: bytes) -> None:
    assert not is_request(data)


@pytest.mark.parametrize(
    ("value", "read"), [(b"512", 512), (b"7", None), (b"65465", None), (b"+512", None), (b"9" * 30, None), (b"", None)]
)
def test_an_option_is_a_decimal_number_in_its_range(value: bytes, read: int | None) -> None:
    assert number((("blksize", value),), "blksize", 8, 65464) == read


def test_an_error_of_ours_is_read_by_others_as_it_was_meant() -> None:
    packet = error(Code.ACCESS_VIOLATION, "refused")
    assert packet == b"\0\5\0\2refused\0"
    assert opcode(packet) is not None and opcode(packet) == Opcode.ERROR
    assert read_error(packet) == (2, b"refused")
