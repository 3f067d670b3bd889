"""`pinhole doctor`: what on this host stands in the way."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import click

from proxy.command.client import ask_daemon, looked_at
from proxy.command.columns import wrapped
from proxy.command.options import with_json, with_served_config
from proxy.command.shell import broken
from proxy.command.terminal import print_json, print_line, width
from proxy.config import whereabouts
from proxy.errors import PinholeError
from proxy.text import printable

if TYPE_CHECKING:
    from proxy.doctor.findings import Finding

_GRAVEST_FIRST = ("fail", "warn", "ok")
_COLOURS = {"fail": "red", "warn": "yellow", "ok": None}
_COUNTED = {"fail": "failed", "warn": "to look at", "ok": "fine"}
_INDENT = 6


@click.command()
@with_served_config
@with_json
def doctor(path: str | None, as_json: bool) -> None:
    """Look for what on this host stands in the way. Exit status 1 when something does.

    Where no file is named and the system has none, it is looked at by the file of the daemon that runs.
    """
    from proxy.config import reading
    from proxy.doctor import examine
    from proxy.doctor.findings import Level

    file = looked_at(path)
    findings = examine.examine(reading.in_force(file), _limits(file), _fastpath(file))
    found = [
        replace(finding, detail=whereabouts.told(file, finding.detail), remedy=whereabouts.told(file, finding.remedy))
        for finding in findings
    ]
    is_well = all(finding.level is not Level.FAIL for finding in found)
    if as_json:
        rows = [{**asdict(finding), "level": finding.level.value} for finding in found]
        print_json({"ok": is_well, "findings": rows})
    else:
        for text, level in report(found, width()):
            print_line(text, _COLOURS.get(level))
    sys.exit(0 if is_well else 1)


def _limits(path: str | None) -> list[dict[str, Any]]:
    """How far the limits of a running daemon are used. None runs: none is told."""
    try:
        found = ask_daemon(path, "GET", "v1/limits")
    except PinholeError:
        return []
    return list(found["limits"])


def _fastpath(path: str | None) -> dict[str, Any] | None:
    """What a running daemon says of media in the kernel. None: none runs, or it knows of no such thing."""
    try:
        found = ask_daemon(path, "GET", "v1/status").get("fastpath")
    except PinholeError:
        return None
    return found if isinstance(found, dict) else None


def report(found: Sequence[Finding], width: int) -> Iterator[tuple[str, str]]:
    """The findings as lines of this width, each with its level: what is wrong first, with what helps; then what is
    well; at last how many there are of each."""
    for level in _GRAVEST_FIRST:
        findings = [finding for finding in found if finding.level.value == level]
        for finding in findings:
            first, *more = wrapped(printable(f"{finding.check}: {finding.detail}"), width, _INDENT)
            yield f"{level:{_INDENT}}{first[_INDENT:]}", level
            for text in more:
                yield text, level
            for text in broken(printable(finding.remedy, keep="\n"), width, _INDENT):
                yield text, ""
        if findings:
            yield "", ""
    count = Counter(finding.level.value for finding in found)
    gravest = next((level for level in _GRAVEST_FIRST if count[level]), "ok")
    said = ", ".join(f"{count[level]} {_COUNTED[level]}" for level in _GRAVEST_FIRST if count[level])
    yield said or "nothing found", gravest
