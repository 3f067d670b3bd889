"""What `pinhole trace` shows of what the daemon sends."""

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


def trace(tmp_path: Path, *words: str) -> tuple[list[str], Result]:
    file = tmp_path / "pinhole.yaml"
    file.write_text(f"policies: []\ncontrol: {tmp_path}/c.sock\n")
    events = [("begun", {}), ("message", CAME), ("alive", {}), ("message", WENT)]
    stream = "".join(f"event: {name}\ndata: {json.dumps(row)}\n\n" for name, row in events).encode()
    with daemon(tmp_path / "c.sock", {"/v1/trace?client=192.168.1.10": stream}) as asked:
        result = CliRunner().invoke(main, ["trace", "--client", "192.168.1.10", *words, "-c", str(file)])
    return asked, result


def test_each_message_is_shown_with_its_way_and_cannot_speak_to_the_terminal(tmp_path: Path) -> None:
    asked, result = trace(tmp_path)
    assert asked == ["GET /v1/trace?client=192.168.1.10"]
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
    result = trace(tmp_path, "--json")[1]
    assert list(map(json.loads, result.stdout.splitlines())) == [CAME, WENT]


def test_when_the_daemon_ends_that_is_said(tmp_path: Path) -> None:
    result = trace(tmp_path)[1]
    assert (result.exit_code, result.stderr) == (1, "(^C ends it)\npinhole: the daemon has ended\n")
