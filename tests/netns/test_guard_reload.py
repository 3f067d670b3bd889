"""A reload to a configuration that asks for other rules: the guard brings them in force, or a daemon that may do so
itself. Where nobody does, the reload says it."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator

import pytest

from proxy.command.client import ask
from tests.harness.waiting import until
from tests.netns.guard_site import ALL, NARROW, Kept, is_read, kept_site
from tests.netns.namespaces import needs_root

pytestmark = [pytest.mark.netns, pytest.mark.slow, needs_root]


@pytest.fixture
def site() -> Iterator[Kept]:
    with kept_site() as site:
        yield site


@pytest.mark.parametrize("ask", ["reload", "SIGHUP"])
def test_a_reload_brings_other_rules_in_force(site: Kept, ask: str) -> None:
    site.guard()
    site.daemon.start()
    site.daemon.write_config(NARROW)
    assert site.status("net", "status") == 1
    if ask == "reload":
        assert site.status("reload") == 0
    else:
        site.daemon.signal(signal.SIGHUP)
        site.daemon.wait_for("config.reloaded")
    assert site.status("net", "status") == 0
    assert "10.1.0.77" in site.run("nft list table inet pinhole")
    assert not site.daemon.audit("rules.missing")


def test_told_by_a_signal_the_guard_sets_up_what_the_configuration_says_now(site: Kept) -> None:
    guard = site.guard()
    site.daemon.write_config("policies: [{name: broken}]\n")
    guard.send_signal(signal.SIGHUP)
    until(lambda: "policies[0]" in site.said.read_text())
    site.daemon.write_config(NARROW)
    guard.send_signal(signal.SIGHUP)
    until(lambda: "10.1.0.77" in site.run("nft list table inet pinhole"))
    assert site.status("net", "status") == 0


def test_a_reload_that_cannot_bring_rules_in_force_fails_and_changes_nothing(site: Kept) -> None:
    other = site.daemon.directory / "other.yaml"
    shutil.copy(site.daemon.config, other)
    site.guard("-c", str(other))
    site.daemon.start()
    site.daemon.write_config(NARROW)
    said = site.daemon.command("reload", "-c", str(site.daemon.config), check=False)
    assert said.returncode == 1
    assert f"the guard reads {other}, which asks for other rules" in said.stderr
    assert "10.1.0.77" not in site.run("nft list table inet pinhole")
    assert is_read(site.lab, site.daemon)


@pytest.mark.parametrize("as_root", [False, True])
def test_a_reload_whose_rules_cannot_be_had_leaves_the_control_socket_as_it_was(site: Kept, as_root: bool) -> None:
    if as_root:
        site.as_root()
    other = site.daemon.directory / "other.yaml"
    shutil.copy(site.daemon.config, other)
    site.guard("-c", str(other))
    site.daemon.start()
    control, moved = f"{site.daemon.directory}/control.sock", site.daemon.directory / "moved.sock"
    site.daemon.write_file(f"{NARROW}control: {moved}\n")
    (problem,) = ask(control, "POST", "v1/reload")["problems"]
    assert "asks for other rules" in problem and problem.endswith("nothing was reloaded")
    assert not moved.exists()
    assert ask(control, "GET", "v1/status")["state"] == "serving"


def test_without_a_guard_a_reload_to_other_rules_says_that_nobody_has_set_them_up(site: Kept) -> None:
    site.daemon.net_up()
    site.daemon.start()
    site.daemon.write_config(NARROW)
    said = site.daemon.command("reload", "-c", str(site.daemon.config), check=False)
    assert said.returncode == 1
    assert "the firewall rules are still the old ones" in said.stderr
    # The next one wants no others, and says so too: it cannot see whether somebody has done it.
    said = site.daemon.command("reload", "-c", str(site.daemon.config))
    assert "nobody here can see whether they still are" in said.stderr + said.stdout
    assert site.daemon.ask("status")["rules_in_doubt"]


def test_started_as_root_it_needs_no_guard_for_a_reload(site: Kept) -> None:
    site.as_root()
    site.daemon.net_up()
    site.daemon.start()
    until(lambda: site.daemon.ask("status")["rules_watched"] == "all")
    site.daemon.write_config(NARROW)
    assert site.status("reload") == 0
    assert site.status("net", "status") == 0
    site.daemon.command("net", "down")
    site.daemon.wait_for("rules.missing")
    site.daemon.write_config(ALL)
    assert site.status("reload") == 1  # it does not set up what the operator has taken down
    assert "pinhole" not in site.run("nft list tables")


def test_started_after_a_change_the_daemon_has_its_rules_set_up(site: Kept) -> None:
    site.guard()
    site.daemon.write_config(NARROW)
    site.daemon.start()
    assert site.status("net", "status") == 0
