"""A daemon that is a fork of a process which has imported pinhole: it is what the command begins, and ends as that."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.harness.waiting import until
from tests.netns.namespaces import needs_root
from tools.lab import Daemon, Lab, pinhole
from tools.lab.forks import FORKS, ROOT

pytestmark = [pytest.mark.netns, pytest.mark.slow, needs_root]

ALL = "policies: [{name: all, from: [lan0], action: accept}]"
ITS_OWN = ("Pid", "Tgid", "Ngid", "NSpid", "NStgid", "NSpgid", "NSsid", "PPid", "Vm", "Rss", "Hugetlb", "SigQ")
"""What the kernel says of a process that is another one in each, or tells how large it is."""
AT_THE_TIME = ("State", "voluntary", "nonvoluntary", "FDSize", "Cpus", "Mems")


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab("routed") as lab:
        yield lab


def nobody_asks(lab: Lab, daemon: Daemon) -> bool:
    """Whether the connections by which the daemon was asked for its status are closed at its end as well: of the
    sockets with that path the one that listens is left."""
    return lab.gateway.run(["cat", "/proc/net/unix"]).stdout.count(f"{daemon.directory}/control.sock") == 1


def kept(pid: int) -> dict[str, object]:
    """What a process has from whoever began it, and what it has made of that."""
    process = Path(f"/proc/{pid}")
    lines = (process / "status").read_text().splitlines()
    return {
        "status": [line for line in lines if not line.startswith(ITS_OWN + AT_THE_TIME)],
        "limits": (process / "limits").read_text(),
        "descriptors": {
            int(entry.name): re.sub(r"\d+|pinhole-\w+", "*", os.readlink(entry)) for entry in (process / "fd").iterdir()
        },
        "namespace": os.readlink(process / "ns/net"),
        "directory": os.readlink(process / "cwd"),
        "owner": process.stat().st_uid,
        "leads": (os.getpgid(pid) == pid, os.getsid(pid) == pid),
    }


@pytest.mark.parametrize("unprivileged", [True, False], ids=["user", "root"])
def test_it_has_what_one_has_that_the_command_begins(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, unprivileged: bool
) -> None:
    found = []
    for is_forked in (True, False):
        monkeypatch.setattr("tools.lab.daemon.IS_FORKED", is_forked)
        with pinhole(lab, ALL, unprivileged=unprivileged) as daemon:
            daemon.ask("status")
            until(partial(nobody_asks, lab, daemon))
            assert (b"serve" in Path(f"/proc/{daemon.pid}/cmdline").read_bytes()) == is_forked
            found.append(kept(daemon.pid))
    forked, begun = found
    assert forked == begun


def test_its_status_is_told_and_the_signal_that_ended_it(lab: Lab) -> None:
    daemon = Daemon(lab, ALL, "nft", unprivileged=True)
    daemon.net_up()
    for number, status in ((signal.SIGTERM, 0), (signal.SIGKILL, -signal.SIGKILL)):
        daemon.start()
        daemon.signal(number)
        assert daemon.wait() == status
        assert not Path(f"/proc/{daemon.pid}").exists()
    daemon.net_down()


def test_one_that_does_not_start_says_why(lab: Lab) -> None:
    with pinhole(lab, ALL), pytest.raises(RuntimeError, match="is another pinhole running"):
        Daemon(lab, ALL, "nft", unprivileged=True).start()


def test_it_goes_with_its_lab_and_the_process_that_forks_stays() -> None:
    with Lab("routed") as one, one.gateway.inside():
        daemon = Daemon(one, ALL, "nft", unprivileged=True)
        daemon.start()
    assert daemon.wait() == -signal.SIGKILL
    with Lab("routed") as other:
        before = FORKS.run(other.gateway, ["--version"], ROOT, check=True)
        assert before.stdout.startswith("pinhole ")
