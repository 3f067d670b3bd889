"""pinhole's line beside a real firewalld: the unit of configs/ puts it back after each reload."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.waiting import until
from tests.netns.firewalls import Firewalld, start_firewalld
from tests.netns.namespaces import needs_root
from tests.netns.talks import Way, call, transfer
from tools.lab import Lab, pinhole
from tools.lab.gateways import BACKENDS, BackendName

pytestmark = [pytest.mark.netns, pytest.mark.slow, needs_root]

UNIT = Path(__file__).parents[2] / "configs" / "pinhole-firewalld.service"


@pytest.fixture
def firewalld(tmp_path: Path) -> Iterator[Firewalld]:
    with Lab() as lab:
        yield start_firewalld(lab, tmp_path)


LINE = 'meta mark & 0x01000000 == 0x01000000 accept comment "pinhole"'


def start_unit(firewalld: Firewalld, log: Path) -> None:
    """As systemd would, until the line is there."""
    (start,) = (line for line in UNIT.read_text().splitlines() if line.startswith("ExecStart="))
    shell, option, script = start.removeprefix("ExecStart=").split(" ", 2)
    firewalld.start([shell, option, script.strip("'")], log)
    until(lambda: firewalld.first_rule() == LINE, log.read_text)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("is_first", [True, False], ids=["before", "after"])
def test_sessions_pass_beside_it_though_it_looks_for_ways_back_by_the_mark(
    firewalld: Firewalld, tmp_path: Path, backend: BackendName, is_first: bool
) -> None:
    """Which it does in IPv6, as it is shipped (IPv6_rpfilter=yes)."""
    lab, log = firewalld.lab, tmp_path / "unit.log"
    start_unit(firewalld, log)
    with pinhole(lab, "policies: [{name: all, from: [lan0], action: accept, snat: interface}]", backend) as daemon:
        if not is_first:  # its table is made anew
            table = firewalld.table()[0]
            firewalld.command("--reload")
            until(lambda: firewalld.first_rule() == LINE and firewalld.table()[0] != table, log.read_text)
        if not is_first and backend == "iptables":  # whose rules it flushes with its own (FlushAllOnReload)
            daemon.wait_for("rules.missing")
            daemon.net_up()
        for number, version in enumerate((4, 6)):
            way = Way(lab.client, lab.server, version)
            transfer(way, active=False)
            transfer(way, active=True)
            call(way, number)
        assert daemon.audit("session.failed") == []


def test_the_line_is_there_again_after_each_reload(firewalld: Firewalld, tmp_path: Path) -> None:
    log = tmp_path / "unit.log"
    start_unit(firewalld, log)
    for _ in range(2):
        before = firewalld.table()
        firewalld.command("--reload")
        until(lambda: firewalld.first_rule() == LINE, log.read_text)
        after = firewalld.table()
        # With its number: it is another table.
        assert after[0] != before[0]
        assert sum("pinhole" in rule for rule in after) == 1
