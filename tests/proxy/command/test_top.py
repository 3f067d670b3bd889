"""`pinhole top`: the busiest session is the first."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner

from proxy.command import top
from proxy.command.cli import main
from tests.harness.control_socket import daemon

SESSIONS = [
    {"id": key, "helper": "ftp", "age_seconds": 3.0, "pinholes": 1, "client": f"10.0.0.{number}:40000",
     "server": "203.0.113.50:21", "bytes_from_client": 10, "bytes_from_server": 20}
    for number, key in enumerate(("quiet", "busy"), 1)
]  # fmt: skip
PINHOLES = [{"id": 7, "session": "busy", "bytes_in": 1000, "bytes_out": 5}]
STATUS = {"state": "serving", "sessions": 2, "pinholes": 1, "helpers": {"sip": {"calls": 4}}}


def test_a_session_counts_with_what_was_opened_for_it() -> None:
    assert top.passed(SESSIONS, PINHOLES) == {"quiet": 30, "busy": 1035}


def test_a_rate_is_taken_between_two_looks() -> None:
    rates = top.Rates()
    assert rates.of({"a": 100}, 10.0) == {}
    assert rates.of({"a": 300, "new": 5}, 12.0) == {"a": 100.0}
    assert rates.of({"a": 300}, 14.0) == {"a": 0.0}


def test_the_state_is_said_in_a_line_trouble_first() -> None:
    assert top.headline(STATUS, 2048.0) == "serving, 2 sessions, 1 pinholes, 4 calls (sip), 2.0K/s"
    degraded = STATUS | {"state": "degraded", "rules_missing": ["nft table inet pinhole"]}
    assert top.headline(degraded, 0).startswith("degraded, rules missing: nft table inet pinhole, 2 sessions")


def test_it_looks_twice_and_prints_once(tmp_path: Path) -> None:
    file = tmp_path / "pinhole.yaml"
    file.write_text(f"policies: []\ncontrol: {tmp_path}/c.sock\n")
    answers = {
        "/v1/sessions?helper=ftp": {"sessions": SESSIONS},
        "/v1/pinholes": {"pinholes": PINHOLES},
        "/status": STATUS,
    }
    words = ["top", "--once", "--seconds", "0.1", "--helper", "ftp", "-c", str(file)]
    with daemon(tmp_path / "c.sock", answers) as asked:
        text = CliRunner(env={"COLUMNS": "80"}).invoke(main, words).stdout
        document = json.loads(CliRunner().invoke(main, [*words, "--json"]).stdout)
    assert asked.count("GET /v1/sessions?helper=ftp") == 4
    assert [line.split()[:2] for line in text.splitlines()[2:]] == [["rate", "id"], ["0/s", "quiet"], ["0/s", "busy"]]
    assert [row["id"] for row in document["sessions"]] == ["quiet", "busy"]
