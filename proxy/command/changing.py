"""Commands that have the daemon do something."""

from __future__ import annotations

import sys

import click

from proxy.command.client import ask_daemon
from proxy.command.options import with_config, with_json
from proxy.command.terminal import print_json, say


@click.command()
@with_config
@with_json
def reload(path: str | None, as_json: bool) -> None:
    """Have the daemon read its configuration again. A wrong one changes nothing; its problems are printed."""
    answer = ask_daemon(path, "POST", "reload")
    if as_json:
        print_json(answer)
    else:
        for text in (*answer.get("problems", []), *answer.get("remarks", [])):
            say(str(text))
        if answer.get("ok"):
            click.echo("reloaded")
    sys.exit(0 if answer.get("ok") else 1)
