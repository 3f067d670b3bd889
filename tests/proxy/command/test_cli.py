"""What is common to all commands, those that read a configuration alone (`check`, `config`), and `run`."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

from proxy.command import terminal
from proxy.config import schema, whereabouts
from proxy.errors import PinholeError
from proxy.host.rules import Backend
from tests.harness.commands import pinhole
from tests.harness.control_socket import daemon
from tests.proxy.command.conftest import TABLE

ROOT = Path(__file__).parents[3]


# -- usage -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ["bogus"],
        ["check", "--bogus"],
        ["show", "session-helper", "one"],
        ["net", "plan", "--backend", "pf"],
        ["sessions", "--xml"],
    ],
)
def test_wrong_usage_ends_with_status_2(arguments: list[str]) -> None:
    assert pinhole(*arguments).exit_code == 2


def test_version_is_printed() -> None:
    result = pinhole("--version")
    assert result.exit_code == 0
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert declared["name"] == "pinhole-gateway"  # `pinhole` belongs to other projects, on PyPI and in Debian
    assert result.output == f"pinhole {declared['version']}\n"


def test_the_package_can_be_run_as_a_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "proxy", "check", "--bogus"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "Usage: pinhole check" in done.stderr


# -- run ---------------------------------------------------------------------------------------------------------------


def module(monkeypatch: pytest.MonkeyPatch, name: str, **members: object) -> None:
    """Stand something else in the place of the module of that name."""
    stand_in = ModuleType(name)
    for key, value in members.items():
        setattr(stand_in, key, value)
    room, _, module = name.rpartition(".")
    monkeypatch.setitem(sys.modules, name, stand_in)
    monkeypatch.setattr(importlib.import_module(room), module, stand_in, raising=False)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["run"], (None, False, None)),
        (["run", "-c", "x.yaml", "--net"], ("x.yaml", True, None)),
        (["run", "--net", "--backend", "iptables"], (None, True, Backend.IPTABLES)),
    ],
)
def test_run_hands_over_to_the_daemon(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], expected: tuple[str | None, bool, Backend | None]
) -> None:
    calls: list[tuple[str | None, bool, Backend | None]] = []

    def run(path: str | None, sets_up: bool, wanted: Backend | None) -> int:
        calls.append((path, sets_up, wanted))
        return 0

    module(monkeypatch, "proxy.daemon.starting", run=run)
    assert pinhole(*arguments).exit_code == 0
    assert calls == [expected]


def test_what_stops_the_daemon_from_starting_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(path: str | None, sets_up: bool, wanted: Backend | None) -> int:
        raise PinholeError("no capability")

    module(monkeypatch, "proxy.daemon.starting", run=run)
    result = pinhole("run")
    assert (result.exit_code, result.stderr) == (1, "pinhole: no capability\n")


# -- check, config -----------------------------------------------------------------------------------------------------


def test_check_of_a_good_file(file: Path) -> None:
    result = pinhole("check", file)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == f"{file}: fine (entries in session-helpers: 2, policies: 1)\n"


def test_check_prints_every_problem_of_every_file(file: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("prots: 1\nlimits: 2\npolicies: [{name: a, action: deny}]\n")
    result = pinhole("check", bad, file, tmp_path / "none.yaml")
    assert result.exit_code == 1
    assert [line.removeprefix(str(tmp_path)) for line in result.stderr.splitlines()] == [
        "/bad.yaml:1:1: prots: unknown key; did you mean 'ports'?",
        "/bad.yaml:2:9: limits: expected keys and values; known here: sessions, sessions_per_client, "
        "client_prefix_ipv6, pinholes, pinholes_per_session, pinholes_per_client",
        "/none.yaml: cannot be read: No such file or directory",
    ]
    assert f"{file}: fine" in result.stdout


def test_check_for_programs(file: Path, tmp_path: Path) -> None:
    result = pinhole("check", "--json", file, tmp_path / "none.yaml")
    assert result.exit_code == 1
    good, bad = json.loads(result.stdout)["files"]
    assert good == {"file": str(file), "ok": True, "problems": [], "warnings": []}
    assert bad["ok"] is False
    assert len(bad["problems"]) == 1


def test_check_without_a_file_looks_at_the_one_in_force(tmp_path: Path, file: Path) -> None:
    result = pinhole("check")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith(f"built-in default (there is no {whereabouts.SYSTEM_PATH}): fine (")
    whereabouts.SYSTEM_PATH.write_text("policies: [{name: a, action: maybe}]")
    result = pinhole("check")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"{whereabouts.SYSTEM_PATH}:1:30: policies[0].action: expected accept or deny\n"


def test_check_reads_standard_input() -> None:
    result = pinhole("check", "-", stdin="policies: [{name: a, action: maybe}]")
    assert (result.exit_code, result.stderr) == (1, "-:1:30: policies[0].action: expected accept or deny\n")
    result = pinhole("check", "-", stdin="policies: [{name: a, action: accept}]")
    assert (result.exit_code, result.stdout[:8]) == (0, "-: fine ")


def test_warnings_leave_a_file_fine_unless_check_is_strict(file: Path) -> None:
    file.write_text(TABLE + "timeouts: {pinhole_open: 1}\n")
    line = len(TABLE.splitlines()) + 1
    words = (
        "timeouts.pinhole_open: 1 s is less than 30: FTP needs at least 30 s from the agreement to the data connection"
    )
    result = pinhole("check", file)
    assert (result.exit_code, result.stderr) == (0, f"{file}:{line}:26: warning: {words}\n")
    assert result.stdout == f"{file}: fine with 1 warning (entries in session-helpers: 2, policies: 1)\n"
    result = pinhole("check", "--strict", file)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"{file}:{line}:26: warning: {words}\n"
    (found,) = json.loads(pinhole("check", "--strict", "--json", file).stdout)["files"]
    assert (found["ok"], found["problems"]) == (False, found["warnings"])


def test_config_schema_is_a_json_schema() -> None:
    assert json.loads(pinhole("config", "schema").stdout) == schema.json_schema()


def test_config_show_prints_the_file_where_no_daemon_runs(file: Path) -> None:
    file.write_text(f"{TABLE}control: {file.parent}/control.sock\ntimeouts: {{connect: 1m}}\n")
    result = pinhole("config", "show", "-c", file)
    first, *lines = result.stdout.splitlines()
    assert first.startswith(f"# of {file}; no daemon answers (hash ")
    assert {"timeouts:", "  connect: 60", f"control: {file.parent}/control.sock"} <= set(lines)
    assert not any("udp_idle" in line for line in lines)
    shown = pinhole("config", "show", "--defaults", "-c", file).stdout
    assert "udp_idle: 180" in shown
    (file.parent / "shown.yaml").write_text(shown)
    assert pinhole("check", file.parent / "shown.yaml").exit_code == 0


def test_config_show_prints_what_is_in_force_in_the_daemon(file: Path) -> None:
    path = file.parent / "control.sock"
    file.write_text(f"{TABLE}control: {path}\n")
    answer = {"source": "/etc/x.yaml", "hash": "ab" * 32, "warnings": [], "configuration": {"ports": "5000-6000"}}
    with daemon(path, {"/v1/config": answer, "/v1/config?defaults=true": answer}) as asked:
        result = pinhole("config", "show", "-c", file)
        assert result.stdout == f"# in force in the daemon, from /etc/x.yaml (hash {'ab' * 8})\nports: 5000-6000\n"
        assert json.loads(pinhole("config", "show", "--defaults", "--json", "-c", file).stdout) == answer
        assert asked == ["GET /v1/config", "GET /v1/config?defaults=true"]


def test_a_wrong_configuration_stops_a_command_with_its_problems(tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("a: 1\nb: 2\n")
    result = pinhole("show", "session-helper", "-c", bad)
    assert (result.exit_code, result.stdout) == (1, "")
    assert [line.partition(": ")[0] for line in result.stderr.splitlines()] == [
        f"{bad}:1:1",
        f"{bad}:1:1",
        f"{bad}:2:1",
    ]


# -- printing ----------------------------------------------------------------------------------------------------------


def test_a_full_disk_under_the_output_is_said_in_one_line() -> None:
    with open("/dev/full", "w") as full:
        words = [sys.executable, "-m", "proxy", "config", "schema"]
        result = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True, cwd=ROOT, check=False)
    assert result.returncode == 1
    assert result.stderr == "pinhole: what was to be printed does not fit: no space left on device\n"


def test_what_a_peer_said_cannot_speak_to_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.print_rows([{"path": "a\x1b[31m\r\nb"}])
    assert capsys.readouterr().out == "path\na\\x1b[31m\\x0d\\x0ab\n"


def test_absent_values_and_lists(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.print_rows([{"a": None, "b": [1, 2]}, {"b": [], "c": True}])
    assert capsys.readouterr().out.splitlines() == [
        "a  b     c",
        "-  1, 2  -",
        "-  -     yes",
    ]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.25, "0.2s"), (59.94, "59.9s"), (60, "1m00s"), (7505, "2h05m"), (273600, "3d04h")]
)
def test_durations(seconds: float, text: str) -> None:
    assert terminal.duration(seconds) == text
