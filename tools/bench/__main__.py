"""`python -m tools.bench COMMAND`: see tools/bench/README.md."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any, ClassVar, NoReturn, Protocol, TypeVar

import click
from rich.console import Console
from rich.table import Table

from tools.bench import (
    audio,
    ftp,
    helpers,
    instructions,
    kernel_path,
    media,
    real_call,
    sip,
    start,
    tns,
    tunnels,
    versus,
)
from tools.bench.cases import CASES
from tools.bench.figures import figure
from tools.bench.ftp import GIB, Figures
from tools.bench.rounds import Bar, Progress, percentile_99, ratio

Command = TypeVar("Command", bound=Callable[..., None])


@click.group()
@click.pass_context
def main(context: click.Context) -> None:
    """What pinhole costs, beside the other ways to carry the same sessions."""
    if os.geteuid() != 0 and context.invoked_subcommand != "start":
        raise click.ClickException("network namespaces need root")


_with_json = click.option("--json", "as_json", is_flag=True, help="Every figure of every round, for programs.")


def _in_rounds(name: str, full: object, quick: object) -> Callable[[Command], click.Command]:
    """A command that measures with the one effort or the other, which it gets as `effort`."""

    def command(run: Command) -> click.Command:
        choose = click.option(
            "--quick",
            "effort",
            is_flag=True,
            callback=lambda _, __, is_quick: quick if is_quick else full,
            help="Fewer rounds, and less in each.",
        )
        return main.command(name)(choose(_with_json(run)))

    return command


@_in_rounds("ftp", ftp.FULL, ftp.QUICK)
def ftp_command(effort: ftp.Effort, as_json: bool) -> None:
    """FTP: bulk, small sessions, memory, first byte. Exit status 1 when a bar is missed."""
    _report(lambda say: ftp.run(effort, say), _show, as_json)


@_in_rounds("sip", sip.FULL, sip.QUICK)
def sip_command(effort: sip.Effort, as_json: bool) -> None:
    """SIP: calls a second, their cost, calls held, audio. Exit status 1 when a bar is missed."""
    _report(lambda say: sip.run(effort, say), _show_sip, as_json)


@_in_rounds("tns", tns.FULL, tns.QUICK)
def tns_command(effort: tns.Effort, as_json: bool) -> None:
    """Oracle TNS: bulk after ACCEPT, sessions with and without a redirect. Exit status 1 when a bar is missed."""
    _report(lambda say: tns.run(effort, say), _show_tns, as_json)


@_in_rounds("helpers", helpers.FULL, helpers.QUICK)
@click.argument("names", nargs=-1, type=click.Choice(sorted(CASES)))
def helpers_command(names: tuple[str, ...], effort: helpers.Effort, as_json: bool) -> None:
    """A session of each helper, or of those that are named: its time and cost, also beside thousands that are open.
    Exit status 1 when a bar is missed."""
    _report(lambda say: helpers.run(effort, say, names), _show_helpers, as_json)


@_in_rounds("packets", kernel_path.FULL, kernel_path.QUICK)
def packets_command(effort: kernel_path.Effort, as_json: bool) -> None:
    """Media in the kernel beside plain forwarding: CPU of a packet. Exit status 1 when a bar is missed."""
    _report(lambda say: kernel_path.run(effort, say), _show_packets, as_json)


@_in_rounds("tunnels", tunnels.FULL, tunnels.QUICK)
def tunnels_command(effort: tunnels.Effort, as_json: bool) -> None:
    """Packets of GRE: what one costs, and how many a processor carries. Exit status 1 when a bar is missed."""
    _report(lambda say: tunnels.run(effort, say), _show_tunnels, as_json)


@_in_rounds("call", real_call.FULL, real_call.QUICK)
def call_command(effort: real_call.Effort, as_json: bool) -> None:
    """A call of three minutes, with its audio: CPU of the gateway's processes. Exit status 1 when a bar is missed."""
    _report(lambda say: real_call.run(effort, say), _show_call, as_json)


@_in_rounds("media", media.FULL, media.QUICK)
def media_command(effort: media.Effort, as_json: bool) -> None:
    """All that is wanted of media in the kernel: `packets` and `call`. Exit status 1 when a bar is missed."""
    _report(lambda say: media.run(effort, say), _show_media, as_json)


@_in_rounds("versus", versus.FULL, versus.QUICK)
@click.argument("checkout", type=click.Path(exists=True, file_okay=False, path_type=Path))
def versus_command(checkout: Path, effort: versus.Effort, as_json: bool) -> None:
    """This checkout beside CHECKOUT, an older one. Exit status 1 when a figure is worse by more than 3 %."""
    _report(lambda say: versus.run(checkout, effort, say), _show_versus, as_json)


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
@click.argument("checkout", type=click.Path(exists=True, file_okay=False, path_type=Path))
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


def _show_versus(report: versus.Report, console: Console) -> None:
    console.print(f"{report.machine}; medians of {report.effort.rounds} rounds; with each ratio its 95 % range.")
    table = Table("", versus.BEFORE, versus.AFTER, "after / before", "")
    for row in versus.rows(report):
        table.add_row(*row)
    console.print(table)


class _Report(Protocol):
    """What every report is, whatever stands in it."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def bars(self) -> list[Bar]: ...


AnyReport = TypeVar("AnyReport", bound=_Report)


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


def _show(report: ftp.Report, console: Console) -> None:
    console.print(f"{report.machine}; medians of {report.effort.rounds} rounds; in brackets the ratio to the kernel.")
    rows = (
        ("download", "download", 1 / GIB, "{:.2f} GiB/s"),
        ("upload", "upload", 1 / GIB, "{:.2f} GiB/s"),
        ("small sessions", "sessions", 1, "{:.0f}/s"),
        ("CPU for a session", "session_cpu", 1e6, "{:.0f} µs"),
        ("CPU for a GiB", "gib_cpu", 1, "{:.2f} s"),
        ("first byte", "first_byte", 1e6, "{:.0f} µs"),
    )
    console.print(_table_of(report.figures, rows))
    idle = report.idle
    console.print(
        f"{idle.sessions} idle sessions: {idle.bytes_each / 1024:.1f} KiB each in the process, and "
        f"{idle.kernel_bytes_each / 1024:.1f} KiB each in the kernel for its two sockets."
    )
    _show_bars(report.bars, console)


_Row = tuple[str, str, float, str]
"""Its title, the figures' attribute, by what a value is multiplied, and how it is written."""


def _table_of(every: Mapping[str, Figures | tns.Figures], rows: Sequence[_Row]) -> Table:
    """Medians, and in brackets their ratio to those of the kernel's way."""
    table = Table("", *every)
    kernel = every[ftp.KERNEL]
    for title, name, scale, form in rows:
        cells = []
        base: list[float] = getattr(kernel, name)
        for figures in every.values():
            values: list[float] = getattr(figures, name)
            if not any(values):
                cells.append("")
                continue
            text = figure(median(values), form, scale)
            if name == "first_byte":
                text += f", p99 {percentile_99(values) * scale:.0f}\n{_added(values, base)}"
            elif any(base) and figures is not kernel:
                text += f" ({ratio(values, base):.2f})"
            cells.append(text)
        table.add_row(title, *cells)
    return table


def _show_tns(report: tns.Report, console: Console) -> None:
    console.print(f"{report.machine}; medians of {report.effort.rounds} rounds; in brackets the ratio to the kernel.")
    rows = (
        ("download", "download", 1 / GIB, "{:.2f} GiB/s"),
        ("upload", "upload", 1 / GIB, "{:.2f} GiB/s"),
        ("sessions", "sessions", 1, "{:.0f}/s"),
        ("sessions with a redirect", "redirected", 1, "{:.0f}/s"),
        ("CPU for a GiB", "gib_cpu", 1, "{:.2f} s"),
        ("CPU for a session", "session_cpu", 1e6, "{:.0f} µs"),
        ("with a redirect", "redirected_cpu", 1e6, "{:.0f} µs"),
    )
    console.print(_table_of(report.figures, rows))
    _show_bars(report.bars, console)


def _show_helpers(report: helpers.Report, console: Console) -> None:
    effort = report.effort
    console.print(f"{report.machine}; medians of {effort.rounds} rounds; in brackets the ratio to plain forwarding.")
    title = f"CPU beside {effort.held} open ones, ms"
    table = Table("a session", "plain, ms", "kernel's helper", "pinhole", "its CPU, ms", title, "KiB of an open one")
    for row in helpers.rows(report):
        table.add_row(*row)
    console.print(table)
    _show_bars(report.bars, console)


def _show_packets(report: kernel_path.Report, console: Console) -> None:
    console.print(f"{report.machine}; medians of {report.effort.rounds} rounds, with their 95 % ranges.")
    table = Table("", "streams", "CPU of a packet, µs", "beyond a line")
    for row in kernel_path.rows(report):
        table.add_row(*row)
    console.print(table)
    lost = ", ".join(f"{way} {figures.lost}" for way, figures in report.figures.items())
    console.print(f"Lost: {lost}.")
    _show_bars(report.bars, console)


def _show_tunnels(report: tunnels.Report, console: Console) -> None:
    console.print(f"{report.machine}; medians of {report.effort.rounds} rounds, with their 95 % ranges.")
    table = Table("", "bytes carried", "CPU of a packet, µs", "packets/s a core", "Gbit/s a core")
    for row in tunnels.rows(report):
        table.add_row(*row)
    console.print(table)
    _show_bars(report.bars, console)


def _show_call(report: real_call.Report, console: Console) -> None:
    console.print(f"{report.machine}; medians of {report.effort.rounds} rounds.")
    table = Table("CPU of", *report.figures)
    every = report.figures.values()
    for title, values, scale in (
        ("signalling, ms", [one.signalling for one in every], 1e3),
        ("the first packets of a stream, ms", [one.beginning for one in every], 1e3),
        ("a packet, µs", [one.packet for one in every], 1e6),
        ("a call of three minutes, ms", [one.calls() for one in every], 1e3),
    ):
        table.add_row(title, *(figure(median(each), "{:.3f}", scale) for each in values))
    forwarding = report.figures[sip.FORWARDING].audio
    for row in audio.rows([one.audio for one in every], forwarding, real_call.STREAMS):
        table.add_row(*row)
    console.print(table)
    _show_bars(report.bars, console)


def _show_media(report: media.Report, console: Console) -> None:
    _show_packets(report.packets, console)
    _show_call(report.calls, console)


def _show_bars(bars: list[Bar], console: Console) -> None:
    table = Table("bar", "measured", "wanted", "")
    for bar in bars:
        verdict = "[green]met[/]" if bar.is_met else "[bold red]missed[/]"
        table.add_row(bar.name, f"{bar.value:.2f}", bar.limit, verdict)
    console.print(table)


def _show_sip(report: sip.Report, console: Console) -> None:
    console.print(f"{report.machine}; medians of {report.effort.rounds} rounds.")
    table = Table("", *report.figures)
    every = report.figures.values()
    table.add_row("calls a second", *(figure(median(figures.rate)) if figures.rate else "" for figures in every))
    table.add_row("CPU of a call, ms", *(_cpu_of_call(figures) for figures in every))
    for streams in sip.STREAMS:
        heard = [figures.audio[streams] for figures in every]
        for row in audio.rows(heard, report.figures[sip.FORWARDING].audio[streams], streams):
            table.add_row(*row)
    console.print(table)
    held = report.held
    all_held, some_audio, all_audio = (
        f"{count / sip.MIB:.0f} MiB"
        for count in (held.bytes_of_calls, held.bytes_of_audio_calls, held.bytes_of_many_audio_calls)
    )
    few_cpu, many_cpu = (figure(median(values), "{:.2f} ms", 1e3) for values in (held.few_cpu, held.many_cpu))
    console.print(f"{held.calls} calls held ({held.kind}): {all_held}; {held.audio_calls} with audio: {some_audio}, ")
    console.print(f"which makes {all_audio} for {sip.MANY} of them.")
    console.print(f"The next call: {few_cpu} beside {sip.FEW} others, {many_cpu} beside {sip.MANY}.")
    _show_bars(report.bars, console)


def _cpu_of_call(figures: sip.Figures) -> str:
    if not figures.call_cpu:
        return ""
    parts = ", ".join(f"{name} {figure(median(values), '{:.2f}', 1e3)}" for name, values in figures.parts.items())
    total = figure(median(figures.call_cpu), "{:.2f}", 1e3)
    return f"{total} ({parts})" if len(figures.parts) > 1 else total


def _added(first_byte: list[float], of_kernel: list[float]) -> str:
    """How much later than through the kernel the first byte is."""
    if first_byte is of_kernel:
        return ""
    at_median = median(first_byte) - median(of_kernel)
    at_99 = percentile_99(first_byte) - percentile_99(of_kernel)
    return f"added {at_median * 1e6:.0f}, p99 {at_99 * 1e6:.0f}"


if __name__ == "__main__":
    main(prog_name="python -m tools.bench")
