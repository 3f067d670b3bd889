"""Bytes of a peer in a line of the log: the quick way for what needs no escape says the same as the long one."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.record.render import MAX_VALUE_LENGTH, RENDERERS, plain


@given(st.binary(max_size=2 * MAX_VALUE_LENGTH))
@example(b"back\\slash")
@example(b'quo"te')
@example(b"\x7f\x1b[31m")
@example(b"x" * (MAX_VALUE_LENGTH + 1))
def test_bytes_are_rendered_as_what_they_are_when_made_plain(value: bytes) -> None:
    assert json.loads(RENDERERS[bytes](value)) == plain(value)


@pytest.mark.parametrize("value", [b"1-3950@10.1.0.2", b"sip:alice@example.org", b""])
def test_what_needs_no_escape_stays_as_it_is(value: bytes) -> None:
    assert RENDERERS[bytes](value) == f'"{value.decode()}"'
