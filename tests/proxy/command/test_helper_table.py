"""`show session-helper`: the table in force, and what is known of the helpers in it."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from protocols.contract.addresses import Transport
from proxy.command import helper_table
from proxy.config import schema
from tests.harness.commands import pinhole
from tests.proxy.command.conftest import TABLE


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
