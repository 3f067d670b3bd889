"""`python -m tools.bench COMMAND`: see tools/bench/README.md."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any, ClassVar, Concatenate, NoReturn, Protocol, TypeVar

import click
from rich.console import Console
from rich.table import Table

from tools.bench import (
    ftp,
    helpers,
    instructions,
    kernel_path,
    media,
    messages,
    printing,
    real_call,
    sip,
    start,
    streams,
    tns,
    tunnels,
    versus,
)
from tools.bench.cases import CASES
from tools.bench.rounds import Bar, Progress


class _Report(Protocol):
    """What every report is, whatever stands in it."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def bars(self) -> list[Bar]: ...


Effort = TypeVar("Effort")
AnyReport = TypeVar("AnyReport", bound=_Report)
MadeReport = TypeVar("MadeReport", bound=_Report, covariant=True)


class _Measuring(Protocol[Effort, MadeReport]):
    """A module that measures something, with the one effort or the other."""

    FULL: Effort
    QUICK: Effort

    @property
    def run(self) -> Callable[Concatenate[Effort, Progress, ...], MadeReport]: ...


@click.group()
@click.pass_context
def main(context: click.Context) -> None:
    """What pinhole costs, beside the other ways to carry the same sessions."""
    if os.geteuid() != 0 and context.invoked_subcommand not in ("messages", "start"):
        raise click.ClickException("network namespaces need root")


_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
_with_json = click.option("--json", "as_json", is_flag=True, help="Every figure of every round, for programs.")


def _add(
    name: str,
    what: _Measuring[Effort, AnyReport],
    show: Callable[[AnyReport, Console], None],
    text: str,
    argument: click.Argument | None = None,
    missed: str = "Exit status 1 when a bar is missed.",
) -> None:
    """Add a command that measures this.

    text, missed: its help.  argument: what stands on its line besides options; `run` gets it after the others.
    """

    def measure(effort: Effort, as_json: bool, **given: Any) -> None:
        _report(lambda say: what.run(effort, say, *given.values()), show, as_json)

    choose = click.option(
        "--quick",
        "effort",
        is_flag=True,
        callback=lambda _, __, is_quick: what.QUICK if is_quick else what.FULL,
        help="Fewer rounds, and less in each.",
    )
    command = main.command(name, help=f"{text} {missed}")(choose(_with_json(measure)))
    if argument is not None:
        command.params.append(argument)


_add("ftp", ftp, printing.show_ftp, "FTP: bulk, small sessions, memory, first byte.")
_add("sip", sip, printing.show_sip, "SIP: calls a second, their cost, calls held, audio.")
_add("tns", tns, printing.show_tns, "Oracle TNS: bulk after ACCEPT, sessions with and without a redirect.")
_add(
    "helpers",
    helpers,
    printing.show_helpers,
    "A session of each helper, or of those that are named: its time and cost, also beside thousands that are open.",
    argument=click.Argument(["names"], nargs=-1, type=click.Choice(sorted(CASES))),
)
_add("packets", kernel_path, printing.show_packets, "Media in the kernel beside plain forwarding: CPU of a packet.")
_add("tunnels", tunnels, printing.show_tunnels, "Packets of GRE: what one costs, and how many a processor carries.")
_add("streams", streams, printing.show_streams, "Media of RTSP beside SIP's: CPU of a packet, by both paths.")
_add("messages", messages, printing.show_messages, "Messages of H.323: what one takes the engines alone.")
_add("call", real_call, printing.show_call, "A call of three minutes, with its audio: CPU of the gateway's processes.")
_add("media", media, printing.show_media, "All that is wanted of media in the kernel: `packets` and `call`.")
_add(
    "versus",
    versus,
    printing.show_versus,
    "This checkout beside CHECKOUT, an older one.",
    argument=click.Argument(["checkout"], type=_FOLDER),
    missed="Exit status 1 when a figure is worse by more than 3 %.",
)


@main.command("start")
@click.option("--rounds", default=20, show_default=True, help="How often each command is run.")
@_with_json
def start_command(rounds: int, as_json: bool) -> None:
    """The start of the command `pinhole`. Exit status 1 when one that asks the daemon takes longer than 0.12 s."""
    found = start.run(rounds)
    if as_json:
        print(json.dumps({name: asdict(figures) for name, figures in found.items()}))
    else:
        for name, figures in found.items():
            wall, cpu = median(figures.wall), median(figures.cpu)
            print(f"pinhole {name:10} {wall:.3f} s, at most {max(figures.wall):.3f} s; CPU {cpu:.3f} s")
    sys.exit(0 if start.is_met(found) else 1)


@main.command("instructions")
@click.argument("checkout", type=_FOLDER)
def instructions_command(checkout: Path) -> None:
    """Instructions of a call and of a packet of media, of CHECKOUT, an older one, and of this checkout."""
    try:
        found = instructions.run(checkout, lambda text: click.echo(text, err=True))
    except RuntimeError as error:
        raise click.ClickException(str(error)) from error
    table = Table("", "a call", "a packet")
    for row in instructions.rows(found):
        table.add_row(*row)
    Console().print(table)


def _report(
    run: Callable[[Progress], AnyReport], show: Callable[[AnyReport, Console], None], as_json: bool
) -> NoReturn:
    progress = Console(stderr=True)
    try:
        with progress.status("") as status:

            def say(text: str) -> None:
                status.update(text)
                if not progress.is_terminal:
                    progress.print(text, highlight=False)

            report = run(say)
    except RuntimeError as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        print(json.dumps(asdict(report) | {"bars": [asdict(bar) for bar in report.bars]}))
    else:
        show(report, Console(width=None if sys.stdout.isatty() else 140))
    sys.exit(0 if all(bar.is_met for bar in report.bars) else 1)


if __name__ == "__main__":
    main(prog_name="python -m tools.bench")
