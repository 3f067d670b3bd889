"""All that is wanted of media in the kernel, in one run: what a packet costs where they come as fast as they can
(`kernel_path.py`), and what calls with their audio cost and how late it comes (`real_call.py`)."""

from __future__ import annotations

from dataclasses import dataclass

from tools.bench import kernel_path, real_call
from tools.bench.rounds import Bar, Packets, Progress


@dataclass(frozen=True, slots=True)
class Effort:
    packets: Packets
    calls: real_call.Effort


FULL = Effort(kernel_path.FULL, real_call.FULL)
QUICK = Effort(kernel_path.QUICK, real_call.QUICK)


@dataclass(frozen=True, slots=True)
class Report:
    packets: kernel_path.Report
    calls: real_call.Report

    @property
    def bars(self) -> list[Bar]:
        return self.packets.bars + self.calls.bars


def run(effort: Effort, say: Progress) -> Report:
    """The one after the other. Raises RuntimeError when a way does not carry what it should."""
    return Report(kernel_path.run(effort.packets, say), real_call.run(effort.calls, say))
