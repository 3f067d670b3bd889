"""Sinks: nothing lost in silence, nobody waits for a disk or a collector, files that were moved are followed."""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from proxy.record import sinks
from proxy.record.audit import AuditLog, Origin, open_log
from proxy.record.outlets import FileOutlet
from proxy.record.sinks import Sink
from tests.harness.shell import SECONDS
from tests.harness.waiting import until

HERE = Origin("gateway", "1cce2aa5")


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def events(path: Path) -> list[str]:
    return [line["event"] for line in lines(path)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.log"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sinks, "RETRY_SECONDS", 0.01)
    # What a closed sink has written is read in most tests, and its thread may have to wait for a processor.
    monkeypatch.setattr(sinks, "CLOSE_SECONDS", SECONDS)


def a_sink(path: Path, report: Callable[[str], None] = lambda _: None) -> Sink:
    return Sink(FileOutlet(str(path)), report, HERE.facts)


def a_log(sink: Sink) -> AuditLog:
    return open_log(HERE, sink)


class Disk:
    """`os.write` to a disk that has so much room."""

    def __init__(self, room: int | None = None) -> None:
        self.room = room
        self._write = os.write

    def __call__(self, fd: int, data: bytes) -> int:
        if self.room is None:
            return self._write(fd, data)
        if not self.room:
            raise OSError(28, "No space left on device")
        written = self._write(fd, data[: self.room])
        self.room -= written
        return written


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    disk = Disk()
    monkeypatch.setattr(os, "write", disk)
    return disk


@contextlib.contextmanager
def stalled(path: Path) -> Iterator[Callable[[], bytes]]:
    """A pipe that nobody reads, and is full. Gives what reads it."""
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    filler = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    with contextlib.suppress(BlockingIOError):
        while os.write(filler, b"x" * 4096):
            pass
    with contextlib.suppress(BlockingIOError):
        while os.write(filler, b"x"):
            pass

    def read() -> bytes:
        with contextlib.suppress(BlockingIOError):
            return os.read(reader, 1 << 20)
        return b""

    try:
        yield read
    finally:
        os.close(filler)
        os.close(reader)


def test_a_bug_in_a_form_loses_the_lines_that_it_happens_to_and_says_so(path: Path) -> None:
    def shape(line: str) -> str:
        if '"bad"' in line:
            raise ZeroDivisionError
        return line

    reports: list[str] = []
    sink = Sink(FileOutlet(str(path), shape), reports.append, HERE.facts)
    log = a_log(sink)
    log.write("bad")
    until(lambda: reports)
    log.write("good")
    sink.close()
    assert sorted(events(path)) == ["audit.lost", "good"]
    assert "ZeroDivisionError" in reports[0]


# -- rotation ----------------------------------------------------------------------------------------------------------


def test_after_rotation_lines_go_to_the_new_file(path: Path) -> None:
    sink = a_sink(path)
    log = a_log(sink)
    log.write("one")
    until(path.read_text)
    path.rename(path.with_suffix(".1"))
    sink.reopen()
    until(path.exists)
    log.write("two")
    sink.close()
    assert (events(path), events(path.with_suffix(".1"))) == (["two"], ["one"])


@pytest.mark.parametrize("is_removed", [False, True])
def test_a_file_that_is_gone_from_its_name_is_followed_by_a_new_one_without_a_signal(
    path: Path, is_removed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.record.outlets.LOOK_SECONDS", 0.0)
    sink = a_sink(path)
    log = a_log(sink)
    log.write("one")
    until(path.read_text)
    if is_removed:
        path.unlink()
    else:
        path.rename(path.with_suffix(".1"))
    log.write("two")
    until(path.exists)
    sink.close()
    assert events(path) == ["two"]


def test_a_line_that_was_half_written_is_whole_in_the_next_file(path: Path, disk: Disk) -> None:
    disk.room = 20
    told = threading.Event()
    sink = a_sink(path, lambda _: told.set())
    a_log(sink).write("event", number=1)
    assert told.wait(SECONDS)
    path.rename(path.with_suffix(".1"))
    sink.reopen()
    disk.room = None
    sink.close()
    assert [line["number"] for line in lines(path)] == [1]


def test_a_log_that_cannot_be_reopened_goes_on_in_the_old_file_and_says_so_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.record.outlets.LOOK_SECONDS", 0.0)
    reports: list[str] = []
    (tmp_path / "log").mkdir()
    sink = a_sink(tmp_path / "log" / "audit.log", reports.append)
    (tmp_path / "log").rename(tmp_path / "moved")
    sink.reopen()
    until(lambda: reports)
    a_log(sink).write("event")
    until(lambda: not sink.waiting)
    a_log(sink).write("event")
    sink.close()
    assert events(tmp_path / "moved" / "audit.log") == ["event", "event"]
    assert len(reports) == 1
    assert "No such file" in reports[0]


def test_a_fifo_that_nobody_reads_is_an_error_and_not_a_wait(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "log")
    with pytest.raises(OSError, match="No such device"):
        FileOutlet(str(tmp_path / "log"))


# -- disks and pipes that do not take it -------------------------------------------------------------------------------


def test_a_full_disk_loses_nothing_that_fits_in_memory_and_is_reported_once(path: Path, disk: Disk) -> None:
    reports: list[str] = []
    disk.room = 0
    sink = a_sink(path, reports.append)
    log = a_log(sink)
    for number in range(10):
        log.write("event", number=number)
    until(lambda: reports)
    assert sink.is_stuck
    disk.room = None
    until(lambda: len(reports) == 2)
    sink.close()
    assert not sink.is_stuck
    assert [line["number"] for line in lines(path)] == list(range(10))
    assert ["No space left" in reports[0], "writing again" in reports[1]] == [True, True]


def test_what_does_not_fit_in_memory_is_counted_and_said_afterwards(
    path: Path, monkeypatch: pytest.MonkeyPatch, disk: Disk
) -> None:
    monkeypatch.setattr(sinks, "MAX_QUEUED_BYTES", 1000)
    disk.room = 0
    sink = a_sink(path)
    log = a_log(sink)
    for number in range(100):
        log.write("event", number=number)
    lost = sink.lost
    assert lost
    disk.room = None
    sink.close()
    assert sink.lost == lost
    assert events(path).count("event") == 100 - lost
    last = lines(path)[-1]
    told = {"event": "audit.lost", "severity": "error", **HERE.facts, "sink": str(path), "lines": lost}
    assert last == {"time": last["time"], **told}


def test_closing_does_not_wait_for_a_disk_that_stays_full(path: Path, disk: Disk) -> None:
    disk.room = 0
    sink = a_sink(path)
    a_log(sink).write("event")
    sink.close()
    assert path.read_text() == ""


def test_closing_waits_for_a_pipe_that_nobody_reads_only_so_long(path: Path) -> None:
    with stalled(path):
        sink = a_sink(path)
        a_log(sink).write("event")
        sink.end()
        began = time.monotonic()
        sink.wait(0.1)
        assert time.monotonic() - began < 20


def test_lines_wait_until_they_are_written(path: Path) -> None:
    with stalled(path) as read:
        sink = a_sink(path)
        sink("one")
        sink("two")
        until(lambda: sink.waiting == 2)
        while read().strip(b"x") != b"one\ntwo\n":
            pass
        sink.close()
        assert sink.waiting == 0


def test_a_pipe_that_nobody_reads_is_stuck_after_a_while(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sinks, "STUCK_SECONDS", 0.05)
    with stalled(path) as read:
        sink = a_sink(path)
        a_log(sink).write("event")
        until(lambda: sink.is_stuck)
        while sink.is_stuck:
            read()
        sink.close()


def test_a_sink_that_blocks_keeps_neither_the_loop_nor_another_sink(path: Path, tmp_path: Path) -> None:
    with stalled(path):
        blocked, works = a_sink(path), a_sink(tmp_path / "other.log")

        def both(line: str) -> None:
            blocked(line)
            works(line)

        log = open_log(HERE, both)
        began = time.monotonic()
        for _ in range(1000):
            log.write("session.opened")
        assert time.monotonic() - began < 20
        works.close()
        assert len(events(tmp_path / "other.log")) == 1000
        assert blocked.waiting == 1000
        blocked.end()
