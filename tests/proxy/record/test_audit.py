"""The audit log: one line an event, nothing secret by accident, each line with its place among all others."""

from __future__ import annotations

import json
import re
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from protocols.contract.addresses import Endpoint, Transport
from proxy.record.audit import AuditLog, Origin, open_log
from proxy.record.render import plain

HERE = Origin("gateway", "1cce2aa5")


class Lines:
    """A sink that keeps what it gets."""

    def __init__(self) -> None:
        self.written: list[str] = []

    def __call__(self, line: str) -> None:
        self.written.append(line)

    def read(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.written]


@pytest.fixture
def lines() -> Lines:
    return Lines()


@pytest.fixture
def log(lines: Lines) -> AuditLog:
    return open_log(HERE, lines)


def test_an_event_is_one_json_object_a_line_with_what_was_bound(log: AuditLog, lines: Lines) -> None:
    bound = log.bind(session="s-1", helper="ftp")
    bound.write("pinhole.opened", listen=Endpoint(ip_address("2001:db8::1"), 40000), transport=Transport.TCP)
    (line,) = lines.read()
    assert line.pop("time")
    assert line == {
        "event": "pinhole.opened",
        "node": "gateway",
        "instance": "1cce2aa5",
        "seq": 1,
        "session": "s-1",
        "helper": "ftp",
        "listen": "[2001:db8::1]:40000",
        "transport": "tcp",
    }


def test_what_is_bound_to_a_bound_log_stands_beside_what_was_bound_before(log: AuditLog, lines: Lines) -> None:
    log.bind(session="s-1").bind(call_id=b"abc").write("pinhole.opened")
    (line,) = lines.read()
    assert (line["session"], line["call_id"]) == ("s-1", "abc")


def test_lines_are_numbered_through_whoever_writes_them(log: AuditLog, lines: Lines) -> None:
    log.write("daemon.started")
    log.bind(session="s-1").write("session.opened")
    log.bind(session="s-2").write("session.opened")
    log.write("daemon.stopped")
    assert [line["seq"] for line in lines.read()] == [1, 2, 3, 4]


def test_a_line_that_is_left_out_has_no_number(log: AuditLog, lines: Lines) -> None:
    for _ in range(60):
        log.write("session.denied", reason="no_policy")
    assert [line["seq"] for line in lines.read()] == list(range(1, 51))


@pytest.mark.parametrize(
    ("event", "severity"),
    [("daemon.failed", "error"), ("violation", "warning"), ("daemon.started", "notice"), ("session.opened", None)],
)
def test_a_line_says_how_grave_it_is_unless_it_is_mere_information(
    log: AuditLog, lines: Lines, event: str, severity: str | None
) -> None:
    log.write(event)
    assert lines.read()[0].get("severity") == severity


def test_time_stamps_are_rfc_3339_utc_with_microseconds(log: AuditLog, lines: Lines) -> None:
    log.write("daemon.started")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", lines.read()[0]["time"])


def test_peer_bytes_are_escaped() -> None:
    assert plain(b"caf\xe9 \x1b[2J\r\n\x00") == "caf\\xe9 \\x1b[2J\\r\\n\\x00"


def test_long_values_are_cut_and_their_true_length_noted() -> None:
    assert plain(b"a" * 5000) == "a" * 256 + "... (5000 bytes)"
    assert plain("a" * 5000) == "a" * 256 + "... (5000 bytes)"


def test_lists_and_mappings_are_made_plain_inside() -> None:
    value = [{"field": "PORT", "before": ip_address("10.0.0.1"), "after": b"\xff"}]
    assert plain(value) == [{"field": "PORT", "before": "10.0.0.1", "after": "\\xff"}]


def test_for_ever_is_no_number_that_a_program_could_not_read(log: AuditLog, lines: Lines) -> None:
    log.write("event", expires_seconds=float("inf"), several=[float("nan")])
    (line,) = lines.read()
    assert (line["expires_seconds"], line["several"]) == (None, [None])


def test_values_are_rendered_as_the_standard_library_would_when_they_are_plain(log: AuditLog, lines: Lines) -> None:
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
    log.bind(session="s-1").write("pinhole.opened", **facts)
    (line,) = lines.written
    expected = {**HERE.facts, "seq": 1, "session": "s-1", **{name: plain(value) for name, value in facts.items()}}
    text = json.dumps({"time": json.loads(line)["time"], "event": "pinhole.opened", **expected}, separators=(",", ":"))
    assert line == text
