"""Attacks on the MGCP helper, each really tried through a locked-down gateway (MG2, MG8, MG14, MG17, D39, X10, X11): a
media gateway inside and its agent outside, and strangers on either side. Nothing more opens than was agreed, and the
audit log tells of each."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest

from tests.netns.namespaces import needs_root
from tools.lab import Host, gateways
from tools.lab.gateways import HIDING, PUBLISHING, ROUTING, Gateway, Role
from tools.peers.mgcp import AGENT_PORT, GATEWAY_PORT, At, Phone, Speaker, description, rtp

pytestmark = [pytest.mark.netns, pytest.mark.slow, needs_root]

SECONDS, SILENCE_SECONDS = 10.0, 0.3
IDLE_SECONDS = 60
"""Neither a session nor a connection ends because its peers get no processor for a while."""
RATE = 20
_numbers = itertools.count(100)


@dataclass
class Site:
    """A media gateway inside that its agent outside has got to know, and a connection of it."""

    gateway: Gateway
    mgw: Speaker
    agent: Speaker
    found: At
    """Where the agent finds the media gateway."""
    own: Phone
    """Where the media gateway has the audio of its connection."""
    far: Phone
    place: At = ("", 0)
    """Where the far end finds that."""

    @property
    def inside(self) -> Host:
        """A host beside the media gateway."""
        return self.gateway.lab.client_stranger

    @property
    def outside(self) -> Host:
        """A host beside the agent."""
        return self.gateway.lab.server_stranger

    def command(self, verb: str, *lines: str, media: At | None = None) -> str:
        """A command of the agent. Returns how the media gateway hears it."""
        head = "".join(f"{line}\r\n" for line in (f"{verb} {next(_numbers)} aaln/1@gw MGCP 1.0", *lines))
        self.agent.say(head + ("\r\n" + description(media) if media else ""), self.found)
        return self.mgw.hear()[0]

    def respond(self, heard: str, words: str = "200 {} OK", media: At | None = None, *lines: str) -> str:
        """The media gateway's response to what it has heard. Returns how the agent hears it."""
        head = "".join(f"{line}\r\n" for line in (words.format(heard.split()[1]), *lines))
        self.mgw.say(head + ("\r\n" + description(media) if media else ""), self.known)
        return self.agent.hear()[0]

    @property
    def known(self) -> At:
        """Where the media gateway finds its agent."""
        return str(self.gateway.lab.server.v4), AGENT_PORT

    def talks(self) -> None:
        """The connection carries audio both ways."""
        packet = rtp(next(_numbers), 1)
        self.far.send([packet], self.place)
        assert self.own.hear() == packet
        self.own.send([packet], self.far.at)
        assert self.far.hear() == packet

    def violates(self, before: int, *rules: str) -> bool:
        """Whether these rules, and no others, were violated since the log had so many lines."""
        daemon = self.gateway.daemon
        earlier = sum(line["event"] == "violation" for line in daemon.audit()[:before])
        daemon.wait_for("violation", count=earlier + len(rules))
        return [line["rule"] for line in daemon.audit("violation")[earlier:]] == list(rules)


def is_deaf(one: Speaker | Phone) -> bool:
    """Whether nothing comes."""
    one.socket.settimeout(SILENCE_SECONDS)
    try:
        one.socket.recv(65535)
    except TimeoutError:
        return True
    finally:
        one.socket.settimeout(SECONDS)
    return False


@pytest.fixture(scope="module", params=[HIDING, ROUTING], ids=lambda role: role.name)
def lab(request: pytest.FixtureRequest) -> Iterator[Gateway]:
    role: Role = request.param
    with gateways.serving(role, "nft", idle_seconds=IDLE_SECONDS) as gateway:
        yield gateway


@pytest.fixture
def site(lab: Gateway) -> Iterator[Site]:
    inside, outside = lab.lab.client, lab.lab.server
    with (
        Speaker(inside, inside.v4, GATEWAY_PORT) as mgw,
        Speaker(outside, outside.v4, AGENT_PORT) as agent,
        Phone(inside, inside.v4, 7000) as own,
        Phone(outside, outside.v4, 6000) as far,
    ):
        mgw.say("RSIP 1 *@gw MGCP 1.0\r\nRM: restart\r\n", (str(outside.v4), AGENT_PORT))
        _, found = agent.hear()
        agent.say("200 1 OK\r\n", found)
        mgw.hear()
        site = Site(lab, mgw, agent, found, own, far)
        said = site.respond(site.command("CRCX", "C: 1", "M: sendrecv", media=far.at), "200 {} OK", own.at, "I: A")
        host = said.partition("c=IN IP4 ")[2].split()[0]
        site.place = host, int(said.partition("m=audio ")[2].split()[0])
        site.talks()
        yield site


def test_a_strangers_commands_reach_no_gateway(site: Site) -> None:
    with Speaker(site.outside, site.outside.v4, AGENT_PORT) as stranger:
        moved = "MDCX 5 aaln/1@gw MGCP 1.0\r\nC: 1\r\nI: A\r\n\r\n" + description((str(site.outside.v4), 6000))
        for message in ("DLCX 4 *@gw MGCP 1.0\r\n", moved):
            stranger.say(message, site.found)
        assert is_deaf(site.mgw)
    site.talks()


def test_a_strangers_response_opens_nothing(site: Site) -> None:
    """MG8: it comes with the right transaction id, before that of the gateway."""
    heard, daemon = site.command("CRCX", "C: 2", media=site.far.at), site.gateway.daemon
    number = heard.split()[1]
    daemon.wait_for("pinhole.opened", trigger=f"CRCX {number}")
    before = len(daemon.audit("pinhole.opened"))
    with Speaker(site.inside, site.inside.v4, GATEWAY_PORT) as stranger:
        forged = f"200 {number} OK\r\nI: B\r\n\r\n" + description((str(site.inside.v4), 7000))
        stranger.say(forged, site.known)
        assert is_deaf(site.agent)
    assert site.respond(heard, "401 {} Off Hook").startswith("401")
    daemon.wait_for("mgcp.refused", text="Off Hook")
    assert len(daemon.audit("pinhole.opened")) == before


def test_a_response_that_nobody_has_asked_for_opens_nothing(site: Site) -> None:
    """MG8: not even the gateway's own."""
    before = len(site.gateway.daemon.audit())
    site.mgw.say("200 77777 OK\r\nI: B\r\n\r\n" + description((site.own.at[0], 7100)), site.known)
    assert is_deaf(site.agent)
    assert site.violates(before, "mgcp.unasked")


def test_an_agent_does_not_put_the_far_end_at_a_service_or_at_the_gateway_itself(site: Site) -> None:
    """MG14: it is answered, and its command does not pass; nothing is opened towards the gateway's own addresses."""
    before = len(site.gateway.daemon.audit())
    for at in ((str(site.outside.v4), 53), ("127.0.0.1", 6000)):
        site.agent.say("MDCX 9 aaln/1@gw MGCP 1.0\r\nC: 1\r\nI: A\r\n\r\n" + description(at), site.found)
        assert site.agent.hear()[0].startswith("505 9 ")
    assert is_deaf(site.mgw)
    assert site.violates(before, "mgcp.media", "mgcp.media")
    for interface in ("wan0", "lan0"):
        at = str(site.gateway.lab.gateway.address(4, interface)), 6000
        site.respond(site.command("MDCX", "C: 1", "I: A", media=at))
    targets = {line["target"].rpartition(":")[0] for line in site.gateway.daemon.audit("pinhole.opened")}
    assert targets == {site.own.at[0], site.far.at[0]}
    site.talks()


def test_a_stranger_sends_no_audio_into_a_call(site: Site) -> None:
    """D39: neither before nor after the far end has spoken."""
    with Phone(site.outside, site.outside.v4, 6000) as stranger:
        stranger.send([rtp(1, 9)] * 20, site.place)
        assert is_deaf(site.own)
    site.talks()


def test_another_gateway_ends_no_connection_by_telling_of_a_restart(site: Site) -> None:
    """MG17."""
    with Speaker(site.inside, site.inside.v4, GATEWAY_PORT) as other:
        other.say("RSIP 5 *@gw MGCP 1.0\r\nRM: restart\r\n", site.known)
        assert site.agent.hear()[0].startswith("RSIP 5")
        other.say("DLCX 6 aaln/1@gw MGCP 1.0\r\nC: 1\r\nI: A\r\n", site.known)
        assert site.agent.hear()[0].startswith("DLCX 6")
    site.talks()


def test_what_is_malformed_is_answered_and_passes_no_gateway(site: Site) -> None:
    before = len(site.gateway.daemon.audit())
    first = "AUEP 8 aaln/1@gw MGCP 1.0\r\n"
    for bad in (first + "X: " + "a" * 5000, first + "X: 1\r\n" * 80, first + "X: a\0b\r\n"):
        site.agent.say(bad, site.found)
        assert site.agent.hear()[0] == "510 8 Protocol Error\r\n"
    for bad in (".\r\n".join([first] * 9), "GET / HTTP/1.1\r\n\r\n", "AUEP 8 a\x1b[2J@gw MGCP 1.0\r\n"):
        site.agent.say(bad, site.found)
    assert is_deaf(site.agent) and is_deaf(site.mgw)
    assert site.violates(before, *["mgcp.malformed"] * 4, *["mgcp.not_mgcp"] * 2)
    site.talks()


def test_a_gateway_does_not_command_its_agent(site: Site) -> None:
    """MG3."""
    before = len(site.gateway.daemon.audit())
    site.mgw.say("CRCX 5 aaln/1@agent MGCP 1.0\r\nC: 1\r\n\r\n" + description(site.own.at), site.known)
    assert is_deaf(site.agent)
    assert site.violates(before, "mgcp.agent")


def test_an_agent_that_commands_from_another_port_is_the_same_agent(site: Site) -> None:
    """MG2: no attack, and told from one by its host alone."""
    with Speaker(site.gateway.lab.server, site.gateway.lab.server.v4, 9999) as agent:
        agent.say("AUEP 3 aaln/1@gw MGCP 1.0\r\n", site.found)
        said, source = site.mgw.hear()
        assert said.startswith("AUEP 3")
        site.mgw.say("200 3 OK\r\n", source)
        assert agent.hear()[0] == "200 3 OK\r\n"
    site.talks()


@pytest.mark.parametrize("how", ["wildcard", "restart", "unknown"])
def test_no_audio_passes_after_the_end_of_a_connection(site: Site, how: str) -> None:
    """MG17: the agent deletes all that there is, the gateway has restarted, or it knows the connection no more."""
    reason = {"wildcard": "agent", "restart": "restart", "unknown": "unknown_to_gateway"}[how]
    if how == "wildcard":
        site.agent.say("DLCX 55 *@gw MGCP 1.0\r\n", site.found)
        site.respond(site.mgw.hear()[0], "250 {} OK")
    elif how == "restart":
        site.mgw.say("RSIP 56 aaln/*@gw MGCP 1.0\r\nRM: restart\r\n", site.known)
        assert site.agent.hear()[0].startswith("RSIP 56")
    else:
        site.respond(site.command("MDCX", "C: 1", "I: A", "M: inactive"), "515 {} No Such Connection")
    line = site.gateway.daemon.wait_for("mgcp.connection_ended", reason=reason)
    assert (line["packets_to_gateway"], line["packets_from_gateway"]) == (1, 1)
    site.far.send([rtp(1, 1)], site.place)
    assert is_deaf(site.own)


def heard_besides(speaker: Speaker, verb: str) -> str:
    """The next message but for commands with this verb, of which some may still be on their way."""
    while (said := speaker.hear()[0]).startswith(verb):
        pass
    return said


LISTED = replace(
    PUBLISHING,
    policies=lambda lab: PUBLISHING.policies(lab).replace(
        "mgcp: {", f'mgcp: {{call_agents: ["{lab.client.v4}"], media: ["{lab.server.v4}"], max_connections: 2, '
    ),
)


def test_a_published_agent_is_not_flooded_and_stays_where_its_options_have_it() -> None:
    """Whoever tells it of three hundred calls is heard twenty times a second. Its media is where `media` says, and its
    gateway has no more connections than it may have."""
    with gateways.serving(LISTED, "nft", idle_seconds=IDLE_SECONDS) as gateway:
        agent_host, outside = gateway.server, gateway.client
        to = str(gateway.dialled(4)), AGENT_PORT
        with (
            Speaker(agent_host, agent_host.v4, AGENT_PORT) as agent,
            Speaker(outside, outside.v4, GATEWAY_PORT) as mgw,
        ):
            began = time.monotonic()
            for number in range(1, 301):
                mgw.say(f"NTFY {number} aaln/1@gw MGCP 1.0\r\nX: 1\r\nO: hd\r\n", to)
            gateway.daemon.wait_for("violation", rule="mgcp.rate")
            heard = 0
            with contextlib.suppress(TimeoutError):
                while True:
                    agent.socket.settimeout(SILENCE_SECONDS)
                    _, found = agent.hear()
                    heard += 1
            assert heard <= RATE * (2 + int(time.monotonic() - began))  # a second of the daemon's begins at any time
            agent.socket.settimeout(SECONDS)
            agent.say("CRCX 1 aaln/1@gw MGCP 1.0\r\nC: 1\r\n\r\n" + description((str(agent_host.v4), 6000)), found)
            agent.say(
                "CRCX 2 aaln/1@gw MGCP 1.0\r\nC: 1\r\n\r\n" + description((str(gateway.neighbour.v4), 6000)), found
            )
            assert heard_besides(agent, "NTFY").startswith("505 2 ")
            why = gateway.daemon.command("explain", f"{gateway.neighbour.v4}:6000", "-c", str(gateway.daemon.config))
            assert "options: {mgcp: {media: [NETWORK]" in why.stdout
            assert mgw.hear()[0].startswith("CRCX 1 ")
            for number in (3, 4):
                agent.say(f"CRCX {number} aaln/{number}@gw MGCP 1.0\r\nC: 1\r\n", found)
            assert heard_besides(agent, "NTFY") == "403 4 Too Many Connections\r\n"
            assert mgw.hear()[0].startswith("CRCX 3 ")
            assert is_deaf(mgw)
