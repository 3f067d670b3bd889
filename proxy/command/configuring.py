"""Commands about configuration files."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from proxy.command.client import NobodyAnswers, ask_daemon
from proxy.command.options import with_config, with_json
from proxy.command.terminal import print_json, say
from proxy.config import whereabouts
from proxy.config.files import MAX_BYTES, Source, gather
from proxy.errors import ConfigError
from proxy.text import printable

if TYPE_CHECKING:
    from proxy.config.reading import Judgement
    from proxy.config.schema import Config


@click.command()
@click.argument("files", metavar="[FILE...]", nargs=-1)
@click.option("--strict", is_flag=True, help="Take warnings for mistakes.")
@with_json
def check(files: tuple[str, ...], strict: bool, as_json: bool) -> None:
    """Check configuration files: the file in force if none is named, and standard input for `-`.

    Everything wrong is printed, as `file:line:column: path: what is wrong`, and what is allowed and yet unwise as
    `file:line:column: warning: path: what it is`. Warnings do not change the exit status, unless --strict is given.
    """
    from proxy.config import reading

    results = []
    for file in files or [whereabouts.chosen(None)]:
        try:
            judged = _judged(file)
        except ConfigError as error:  # it cannot be read at all
            judged = reading.Judgement(None, error.problems, ())
        warnings = tuple(map(printable, judged.warnings))
        problems = (*map(printable, judged.problems), *(warnings if strict else ()))
        file = file or f"built-in default (there is no {whereabouts.SYSTEM_PATH})"
        results.append({"file": file, "ok": not problems, "problems": problems, "warnings": warnings})
        if as_json:
            continue
        for text in (*judged.problems, *judged.warnings):
            say(text)
        if not problems and judged.settings is not None:
            click.echo(f"{printable(file)}: {_verdict(judged.settings)}")
    if as_json:
        print_json({"files": results})
    sys.exit(0 if all(result["ok"] for result in results) else 1)


def _judged(file: str | None) -> Judgement:
    """What is found in a file and its `conf.d`, on standard input (`-`), or in what is in force without a file."""
    from proxy.config import reading

    match file:
        case None:
            return reading.Judgement(reading.default(), (), ())
        case "-":
            return reading.judge([Source(file, sys.stdin.buffer.read(MAX_BYTES))])
        case _:
            return reading.judge(gather(file), with_places=True)


def _verdict(settings: Config) -> str:
    """That a configuration may be used, and its size, in a few words."""
    many = len(settings.warnings)
    warned = f" with {many} warning{'s' if many > 1 else ''}" if many else ""
    return f"fine{warned} ({_counted(settings)})"


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


@config.command()
@click.option("--defaults", is_flag=True, help="Also the keys that have their default values.")
@with_config
@with_json
def show(path: str | None, defaults: bool, as_json: bool) -> None:
    """Print what is in force: in the daemon, or in the file if none runs.

    Names of networks, variables and the files of conf.d are resolved, secrets are hidden.
    """
    from proxy.config import reading, shown

    try:
        answer = ask_daemon(path, "GET", "v1/config", {"defaults": "true"} if defaults else None)
        where = f"in force in the daemon, from {answer['source']}"
    except NobodyAnswers:
        settings = reading.in_force(path)
        answer = {
            "source": settings.source,
            "hash": shown.hash_of(settings),
            "warnings": settings.warnings,
            "configuration": shown.plain(settings, with_defaults=defaults),
        }
        where = f"of {answer['source']}; no daemon answers"
    if as_json:
        print_json(answer)
    else:
        click.echo(printable(f"# {where} (hash {answer['hash'][:16]})"))
        click.echo(printable(shown.text(answer["configuration"]), keep="\n"), nl=False)
