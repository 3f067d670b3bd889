"""The machine fails while a call and a transfer go on. They are not touched, what is new is refused in the words of its
own protocol, the operator is told why, and when the fault ends nothing is left of it.

Every fault that an operator may meet, and the test that shows it:

    fault                       test
    SIGKILL, and restart        test_killed_... (here: a call and a transfer; test_daemon.py, test_tns_lifetimes.py,
                                test_guard.py: FTP, Oracle, beside a guard; test_privileges.py: rules)
    no descriptors (EMFILE)     test_without_descriptors_... (here: suddenly; test_daemon.py: from the start)
    no memory (ENOBUFS)         test_where_the_kernel_has_no_memory_..., test_an_interface_whose_queue_is_full_...
                                (here); test_guard.py: news of the kernel that are lost
    no ports of NAT             test_without_ports_..., test_without_a_port_to_dial_from_... (here)
    disk full                   test_daemon.py; where the log is required: test_faults_around.py
    each kind of sink blocked   test_faults_around.py (all at once); test_sinks.py, test_syslog.py (each alone)
    resolver dead               test_faults_around.py
    clock set back              test_faults_around.py
    rules flushed               test_guard.py, test_rules_watch.py, test_watched.py
    interface down and up       test_guard.py; loopback: test_rules_watch.py
    address changed             test_guard.py; in the midst of sessions: test_daemon.py, test_flows.py
"""

from __future__ import annotations

import contextlib
import itertools
import os
import pwd
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.ftp_talk import Talk, fate, passive_address
from tests.netns.media_site import FEW, SECONDS, Phone, audio, both_are_heard, described, site
from tests.netns.media_site import Talk as Call
from tests.netns.namespaces import needs_root
from tests.netns.test_daemon import ending, half_way
from tests.netns.traffic import Traffic, going_on, last_heard, setting
from tools.lab import Daemon, Host

pytestmark = [pytest.mark.netns, pytest.mark.slow, needs_root]

FEW_PORTS = 4
"""For two calls, which take two each."""


@pytest.fixture
def traffic() -> Iterator[Traffic]:
    with site("S") as place, going_on(place) as traffic:
        yield traffic


# -- SIGKILL -----------------------------------------------------------------------------------------------------------


def test_killed_nothing_stays_open_and_after_the_restart_calls_and_transfers_begin_anew(traffic: Traffic) -> None:
    daemon, call = traffic.daemon, traffic.call
    daemon.signal(signal.SIGKILL)
    daemon.wait()
    assert traffic.gateway.run(["sh", "-c", "ss -Htln; ss -Huan"]).stdout == ""
    assert ending(traffic.data) == ending(traffic.held.data[0]) == "reset"
    # The holder detaches the program once it sees that the daemon is gone. On a busy machine it has its turn somewhat
    # later; what stayed attached would be heard for all of SECONDS.
    assert last_heard(call) < SECONDS - 1
    daemon.start()
    daemon.until(sessions=0, pinholes=0, ports_leased=0)
    call.change(call.caller)  # the next offer of the same call, as of a session timer
    both_are_heard(call)
    with traffic.another() as talk, half_way(traffic.place.lab, talk) as data:
        traffic.held.finish()
        assert ending(data) == "closed"
    call.hang_up()
    traffic.is_over()
    assert len({line["instance"] for line in daemon.audit("daemon.started")}) == 2


# -- EMFILE ------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def no_descriptors(daemon: Daemon, gateway: Host) -> Iterator[None]:
    """What is open stays, and nothing more can be opened."""
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{daemon.pid}/status").read_text().splitlines())
    user = pwd.getpwuid(int(status["Uid"].split()[0])).pw_name  # who may change its soft limit
    command = ["prlimit", f"--pid={daemon.pid}"]
    before = gateway.run([*command, "--nofile", "--raw", "--noheadings", "-o", "SOFT"], user=user).stdout.strip()
    used = set(map(int, os.listdir(f"/proc/{daemon.pid}/fd")))
    first_free = next(number for number in itertools.count() if number not in used)
    gateway.run([*command, f"--nofile={first_free}:"], user=user)
    try:
        yield
    finally:
        gateway.run([*command, f"--nofile={before}:"], user=user)


def test_without_descriptors_what_is_new_is_refused_in_its_own_words_and_the_rest_goes_on(traffic: Traffic) -> None:
    place, daemon = traffic.place, traffic.daemon
    before = daemon.ask("status")["descriptors"]
    with traffic.another() as idle:
        with no_descriptors(daemon, traffic.gateway):
            traffic.goes_on()
            assert traffic.offers().startswith("SIP/2.0 503 ")
            assert idle.ask("PASV").startswith("425 ")
            assert fate(traffic.client, traffic.server, 21) == "reset"
            stranger = Phone(place, place.lab.client_stranger, place.near.to)
            stranger.say(Call(stranger, place.far), "INVITE", 1, described(stranger.at, audio(9000)))
            daemon.wait_for("session.denied", reason="no_descriptors")
            daemon.wait_for("listener.overloaded")
            for purpose in ("rtp", "ftp-data"):
                daemon.wait_for("pinhole.refused", reason="no_descriptors", purpose=purpose)
            said = daemon.command("status", "-c", str(daemon.config), check=False)
            assert "no descriptor left" in said.stderr
        traffic.goes_on()
        assert traffic.metric('pinhole_pinholes_refused_total{reason="no_descriptors"}') == 2
        assert passive_address(idle.ask("PASV"))
    daemon.wait_for("session.closed")
    traffic.calls()
    assert daemon.ask("status")["descriptors"] == before
    traffic.ends()


# -- no ports ----------------------------------------------------------------------------------------------------------


def test_without_ports_calls_and_transfers_are_refused_in_their_own_words_and_others_go_on() -> None:
    with site("S", ports=f"40000-{40000 + FEW_PORTS - 1}") as place, going_on(place) as traffic:
        daemon, other = traffic.daemon, place.talk()
        with contextlib.ExitStack() as more:
            talks = [more.enter_context(traffic.another()) for _ in range(FEW_PORTS + 1)]
            said = [talk.ask(f"PORT 10,1,0,2,100,{number}")[:3] for number, talk in enumerate(talks)]
            assert said == [*["200"] * FEW_PORTS, "425"]
            assert traffic.offers().startswith("SIP/2.0 503 ")
            for purpose in ("ftp-data", "rtp"):
                daemon.wait_for("pinhole.refused", reason="no_free_port", purpose=purpose)
            assert traffic.metric('pinhole_limit_used{limit="ports"}') == FEW_PORTS
            both_are_heard(other)
            traffic.goes_on()
        other.hang_up()
        traffic.calls()
        traffic.ends()


def test_without_a_port_to_dial_from_sessions_fail_and_say_so_and_others_go_on(traffic: Traffic) -> None:
    with setting(traffic.gateway, "net.ipv4.ip_local_port_range", "50100 50101"), contextlib.ExitStack() as begun:
        # Those that have begun stay: a session that is over may have left its port to the next one.
        talks: list[Talk] = []
        with pytest.raises(ConnectionResetError):
            for _ in range(3):
                talks.append(begun.enter_context(traffic.another()))
        assert talks
        assert fate(traffic.client, traffic.server, 21) == "reset"
        traffic.daemon.wait_for("session.failed", 2, reason="server_no_source_port")
        traffic.goes_on()
    assert fate(traffic.client, traffic.server, 21).startswith("open 220")
    traffic.ends()


# -- ENOBUFS -----------------------------------------------------------------------------------------------------------


def test_where_the_kernel_has_no_memory_for_filters_pinholes_are_refused_and_the_rest_goes_on(
    traffic: Traffic,
) -> None:
    """A listener in another host's place needs a filter, and media does not."""
    with traffic.another() as idle:
        with setting(traffic.gateway, "net.core.optmem_max", "16"):
            assert idle.ask("PASV").startswith("425 ")
            traffic.daemon.wait_for("pinhole.refused", reason="no_memory")
            assert traffic.metric('pinhole_pinholes_refused_total{reason="no_memory"}') == 1
            traffic.goes_on()
            traffic.calls()
        assert idle.ask("PASV").startswith("227 ")
    traffic.ends()


def test_an_interface_whose_queue_is_full_loses_packets_and_no_session(traffic: Traffic) -> None:
    call = traffic.call
    traffic.gateway.run(["tc", "qdisc", "replace", "dev", "wan0", "root", "pfifo", "limit", "0"])
    call.say(call.caller, FEW)
    assert call.media[call.callee][0].is_deaf_to(call.voices[call.caller])
    traffic.gateway.run(["tc", "qdisc", "del", "dev", "wan0", "root"])
    traffic.goes_on()
    traffic.ends()
