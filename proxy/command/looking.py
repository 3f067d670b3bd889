"""Commands that show what the daemon does now."""

from __future__ import annotations

import sys

import click

from proxy.command.client import ask_daemon
from proxy.command.options import with_config, with_json
from proxy.command.terminal import print_fields, print_json, print_rows


@click.command()
@with_config
@with_json
def sessions(path: str | None, as_json: bool) -> None:
    """List the sessions that the daemon carries now."""
    answer = ask_daemon(path, "GET", "sessions")
    if as_json:
        print_json(answer)
    else:
        print_rows(answer.get("sessions", []), title="Sessions", empty="no sessions")


@click.command()
@with_config
@with_json
def pinholes(path: str | None, as_json: bool) -> None:
    """List the pinholes that are open now."""
    answer = ask_daemon(path, "GET", "pinholes")
    if as_json:
        print_json(answer)
    else:
        print_rows(answer.get("pinholes", []), title="Pinholes", empty="no pinholes")


@click.command()
@with_config
@with_json
def status(path: str | None, as_json: bool) -> None:
    """Say how the daemon is. Exit status 1 when none runs, or when rules or routes are missing that it needs."""
    answer = ask_daemon(path, "GET", "status")
    if as_json:
        print_json(answer)
    else:
        print_fields(answer, title="Status")
    sys.exit(1 if answer.get("state") == "degraded" else 0)
