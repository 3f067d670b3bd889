"""The audit log: one line an event, nothing secret by accident, nothing lost in silence."""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Callable
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any, cast

import pytest

from protocols.contract.addresses import Endpoint, Transport
from proxy.record import audit, render, sinks
from proxy.record.audit import open_log
from proxy.record.render import plain
from proxy.record.sinks import Sink


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.log"


def test_an_event_is_one_json_object_a_line_with_what_was_bound(path: Path) -> None:
    sink = Sink(str(path))
    log = open_log(sink, "json").bind(session="s-1", helper="ftp")
    log.write("pinhole.opened", listen=Endpoint(ip_address("2001:db8::1"), 40000), transport=Transport.TCP)
    sink.close()
    (line,) = lines(path)
    assert line.pop("time")
    assert line == {
        "event": "pinhole.opened",
        "session": "s-1",
        "helper": "ftp",
        "listen": "[2001:db8::1]:40000",
        "transport": "tcp",
    }


def test_time_stamps_are_rfc_3339_utc_with_microseconds(path: Path) -> None:
    sink = Sink(str(path))
    open_log(sink, "json").write("daemon.started")
    sink.close()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", lines(path)[0]["time"])


def test_peer_bytes_are_escaped() -> None:
    assert plain(b"caf\xe9 \x1b[2J\r\n\x00") == "caf\\xe9 \\x1b[2J\\r\\n\\x00"


def test_long_values_are_cut_and_their_true_length_noted() -> None:
    assert plain(b"a" * 5000) == "a" * 256 + "... (5000 bytes)"
    assert plain("a" * 5000) == "a" * 256 + "... (5000 bytes)"


def test_lists_and_mappings_are_made_plain_inside() -> None:
    value = [{"field": "PORT", "before": ip_address("10.0.0.1"), "after": b"\xff"}]
    assert plain(value) == [{"field": "PORT", "before": "10.0.0.1", "after": "\\xff"}]


def test_after_rotation_lines_go_to_the_new_file(path: Path) -> None:
    sink = Sink(str(path))
    log = open_log(sink, "json")
    log.write("one")
    _until(lambda: path.read_text())
    path.rename(path.with_suffix(".1"))
    sink.reopen()
    _until(path.exists)
    log.write("two")
    sink.close()
    assert [line["event"] for line in lines(path)] == ["two"]
    assert [line["event"] for line in lines(path.with_suffix(".1"))] == ["one"]


def _until(condition: Callable[[], object]) -> None:
    waited = threading.Event()
    for _ in range(500):
        if condition():
            return
        waited.wait(0.01)
    raise AssertionError("did not come about")


def test_a_full_disk_loses_nothing_that_fits_in_memory_and_is_reported_once(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reports: list[str] = []
    room = threading.Event()
    write = os.write

    def write_if_room(fd: int, data: bytes) -> int:
        if not room.is_set():
            raise OSError(28, "No space left on device")
        return write(fd, data)

    monkeypatch.setattr(sinks, "RETRY_SECONDS", 0.01)
    monkeypatch.setattr(os, "write", write_if_room)
    sink = Sink(str(path), reports.append)
    log = open_log(sink, "json")
    for number in range(10):
        log.write("event", number=number)
    _until(lambda: reports)
    room.set()
    _until(lambda: len(reports) == 2)
    sink.close()
    assert [line["number"] for line in lines(path)] == list(range(10))
    assert ["No space left" in reports[0], "writing again" in reports[1]] == [True, True]


def test_what_does_not_fit_in_memory_is_counted_and_said_afterwards(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = threading.Event()
    write = os.write

    def write_if_room(fd: int, data: bytes) -> int:
        room.wait(5)
        return write(fd, data)

    monkeypatch.setattr(sinks, "MAX_QUEUED_BYTES", 1000)
    monkeypatch.setattr(os, "write", write_if_room)
    sink = Sink(str(path))
    log = open_log(sink, "json")
    for number in range(100):
        log.write("event", number=number)
    assert sink.lost
    lost = sink.lost
    room.set()
    sink.close()
    assert sink.lost == lost
    events = [line["event"] for line in lines(path)]
    assert events.count("event") == 100 - lost
    assert lines(path)[-1] == {"time": lines(path)[-1]["time"], "event": "audit.lost", "lines": lost}


def test_a_line_that_was_half_written_is_whole_in_the_next_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write, room = os.write, [20]

    def write_some(fd: int, data: bytes) -> int:
        if not room[0]:
            raise OSError(28, "No space left on device")
        written = write(fd, data[: room[0]])
        room[0] -= written
        return written

    monkeypatch.setattr(sinks, "RETRY_SECONDS", 0.01)
    monkeypatch.setattr(os, "write", write_some)
    told = threading.Event()
    sink = Sink(str(path), lambda _: told.set())
    open_log(sink, "json").write("event", number=1)
    assert told.wait(5)
    path.rename(path.with_suffix(".1"))
    sink.reopen()
    room[0] = 10_000
    sink.close()
    assert [line["number"] for line in lines(path)] == [1]


@pytest.mark.parametrize("form", ["json", "console"])
def test_for_ever_is_no_number_that_a_program_could_not_read(path: Path, form: str) -> None:
    sink = Sink(str(path))
    open_log(sink, form).write("event", expires_seconds=float("inf"), several=[float("nan")])
    sink.close()
    if form == "json":
        (line,) = lines(path)
        assert (line["expires_seconds"], line["several"]) == (None, [None])


def test_closing_does_not_wait_for_a_disk_that_stays_full(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_fd: int, _data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sinks, "RETRY_SECONDS", 0.01)
    sink = Sink(str(path), lambda _: None)
    monkeypatch.setattr(os, "write", full)
    open_log(sink, "json").write("event")
    sink.close()
    assert path.read_text() == ""


def test_a_log_that_cannot_be_reopened_goes_on_in_the_old_file(tmp_path: Path) -> None:
    reports: list[str] = []
    (tmp_path / "log").mkdir()
    sink = Sink(str(tmp_path / "log" / "audit.log"), reports.append)
    (tmp_path / "log").rename(tmp_path / "moved")
    sink.reopen()
    _until(lambda: reports)
    open_log(sink, "json").write("event")
    sink.close()
    assert [line["event"] for line in lines(tmp_path / "moved" / "audit.log")] == ["event"]
    assert "No such file" in reports[0]


def test_lines_wait_until_they_are_written(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    may_write = threading.Event()
    write = os.write

    def when_it_may(fd: int, data: bytes) -> int:
        may_write.wait(5)
        return write(fd, data)

    monkeypatch.setattr("proxy.record.sinks.os.write", when_it_may)
    sink = Sink(str(path))
    sink("one")
    sink("two")
    assert sink.waiting == 2
    may_write.set()
    sink.close()
    assert sink.waiting == 0
    assert path.read_text() == "one\ntwo\n"


def test_a_fifo_that_nobody_reads_is_an_error_and_not_a_wait(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "log")
    with pytest.raises(OSError, match="No such device"):
        Sink(str(tmp_path / "log"))


def test_lines_are_what_the_chain_of_processors_makes_of_them(path: Path) -> None:
    facts = {
        "text": 'a "quote" \u2028 and \x1b',
        "long": "x" * 1000,
        "raw": b"caf\xe9\r\n",
        "number": 7,
        "yes": True,
        "nothing": None,
        "share": 0.1,
        "listen": Endpoint(ip_address("2001:db8::1"), 5060),
        "host": ip_address("192.0.2.1"),
        "allow": (ip_network("192.0.2.1/32"), ip_network("2001:db8::/64")),
        "transport": Transport.UDP,
        "changes": [{"field": "via", "before": b"\x00", "nested": [1, None]}],
        "unknown": object,
    }
    written: list[str] = []
    sink = cast(Sink, written.append)
    log = audit.open_log(sink, "json").bind(session="s-1", client="10.1.0.2:5060")
    chain = audit.BoundLog(sink, [render.stamp, render.plain_values, render.render_json], {})
    log.write("pinhole.opened", **facts)
    chain.bind(session="s-1", client="10.1.0.2:5060").write("pinhole.opened", **facts)
    quick, chained = (re.sub(r'"time":"[^"]+"', "", line) for line in written)
    assert quick == chained
