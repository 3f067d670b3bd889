"""What is told at the end: what was done, what was rewritten, which pinholes were open, and what did not go well."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from proxy.command.terminal import print_rows
from tools.demo.job import MEBIBYTE


@dataclass(slots=True)
class Report:
    """What is told at the end."""

    done: dict[str, list[dict[str, Any]]]
    """Each job, by the title of its demonstration."""
    log: list[dict[str, Any]]
    """Lines of the audit log, and to each the role of the gateway."""
    faults: list[str]


def rewritten(log: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Of each kind of message at each gateway: how many, and the last one."""
    rows: dict[tuple[str, ...], dict[str, Any]] = {}
    for line in log:
        if line["event"] != "address.rewritten":
            continue
        for change in line["changes"]:
            if change["before"] is None:  # a whole description, or what is beyond the most that a line tells
                continue
            of = {"gateway": line["gateway"], "message": line["message"], "field": change["field"]}
            row = rows.setdefault((*of.values(), _host(change["before"]), _host(change["after"])), {**of, "times": 0})
            row["times"] += 1
            row |= {"such as": change["before"], "became": change["after"]}
    return list(rows.values())


def opened(log: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Pinholes by gateway, by what asked for them and by IP version: how many, for how long, and the last one."""
    rows: dict[tuple[str, ...], dict[str, Any]] = {}
    row_of: dict[tuple[str, str], dict[str, Any]] = {}
    for line in log:
        match line["event"]:
            case "pinhole.opened":
                version = "IPv6" if line["listen"].startswith("[") else "IPv4"
                start = {"gateway": line["gateway"], "asked by": line["trigger"], "": version, "opened": 0, "used": 0}
                start |= {"closed": 0, "carried": 0, "longest": 0.0}
                row = rows.setdefault((line["gateway"], line["trigger"], version), start)
                row["opened"] += 1
                row |= {"such as": line["listen"], "for": line["allow"], "to": line["target"]}
                row_of[line["gateway"], line["pinhole"]] = row
            case "pinhole.used":
                row_of[line["gateway"], line["pinhole"]]["used"] += 1
            case "pinhole.closed":
                row = row_of[line["gateway"], line["pinhole"]]
                row["closed"] += 1
                # One for signalling carries none itself: what comes by it is a session of its own.
                row["carried"] += line.get("bytes_in", 0) + line.get("bytes_out", 0)
                row["longest"] = max(row["longest"], line["duration_seconds"])
    for row in rows.values():
        row |= {"carried": _size(row["carried"]), "longest": f"{row['longest'] * 1000:.0f} ms"}
    return list(rows.values())


def _size(count: int) -> str:
    return f"{count / MEBIBYTE:.0f} MiB" if count >= MEBIBYTE else f"{count / 1024:.0f} KiB"


def _host(endpoint: str) -> str:
    """SIP leaves out a port that is the usual one."""
    return re.sub(r":\d+$", "", endpoint)


def show(report: Report, log: Path) -> None:
    tables = report.done | {"Rewritten": rewritten(report.log), "Pinholes": opened(report.log)}
    for title, rows in tables.items():
        click.secho(f"\n{title}\n", bold=True)
        print_rows(rows, empty="nothing")
    click.echo()
    for fault in report.faults:
        click.secho(fault, fg="red")
    jobs = [row for rows in report.done.values() for row in rows]
    well = sum(row["result"] == "ok" for row in jobs)
    click.echo(f"{well} of {len(jobs)} went well. Audit log: {log}")
