"""A command that is broken into lines is still the same command."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.command.shell import broken

WORDS = st.lists(st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), min_size=1), min_size=1, max_size=12)


@given(WORDS.map(shlex.join), st.integers(20, 120), st.integers(0, 8))
def test_the_shell_reads_the_same_words(command: str, width: int, indent: int) -> None:
    text = "\n".join(broken(command, width, indent))
    assert shlex.split(text.replace("\\\n", "")) == shlex.split(command)


@given(WORDS.map(shlex.join), st.integers(20, 120))
def test_a_line_is_too_long_only_for_a_word_that_is(command: str, width: int) -> None:
    for line in broken(command, width, 0):
        assert len(line) <= width or len(shlex.split(line.removesuffix("\\"))) == 1


@pytest.mark.parametrize(
    ("remedy", "lines"),
    [
        ("pinhole net up", ["pinhole net up"]),
        ("# see what there is in there", ["# see what there is", "# in there"]),
        ("ip rule add pref 99  # so it is first", ["ip rule add pref 99", "# so it is first"]),
        ("# to last: echo 'a b' >>/etc/x", ["# to last: echo 'a b' >>/etc/x"]),
        ("nft insert rule inet filter input", ["nft insert rule \\", "    inet filter \\", "    input"]),
        ("first\nsecond", ["first", "second"]),
    ],
)
def test_remarks_go_on_behind_a_sign_of_their_own_and_commands_behind_a_backslash(
    remedy: str, lines: list[str]
) -> None:
    assert list(broken(remedy, 20, 0)) == lines
