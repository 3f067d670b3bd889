"""The bench of packets in the kernel does what it says: every way carries what it is given, and rows count it."""

from __future__ import annotations

import pytest

from tests.netns.namespaces import needs_root
from tools.bench import kernel_path
from tools.bench.rounds import Packets

pytestmark = [pytest.mark.netns, pytest.mark.slow, needs_root]


def test_each_way_carries_all_packets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, streams in (("FEW", 2), ("MANY", 3), ("MOST", 4)):
        monkeypatch.setattr(kernel_path, name, streams)
    monkeypatch.setattr(kernel_path, "STREAMS", (2, 3, 4))
    report = kernel_path.run(Packets(rounds=2, packets=50), lambda _: None)
    assert list(report.figures) == list(kernel_path.WAYS)
    for figures in report.figures.values():
        assert figures.lost == 0 and all(len(cpu) == 2 and min(cpu) > 0 for cpu in figures.cpu.values())
    assert len(list(kernel_path.rows(report))) == 12 and len(report.bars) == 10
    assert all(bar.range is not None and bar.range[0] <= bar.value <= bar.range[1] for bar in report.bars)
