"""What people read of the reports of `python -m tools.bench`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

from rich.console import Console
from rich.table import Table

from tools.bench import audio, ftp, helpers, kernel_path, media, messages, real_call, sip, streams, tns, tunnels, versus
from tools.bench.figures import figure
from tools.bench.ftp import GIB, Figures
from tools.bench.rounds import Bar, percentile_99, ratio


def show_ftp(report: ftp.Report, console: Console) -> None:
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


def show_tns(report: tns.Report, console: Console) -> None:
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


def show_helpers(report: helpers.Report, console: Console) -> None:
    effort = report.effort
    console.print(f"{report.machine}; medians of {effort.rounds} rounds; in brackets the ratio to plain forwarding.")
    title = f"CPU beside {effort.held} open ones, ms"
    table = Table("a session", "plain, ms", "kernel's helper", "pinhole", "its CPU, ms", title, "KiB of an open one")
    for row in helpers.rows(report):
        table.add_row(*row)
    console.print(table)
    _show_bars(report.bars, console)


def show_packets(report: kernel_path.Report, console: Console) -> None:
    console.print(f"{report.machine}; medians of {report.effort.rounds} rounds, with their 95 % ranges.")
    table = Table("", "streams", "CPU of a packet, µs", "beyond a line")
    for row in kernel_path.rows(report):
        table.add_row(*row)
    console.print(table)
    lost = ", ".join(f"{way} {figures.lost}" for way, figures in report.figures.items())
    console.print(f"Lost: {lost}.")
    _show_bars(report.bars, console)


def show_tunnels(report: tunnels.Report, console: Console) -> None:
    console.print(f"{report.machine}; medians of {report.effort.rounds} rounds, with their 95 % ranges.")
    table = Table("", "bytes carried", "CPU of a packet, µs", "packets/s a core", "Gbit/s a core")
    for row in tunnels.rows(report):
        table.add_row(*row)
    console.print(table)
    _show_bars(report.bars, console)


def show_streams(report: streams.Report, console: Console) -> None:
    console.print(f"{report.machine}; medians of {report.effort.rounds} rounds, with their 95 % ranges.")
    table = Table("path", "helper", "CPU of a packet, µs")
    for row in streams.rows(report):
        table.add_row(*row)
    console.print(table)
    _show_bars(report.bars, console)


def show_messages(report: messages.Report, console: Console) -> None:
    effort = report.effort
    console.print(f"{report.machine}; the fastest of {effort.rounds} rounds of {effort.calls} calls.")
    _show_bars(report.bars, console)


def show_call(report: real_call.Report, console: Console) -> None:
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


def show_media(report: media.Report, console: Console) -> None:
    show_packets(report.packets, console)
    show_call(report.calls, console)


def _show_bars(bars: list[Bar], console: Console) -> None:
    table = Table("bar", "measured", "wanted", "")
    for bar in bars:
        verdict = "[green]met[/]" if bar.is_met else "[bold red]missed[/]"
        table.add_row(bar.name, measured(bar), bar.limit, verdict)
    console.print(table)


def measured(bar: Bar) -> str:
    """The value of a bar and, if it has one, its 95 % range."""
    digits = 2 if abs(bar.value) >= 0.1 else 3
    value = f"{bar.value:.{digits}f}"
    if bar.range is None:
        return value
    low, high = bar.range
    return f"{value} ({low:.{digits}f} to {high:.{digits}f})"


def show_sip(report: sip.Report, console: Console) -> None:
    console.print(f"{report.machine}; medians of {report.effort.rounds} rounds.")
    table = Table("", *report.figures)
    every = report.figures.values()
    table.add_row("calls a second", *(figure(median(figures.rate)) if figures.rate else "" for figures in every))
    table.add_row("CPU of a call, ms", *(_cpu_of_call(figures) for figures in every))
    for number in sip.STREAMS:
        heard = [figures.audio[number] for figures in every]
        for row in audio.rows(heard, report.figures[sip.FORWARDING].audio[number], number):
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


def show_versus(report: versus.Report, console: Console) -> None:
    console.print(f"{report.machine}; medians of {report.effort.rounds} rounds; with each ratio its 95 % range.")
    table = Table("", versus.BEFORE, versus.AFTER, "after / before", "")
    for row in versus.rows(report):
        table.add_row(*row)
    console.print(table)
