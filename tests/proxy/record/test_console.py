"""The form of the log for people: what matters first, nothing of Python's, readable lines."""

from __future__ import annotations

import os
import pty
from typing import Any

import pytest

from proxy.record.audit import Origin, open_log
from proxy.record.console import render
from proxy.record.forms import form
from proxy.record.outlets import FileOutlet
from proxy.record.sinks import Sink

TIME = "2026-11-29T20:15:00.123456Z"
SESSION: dict[str, Any] = {
    "session": "1cce2aa5-4",
    "helper": "ftp",
    "policy": "lan-out",
    "client": "192.168.1.10:40001",
    "server": "203.0.113.50:21",
}
OF_SESSION = "helper=ftp policy=lan-out client=192.168.1.10:40001 server=203.0.113.50:21"


def line(event: str, **fields: Any) -> str:
    return render(record(event, **fields))


def record(event: str, **fields: Any) -> dict[str, Any]:
    return {"time": TIME, "event": event, **fields}


def test_time_event_and_session_come_first_and_whom_the_session_is_of_comes_last() -> None:
    said = line("pinhole.opened", **SESSION, pinhole=1, listen="203.0.113.7:40000")
    first = "2026-11-29T20:15:00.123Z  pinhole.opened   1cce2aa5-4 "
    assert said == f"{first} pinhole=1 listen=203.0.113.7:40000 {OF_SESSION}"


def test_a_line_of_no_session_says_so() -> None:
    assert line("daemon.started", version="1") == "2026-11-29T20:15:00.123Z  daemon.started   -           version=1"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "-"),
        (True, "yes"),
        (False, "no"),
        (7, "7"),
        (1.5, "1.5"),
        ([], "-"),
        (["10.0.0.0/8", "fd00::/8"], "10.0.0.0/8,fd00::/8"),
        ([{"field": "PORT", "after": None}], "{field=PORT after=-}"),
        ("ftp data", '"ftp data"'),
        ('a="b"', r'"a=\"b\""'),
        ("", '""'),
        ("\x1b[31m", r"\x1b[31m"),
    ],
)
def test_values_are_written_so_that_one_can_tell_where_they_end(value: Any, shown: str) -> None:
    assert line("event", value=value).endswith(f"-           value={shown}")


def test_a_traceback_has_lines_of_its_own() -> None:
    said = line("daemon.failed", traceback=["Traceback:", '  File "x"']).splitlines()
    assert [text.removeprefix(" " * 26) for text in said[1:]] == ["Traceback:", '  File "x"']


@pytest.mark.parametrize("width", [80, 120])
def test_on_a_terminal_lines_are_wrapped_between_fields(width: int) -> None:
    fields = SESSION | {"purpose": "ftp data", "allow": ["203.0.113.50/32"], "target": None, "trigger": "PASV"}
    lines = render(record("pinhole.opened", **fields), width=width).splitlines()
    assert all(len(text) <= width for text in lines)
    assert " ".join(text.strip() for text in lines) == line("pinhole.opened", **fields)


@pytest.mark.parametrize(
    ("event", "colour"),
    [("session.opened", ""), ("daemon.started", "\x1b[1m"), ("violation", "\x1b[33m"), ("daemon.failed", "\x1b[31m")],
)
def test_how_grave_it_is_has_a_colour(event: str, colour: str) -> None:
    said = render(record(event), coloured=True)
    assert said == (f"{colour}{line(event)}\x1b[0m" if colour else line(event))


def test_a_terminal_gets_colours() -> None:
    ours, theirs = pty.openpty()
    sink = Sink(FileOutlet("stdout", form("console", theirs), opens=lambda: theirs))
    open_log(Origin("gateway", "1cce2aa5"), sink).write("violation", rule="ftp.bounce")
    sink.close()
    assert os.read(ours, 4096).startswith(b"\x1b[33m20")
    os.close(ours)


def test_what_is_no_terminal_gets_none(tmp_path: Any) -> None:
    sink = Sink(FileOutlet(str(tmp_path / "log"), form("console")))
    open_log(Origin("gateway", "1cce2aa5"), sink).write("violation", rule="ftp.bounce")
    sink.close()
    assert "\x1b" not in (tmp_path / "log").read_text()


def test_what_is_for_programs_is_left_out() -> None:
    said = line("event", node="gateway", instance="1cce2aa5", seq=7, prev=None, hash="0", value=1)
    assert said == line("event", value=1)
