"""The audit file read backwards: the newest line first, whole lines only, within bounds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from proxy.control import past
from proxy.control.explain import names
from proxy.control.past import Past


@pytest.fixture(params=[1 << 18, 100, 7])
def block(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """How many bytes are read at a time."""
    monkeypatch.setattr(past, "BLOCK_BYTES", request.param)
    monkeypatch.setattr(past, "PAUSE_SECONDS", 0)
    size: int = request.param
    return size


def written(tmp_path: Path, count: int = 30, **more: Any) -> Path:
    path = tmp_path / "audit.log"
    lines = [
        json.dumps({"time": f"2026-11-29T20:00:{number:02}.000000Z", "event": "x", "pinhole": number % 10, **more})
        for number in range(count)
    ]
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def seconds(found: Iterator[tuple[int, past.Line]]) -> list[int]:
    return [int(line["time"][17:19]) for _, line in found]


def test_lines_with_a_word_are_found_from_the_end(tmp_path: Path, block: int) -> None:
    with written(tmp_path).open("rb") as file:
        assert seconds(Past(file).before(None, '"pinhole": 3')) == [23, 13, 3]


def test_a_word_does_not_go_on(tmp_path: Path, block: int) -> None:
    with written(tmp_path, at="192.0.2.1:500").open("rb") as file:
        assert not list(Past(file).before(None, "192.0.2.1:50"))
        assert not list(Past(file).before(None, "2.0.2.1:500"))
        assert len(list(Past(file).before(None, "192.0.2.1:500"))) == 30


def test_the_search_goes_on_from_any_line_in_both_directions(tmp_path: Path, block: int) -> None:
    with written(tmp_path).open("rb") as file:
        here = Past(file)
        places = [begin for begin, _ in here.before(None, '"pinhole": 3')]
        assert seconds(here.before(places[1], '"pinhole": 3')) == [3]
        assert [int(line["time"][17:19]) for line in here.after(places[1], '"pinhole": 3')] == [13, 23]


def test_a_time_is_found_without_reading_all(tmp_path: Path, block: int) -> None:
    with written(tmp_path).open("rb") as file:
        here = Past(file)
        assert seconds(here.before(here.offset_of("2026-11-29T20:00:12.5"), "pinhole"))[0] == 12
        assert not list(here.before(here.offset_of("2026-11-29T19:00:00"), "pinhole"))
        assert seconds(here.before(here.offset_of("2026-11-29T21:00:00"), "pinhole"))[0] == 29


def test_what_is_no_whole_line_is_passed_over(tmp_path: Path, block: int) -> None:
    path = written(tmp_path, 2)
    path.write_text('rubbish "pinhole": 1\n' + path.read_text() + '{"time": "2026-11-29T20:00:40.0Z", "pinhole": 1')
    with path.open("rb") as file:
        assert seconds(Past(file).before(None, '"pinhole": 1')) == [1]


def test_no_more_is_read_than_a_bound_allows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(past, "MOST_BYTES", 200)
    monkeypatch.setattr(past, "BLOCK_BYTES", 64)
    with written(tmp_path).open("rb") as file:
        assert seconds(Past(file).before(None, "pinhole")) == [29, 28]


def test_no_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(written(tmp_path))
    stack, found = past.open_all([lambda: past.open_file(str(tmp_path / "link"))])
    with stack:
        assert not found


def test_an_address_is_not_the_end_or_the_beginning_of_another_one() -> None:
    facts = {"server": "198.51.100.2:21", "detail": "for [2001:db8::1]:2121"}
    assert names("198.51.100.2:21", facts)
    assert names("[2001:db8::1]:2121", facts)
    others = ("8.51.100.2:21", "51.100.2:21", "198.51.100.2:2", "[2001:db8::1]:21")
    assert not any(names(one, facts) for one in others)
