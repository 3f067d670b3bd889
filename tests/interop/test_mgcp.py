"""osmo-mgw and a call agent on either side of a gateway in each of its roles, which drops all that pinhole does not
carry. RTP that is heard had its pinholes, and nothing else."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import pytest

from tests.netns.namespaces import needs_root
from tools.lab import Host, Lab, gateways
from tools.lab.gateways import HIDING, ROLES, ROUTING, Gateway, Role
from tools.lab.lab import LAN4, LAN6, WAN4, WAN6
from tools.peers import mgcp
from tools.peers.mgcp import AGENT_PORT, DOMAIN, GATEWAY_PORT, At, Phone, Speaker, converse, exchange, osmo_mgw

pytestmark = [
    pytest.mark.interop,
    pytest.mark.netns,
    pytest.mark.slow,
    needs_root,
    pytest.mark.skipif(bool(mgcp.missing()), reason=f"not installed (tools/setup --test): {mgcp.missing()}"),
]

Begins = Literal["agent", "gateway"]
WAYS = [(role, begins) for role in ROLES for begins in ("agent", "gateway")]
PACKETS = 10
IDLE_SECONDS = 120
"""A media gateway that has told of its restart is not forgotten, however long osmo-mgw begins."""
EVERY = f'media: ["{LAN4}", "{LAN6}", "{WAN4}", "{WAN6}"]'


def naming(role: Role) -> Role:
    """The role with policies by which agents may name any host of either side."""
    return replace(role, policies=lambda lab: role.policies(lab).replace("mgcp: {", f"mgcp: {{{EVERY}, "))


@dataclass(frozen=True)
class Site:
    """An agent and a media gateway with a gateway between them."""

    gateway: Gateway
    begins: Begins

    @property
    def agent(self) -> Host:
        return self.gateway.client if self.begins == "agent" else self.gateway.server

    @property
    def mgw(self) -> Host:
        return self.gateway.server if self.begins == "agent" else self.gateway.client

    @property
    def beside(self) -> Host:
        """A host on the agent's side."""
        return self.gateway.clients[1] if self.begins == "agent" else self.gateway.neighbour


@contextlib.contextmanager
def introduced(site: Site, version: int, domain: str = DOMAIN) -> Iterator[tuple[Speaker, At]]:
    """The agent, and where it finds its media gateway, which has told it of a restart if it is the one to begin."""
    mgw_at, found = site.mgw.address(version), (str(site.gateway.dialled(version)), GATEWAY_PORT)
    with Speaker(site.agent, site.agent.address(version), AGENT_PORT) as agent:
        if site.begins == "gateway":
            with Speaker(site.mgw, mgw_at, GATEWAY_PORT) as booting:
                booting.say(f"RSIP 77 *@{domain} MGCP 1.0\r\nRM: restart\r\n", (found[0], AGENT_PORT))
                said, found = agent.hear()
                assert said.startswith("RSIP 77 *@")
                agent.say("200 77 OK\r\n", found)
                assert booting.hear()[0] == "200 77 OK\r\n"
        with osmo_mgw(site.mgw, mgw_at, domain):
            yield agent, found


@pytest.fixture(scope="module", params=WAYS, ids=lambda way: f"{way[0].name}-{way[1]}_begins")
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    role, begins = request.param
    with gateways.serving(naming(role), "nft", idle_seconds=IDLE_SECONDS) as gateway:
        yield Site(gateway, begins)


def ended(site: Site, before: int) -> None:
    """Both connections have ended, RTP has passed in each, and nothing was wrong."""
    daemon = site.gateway.daemon
    earlier = sum(line["event"] == "mgcp.connection_ended" for line in daemon.audit()[:before])
    daemon.wait_for("mgcp.connection_ended", count=earlier + 2)
    log = daemon.audit()[before:]
    for line in log:
        if line["event"] == "mgcp.connection_ended":
            assert (line["reason"], line["packets_to_gateway"]) == ("agent", PACKETS)
            if daemon.kernel_path == "off":  # nobody measures what the kernel carries
                assert line["lost_to_gateway"] == 0
            assert line["packets_from_gateway"] >= PACKETS  # osmo-mgw says a word of its own to begin with
    assert not {"violation", "engine.failed", "pinhole.refused", "address.kept"} & {line["event"] for line in log}


@pytest.mark.parametrize("version", [4, 6], ids=["ipv4", "ipv6"])
def test_far_ends_that_are_told_first_hear_each_other_by_their_media_gateway(site: Site, version: int) -> None:
    """MG12, MG14: one far end is at a third host."""
    before = len(site.gateway.daemon.audit())
    with (
        introduced(site, version) as (agent, found),
        Phone(site.agent, site.agent.address(version), 6000) as one,
        Phone(site.beside, site.beside.address(version), 6002) as other,
    ):
        converse(agent, found, one, other, PACKETS)
        ended(site, before)


@pytest.mark.parametrize("version", [4, 6], ids=["ipv4", "ipv6"])
def test_far_ends_that_are_told_later_hear_each_other_too(site: Site, version: int) -> None:
    """MG8, MG12, MG19: every command comes twice, and endpoints are named by the media gateway's own address, which is
    another one for its agent."""
    before = len(site.gateway.daemon.audit())
    mgw_at = site.mgw.address(version)
    with (
        introduced(site, version, f"[{mgw_at}]") as (agent, found),
        Phone(site.agent, site.agent.address(version), 6000) as one,
        Phone(site.beside, site.beside.address(version), 6002) as other,
    ):
        agent.copies = 2
        endpoint, own = f"rtpbridge/1@[{found[0]}]", ("C: 2", "M: sendrecv")
        audited = agent.ask(found, "AUEP", endpoint)
        assert audited.code == 200
        # osmo-mgw does not know that a command for any endpoint (`*`) has come before.
        made = [agent.ask(found, "CRCX", endpoint, "C: 2", "L: p:20, a:PCMU", "M: recvonly") for _ in (one, other)]
        for phone, response in zip((one, other), made, strict=True):
            changed = agent.ask(found, "MDCX", endpoint, *own, f"I: {response.parameters['I']}", media=phone.at)
            assert (changed.code, changed.media) == (200, response.media)
        exchange(one, made[0].media, other, made[1].media, PACKETS)
        assert agent.ask(found, "DLCX", endpoint, "C: 2").code in (200, 250)
        ended(site, before)


@pytest.mark.parametrize("role", [ROUTING, HIDING], ids=lambda role: role.name)
def test_two_media_gateways_behind_one_gateway_are_joined_by_an_agent_outside(role: Role) -> None:
    """MG15, MG20: with source NAT their media goes by the relays, and one of them has another port than 2427."""
    with (
        gateways.serving(role, "nft", idle_seconds=IDLE_SECONDS) as gateway,
        Speaker(gateway.server, gateway.server.v4, AGENT_PORT) as agent,
    ):
        found: list[At] = []
        for host in gateway.clients:
            with Speaker(host, host.v4, GATEWAY_PORT) as booting:
                booting.say(f"RSIP 1 *@{DOMAIN} MGCP 1.0\r\nRM: restart\r\n", (str(gateway.server.v4), AGENT_PORT))
                found.append(agent.hear()[1])
                agent.say("200 1 OK\r\n", found[-1])
                booting.hear()
        assert len(set(found)) == 2
        near, far = gateway.clients
        with (
            osmo_mgw(near, near.v4),
            osmo_mgw(far, far.v4),
            Phone(gateway.server, gateway.server.v4, 6000) as one,
            Phone(gateway.neighbour, gateway.neighbour.v4, 6002) as other,
        ):
            ends, crossing = [], []
            for at, phone in zip(found, (one, other), strict=True):
                outer = agent.ask(at, "CRCX", f"rtpbridge/*@{DOMAIN}", "C: 2", "M: sendrecv", media=phone.at)
                ends.append(outer.media)
                inner = agent.ask(at, "CRCX", outer.parameters["Z"], "C: 2", "M: recvonly")
                crossing.append((at, outer.parameters["Z"], inner))
            for (at, endpoint, inner), (_, _, partner) in zip(crossing, reversed(crossing), strict=True):
                words = "C: 2", "M: sendrecv", f"I: {inner.parameters['I']}"
                assert agent.ask(at, "MDCX", endpoint, *words, media=partner.media).code == 200
            exchange(one, ends[0], other, ends[1], PACKETS)


def test_without_its_helper_no_audio_comes() -> None:
    """Commands and responses pass the firewall, and the RTP that they agree on does not."""
    with Lab("routed") as lab:
        lab.firewall(
            """
            table inet strict { chain forward { type filter hook forward priority filter; policy drop;
                ct state established,related accept
                iifname lan0 udp dport { 2427, 2727 } accept
                meta l4proto icmpv6 accept
            }
            }
            """
        )
        with (
            osmo_mgw(lab.server, lab.server.v4),
            Speaker(lab.client, lab.client.v4, AGENT_PORT) as agent,
            Phone(lab.client, lab.client.v4, 6000) as one,
            Phone(lab.client_stranger, lab.client_stranger.v4, 6002) as other,
        ):
            endpoint, ends = f"rtpbridge/*@{DOMAIN}", []
            for phone in (one, other):
                at = str(lab.server.v4), GATEWAY_PORT
                made = agent.ask(at, "CRCX", endpoint, "C: 2", "M: sendrecv", media=phone.at)
                endpoint = made.parameters.get("Z", endpoint)
                ends.append(made.media)
            one.send([mgcp.rtp(1, 1)], ends[0])
            with pytest.raises(TimeoutError):
                other.hear(0.5)
