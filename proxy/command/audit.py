"""Commands about the audit log."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from proxy.command.options import with_json
from proxy.command.terminal import print_json, say
from proxy.errors import PinholeError
from proxy.text import printable

if TYPE_CHECKING:
    from proxy.record.verify import Verdict


@click.group()
def audit() -> None:
    """About the audit log."""


@audit.command()
def schema() -> None:
    """Print the JSON Schema of every line of the audit log."""
    from proxy.record.catalogue import json_schema

    print_json(json_schema())


@audit.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@with_json
def verify(files: tuple[str, ...], as_json: bool) -> None:
    """Find the first line of a log with `chain: true` that was changed, removed or doubled.

    One FILE stands for its rotated files as well (FILE.1, FILE.2.gz, FILE-20261129.gz). Several are read in the order
    in which they are named.
    """
    from pathlib import Path

    from proxy.record import verify as log

    paths = [Path(file) for file in files]
    try:
        verdict = log.verify(log.files_of(paths[0]) if len(paths) == 1 else paths)
    except log.UNREADABLE as error:
        raise PinholeError(f"the log cannot be read: {error}") from error
    if as_json:
        print_json(asdict(verdict) | {"ok": verdict.is_fine})
    else:
        _tell(verdict)
    sys.exit(0 if verdict.is_fine else 1)


def _tell(verdict: Verdict) -> None:
    for remark in verdict.remarks:
        say(f"remark: {remark}")
    if verdict.fault is not None:
        say(f"{verdict.place}: {verdict.fault}")
        click.echo(f"{verdict.lines} lines before it are as they were written")
    elif not verdict.lines:
        say("no line has a hash; `audit: {chain: true}` gives it one")
    else:
        files = "1 file" if len(verdict.files) == 1 else f"{len(verdict.files)} files"
        click.echo(f"{verdict.lines} lines in {files} are as they were written, {verdict.since} to {verdict.until}")
        click.echo(f"newest hash: {printable(str(verdict.newest))}")
