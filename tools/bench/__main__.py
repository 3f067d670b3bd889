"""`python -m tools.bench ftp`: see tools/bench/README.md."""

from __future__ import annotations

import json
import os
import sys
from statistics import median

import click
from rich.console import Console
from rich.table import Table

from tools.bench import ftp
from tools.bench.ftp import GIB, Figures, Report


@click.group()
def main() -> None:
    """What pinhole costs, beside the other ways to carry the same sessions."""
    if os.geteuid() != 0:
        raise click.ClickException("network namespaces need root")


@main.command("ftp")
@click.option("--quick", is_flag=True, help="Fewer rounds, and less in each.")
@click.option("--json", "as_json", is_flag=True, help="Every figure of every round, for programs.")
def ftp_command(quick: bool, as_json: bool) -> None:
    """FTP: bulk, small sessions, memory, first byte. Exit status 1 when a bar is missed."""
    progress = Console(stderr=True)
    try:
        with progress.status("") as status:

            def say(text: str) -> None:
                status.update(text)
                if not progress.is_terminal:
                    progress.print(text, highlight=False)

            report = ftp.run(ftp.QUICK if quick else ftp.FULL, say)
    except RuntimeError as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        print(json.dumps(report.plain()))
    else:
        _show(report, Console(width=None if sys.stdout.isatty() else 140))
    sys.exit(0 if all(bar.is_met for bar in report.bars) else 1)


def _show(report: Report, console: Console) -> None:
    console.print(f"{report.machine}; medians of {report.effort.rounds} rounds; in brackets the ratio to the kernel.")
    table = Table("", *report.figures)
    kernel = report.figures[ftp.KERNEL]
    rows: tuple[tuple[str, str, float, str], ...] = (
        ("download", "download", 1 / GIB, "{:.2f} GiB/s"),
        ("upload", "upload", 1 / GIB, "{:.2f} GiB/s"),
        ("small sessions", "sessions", 1, "{:.0f}/s"),
        ("CPU for a session", "session_cpu", 1e6, "{:.0f} µs"),
        ("CPU for a GiB", "gib_cpu", 1, "{:.2f} s"),
        ("first byte", "first_byte", 1e6, "{:.0f} µs"),
    )
    for title, name, scale, form in rows:
        cells = []
        for figures in report.figures.values():
            values: list[float] = getattr(figures, name)
            if not any(values):
                cells.append("")
                continue
            text = form.format(median(values) * scale)
            base: list[float] = getattr(kernel, name)
            if name == "first_byte":
                text += f", p99 {ftp.percentile_99(values) * scale:.0f}\n{_added(figures, kernel)}"
            elif any(base) and figures is not kernel:
                text += f" ({ftp.ratio(values, base):.2f})"
            cells.append(text)
        table.add_row(title, *cells)
    console.print(table)
    idle = report.idle
    console.print(
        f"{idle.sessions} idle sessions: {idle.bytes_each / 1024:.1f} KiB each in the process, and "
        f"{idle.kernel_bytes_each / 1024:.1f} KiB each in the kernel for its two sockets."
    )
    bars = Table("bar", "measured", "wanted", "")
    for bar in report.bars:
        verdict = "[green]met[/]" if bar.is_met else "[bold red]missed[/]"
        bars.add_row(bar.name, f"{bar.value:.2f}", bar.limit, verdict)
    console.print(bars)


def _added(figures: Figures, kernel: Figures) -> str:
    """How much later than through the kernel the first byte is."""
    if figures is kernel:
        return ""
    at_median = median(figures.first_byte) - median(kernel.first_byte)
    at_99 = ftp.percentile_99(figures.first_byte) - ftp.percentile_99(kernel.first_byte)
    return f"added {at_median * 1e6:.0f}, p99 {at_99 * 1e6:.0f}"


if __name__ == "__main__":
    main(prog_name="python -m tools.bench")
