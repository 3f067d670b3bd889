"""`pinhole doctor`: what on this host stands in the way."""

from __future__ import annotations

import sys
from dataclasses import asdict

import click

from proxy.command.options import with_config, with_json
from proxy.command.terminal import print_json, print_rows


@click.command()
@with_config
@with_json
def doctor(path: str | None, as_json: bool) -> None:
    """Look for what on this host stands in the way. Exit status 1 when something does."""
    from proxy.config import reading
    from proxy.doctor import examine
    from proxy.doctor.findings import Level

    found = examine.examine(reading.in_force(path))
    is_well = all(finding.level is not Level.FAIL for finding in found)
    rows = [{**asdict(finding), "level": finding.level.value} for finding in found]
    if as_json:
        print_json({"ok": is_well, "findings": rows})
    else:
        print_rows(rows, title="Doctor", empty="nothing found")
    sys.exit(0 if is_well else 1)
