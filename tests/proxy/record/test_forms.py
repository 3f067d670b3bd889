"""The forms of a line for collectors: nothing is lost in them, and each field stands where their readers look."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from proxy.record.forms import form

OPENED: dict[str, Any] = {
    "time": "2026-11-29T20:15:00.123456Z",
    "event": "session.closed",
    "node": "gateway",
    "instance": "1cce2aa5",
    "seq": 17,
    "session": "1cce2aa5-4",
    "helper": "ftp",
    "policy": "lan-out",
    "client": "192.168.1.10:40001",
    "server": "[2001:db8::1]:21",
    "reason": "finished",
    "duration_seconds": 1.5,
    "bytes_from_client": 10,
    "bytes_from_server": 20,
}


def ecs(**changes: Any) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(form("ecs")(json.dumps(OPENED | changes)))
    return told


def cef(**changes: Any) -> tuple[list[str], dict[str, str]]:
    line = form("cef")(json.dumps(OPENED | changes))
    *head, extension = re.split(r"(?<!\\)\|", line, maxsplit=7)
    return head, dict(re.findall(r"(\w+)=((?:\\.|[^=\\])*)(?= \w+=|$)", extension))


def test_ecs_has_the_names_of_the_schema_and_ours_below_pinhole() -> None:
    told = ecs()
    assert told["@timestamp"] == OPENED["time"]
    assert told["event"] == {
        "kind": "event",
        "category": ["network"],
        "action": "session.closed",
        "dataset": "pinhole.session",
        "sequence": 17,
        "reason": "finished",
        "duration": 1_500_000_000,
    }
    assert told["source"] == {"address": "192.168.1.10", "ip": "192.168.1.10", "port": 40001}
    assert told["destination"] == {"address": "2001:db8::1", "ip": "2001:db8::1", "port": 21}
    assert told["observer"]["name"] == "gateway"
    assert told["pinhole"]["session"] == "1cce2aa5-4"
    assert told["pinhole"]["bytes_from_server"] == 20


def test_in_ecs_a_violation_is_an_alert() -> None:
    told = ecs(event="violation", rule="ftp.bounce")
    assert (told["event"]["kind"], told["log"]["level"], told["rule"]["id"]) == ("alert", "warning", "ftp.bounce")


def test_cef_has_its_head_and_its_keys() -> None:
    head, told = cef()
    assert head[:3] == ["CEF:0", "pinhole", "pinhole"]
    assert head[4:] == ["session.closed", "session.closed", "2"]
    assert (told["src"], told["spt"], told["dst"], told["dpt"]) == ("192.168.1.10", "40001", "2001:db8::1", "21")
    assert (told["dvchost"], told["externalId"], told["in"], told["out"]) == ("gateway", "17", "10", "20")
    assert (told["cs1"], told["cs1Label"]) == ("1cce2aa5-4", "session")
    assert json.loads(told["msg"]) == {"duration_seconds": 1.5}


@pytest.mark.parametrize("said", ["a=b", "a|b", "a\\b", "a\nb"])
def test_what_a_peer_said_ends_no_field_of_cef(said: str) -> None:
    head, told = cef(reason=said, event="violation")
    assert len(head) == 7
    back = told["reason"].replace("\\n", "\n").replace("\\=", "=").replace("\\\\", "\\")
    assert back == said


def test_an_unknown_form_is_a_mistake_of_ours() -> None:
    with pytest.raises(ValueError, match="xml"):
        form("xml")
