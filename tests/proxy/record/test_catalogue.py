"""The catalogue of audit events is an interface: it must name what the code writes, and what others read of it."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from proxy.record import catalogue
from proxy.record.events.kinds import question
from proxy.record.events.rules import RULES
from tools.catalogue import README, filled

ROOT = Path(__file__).parents[3]
WRITERS = {"write", "Note", "_note", "_violation", "violation"}

OPENED = {
    "time": "2026-11-29T20:00:00.000000Z",
    "event": "session.opened",
    "node": "gateway",
    "instance": "1cce2aa5",
    "seq": 17,
    "session": "1cce2aa5-4",
    "helper": "ftp",
    "policy": "lan",
    "client": "192.168.1.10:40000",
    "server": "[2001:db8::1]:21",
    "transport": "tcp",
    "interface": "lan0",
    "snat": None,
    "dnat": None,
    "dialled_from": "192.168.1.10:40000",
}


def _names() -> Iterator[str]:
    """Event names and rules that stand as literals at the calls that write them, or as `rule` of what is written."""
    for source in sorted([*ROOT.glob("proxy/**/*.py"), *ROOT.glob("protocols/**/*.py")]):
        for node in ast.walk(ast.parse(source.read_text())):
            if isinstance(node, ast.Dict):
                for key, value in zip(node.keys, node.values, strict=True):
                    if isinstance(key, ast.Constant) and key.value == "rule" and isinstance(value, ast.Constant):
                        yield from re.findall(r"^[a-z]+[.][a-z_0-9]+$", str(value.value))
            if not isinstance(node, ast.Call) or not node.args or not isinstance(node.args[0], ast.Constant):
                continue
            function = node.func
            name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
            if name in WRITERS and isinstance(node.args[0].value, str):
                yield node.args[0].value


@pytest.fixture(scope="module")
def names() -> frozenset[str]:
    return frozenset(_names())


def test_catalogue_names_every_event_and_rule(names: frozenset[str]) -> None:
    assert sorted(name for name in names if name not in catalogue.EVENTS and name not in RULES) == []


def test_the_events_are_found(names: frozenset[str]) -> None:
    assert {"session.opened", "session.closed", "pinhole.opened", "violation", "sip.low_port"} <= names


def test_the_manual_has_the_lists_that_the_catalogue_makes() -> None:
    """After a change: `python -m tools.catalogue`."""
    assert README.read_text() == filled(README.read_text())


def test_a_line_that_is_as_the_catalogue_has_it_has_no_fault() -> None:
    assert catalogue.faults(OPENED) == []


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"event": "session.begun"}, "session.begun: no such event"),
        ({"colour": "red"}, "session.opened: colour is not in the catalogue"),
        ({"client": "somebody"}, "session.opened: client may not be 'somebody'"),
        ({"transport": "sctp"}, "session.opened: transport may not be 'sctp'"),
        ({"by": {"session": "x"}}, "session.opened: by may not be {'session': 'x'}"),
        ({"suppressed": 3}, "session.opened: suppressed is not in the catalogue"),
    ],
)
def test_a_line_that_is_not_has_one(change: dict[str, Any], fault: str) -> None:
    line = OPENED | change
    assert catalogue.faults(line) == [fault]
    assert not _schema().is_valid(line)


def test_a_field_that_is_missing_is_a_fault() -> None:
    line = {key: value for key, value in OPENED.items() if key != "snat"}
    assert catalogue.faults(line) == ["session.opened: snat is missing"]
    assert not _schema().is_valid(line)


def test_events_of_a_helper_from_elsewhere_are_not_judged() -> None:
    assert catalogue.faults({"event": "toy.opened", "port": 7}) == []


def _schema() -> jsonschema.Draft202012Validator:
    said = subprocess.run(
        [sys.executable, "-m", "proxy", "audit", "schema"], capture_output=True, text=True, check=True, cwd=ROOT
    )
    schema = json.loads(said.stdout)
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_the_schema_that_is_printed_holds_for_a_line() -> None:
    assert _schema().is_valid(OPENED)


VALUES: tuple[Any, ...] = (
    None,
    True,
    1,
    -1,
    1.5,
    "",
    "tcp",
    "10.0.0.1:5",
    "[::1]:5",
    "10.0.0.0/8",
    [],
    ["a"],
    [1],
    {},
    {"a": 1},
)


def test_questions_are_answered_as_a_library_would() -> None:
    fields = [one for event in catalogue.EVENTS.values() for one in event.fields]
    for one in fields:
        ask, validator = question(one.schema), jsonschema.Draft202012Validator(one.schema)
        for value in VALUES:
            assert ask(value) == validator.is_valid(value), (one.name, value)
