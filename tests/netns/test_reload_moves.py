"""A reload moves the audit log and the control socket, and no session notices."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from proxy.command.client import ask
from proxy.errors import PinholeError
from tests.harness.waiting import until
from tests.netns.ftp_talk import Talk, server
from tests.netns.namespaces import needs_root
from tools.lab import Daemon, Lab, pinhole
from tools.lab.daemon import whole_lines

pytestmark = [pytest.mark.netns, needs_root]

ALL = "policies: [{name: all, from: [lan0], action: accept, snat: interface}]\n"
NARROW = "policies: [{name: narrow, from: [lan0], source: 10.1.0.77, action: accept, snat: interface}]\n"


@pytest.fixture
def lab_and_daemon() -> Iterator[tuple[Lab, Daemon]]:
    with Lab() as lab, pinhole(lab, ALL) as daemon:
        yield lab, daemon


def reload(daemon: Daemon, text: str, at: str) -> dict[str, Any]:
    daemon.write_file(ALL + text)
    return ask(at, "POST", "v1/reload")


@pytest.mark.parametrize("unprivileged", [False, True])
def test_the_log_and_the_control_socket_move_during_a_session(unprivileged: bool) -> None:
    with Lab() as lab, pinhole(lab, ALL, unprivileged=unprivileged) as daemon:
        control, other = f"{daemon.directory}/control.sock", f"{daemon.directory}/other.sock"
        log = daemon.directory / "other.log"
        with server(lab.server), Talk(lab.client, str(lab.server.v4)) as talk:
            assert talk.ask("NOOP").startswith("200")
            answer = reload(daemon, f"audit: {{to: {log}}}\ncontrol: {other}\n", control)
            assert answer["ok"], answer
            assert [change["key"] for change in answer["changes"]] == ["audit.to", "control"]
            assert ask(other, "GET", "v1/status")["sessions"] == 1
            with pytest.raises(PinholeError, match="no daemon answers"):
                ask(control, "GET", "v1/status")
            until(lambda: not Path(control).exists())  # it goes a moment after the listener
            assert talk.ask("NOOP").startswith("200")
        assert ask(other, "GET", "v1/status")["audit_lines_lost"] == 0
        until(lambda: "session.closed" in [line["event"] for line in whole_lines(log)], log.read_text)
        assert next(whole_lines(log))["event"] == "config.reloaded"
        assert "config.reloaded" not in [line["event"] for line in whole_lines(daemon.log)]
        # No line is missing between the two files, and none is in both.
        numbers = [line["seq"] for line in (*whole_lines(daemon.log), *whole_lines(log))]
        assert numbers == list(range(1, len(numbers) + 1))
        # Back again, and the first file goes on.
        assert reload(daemon, f"audit: {{to: {daemon.log}}}\ncontrol: {control}\n", other)["ok"]
        assert ask(control, "GET", "v1/status")["sessions"] == 0


def test_a_log_that_cannot_be_opened_leaves_all_as_it_was(lab_and_daemon: tuple[Lab, Daemon]) -> None:
    _, daemon = lab_and_daemon
    control = f"{daemon.directory}/control.sock"
    text = f"audit: {{to: {daemon.directory}/none/audit.log}}\ncontrol: {daemon.directory}/other.sock\n"
    answer = reload(daemon, text, control)
    (problem,) = answer["problems"]
    assert problem.endswith("audit.log: No such file or directory; nothing was reloaded")
    assert ask(control, "GET", "v1/config")["configuration"]["audit"]["to"] == str(daemon.log)
    assert daemon.wait_for("config.rejected")["problems"] == [problem]


def test_a_control_socket_that_cannot_be_made_leaves_all_as_it_was(lab_and_daemon: tuple[Lab, Daemon]) -> None:
    _, daemon = lab_and_daemon
    control, log = f"{daemon.directory}/control.sock", daemon.directory / "other.log"
    (daemon.directory / "taken").write_text("a file")
    answer = reload(daemon, f"audit: {{to: {log}}}\ncontrol: {daemon.directory}/taken\n", control)
    assert "there is a file that is no socket" in answer["problems"][0]
    assert daemon.wait_for("config.rejected")
    assert log.read_text() == ""
    assert ask(control, "GET", "v1/status")["state"] in ("serving", "degraded")


def test_a_control_socket_that_cannot_be_made_leaves_the_rules_as_they_were(lab_and_daemon: tuple[Lab, Daemon]) -> None:
    """They would be others, and whoever sets them up reads the file as it is now."""
    lab, daemon = lab_and_daemon
    control = f"{daemon.directory}/control.sock"
    (daemon.directory / "taken").write_text("a file")
    until(lambda: daemon.ask("status")["rules_watched"] == "all")
    before = lab.gateway.run(["nft", "list", "table", "inet", "pinhole"]).stdout
    audit = f"audit: {{to: {daemon.log}}}\n"
    daemon.write_file(f"{NARROW}{audit}control: {daemon.directory}/taken\n")
    (problem,) = ask(control, "POST", "v1/reload")["problems"]
    assert "there is a file that is no socket" in problem
    assert problem.endswith("nothing was reloaded")
    assert lab.gateway.run(["nft", "list", "table", "inet", "pinhole"]).stdout == before
    daemon.write_file(f"{NARROW}{audit}control: {control}\n")
    assert ask(control, "POST", "v1/reload")["ok"]
    assert "10.1.0.77" in lab.gateway.run(["nft", "list", "table", "inet", "pinhole"]).stdout


def test_run_and_reload_print_what_is_unwise(lab_and_daemon: tuple[Lab, Daemon]) -> None:
    _, daemon = lab_and_daemon
    words = "warning: timeouts.pinhole_open: 1 s is less than 30"
    daemon.write_config(f"{ALL}timeouts: {{pinhole_open: 1}}")
    assert words in daemon.command("reload", "-c", str(daemon.config)).stderr
    daemon.signal(signal.SIGHUP)
    until(lambda: words in daemon.stderr.read_text(), daemon.log.read_text)
    daemon.stop()
    before = len(daemon.stderr.read_text())
    daemon.start()
    until(lambda: words in daemon.stderr.read_text()[before:], daemon.log.read_text)


def test_files_of_conf_d_are_read_again_where_only_root_may_read_them(lab_and_daemon: tuple[Lab, Daemon]) -> None:
    _, daemon = lab_and_daemon
    parts = daemon.directory / "conf.d"
    parts.mkdir(mode=0o700)
    (parts / "10-dmz.yaml").write_text("policies: {name: dmz, from: [wan0], source: 192.0.2.0/24, action: deny}\n")
    (parts / "10-dmz.yaml").chmod(0o600)
    answer = ask(f"{daemon.directory}/control.sock", "POST", "v1/reload", {"dry_run": "true"})
    assert [change["key"] for change in answer["changes"]] == ["policies[dmz]"]
    (parts / "20-bad.yaml").write_text("ports: 1\nports: 2\n")
    answer = ask(f"{daemon.directory}/control.sock", "POST", "v1/reload", {"dry_run": "true"})
    assert f"{parts}/20-bad.yaml:2:1: ports: this key was given before, in line 1" in answer["problems"]
