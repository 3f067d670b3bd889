"""What `pinhole helper` asks for, and what it says was switched."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from proxy.command.cli import main
from tests.harness.control_socket import daemon

SWITCH = {"helper": "sip", "mode": "off", "client": "192.168.1.10", "expires_seconds": 600.0}


def helper(tmp_path: Path, answers: dict[str, Any], *words: str) -> tuple[list[str], Result]:
    file = tmp_path / "pinhole.yaml"
    file.write_text(f"policies: []\ncontrol: {tmp_path}/c.sock\n")
    with daemon(tmp_path / "c.sock", answers) as asked:
        result = CliRunner(env={"COLUMNS": "80"}).invoke(main, ["helper", *words, "-c", str(file)])
    return asked, result


@pytest.mark.parametrize(
    ("words", "request_", "said"),
    [
        (
            ["off", "sip", "--client", "192.168.1.10", "--for", "10m"],
            "POST /v1/switches?helper=sip&mode=off&client=192.168.1.10&for=10m",
            "sip off, clients: 192.168.1.10, for 10m00s\n",
        ),
        (
            ["observe", "sip"],
            "POST /v1/switches?helper=sip&mode=observe",
            "sip off, clients: 192.168.1.10, for 10m00s\n",
        ),
        (
            ["on", "sip", "--client", "192.168.1.10"],
            "DELETE /v1/switches?helper=sip&client=192.168.1.10",
            "sip works as it is configured again, clients: 192.168.1.10\n",
        ),
    ],
)
def test_a_switch_is_thrown_and_taken_back(tmp_path: Path, words: list[str], request_: str, said: str) -> None:
    answers = {request_.partition(" ")[2]: SWITCH}
    asked, result = helper(tmp_path, answers, *words)
    assert (asked, result.stdout) == ([request_], said)
    assert json.loads(helper(tmp_path, answers, *words, "--json")[1].stdout) == SWITCH


def test_a_switch_without_a_time_lasts_until_a_restart(tmp_path: Path) -> None:
    switch = SWITCH | {"client": "all", "expires_seconds": None}
    result = helper(tmp_path, {"/v1/switches?helper=sip&mode=off": switch}, "off", "sip")[1]
    assert result.stdout == "sip off, clients: all, until a restart\n"


def test_helpers_and_switches_are_listed(tmp_path: Path) -> None:
    helpers = [{"helper": "sip", "state": "on", "sessions": 2, "pinholes": 4, "ports": ["udp/5060", "tcp/5060"]}]
    answers = {"/v1/helpers": {"helpers": helpers}, "/v1/switches": {"switches": [SWITCH]}}
    result = helper(tmp_path, answers, "list")[1]
    assert result.stdout.splitlines() == [
        "helper  state  sessions  pinholes  ports",
        "sip     on     2         4         udp/5060, tcp/5060",
        "",
        "helper  mode  client        expires",
        "sip     off   192.168.1.10  10m00s",
    ]
    assert json.loads(helper(tmp_path, answers, "list", "--json")[1].stdout)["switches"] == [SWITCH]
