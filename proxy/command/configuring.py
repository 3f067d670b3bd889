"""Commands about configuration files."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from proxy.command.options import with_json
from proxy.command.terminal import print_json, say
from proxy.errors import ConfigError
from proxy.text import printable

if TYPE_CHECKING:
    from proxy.config.schema import Config


@click.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@with_json
def check(files: tuple[str, ...], as_json: bool) -> None:
    """Check configuration files. Everything wrong is printed, as `file:line:column: path: what is wrong`."""
    from proxy.config import reading

    results = []
    for file in files:
        try:
            settings = reading.load(file)
            reading.judge_places(file, settings)
        except ConfigError as error:
            results.append({"file": file, "ok": False, "problems": list(error.problems)})
            if not as_json:
                for problem in error.problems:
                    say(problem)
        else:
            results.append({"file": file, "ok": True, "problems": []})
            if not as_json:
                click.echo(f"{printable(file)}: fine ({_counted(settings)})")
    if as_json:
        print_json({"files": results})
    sys.exit(0 if all(result["ok"] for result in results) else 1)


def _counted(settings: Config) -> str:
    """The size of a configuration in a few words."""
    return f"entries in session-helpers: {len(settings.served)}, policies: {len(settings.policies)}"


@click.group()
def config() -> None:
    """About the configuration file."""


@config.command()
def schema() -> None:
    """Print the JSON Schema of the configuration file, for editors."""
    from proxy.config.schema import json_schema

    print_json(json_schema())
