"""The forms that a line may have where it is written.

The log renders a line once, as JSON. Another form is made of that by the thread of the sink that wants it, so it costs
the loop nothing.

json      the line itself
console   for people
ecs       JSON with the names of the Elastic Common Schema, and all of ours below `pinhole`
cef       ArcSight's Common Event Format, in which some collectors want everything
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from proxy.record import console
from proxy.record.catalogue import severity
from proxy.record.chain import Chain
from proxy.record.events.row import Severity
from proxy.text import printable

Form = Callable[[str], str]
"""Makes the text that is written of a line of JSON."""

Record = Mapping[str, Any]


def plain_json(line: str) -> str:
    """The line itself."""
    return line


def of_record(render: Callable[[Record], str]) -> Form:
    """The form that a function makes of the fields of a line."""
    return lambda line: render(json.loads(line))


def linked(form: Form, chain: Chain) -> Form:
    """The same form, with the hashes of a chain. It has to be JSON, and each line comes once."""
    return lambda line: chain.link(form(line))


# -- Elastic Common Schema ---------------------------------------------------------------------------------------------

ECS_VERSION = "8.11.0"

_OUTCOMES = {"session.denied": "failure", "session.failed": "failure", "pinhole.refused": "failure"}


_ELSEWHERE = ("time", "event", "severity", "node", "instance")
"""What ECS has a place of its own for, and what is therefore no field of ours there."""


def ecs(record: Record) -> str:
    """A record by the names of the Elastic Common Schema. Our own names stand below `pinhole`, so nothing is lost."""
    event = record["event"]
    noun = event.partition(".")[0]
    told: dict[str, Any] = {
        "@timestamp": record["time"],
        "ecs": {"version": ECS_VERSION},
        "log": {"level": severity(event)},
        "event": _without_null(
            kind="alert" if event == "violation" else "event",
            category=["network"],
            action=event,
            dataset=f"pinhole.{noun}",
            sequence=record.get("seq"),
            reason=record.get("reason"),
            outcome=_OUTCOMES.get(event),
            duration=_nanoseconds(record.get("duration_seconds")),
        ),
        "observer": _without_null(
            name=record.get("node"), product="pinhole", type="firewall", serial_number=record.get("instance")
        ),
        "source": _address(record.get("client")),
        "destination": _address(record.get("server")),
        "network": _without_null(transport=record.get("transport"), protocol=record.get("helper")),
        "rule": _without_null(name=record.get("policy"), id=record.get("rule")),
        "pinhole": {key: value for key, value in record.items() if key not in _ELSEWHERE},
    }
    return json.dumps({key: value for key, value in told.items() if value}, separators=(",", ":"))


def _without_null(**facts: Any) -> dict[str, Any]:
    return {key: value for key, value in facts.items() if value is not None}


def _nanoseconds(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1e9)


def _address(endpoint: str | None) -> dict[str, Any]:
    """An endpoint as ECS has it."""
    if not endpoint:
        return {}
    host, _, port = endpoint.rpartition(":")
    host = host.strip("[]")
    if not port.isdecimal():
        return {"address": endpoint}
    return {"address": host, "ip": host.partition("%")[0], "port": int(port)}


# -- Common Event Format -----------------------------------------------------------------------------------------------

_CEF_SEVERITY: Mapping[Severity, int] = {"info": 2, "notice": 4, "warning": 7, "error": 9}

_CEF_KEYS: Mapping[str, str] = {
    "node": "dvchost",
    "seq": "externalId",
    "transport": "proto",
    "helper": "app",
    "action": "act",
    "reason": "reason",
    "bytes_from_client": "in",
    "bytes_from_server": "out",
}
"""Our name of a field -> the key that CEF has for the like."""

_CEF_LABELLED = ("session", "policy", "call_id", "pinhole", "rule", "instance")
"""Fields that are custom strings of CEF: `cs1` to `cs6`, each with its label."""


def cef(record: Record) -> str:
    """A record in ArcSight's Common Event Format. What has no key there stands in `msg`."""
    event, left = record["event"], dict(record)
    del left["event"]
    left.pop("severity", None)
    told: dict[str, Any] = {"rt": left.pop("time")}
    for side, host, port in (("client", "src", "spt"), ("server", "dst", "dpt")):
        if at := _address(left.pop(side, None)):
            told |= {host: at["address"], **({port: at["port"]} if "port" in at else {})}
    told |= {key: left.pop(name) for name, key in _CEF_KEYS.items() if left.get(name) is not None}
    for number, name in enumerate(_CEF_LABELLED, 1):
        if left.get(name) is not None:
            told |= {f"cs{number}": left.pop(name), f"cs{number}Label": name}
    if left:
        told["msg"] = json.dumps(left, separators=(", ", ": "))
    head = ("CEF:0", "pinhole", "pinhole", _version(), event, event, str(_CEF_SEVERITY[severity(event)]))
    extension = " ".join(f"{key}={_cef_value(value)}" for key, value in told.items())
    return "|".join([*(part.replace("\\", "\\\\").replace("|", "\\|") for part in head), extension])


def _cef_value(value: Any) -> str:
    """A value of the extension, in which `=` and line ends mean something."""
    text = printable(value, keep="\r\n") if isinstance(value, str) else json.dumps(value)
    return text.replace("\\", "\\\\").replace("=", "\\=").replace("\r", "\\r").replace("\n", "\\n")


@cache
def _version() -> str:
    """The version of the installed package."""
    with contextlib.suppress(PackageNotFoundError):
        return version("pinhole")
    return "unknown"


# -- for people --------------------------------------------------------------------------------------------------------


def _console(fd: int | None) -> Form:
    """The form for people. A terminal has colours, and lines that fit it."""
    if fd is None or not os.isatty(fd):
        return of_record(console.render)
    return of_record(lambda record: console.render(record, True, _width(fd)))


def _width(fd: int) -> int | None:
    """The width of the terminal now, since it may change."""
    try:
        return os.get_terminal_size(fd).columns or None
    except OSError:
        return None


def form(name: str, fd: int | None = None) -> Form:
    """The form of this name."""
    match name:
        case "json":
            return plain_json
        case "ecs":
            return of_record(ecs)
        case "cef":
            return of_record(cef)
        case "console":
            return _console(fd)
    raise ValueError(f"no such form: {name}")
