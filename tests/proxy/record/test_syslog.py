"""Syslog and the journal: what collectors get, over each way, and what happens when they are not there."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from proxy.config.recording import parse_collector
from proxy.record import sinks, syslog
from proxy.record.audit import AuditLog, Origin, open_log
from proxy.record.forms import form
from proxy.record.journal import JournalOutlet
from proxy.record.sinks import Sink
from proxy.record.syslog import SyslogOutlet
from tests.harness.shell import SECONDS
from tests.harness.waiting import until

HERE = Origin("gateway", "1cce2aa5")
MESSAGE = re.compile(rb"<(\d+)>1 (\S+) (\S+) pinhole (\d+) (\S+) - (.*)", re.DOTALL)
WAYS = ("unix", "udp", "tcp")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sinks, "RETRY_SECONDS", 0.01)


class Collector:
    """Something that collects, over one way. A stream has one connection."""

    def __init__(self, way: str, path: Path, is_there: bool = True) -> None:
        """is_there: False: nobody reaches it before it `comes`. Its port is nobody else's meanwhile."""
        self.way, self._path = way, path
        self.sock = socket.socket(
            socket.AF_UNIX if way == "unix" else socket.AF_INET,
            socket.SOCK_STREAM if way == "tcp" else socket.SOCK_DGRAM,
        )
        self.sock.settimeout(SECONDS)
        if way != "unix":
            self.sock.bind(("127.0.0.1", 0))
        if way == "udp":  # all lines of a test may come before the first one is read
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self._connection: socket.socket | None = None
        self._left = b""
        if is_there:
            self.comes()

    def comes(self) -> None:
        if self.way == "unix":
            self.sock.bind(str(self._path))
        elif self.way == "tcp":
            self.sock.listen()

    @property
    def name(self) -> str:
        return str(self._path) if self.way == "unix" else "{}://{}:{}".format(self.way, *self.sock.getsockname())

    def message(self) -> bytes:
        if self.way != "tcp":
            return self.sock.recv(1 << 17)
        if self._connection is None:
            self._connection, _ = self.sock.accept()
            self._connection.settimeout(SECONDS)
        while True:
            length, blank, rest = self._left.partition(b" ")
            if blank and len(rest) >= int(length):
                message, self._left = rest[: int(length)], rest[int(length) :]
                return message
            self._left += self._connection.recv(65536)

    def hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection, self._left = None, b""

    def close(self) -> None:
        self.hang_up()
        self.sock.close()


@pytest.fixture(params=WAYS)
def collector(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Collector]:
    collector = Collector(request.param, tmp_path / "log")
    yield collector
    collector.close()


def a_sink(name: str, shape: str = "json", report: Callable[[str], None] = lambda _: None) -> Sink:
    return Sink(SyslogOutlet(parse_collector(name), form(shape), "gateway", "local0"), report)


def a_log(sink: Sink) -> AuditLog:
    return open_log(HERE, sink)


def test_a_message_has_the_head_of_rfc_5424_and_the_line(collector: Collector) -> None:
    sink = a_sink(collector.name)
    a_log(sink).write("violation", rule="ftp.bounce")
    found = MESSAGE.fullmatch(collector.message())
    assert found is not None
    priority, time, host, _, kind, text = found.groups()
    assert (int(priority), host, kind) == (16 * 8 + 4, b"gateway", b"violation")
    line = json.loads(text)
    assert (line["event"], line["time"].encode(), line["seq"]) == ("violation", time, 1)
    sink.close()


@pytest.mark.parametrize(
    ("event", "level"), [("daemon.failed", 3), ("violation", 4), ("session.denied", 5), ("call.ended", 6)]
)
def test_how_grave_it_is_stands_in_the_priority(tmp_path: Path, event: str, level: int) -> None:
    collector = Collector("unix", tmp_path / "log")
    sink = a_sink(collector.name)
    a_log(sink).write(event)
    assert collector.message().startswith(b"<%d>" % (16 * 8 + level))
    sink.close()
    collector.close()


def test_each_line_is_a_message_of_its_own_in_order(collector: Collector) -> None:
    sink = a_sink(collector.name)
    log = a_log(sink)
    for _ in range(200):
        log.write("session.opened", text="x" * 100)
    messages = (MESSAGE.fullmatch(collector.message()) for _ in range(200))
    assert [json.loads(found[6])["seq"] for found in messages if found] == list(range(1, 201))
    sink.close()


@pytest.mark.parametrize("way", ["unix", "tcp"])
def test_lines_wait_for_a_collector_that_is_not_there_yet(tmp_path: Path, way: str) -> None:
    collector = Collector(way, tmp_path / "log", is_there=False)
    reports: list[str] = []
    sink = a_sink(collector.name, report=reports.append)
    a_log(sink).write("one")
    until(lambda: reports)
    assert sink.is_stuck
    collector.comes()
    assert b'"one"' in collector.message()
    until(lambda: len(reports) == 2)
    assert not sink.is_stuck
    sink.close()
    collector.close()
    assert "writing again" in reports[-1]


def test_after_a_connection_has_broken_lines_go_on_by_a_new_one(tmp_path: Path) -> None:
    collector = Collector("tcp", tmp_path)
    sink = a_sink(collector.name)
    log = a_log(sink)
    log.write("one")
    assert b'"one"' in collector.message()
    collector.hang_up()
    log.write("two")
    assert b'"two"' in collector.message()
    sink.close()
    collector.close()


def test_a_collector_that_does_not_read_keeps_nobody_from_anything(tmp_path: Path) -> None:
    collector = Collector("tcp", tmp_path)
    sink = a_sink(collector.name)
    log = a_log(sink)
    for _ in range(20_000):  # more than the two buffers hold
        log.write("session.opened", text="x" * 250)
    until(lambda: sink.waiting)
    last = b""
    while b'"seq":20000' not in last:
        last = collector.message()
    sink.close()
    assert sink.lost == 0
    collector.close()


def test_what_is_too_long_for_a_datagram_is_cut(tmp_path: Path) -> None:
    collector = Collector("udp", tmp_path)
    sink = a_sink(collector.name)
    log = a_log(sink)
    log.write("event", many=["x" * 250] * 400)
    log.write("next")
    assert len(collector.message()) == syslog.LONGEST_CUT
    assert b'"next"' in collector.message()
    sink.close()
    collector.close()


# -- the journal -------------------------------------------------------------------------------------------------------


class Journal:
    """A socket that takes entries as the journal does."""

    def __init__(self, path: Path) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.settimeout(SECONDS)
        self.sock.bind(str(path))

    def entry(self) -> dict[str, str]:
        data, fds, _, _ = socket.recv_fds(self.sock, 1 << 20, 1)
        if fds:
            with open(fds[0], "rb") as file:
                file.seek(0)
                data = file.read()
        fields = {}
        while data:
            line, _, rest = data.partition(b"\n")
            name, is_simple, value = line.partition(b"=")
            if not is_simple:
                length = int.from_bytes(rest[:8], "little")
                value, rest = rest[8 : 8 + length], rest[9 + length :]
            fields[name.decode()] = value.decode()
            data = rest
        return fields


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal(tmp_path / "journal")
    yield journal
    journal.sock.close()


@pytest.fixture
def to_journal(tmp_path: Path, journal: Journal) -> Iterator[Sink]:
    sink = Sink(JournalOutlet(form("console"), str(tmp_path / "journal")))
    yield sink
    sink.close()


def test_an_entry_has_priority_and_fields_of_its_own(to_journal: Sink, journal: Journal) -> None:
    a_log(to_journal).bind(session="s-1").write("violation", rule="ftp.bounce", detail="PORT", nothing=None, some=[1])
    entry = journal.entry()
    assert (entry["PRIORITY"], entry["SYSLOG_IDENTIFIER"]) == ("4", "pinhole")
    assert "rule=ftp.bounce" in entry["MESSAGE"]
    told = {name: value for name, value in entry.items() if name.startswith("PINHOLE_")}
    assert told.pop("PINHOLE_TIME")
    assert told == {
        "PINHOLE_EVENT": "violation",
        "PINHOLE_NODE": "gateway",
        "PINHOLE_INSTANCE": "1cce2aa5",
        "PINHOLE_SEQ": "1",
        "PINHOLE_SESSION": "s-1",
        "PINHOLE_RULE": "ftp.bounce",
        "PINHOLE_DETAIL": "PORT",
        "PINHOLE_SOME": "[1]",
    }


def test_a_field_with_line_ends_comes_whole(to_journal: Sink, journal: Journal) -> None:
    a_log(to_journal).write("daemon.failed", traceback=["one", "two"])
    entry = journal.entry()
    assert [line.strip() for line in entry["MESSAGE"].splitlines()[1:]] == ["one", "two"]
    assert entry["PRIORITY"] == "3"


def test_what_is_too_long_for_a_datagram_comes_as_a_file(to_journal: Sink, journal: Journal) -> None:
    many: Any = ["x" * 250] * 2000
    a_log(to_journal).write("event", many=many)
    assert json.loads(journal.entry()["PINHOLE_MANY"]) == many


def test_entries_wait_for_a_journal_that_does_not_read(to_journal: Sink, journal: Journal) -> None:
    log = a_log(to_journal)
    for _ in range(2000):  # the kernel holds a few hundred
        log.write("session.opened")
    assert [journal.entry()["PINHOLE_SEQ"] for _ in range(2000)] == [str(number) for number in range(1, 2001)]
    assert to_journal.lost == 0
