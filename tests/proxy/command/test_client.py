"""Commands that ask the daemon at its control socket, and what they say when it does not answer."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tests.harness.commands import pinhole
from tests.harness.control_socket import daemon
from tests.proxy.command.conftest import TABLE

ROOT = Path(__file__).parents[3]


@pytest.fixture
def control(file: Path, tmp_path: Path) -> Path:
    path = tmp_path / "control.sock"
    file.write_text(f"{TABLE}control: {path}\n")
    return path


SESSION = {"id": "ab-1", "helper": "ftp", "client": "[fd01::5]:40001", "age_seconds": 187.2, "pinholes": 1}


def test_sessions_as_a_table_and_for_programs(file: Path, control: Path) -> None:
    """Programs have known the id as `session` from before there were versions."""
    with daemon(control, {"/v1/sessions": {"sessions": [SESSION]}}) as asked:
        table = pinhole("sessions", "-c", file)
        programs = pinhole("sessions", "-c", file, "--json")
    assert asked == ["GET /v1/sessions", "GET /v1/sessions"]
    assert [line.split() for line in table.stdout.splitlines()] == [
        ["id", "helper", "state", "age", "client", "server"],
        ["ab-1", "ftp", "-", "3m07s", "[fd01::5]:40001", "-"],
    ]
    assert json.loads(programs.stdout) == {"sessions": [{"session": "ab-1", **SESSION}]}


def test_programs_know_where_a_pinhole_stands_by_the_words_from_before_there_were_versions(
    file: Path, control: Path
) -> None:
    with daemon(control, {"/v1/pinholes": {"pinholes": [{"id": 7, "listen": None, "target": "10.0.0.1:21"}]}}):
        (row,) = json.loads(pinhole("pinholes", "-c", file, "--json").stdout)["pinholes"]
    assert row == {"pinhole": 7, "id": 7, "listen": "not known yet", "target": "10.0.0.1:21"}


def test_no_pinholes(file: Path, control: Path) -> None:
    with daemon(control, {"/v1/pinholes": {"pinholes": []}}):
        result = pinhole("pinholes", "-c", file)
    assert (result.exit_code, result.stdout) == (0, "no pinholes\n")


def test_status_has_a_line_for_each_field(file: Path, control: Path) -> None:
    with daemon(control, {"/status": {"version": "1.2", "uptime_seconds": 90000, "sessions": 3}}):
        result = pinhole("status", "-c", file)
    assert [line.split() for line in result.stdout.splitlines()] == [
        ["state", "-"],
        ["version", "1.2"],
        ["uptime", "1d01h"],
        ["sessions", "3"],
    ]


NOTHING: dict[str, Any] = {
    "ok": True, "dry_run": False, "hash": "ab" * 32, "problems": [], "warnings": [], "remarks": [], "changes": [],
    "ends": [], "ends_total": 0,
}  # fmt: skip
END = {
    "id": "1cce2aa5-4", "helper": "sip", "policy": "lan", "client": "10.1.0.2:5060", "server": "192.0.2.9:5060",
    "reason": "denied_by_policy", "calls": 1,
}  # fmt: skip


def test_reload(file: Path, control: Path) -> None:
    with daemon(control, {"/v1/reload": NOTHING}) as asked:
        result = pinhole("reload", "-c", file)
    assert asked == ["POST /v1/reload"]
    assert (result.exit_code, result.stdout, result.stderr) == (0, "reloaded; nothing is otherwise\n", "")


def test_reload_says_what_is_otherwise_and_what_it_has_ended(file: Path, control: Path) -> None:
    added = {"name": "x", "source": ["10.9.0.0/16"], "action": "deny"}
    changes = [
        {"key": "policies[lan].action", "before": "accept", "after": "deny"},
        {"key": "policies[lan].dnat", "before": None, "after": "10.1.0.2"},
        {"key": "policies[x]", "before": None, "after": added},
        {"key": "policies[y]", "before": added, "after": None},
    ]
    answer = {**NOTHING, "changes": changes, "ends": [END], "ends_total": 30, "warnings": ["x.yaml:1:1: warning: y"]}
    with daemon(control, {"/v1/reload": answer}):
        result = pinhole("reload", "-c", file)
    assert result.stderr == "x.yaml:1:1: warning: y\n"
    assert result.stdout.splitlines() == [
        "reloaded",
        "  policies[lan].action: accept -> deny",
        "  policies[lan].dnat: none -> 10.1.0.2",
        "  policies[x]: added: {name: x, source: [10.9.0.0/16], action: deny}",
        "  policies[y]: removed",
        "  ended: 1cce2aa5-4, sip 10.1.0.2:5060 -> 192.0.2.9:5060: denied_by_policy, with 1 call",
        "  and 10 more sessions",
    ]


def test_a_dry_reload_says_what_it_would_do(file: Path, control: Path) -> None:
    change = {"key": "ports", "before": "40000-59999", "after": "40000-40999"}
    answer = {**NOTHING, "dry_run": True, "changes": [change], "ends": [{**END, "calls": 0}], "ends_total": 1}
    with daemon(control, {"/v1/reload?dry_run=true": answer}):
        result = pinhole("reload", "--dry-run", "-c", file)
    assert result.stdout.splitlines() == [
        "this would be reloaded",
        "  ports: 40000-59999 -> 40000-40999",
        "  would end: 1cce2aa5-4, sip 10.1.0.2:5060 -> 192.0.2.9:5060: denied_by_policy",
    ]


def test_reload_of_a_wrong_configuration_prints_its_problems(file: Path, control: Path) -> None:
    answer = {**NOTHING, "ok": False, "problems": ["x.yaml:1:1: bad", "x.yaml:2:1: worse"]}
    with daemon(control, {"/v1/reload": answer}):
        result = pinhole("reload", "-c", file)
        programs = pinhole("reload", "-c", file, "--json")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "x.yaml:1:1: bad\nx.yaml:2:1: worse\n"
    assert programs.exit_code == 1
    assert json.loads(programs.stdout)["ok"] is False


def test_the_daemon_can_be_asked_while_its_file_is_wrong_elsewhere(file: Path, control: Path) -> None:
    file.write_text(f"policies: [{{name: all, acton: accept}}]\ncontrol: {control}\n")
    with daemon(control, {"/status": {"sessions": 3}}):
        result = pinhole("status", "-c", file)
    assert (result.exit_code, result.stderr) == (0, "")


@pytest.mark.parametrize("wrong", ["control: [5]", "policies: [", "just words", ""])
def test_of_a_file_that_does_not_say_where_the_daemon_is_the_problems_are_printed(file: Path, wrong: str) -> None:
    file.write_text(wrong)
    result = pinhole("status", "-c", file)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"{file}:1:")


@pytest.mark.parametrize("command", ["sessions", "pinholes", "status", "reload"])
def test_no_daemon_is_said_with_the_name_of_the_socket(file: Path, control: Path, command: str) -> None:
    result = pinhole(command, "-c", file)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"pinhole: no daemon answers at the control socket {control}: ")


def test_socket_that_a_killed_daemon_left(file: Path, control: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(control))
    result = pinhole("status", "-c", file)
    assert (result.exit_code, "no daemon answers" in result.stderr) == (1, True)


@pytest.mark.skipif(os.geteuid() != 0, reason="gives up root's rights")
def test_socket_that_one_may_not_use() -> None:
    ask = """
import os, sys
from proxy.command import client
from proxy.errors import PinholeError
os.setgroups([]), os.setgid(65534), os.setuid(65534)
try:
    client.ask(sys.argv[1], "GET", "status")
except PinholeError as error:
    print(error)
"""
    with TemporaryDirectory(dir="/tmp") as directory:
        Path(directory).chmod(0o755)
        path = Path(directory) / "control.sock"
        with daemon(path, {}):
            path.chmod(0o600)
            command = [sys.executable, "-c", ask, str(path)]
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"not allowed to use the control socket {path}: ")


@pytest.mark.parametrize(
    ("answer", "words"), [(None, "answered 404 to GET /status"), (b"hello", "is not pinhole"), ([1], "is not pinhole")]
)
def test_something_else_behind_the_socket(file: Path, control: Path, answer: Any, words: str) -> None:
    with daemon(control, {"/status": answer}):
        result = pinhole("status", "-c", file)
    assert result.exit_code == 1
    assert words in result.stderr
