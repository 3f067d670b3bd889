"""`pinhole run --net`, which keeps its own rules, and what `net up` and `net down` do beside whoever keeps some."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from tests.harness.waiting import until
from tests.netns.ftp_talk import fate, server
from tests.netns.guard_site import ALL, LONGEST_SECONDS, NARROW, Kept, is_read, kept_site
from tests.netns.namespaces import needs_root
from tools.lab import Daemon, Lab
from tools.lab.daemon import COMMAND, ROOT

pytestmark = [pytest.mark.netns, pytest.mark.slow, needs_root]


@pytest.fixture
def site() -> Iterator[Kept]:
    with kept_site() as site:
        yield site


@pytest.mark.parametrize("backend", ["nft", "iptables"])
def test_run_with_net_keeps_its_own_rules_and_takes_them_down_at_the_end(backend: str) -> None:
    with Lab("routed") as lab:
        daemon = Daemon(lab, ALL, "nft", unprivileged=False)
        daemon.start("--net", "--backend", backend)
        assert daemon.until(rules_kept=True)
        lab.gateway.run(["nft", "flush", "ruleset"])
        assert daemon.wait_for("rules.restored")["seconds"] < LONGEST_SECONDS
        assert is_read(lab, daemon)
        daemon.write_config(NARROW)
        assert daemon.command("reload", "-c", str(daemon.config)).returncode == 0
        assert "10.1.0.77" in lab.gateway.run(["nft", "list", "ruleset"]).stdout
        daemon.stop()
        assert "pinhole" not in lab.gateway.run(["sh", "-c", "nft list ruleset; ip rule"]).stdout.lower()
        shutil.rmtree(daemon.directory)


def test_a_second_run_with_net_is_told_of_the_first(site: Kept) -> None:
    site.as_root()
    site.daemon.start("--net")
    second = site.lab.gateway.run((*COMMAND, "run", "--net", "-c", str(site.daemon.config)), cwd=ROOT, check=False)
    assert (second.returncode, second.stderr) == (
        1,
        "pinhole: another `pinhole run --net` serves here, and keeps the rules: end it first\n",
    )
    assert site.status("net", "status") == 0


@pytest.mark.parametrize("command", ["run --net", "net guard"])
def test_net_up_by_the_other_backend_is_refused_where_a_guard_would_undo_it(site: Kept, command: str) -> None:
    if command == "net guard":
        site.guard("--backend", "nft")
        until(lambda: site.status("net", "status") == 0)
    else:
        site.as_root()
        site.daemon.start("--net", "--backend", "nft")
    before = site.run("nft list ruleset")
    up = ("net", "up", "-c", str(site.daemon.config), "--backend")
    refused = site.daemon.command(*up, "iptables", check=False)
    assert refused.returncode == 1
    assert f"`pinhole {command}` keeps rules by nft here, and would put them back" in refused.stderr
    assert site.run("nft list ruleset") == before
    assert site.status(*up[:2], "--backend", "nft") == 0


@pytest.mark.parametrize("backend", ["nft", "iptables"])
def test_net_down_without_a_word_of_the_backend_lets_sessions_pass_as_before(site: Kept, backend: str) -> None:
    with server(site.lab.server):
        for _ in range(2):
            site.daemon.command("net", "up", "--backend", backend, "-c", str(site.daemon.config))
            assert site.status("net", "status") == 0
            assert fate(site.lab.client, str(site.lab.server.v4), 21) in ("refused", "silent")
            site.daemon.command("net", "down")
            assert site.status("net", "status") == 1
            assert fate(site.lab.client, str(site.lab.server.v4), 21).startswith("open 220")


def test_net_up_tells_a_reader_what_it_does(site: Kept) -> None:
    for backend, line in (
        ("nft", "nft: table inet pinhole"),
        ("iptables", "iptables: chains PINHOLE and PINHOLE-GUARD"),
    ):
        said = site.daemon.command("net", "up", "--backend", backend, "-c", str(site.daemon.config)).stderr
        assert line in said
        assert "-f -" not in said
        assert "sh -c" not in said
