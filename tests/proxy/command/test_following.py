"""What `pinhole events` and `pinhole trace` show of what the daemon sends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from proxy.command.cli import main
from tests.harness.control_socket import daemon

CAME: dict[str, Any] = {
    "time": "2026-11-29T20:15:00.123456Z",
    "session": "1cce2aa5-4",
    "helper": "sip",
    "step": "came",
    "source": "192.168.1.10:5060",
    "target": "203.0.113.50:5060",
    "text": "OPTIONS sip:x SIP/2.0\r\nTo: \x1b[31m\r\n\r\n",
    "missed": 0,
}
WENT = CAME | {"step": "went", "source": "203.0.113.7:5060", "text": "OPTIONS sip:x SIP/2.0\r\n\r\n", "missed": 3}

Sent = list[tuple[str, dict[str, Any]]]
"""Name and data of each event that the daemon sends."""


def followed(tmp_path: Path, target: str, sent: Sent, *words: str) -> Result:
    file = tmp_path / "pinhole.yaml"
    file.write_text(f"policies: []\ncontrol: {tmp_path}/c.sock\n")
    stream = "".join(f"event: {name}\ndata: {json.dumps(row)}\n\n" for name, row in sent).encode()
    with daemon(tmp_path / "c.sock", {target: stream}) as asked:
        result = CliRunner().invoke(main, [*words, "-c", str(file)])
    assert asked == [f"GET {target}"]
    return result


def trace(tmp_path: Path, *words: str) -> Result:
    sent: Sent = [("begun", {}), ("message", CAME), ("alive", {}), ("message", WENT)]
    return followed(tmp_path, "/v1/trace?client=192.168.1.10", sent, "trace", "--client", "192.168.1.10", *words)


LINE = {
    "time": "2026-11-29T20:15:00.123456Z",
    "event": "call.ended",
    "session": "1cce2aa5-4",
    "reason": "bye",
    "x": None,
}


def test_lines_of_the_log_are_shown_as_people_read_them(tmp_path: Path) -> None:
    sent: Sent = [("begun", {}), ("call.ended", LINE), ("alive", {}), ("missed", {"missed": 3})]
    target = "/v1/events?event=call.%2A&call_id=a%40b"
    result = followed(tmp_path, target, sent, "events", "-f", "--event", "call.*", "--call-id", "a@b")
    assert result.stdout == "2026-11-29T20:15:00.123Z  call.ended       1cce2aa5-4  reason=bye x=-\n"
    assert "(3 lines are not shown: they came faster than they could be)" in result.stderr


def test_lines_of_the_log_are_what_they_are_for_programs(tmp_path: Path) -> None:
    sent: Sent = [("begun", {}), ("call.ended", LINE)]
    result = followed(tmp_path, "/v1/events", sent, "events", "-f", "--json")
    assert json.loads(result.stdout) == LINE


def test_each_message_is_shown_with_its_way_and_cannot_speak_to_the_terminal(tmp_path: Path) -> None:
    result = trace(tmp_path)
    assert result.stdout.splitlines() == [
        "2026-11-29T20:15:00.123Z  <- sip 1cce2aa5-4  192.168.1.10:5060 > 203.0.113.50:5060",
        "    OPTIONS sip:x SIP/2.0",
        "    To: \\x1b[31m",
        "    ",
        "",
        "(3 messages are not shown: they came faster than they could be)",
        "2026-11-29T20:15:00.123Z  -> sip 1cce2aa5-4  203.0.113.7:5060 > 203.0.113.50:5060",
        "    OPTIONS sip:x SIP/2.0",
        "    ",
        "",
    ]


def test_for_programs_each_is_an_object_in_a_line(tmp_path: Path) -> None:
    result = trace(tmp_path, "--json")
    assert list(map(json.loads, result.stdout.splitlines())) == [CAME, WENT]


def test_when_the_daemon_ends_that_is_said(tmp_path: Path) -> None:
    result = trace(tmp_path)
    assert (result.exit_code, result.stderr) == (1, "(^C ends it)\npinhole: the daemon has ended\n")
