"""`pinhole close`: end what is there."""

from __future__ import annotations

from collections.abc import Mapping

import click

from proxy.command.client import ask_daemon
from proxy.command.columns import wrapped
from proxy.command.lists import ids
from proxy.command.options import FILTERS, with_config, with_filters, with_json
from proxy.command.terminal import print_json, print_line, width
from proxy.text import printable


@click.command()
@click.argument("key", metavar="[ID]", required=False, shell_complete=ids("sessions"))
@click.option(
    "--of",
    type=click.Choice(["sessions", "pinholes", "calls", "registrations"]),
    help="The list of which something ends. Without: the one that has the ID, or sessions.",
)
@with_config
@with_json
@with_filters(tuple(FILTERS))
def close(key: str | None, of: str | None, path: str | None, as_json: bool, query: Mapping[str, str]) -> None:
    """End a session, a pinhole, a call or a registration by its ID, or all that filters let through.

    A session ends with all that was opened for it. Parties of a call are told nothing: its media ends, and they hang
    up. The audit log says who did it. The exit status is 1 when there was nothing to end.
    """
    if key is None and not query:
        raise click.UsageError("name an ID, or filters: that would end everything")
    asked = {name: value for name, value in (("id", key), ("of", of)) if value is not None}
    answer = ask_daemon(path, "POST", "v1/close", {**asked, **query})
    closed = answer.get("closed", [])
    if as_json:
        print_json(answer)
    else:
        text = f"closed {len(closed)} {answer.get('of')}: {', '.join(closed)}" if closed else "nothing to close"
        for line in wrapped(printable(text), width()):
            print_line(line)
    click.get_current_context().exit(0 if closed else 1)
