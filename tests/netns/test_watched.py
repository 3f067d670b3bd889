"""A call as those see it who watch the gateway: sngrep by HEP, Prometheus by TCP."""

from __future__ import annotations

import contextlib
import json
import signal
import struct
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.harness.measured import PROMTOOL, promtool, series
from tests.harness.pcap import Datagram, datagrams
from tests.harness.waiting import until
from tests.netns.namespaces import needs_root
from tools.lab import Daemon, Lab, pinhole
from tools.lab.daemon import LONGEST_WAIT_SECONDS
from tools.peers import sipp

SNGREP = PROMTOOL.with_name("sngrep")
PACKETS = 20
WATCHED = ("rules", "routes")
MESSAGES = 6
"""INVITE, 180, 200, ACK, BYE, 200."""

pytestmark = [
    pytest.mark.netns,
    pytest.mark.interop,
    pytest.mark.slow,
    needs_root,
    pytest.mark.skipif(not SNGREP.exists(), reason="not unpacked (tools/setup --test): sngrep, prometheus"),
]

CONFIGURATION = """
policies: [{name: out, from: [lan0], action: accept, snat: interface}]
metrics: {listen: 9467}
hep: {to: "127.0.0.1:9060", id: 7}
"""


@dataclass(frozen=True, slots=True)
class Watched:
    """What was seen of one call through a gateway with NAT."""

    lab: Lab
    daemon: Daemon
    collected: list[Datagram]
    """What sngrep has written down of the copies that it got."""
    said: str
    """What sngrep has printed."""
    metrics: str
    """After the call."""


def page(lab: Lab, name: str) -> str:
    return lab.gateway.run(("curl", "-sS", f"http://127.0.0.1:9467/{name}")).stdout


def watches(what: str) -> str:
    """The series that says whether it does."""
    return f'pinhole_rules_watched{{what="{what}"}}'


def are_written(file: Path) -> bool:
    """Whether each message of both legs is there."""
    with contextlib.suppress(KeyError, IndexError, struct.error):  # the file begins, or half of a message is there
        return len(datagrams(file, 5060)) >= 2 * MESSAGES
    return False


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    written = tmp_path_factory.mktemp("sngrep") / "calls.pcap"
    with Lab("nat") as lab:
        command = (str(SNGREP), "-F", "-N", "-L", "udp:127.0.0.1:9060", "-O", str(written))
        sngrep = lab.gateway.popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        lab.gateway.wait_until_bound("udp", 9060, sngrep)
        with pinhole(lab, CONFIGURATION) as daemon:
            sipp.call(lab.client, lab.server, lab.server.v4, "udp", bytes(range(160)) * PACKETS)
            daemon.wait_for("call.ended")
            metrics = page(lab, "metrics")
            # Told to end, it reads no further, and writes down nothing of what it has read.
            until(lambda: lab.gateway.is_all_read(9060))
            until(lambda: are_written(written), "sngrep has not written down all messages")
            sngrep.send_signal(signal.SIGINT)
            said = sngrep.communicate(timeout=LONGEST_WAIT_SECONDS)[0]
            yield Watched(lab, daemon, datagrams(written, 5060), said, metrics)


def test_sngrep_shows_one_call_as_one(watched: Watched) -> None:
    assert watched.said.split()[-3:] == ["Dialog", "count:", "1"]


def test_sngrep_has_each_message_of_both_legs(watched: Watched) -> None:
    lab = watched.lab
    phone, server, ours = lab.client.v4, lab.server.v4, lab.gateway.address(4, "wan0")
    legs = Counter((one.source.host, one.target.host) for one in watched.collected)
    assert legs == {(phone, server): 3, (server, phone): 3, (ours, server): 3, (server, ours): 3}
    assert sum(legs.values()) == 2 * MESSAGES
    for came, went in zip(watched.collected[::2], watched.collected[1::2], strict=True):
        assert came.data.split(b"\r\n")[0].split()[-1] == went.data.split(b"\r\n")[0].split()[-1]
    inside, outside = watched.collected[:2]
    assert f"Contact: <sip:caller@{phone}:5060".encode() in inside.data
    assert f"Contact: <sip:caller@{ours}:5060".encode() in outside.data


def test_prometheus_counts_the_call_its_messages_and_its_packets_once(watched: Watched) -> None:
    promtool("check", "metrics", given=watched.metrics)
    found = series(watched.metrics)
    assert found['pinhole_sip_requests_total{method="INVITE"}'] == 1
    assert found['pinhole_sip_responses_total{code="200",method="BYE"}'] == 1
    assert found['pinhole_relayed_packets_total{purpose="rtp"}'] == 2 * PACKETS
    assert found['pinhole_relayed_bytes_total{purpose="rtp"}'] == 2 * PACKETS * 172
    assert found['pinhole_calls{helper="sip"}'] == found['pinhole_helper_pinholes{helper="sip",purpose="rtp"}'] == 0
    assert found['pinhole_limit_used{limit="sessions_per_client"}'] == 1
    assert found["pinhole_hep_messages_total"] == 2 * MESSAGES
    assert found["pinhole_hep_messages_lost_total"] == 0


def test_the_audit_log_tells_how_well_the_audio_came(watched: Watched) -> None:
    (stream,) = watched.daemon.audit("call.ended")[0]["streams"]
    for role in ("caller", "callee"):
        assert (stream[f"packets_to_{role}"], stream[f"lost_to_{role}"]) == (PACKETS, 0)
        assert stream[f"codec_to_{role}"] == "PCMA"
        # Of wall time, so a busy machine makes some; in another unit it would be larger.
        assert 0 < stream[f"jitter_seconds_to_{role}"] < 1


def test_the_daemon_is_alive_and_ready_until_rules_are_gone(watched: Watched) -> None:
    assert json.loads(page(watched.lab, "healthz")) == {"alive": True}
    all_well = {"ready": True, "checks": dict.fromkeys(("listeners", "rules", "audit", "loop"), "ok")}
    # It is not ready when it got no processor for a while within the last ten seconds.
    until(
        lambda: json.loads(page(watched.lab, "readyz")) == all_well,
        lambda: page(watched.lab, "readyz"),
        LONGEST_WAIT_SECONDS,
    )
    until(lambda: {series(page(watched.lab, "metrics"))[watches(what)] for what in WATCHED} == {1})
    watched.lab.gateway.run(("nft", "flush", "ruleset"))
    watched.daemon.wait_for("rules.missing")
    ready = json.loads(page(watched.lab, "readyz"))
    assert not ready["ready"]
    assert ready["checks"]["rules"].startswith("missing: ")
    assert series(page(watched.lab, "metrics"))["pinhole_rules_missing"] > 0
    watched.daemon.net_up()
    watched.daemon.wait_for("rules.restored")
    until(
        lambda: json.loads(page(watched.lab, "readyz"))["ready"],
        lambda: page(watched.lab, "readyz"),
        LONGEST_WAIT_SECONDS,
    )
