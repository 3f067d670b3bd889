"""Filters of lists: by the fields of the rows, by age, by any text; a value that begins with `!` leaves out."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.control.errors import Wrong
from proxy.control.filters import matcher, parameters_of
from proxy.control.parameters import Parameter, Type, read_all
from proxy.control.rows import PINHOLE, SESSION
from proxy.control.shapes import Row

V4: Row = {
    **dict.fromkeys(SESSION.fields),
    "id": "ab-1", "helper": "sip", "policy": "lan", "client": "192.168.1.10:5060", "server": "198.51.100.2:5060",
    "snat": "203.0.113.7:40000", "state": "serving", "age_seconds": 100.0,
}  # fmt: skip
V6: Row = {
    **dict.fromkeys(SESSION.fields),
    "id": "ab-2", "helper": "ftp", "policy": "wan", "client": "[2001:db8::10]:1024", "server": "[2001:db8:1::2]:21",
    "state": "relaying", "age_seconds": 5.0,
}  # fmt: skip


def chosen(query: str) -> list[str]:
    parts = [part.partition("=") for part in query.split("&")]
    values = read_all(parameters_of(SESSION), [(name, value) for name, _, value in parts])
    is_wanted = matcher(SESSION, values)
    return [row["id"] for row in (V4, V6) if is_wanted(row)]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("helper=sip", ["ab-1"]),
        ("helper=!sip", ["ab-2"]),
        ("helper=si", []),
        ("policy=wan&helper=ftp", ["ab-2"]),
        ("policy=wan&helper=sip", []),
        ("state=relaying", ["ab-2"]),
        ("client=192.168.1.10", ["ab-1"]),
        ("client=192.168.1.10:5060", ["ab-1"]),
        ("client=192.168.1.10:5061", []),
        ("client=192.168.0.0/16", ["ab-1"]),
        ("client=!192.168.0.0/16", ["ab-2"]),
        ("client=2001:db8::10", ["ab-2"]),
        ("client=[2001:db8::10]:1024", ["ab-2"]),
        ("client=2001:0db8::/32", ["ab-2"]),
        ("server=198.51.100.2", ["ab-1"]),
        ("address=203.0.113.7", ["ab-1"]),
        ("address=203.0.113.7:40000", ["ab-1"]),
        ("address=!203.0.113.7", ["ab-2"]),
        ("older=1m", ["ab-1"]),
        ("younger=1m", ["ab-2"]),
        ("older=2h", []),
        ("text=RELAY", ["ab-2"]),
        ("text=!relay", ["ab-1"]),
        ("text=:21", ["ab-2"]),
    ],
)
def test_a_filter_lets_through_what_it_names(query: str, expected: list[str]) -> None:
    assert chosen(query) == expected


@pytest.mark.parametrize(
    "query",
    [
        "client=nobody", "client=192.168.1.10:x", "address=!", "older=soon", "limit=0", "text=", "policy=", "address=",
    ],
)  # fmt: skip
def test_a_filter_that_cannot_be_read_says_what_it_expects(query: str) -> None:
    with pytest.raises(Wrong) as caught:
        chosen(query)
    assert caught.value.status == 400
    assert query.partition("=")[0] in caught.value.remedy


@pytest.mark.parametrize("query", ["text=!", "policy=!"])
def test_nothing_to_leave_out_does_not_let_everything_through(query: str) -> None:
    assert chosen(query) == []


def test_the_filters_of_a_list_follow_from_its_fields() -> None:
    names = {one.name for one in parameters_of(PINHOLE)}
    assert names >= {"helper", "policy", "client", "server", "address", "state", "older", "younger", "text", "limit"}
    assert names >= {"purpose", "trigger", "call_id", "peer", "target", "listen"}
    assert "bytes_in" not in names


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (Type.SECONDS, "90", 90.0), (Type.SECONDS, "90s", 90.0), (Type.SECONDS, "1.5m", 90.0),
        (Type.SECONDS, "1d", 86400.0), (Type.TIME, "1970-01-02T00:00:00Z", 86400.0),
        (Type.TIME, "1970-01-02T01:00:00+01:00", 86400.0), (Type.TIME, "1970-01-02 00:00:00", 86400.0),
        (Type.TIME, "9999-12-31T23:59:59Z", 253370764800.0),
        (Type.ENDPOINT, "192.0.2.1:80", "192.0.2.1:80"), (Type.ENDPOINT, "[2001:DB8::0]:80", "[2001:db8::]:80"),
        (Type.ENDPOINT, "2001:db8::1:80", "[2001:db8::1]:80"), (Type.FLAG, "1", True), (Type.FLAG, "false", False),
        (Type.HOST, "192.0.2.1", "192.0.2.1"), (Type.HOST, "192.0.2.1:80", "192.0.2.1:80"),
        (Type.HOST, "2001:DB8::1:80", "2001:db8::1:80"), (Type.HOST, "[2001:db8::1]", "2001:db8::1"),
        (Type.HOST, "[2001:db8::1]:80", "[2001:db8::1]:80"),
    ],
)  # fmt: skip
def test_values_are_read_as_people_write_them(kind: Type, text: str, value: Any) -> None:
    assert Parameter("x", kind, "").read(text) == value


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (Type.SECONDS, "-1"), (Type.SECONDS, "1y"), (Type.TIME, "noon"), (Type.ENDPOINT, "192.0.2.1"),
        (Type.ENDPOINT, "192.0.2.1:99999"), (Type.HOST, "nobody"), (Type.HOST, "192.0.2.1:x"),
        (Type.INTEGER, "many"), (Type.TEXT, "x" * 257), (Type.FLAG, "perhaps"),
    ],
)  # fmt: skip
def test_other_values_are_refused(kind: Type, text: str) -> None:
    with pytest.raises(Wrong):
        Parameter("x", kind, "").read(text)
