"""Commands that show what the daemon does now."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import click

from proxy.command.client import ask_daemon
from proxy.command.options import with_config, with_json, with_wide
from proxy.command.terminal import print_fields, print_json, print_rows

_TROUBLE = ("rules_missing", "audit_lines_lost")
"""What `status` says first when there is any of it."""
_SESSION = ("session", "helper", "state", "age_seconds", "client", "server")
_PINHOLE = ("pinhole", "purpose", "state", "session", "listen", "target")


@click.command()
@with_config
@with_json
@with_wide
def sessions(path: str | None, as_json: bool, is_wide: bool) -> None:
    """List the sessions that the daemon carries now."""
    _list(ask_daemon(path, "GET", "sessions"), "sessions", _SESSION, as_json, is_wide)


@click.command()
@with_config
@with_json
@with_wide
def pinholes(path: str | None, as_json: bool, is_wide: bool) -> None:
    """List the pinholes that are open now."""
    _list(ask_daemon(path, "GET", "pinholes"), "pinholes", _PINHOLE, as_json, is_wide)


def _list(answer: dict[str, Any], name: str, columns: Sequence[str], as_json: bool, is_wide: bool) -> None:
    if as_json:
        print_json(answer)
    else:
        print_rows(answer.get(name, []), () if is_wide else columns, empty=f"no {name}", is_wide=is_wide)


@click.command()
@with_config
@with_json
def status(path: str | None, as_json: bool) -> None:
    """Say how the daemon is. Exit status 1 when none runs, or when rules or routes are missing that it needs."""
    answer = ask_daemon(path, "GET", "status")
    is_well = answer.get("state") != "degraded"
    if as_json:
        print_json(answer)
    else:
        trouble = {name: answer[name] for name in _TROUBLE if answer.get(name)}
        print_fields(
            {"state": answer.get("state"), **trouble, **answer},
            lambda name: name in trouble or (not is_well and name == "state"),
        )
    sys.exit(0 if is_well else 1)
