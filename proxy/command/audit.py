"""Commands about the audit log."""

from __future__ import annotations

import click

from proxy.command.terminal import print_json


@click.group()
def audit() -> None:
    """About the audit log."""


@audit.command()
def schema() -> None:
    """Print the JSON Schema of every line of the audit log."""
    from proxy.record.catalogue import json_schema

    print_json(json_schema())
