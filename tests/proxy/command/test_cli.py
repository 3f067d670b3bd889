from __future__ import annotations

import importlib
import json
import os
import re
import socket
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

import pytest
from click.testing import CliRunner, Result

from protocols.contract.addresses import Transport
from proxy.command import helper_table, terminal
from proxy.command.cli import main
from proxy.config import schema, whereabouts
from proxy.config.schema import Config
from proxy.doctor import examine
from proxy.doctor.findings import Finding, Level
from proxy.errors import NetError, PinholeError
from proxy.host import link, net
from proxy.host.rules import Backend
from tests.harness.control_socket import daemon

ROOT = Path(__file__).parents[3]

TABLE = """\
session-helpers:
  - {id: 1, name: ftp, protocol: tcp, port: 21}
  - {id: 5, name: ftp, protocol: tcp, port: [2121, 3000-3001]}
policies: [{name: all, action: accept}]
"""


@pytest.fixture(autouse=True)
def _no_system_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whereabouts, "SYSTEM_PATH", tmp_path / "no-such-file.yaml")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "pinhole.yaml"
    file.write_text(TABLE)
    return file


def pinhole(*arguments: object) -> Result:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def module(monkeypatch: pytest.MonkeyPatch, name: str, **members: object) -> None:
    """Stand something else in the place of the module of that name."""
    stand_in = ModuleType(name)
    for key, value in members.items():
        setattr(stand_in, key, value)
    room, _, module = name.rpartition(".")
    monkeypatch.setitem(sys.modules, name, stand_in)
    monkeypatch.setattr(importlib.import_module(room), module, stand_in, raising=False)


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


# -- check, config -----------------------------------------------------------------------------------------------------


def test_a_full_disk_under_the_output_is_said_in_one_line() -> None:
    with open("/dev/full", "w") as full:
        words = [sys.executable, "-m", "proxy", "config", "schema"]
        result = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True, cwd=ROOT, check=False)
    assert result.returncode == 1
    assert result.stderr == "pinhole: what was to be printed does not fit: no space left on device\n"


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
    result = CliRunner().invoke(main, ["check", "-"], input="policies: [{name: a, action: maybe}]")
    assert (result.exit_code, result.stderr) == (1, "-:1:30: policies[0].action: expected accept or deny\n")
    result = CliRunner().invoke(main, ["check", "-"], input="policies: [{name: a, action: accept}]")
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


# -- show session-helper -----------------------------------------------------------------------------------------------


def test_table_in_force_and_the_helpers_that_exist(file: Path) -> None:
    lines = pinhole("show", "session-helper", "--config", file).stdout.splitlines()
    assert [line.split() for line in lines[:3]] == [
        ["id", "name", "protocol", "port"],
        ["1", "ftp", "tcp", "21"],
        ["5", "ftp", "tcp", "2121,", "3000-3001"],
    ]
    assert lines[3:5] == ["", "No policy sets an option: those of all helpers have their defaults (--options)."]


def test_what_others_have_a_helper_for_and_is_not_taken_over_is_listed_with_the_reason(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OT2: never a row that looks like one of the table."""
    reason = "the protocol is dead: its last servers went off in 2014"
    lines = pinhole("show", "session-helper", "-c", file).stdout.splitlines()
    heading = lines.index("Not taken over; sessions of these are left to the forward policy:")
    assert f"  mms (1863/tcp): {reason}" in lines[heading:]
    assert not [line for line in lines[:heading] if "mms" in line]
    document = json.loads(pinhole("show", "session-helper", "-c", file, "--json").stdout)
    assert {"name": "mms", "protocol": "tcp", "port": 1863, "why": reason} in document["not_taken_over"]
    text = pinhole("show", "session-helper", "-c", file, "--format", "fortios").stdout
    assert f"    # not taken over: mms tcp 1863: {reason}" in text.splitlines()
    one = pinhole("show", "session-helper", 1, "-c", file)
    assert "Not taken over" not in one.stdout
    monkeypatch.setattr(helper_table, "REGISTRY", {**schema.REGISTRY, "mms": schema.REGISTRY["ftp"]})
    assert "mms" not in [row["name"] for row in helper_table.not_taken_over()]


def test_options_of_all_helpers_are_printed_on_request(file: Path) -> None:
    text = pinhole("show", "session-helper", "--config", file, "--options").stdout
    assert re.search(r"^ftp: .*\(usually 21/tcp\)$", text, re.MULTILINE)
    assert "\n  tls: allow | deny; default allow\n      Whether a session may turn to TLS." in text


def test_options_that_policies_set_are_listed(file: Path) -> None:
    options = "options: {ftp: {tls: deny, min_port: 1024}, sip: {max_calls: 5}}"
    file.write_text(TABLE.replace("action: accept", f"action: accept, {options}"))
    shown = pinhole("show", "session-helper", "-c", file).stdout.splitlines()
    assert shown[4:6] == ["policy  helper  option  value", "all     ftp     tls     deny"]
    document = json.loads(pinhole("show", "session-helper", 1, "-c", file, "--json").stdout)
    assert document["options_set"] == [{"policy": "all", "helper": "ftp", "option": "tls", "value": "deny"}]


def test_table_of_the_built_in_default_without_a_file() -> None:
    assert pinhole("show", "session-helper", 1).stdout.splitlines()[1].split() == ["1", "ftp", "tcp", "21"]


def test_an_entry_that_is_off_is_listed_and_says_why(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text(TABLE.replace("id: 1,", "id: 1, enabled: false,"))
    lines = pinhole("show", "session-helper", "-c", file).stdout.splitlines()
    assert lines[0].split() == ["id", "name", "protocol", "port", "off"]
    assert lines[1].split() == ["1", "ftp", "tcp", "21", "the", "configuration", "says", "so"]
    assert lines[2].split()[-1] == "-"
    ftp = replace(schema.REGISTRY["ftp"], off={(Transport.TCP, 21): "nobody needs it"})
    monkeypatch.setattr(helper_table, "REGISTRY", {**schema.REGISTRY, "ftp": ftp})
    lines = pinhole("show", "session-helper", "-c", file).stdout.splitlines()
    assert lines[1].endswith("  nobody needs it")
    (entry,) = json.loads(pinhole("show", "session-helper", 1, "-c", file, "--json").stdout)["session_helpers"]
    assert entry["off"] == "nobody needs it"
    text = pinhole("show", "session-helper", 1, "-c", file, "--format", "fortios").stdout
    assert text.splitlines()[1:3] == ["    # off: nobody needs it", "    edit 1"]


def test_one_entry_of_the_table(file: Path) -> None:
    shown = json.loads(pinhole("show", "session-helper", 5, "-c", file, "--json").stdout)
    assert shown["source"] == str(file)
    assert shown["session_helpers"] == [
        {"id": 5, "name": "ftp", "protocol": "tcp", "protocol_number": 6, "port": ["2121", "3000-3001"]}
    ]
    (ftp,) = shown["helpers"]
    assert ftp["ports"] == [{"protocol": "tcp", "port": 21}]
    tls = next(option for option in ftp["options"] if option["name"] == "tls")
    assert (tls["type"], tls["default"]) == ("allow | deny", "allow")
    assert tls["description"]


def test_an_entry_that_the_table_has_not(file: Path) -> None:
    result = pinhole("show", "session-helper", 2, "-c", file)
    assert (result.exit_code, result.stderr) == (1, f"pinhole: the session-helper table of {file} has no entry 2\n")


def test_fortios_text_has_one_port_an_entry(file: Path) -> None:
    ports = [(1, 21), (5, 2121), (6, 3000), (7, 3001)]
    lines = ["config system session-helper"]
    for number, port in ports:
        lines += [f"    edit {number}", "        set name ftp", "        set protocol 6", f"        set port {port}"]
        lines += ["    next"]
    lines += ["end", ""]
    text = pinhole("show", "session-helper", "-c", file, "--format", "fortios").stdout
    assert [line for line in text.split("\n") if "#" not in line] == lines


def test_fortios_text_of_one_entry_takes_no_id_of_another(file: Path) -> None:
    file.write_text(TABLE.replace("id: 1,", "id: 6,"))
    text = pinhole("show", "session-helper", 5, "-c", file, "--format", "fortios").stdout
    assert [line.split()[1] for line in text.splitlines() if "edit" in line] == ["5", "7", "8"]


def test_json_and_fortios_exclude_each_other() -> None:
    assert pinhole("show", "session-helper", "--json", "--format", "fortios").exit_code == 2


# -- run, net, doctor --------------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize(("backend", "word"), [("nft", "table inet pinhole"), ("iptables", "-j TPROXY")])
def test_net_plan_prints_the_rules(file: Path, backend: str, word: str) -> None:
    result = pinhole("net", "plan", "-c", file, "--backend", backend)
    assert result.exit_code == 0
    assert word in result.stdout


def test_net_up_says_each_step(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def up(settings: schema.Config, backend: Backend, say: Any) -> None:
        say(f"{settings.source} by {backend.value}")

    monkeypatch.setattr(net, "up", up)
    result = pinhole("net", "up", "-c", file, "--backend", "iptables")
    assert (result.exit_code, result.stderr) == (0, f"{file} by iptables\n")
    programs = pinhole("net", "up", "-c", file, "--backend", "iptables", "--json")
    assert (json.loads(programs.stdout), programs.stderr) == ({"steps": [f"{file} by iptables"]}, "")


def test_net_plan_for_programs(file: Path) -> None:
    plan = json.loads(pinhole("net", "plan", "-c", file, "--json").stdout)
    assert plan == {"backend": "nft", "script": pinhole("net", "plan", "-c", file, "--backend", "nft").stdout}


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Backend | None]]:
    """What the commands would have done to the host, where rules of iptables stand."""
    done: list[tuple[str, Backend | None]] = []
    monkeypatch.setattr(net, "require_admin", lambda: None)
    monkeypatch.setattr(net, "all_standing", lambda: [Backend.IPTABLES])
    monkeypatch.setattr(net, "overtaking", lambda settings: [])
    monkeypatch.setattr(net, "up", lambda settings, backend, say: done.append(("up", backend)))
    monkeypatch.setattr(net, "down", lambda backend, say: done.append(("down", backend)))
    monkeypatch.setattr(net, "clear", lambda say: done.append(("clear", None)))
    monkeypatch.setattr(link, "let_go", lambda say: done.append(("let_go", None)))

    def status(settings: Config, backend: Backend) -> list[net.Status]:
        done.append(("status", backend))
        return []

    monkeypatch.setattr(net, "status", status)
    return done


def test_net_down_does_not_need_a_readable_configuration(done: list[tuple[str, Backend | None]]) -> None:
    assert pinhole("net", "down", "-c", "/no/such/file").exit_code == 0
    assert done == [("let_go", None), ("clear", None)]


def test_without_a_backend_that_one_is_meant_whose_rules_stand(
    file: Path, done: list[tuple[str, Backend | None]]
) -> None:
    """Else a remedy of the doctor's, `pinhole net up`, would set the other one up beside it."""
    for name in ("up", "status"):
        assert pinhole("net", name, "-c", file).exit_code == 0
    assert done == [("up", Backend.IPTABLES), ("status", Backend.IPTABLES)]


def test_the_file_names_the_backend_and_the_option_wins(file: Path, done: list[tuple[str, Backend | None]]) -> None:
    with open(file, "a") as more:
        more.write("\nnetwork: {backend: nft}\n")
    assert pinhole("net", "up", "-c", file).exit_code == 0
    assert pinhole("net", "up", "-c", file, "--backend", "iptables").exit_code == 0
    assert done == [("up", Backend.NFT), ("up", Backend.IPTABLES)]
    assert "table inet pinhole" in pinhole("net", "plan", "-c", file).stdout


def test_rules_of_the_other_backend_are_no_good_status(file: Path, done: list[tuple[str, Backend | None]]) -> None:
    result = pinhole("net", "status", "-c", file, "--backend", "nft")
    assert result.exit_code == 1
    assert "rules by iptables" in result.stdout


def test_net_down_without_a_backend_removes_both(done: list[tuple[str, Backend | None]]) -> None:
    assert pinhole("net", "down").exit_code == 0
    assert pinhole("net", "down", "--backend", "nft").exit_code == 0
    assert done == [("let_go", None), ("clear", None), ("let_go", None), ("down", Backend.NFT)]


def test_net_failure_ends_with_status_1(monkeypatch: pytest.MonkeyPatch) -> None:
    def up(*_: object) -> None:
        raise NetError("nft is not installed")

    monkeypatch.setattr(net, "up", up)
    result = pinhole("net", "up")
    assert (result.exit_code, result.stderr) == (1, "pinhole: nft is not installed\n")


@pytest.mark.parametrize(("present", "code"), [(True, 0), (False, 1)])
def test_net_status_is_fine_only_when_all_parts_stand(
    monkeypatch: pytest.MonkeyPatch, present: bool, code: int
) -> None:
    parts = [net.Status("rules", True, "as configured"), net.Status("route", present, "x")]
    monkeypatch.setattr(net, "status", lambda settings, backend: parts[:1])
    monkeypatch.setattr(net, "overtaking", lambda settings: parts[1:])
    monkeypatch.setattr(net, "all_standing", list)
    result = pinhole("net", "status", "--json")
    assert result.exit_code == code
    assert json.loads(result.stdout) == {"up": present, "parts": [part._asdict() for part in parts]}
    assert [line.split()[:2] for line in pinhole("net", "status").stdout.splitlines()] == [
        ["what", "present"],
        ["rules", "yes"],
        ["route", "yes" if present else "no"],
    ]


@pytest.mark.parametrize(("level", "code"), [("ok", 0), ("warn", 0), ("fail", 1)])
def test_doctor_fails_for_failures_alone(monkeypatch: pytest.MonkeyPatch, level: str, code: int) -> None:
    finding = Finding(Level(level), "masquerade", "wan0 rewrites again", "exclude the mark", "nat.source")
    monkeypatch.setattr(examine, "examine", lambda settings, limits, fastpath: [finding])
    result = pinhole("doctor", "--json")
    assert result.exit_code == code
    found = {
        "level": level,
        "check": "masquerade",
        "detail": "wan0 rewrites again",
        "remedy": "exclude the mark",
        "name": "nat.source",
    }
    assert json.loads(result.stdout) == {"ok": not code, "findings": [found]}
    plain = pinhole("doctor")
    assert plain.exit_code == code
    assert plain.stdout.splitlines()[0] == f"{level:6}masquerade: wan0 rewrites again"


@pytest.mark.parametrize("named", [False, True])
def test_doctor_looks_by_the_file_of_the_daemon_that_runs_where_there_is_no_other_one(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: bool
) -> None:
    """By the built-in configuration its rules would be another's, and the remedy would set up those of that one."""
    monkeypatch.setattr(whereabouts, "CONTROL", str(tmp_path / "control.sock"))
    finding = Finding(Level.FAIL, "rules", "nothing is set up", "pinhole net up --backend nft", "rules.none")
    seen: list[str] = []

    def look(settings: Config, *_: object) -> list[Finding]:
        seen.append(settings.source)
        return [finding]

    monkeypatch.setattr(examine, "examine", look)
    monkeypatch.setattr(net, "all_standing", list)
    monkeypatch.setattr(net, "status", lambda settings, backend: look(settings)[1:])
    monkeypatch.setattr(net, "overtaking", lambda settings: [])
    with daemon(tmp_path / "control.sock", {"/v1/status": {"config": str(file)}}):
        result = pinhole("doctor", "--json", *(["-c", file] if named else []))
        pinhole("net", "status", *(["-c", file] if named else []))
    assert json.loads(result.stdout)["findings"][0]["remedy"] == f"pinhole net up -c {file} --backend nft"
    assert seen == [str(file)] * 2
    seen.clear()
    assert "pinhole net up --backend nft" in pinhole("doctor").stdout
    assert seen == ["built-in default"]


def test_all_advice_names_the_file_that_is_looked_at_from_wherever_it_was_named(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`pinhole net up` alone would set up the rules of the system's file, or the built-in ones."""
    finding = Finding(Level.WARN, "rules", "`pinhole net up` replaces it", "sudo pinhole doctor", "rules.none")
    part = net.Status("rules", False, "from another configuration; `pinhole net up` replaces it")
    monkeypatch.setattr(examine, "examine", lambda *_: [finding])
    monkeypatch.setattr(net, "all_standing", list)
    monkeypatch.setattr(net, "status", lambda settings, backend: [part])
    monkeypatch.setattr(net, "overtaking", lambda settings: [])
    monkeypatch.chdir(tmp_path)
    name = os.path.relpath(file)
    (told,) = json.loads(pinhole("doctor", "--json", "-c", name).stdout)["findings"]
    assert told["detail"] == f"`pinhole net up -c {file}` replaces it"
    assert told["remedy"] == f"sudo pinhole doctor -c {file}"
    (said,) = json.loads(pinhole("net", "status", "--json", "-c", name).stdout)["parts"]
    assert said["detail"] == f"from another configuration; `pinhole net up -c {file}` replaces it"
    monkeypatch.setattr(whereabouts, "SYSTEM_PATH", file)
    assert json.loads(pinhole("net", "status", "--json").stdout)["parts"] == [part._asdict()]


def test_the_table_in_force_is_that_of_the_daemon_that_runs_where_there_is_no_other_one(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(whereabouts, "CONTROL", str(tmp_path / "control.sock"))
    with daemon(tmp_path / "control.sock", {"/v1/status": {"config": str(file)}}):
        document = json.loads(pinhole("show", "session-helper", "--json").stdout)
    assert document == json.loads(pinhole("show", "session-helper", "--json", "-c", file).stdout)
    assert document["source"] == str(file)
    assert json.loads(pinhole("show", "session-helper", "--json").stdout)["source"] == "built-in default"


@pytest.mark.parametrize("words", [["doctor"], ["net", "status"], ["show", "session-helper"]])
def test_commands_that_look_by_the_file_of_the_daemon_that_runs_say_so(words: list[str]) -> None:
    # Lines are broken at other places by the length of the system's path, and at hyphens, too.
    said = "".join(pinhole(*words, "--help").stdout.split())
    assert "else that of the daemon that runs, else the built-in default".replace(" ", "") in said


# -- the control socket ------------------------------------------------------------------------------------------------


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


# -- printing ----------------------------------------------------------------------------------------------------------


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
