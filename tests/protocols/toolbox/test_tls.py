"""TLS on a port of clear text: the byte it is known by, and what becomes of it."""

from __future__ import annotations

import pytest

from protocols.contract.effects import Abort, Note
from protocols.toolbox import tls


@pytest.mark.parametrize("version", [b"\x03\x01", b"\x03\x03"])
def test_a_handshake_record_of_any_version_begins_tls(version: bytes) -> None:
    assert tls.begins(b"\x16" + version + b"\x02\x00")


def test_the_first_byte_is_enough() -> None:
    assert tls.begins(b"\x16")


@pytest.mark.parametrize(
    "first", [b"USER x\r\n", b"INVITE sip:x SIP/2.0\r\n", b"\x00\xd9\x00\x00\x01", b"\x80\x2e\x01"]
)
def test_text_a_tns_connect_and_an_ssl_2_hello_are_none(first: bytes) -> None:
    assert not tls.begins(first)


def test_one_that_passes_has_a_line_of_its_helper() -> None:
    assert tls.passes("tns") == Note("tns.tls", {"action": "connection relayed unread"})


def test_one_that_is_denied_breaks_a_rule_of_its_helper_and_ends() -> None:
    broken, end = tls.is_denied("sip", " and came by a pinhole")
    assert broken == Note(
        "violation",
        {
            "rule": "sip.tls_denied",
            "detail": "the connection begins with TLS and came by a pinhole",
            "action": "closed",
        },
    )
    assert end == Abort("tls_denied")
