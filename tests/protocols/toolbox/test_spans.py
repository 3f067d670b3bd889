from __future__ import annotations

import pytest

from protocols.toolbox.spans import Span, replace


def test_only_the_bytes_of_a_span_change() -> None:
    assert replace(b"a  (10,0,0,5) B", [(Span(4, 12), b"1,2,3,4")]) == b"a  (1,2,3,4) B"


def test_several_spans_are_replaced_in_one_pass() -> None:
    assert replace(b"abcdef", [(Span(0, 1), b"XX"), (Span(1, 1), b"-"), (Span(4, 6), b"")]) == b"XX-bcd"


def test_nothing_to_change_is_the_same_message() -> None:
    assert replace(b"abc", []) == b"abc"


@pytest.mark.parametrize("spans", [[Span(2, 3), Span(0, 1)], [Span(0, 2), Span(1, 3)], [Span(0, 4)], [Span(2, 1)]])
def test_spans_that_make_no_sense_are_a_bug_of_the_caller(spans: list[Span]) -> None:
    with pytest.raises(ValueError, match="overlaps"):
        replace(b"abc", [(span, b"") for span in spans])
