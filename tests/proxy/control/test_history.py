"""What the audit file tells of an address at a time, whatever the clock did meanwhile."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest

from proxy.control import past
from proxy.control.history import History

PORT = "203.0.113.7:40000"


def at(hour: int, minute: int) -> str:
    return f"2026-11-29T{hour:02}:{minute:02}:00.000000Z"


def written(tmp_path: Path, *lines: dict[str, str]) -> History:
    path = tmp_path / "audit.log"
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return History(lambda: [partial(past.open_file, str(path))])


def opened_and_closed(name: str, hour: int) -> list[dict[str, str]]:
    """A pinhole at the same port as all others, for the first half of this hour."""
    facts = {"session": f"s-{name}", "pinhole": name, "listen": PORT}
    return [
        {"event": f"pinhole.{what}", "time": at(hour, minute), **facts}
        for what, minute in (("opened", 0), ("closed", 30))
    ]


def found(history: History, moment: str) -> list[str]:
    return [lines[0]["pinhole"] for lines in history.find(None, PORT, moment)]


@pytest.mark.parametrize(("hour", "name"), [(10, "a"), (11, "b"), (12, "c")])
def test_of_those_at_one_port_the_one_that_stood_then_is_told(tmp_path: Path, hour: int, name: str) -> None:
    lines = [line for name, hour in (("a", 10), ("b", 11), ("c", 12)) for line in opened_and_closed(name, hour)]
    assert found(written(tmp_path, *lines), at(hour, 15)) == [name]
    assert found(written(tmp_path, *lines), at(hour, 45)) == []


def test_what_stood_after_the_clock_was_set_back_is_told(tmp_path: Path) -> None:
    lines = [line for name, hour in (("a", 10), ("b", 12), ("c", 11)) for line in opened_and_closed(name, hour)]
    assert found(written(tmp_path, *lines), at(11, 15)) == ["c"]


def test_a_refusal_of_another_time_is_not_told(tmp_path: Path) -> None:
    denied = {"event": "session.denied", "reason": "no_policy", "client": "192.0.2.1:1024", "server": PORT}
    history = written(tmp_path, *({"time": at(hour, 0), **denied} for hour in (10, 12, 11)))
    assert [[line["time"] for line in lines] for lines in history.find(None, PORT, at(11, 0))] == [[at(11, 0)]]
    assert history.find(None, PORT, at(9, 0)) == []
