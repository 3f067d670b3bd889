"""What the session of each helper has the right to ask for. Whoever asks for more fails the test."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from ipaddress import ip_network
from typing import Any

from protocols.contract.addresses import Endpoint, Host, Network, Peers, Side, Transport, only
from protocols.contract.effects import Effect, Send
from protocols.contract.engine import EngineFactory, Shares
from protocols.contract.pinholes import AnyGrant, Expect, Grant, Reader, Refusal
from protocols.ftp.wire import without_telnet
from protocols.tns.redirect import Redirected
from tests.harness.dcerpc_rights import DcerpcPinholes
from tests.harness.h323_rights import H323Pinholes, RasPinholes
from tests.harness.mgcp_rights import MgcpPinholes
from tests.harness.pptp_rights import PptpPinholes
from tests.harness.rtsp_rights import RtspPinholes
from tests.harness.sip_rights import SipPinholes
from tests.harness.strict_pinholes import StrictPinholes

_WORD_BYTES = 4
_MARK_BYTES = 10
"""Of what was said, enough to find a verb or the code of a reply in, however they are cut."""


class FtpPinholes(StrictPinholes):
    def __init__(self, peers: Peers, options: Any, beside: StrictPinholes | None = None) -> None:
        super().__init__(peers, options, beside)
        self.third_party: tuple[Network, ...] = () if options.third_party == "deny" else options.third_party
        self._said = dict.fromkeys(Side, b"")
        self.has_asked_to_log_in = self.may_be_logged_in = False

    def hear(self, side: Side, data: bytes) -> None:
        super().hear(side, data)
        said = self._said[side] + without_telnet(data)
        if side is Side.CLIENT:
            self.has_asked_to_log_in = self.has_asked_to_log_in or bool(re.search(rb"(?i)USER|PASS|ACCT", said))
        else:
            if self.has_asked_to_log_in and re.search(rb"(?m)^[\xf0-\xff]*2[0-9][0-9]", said):
                self.may_be_logged_in = True
            # Its first bytes say what a reply is, also when the client's USER overtakes the rest of it.
            said = said.rpartition(b"\n")[2][:_MARK_BYTES]
        self._said[side] = said[-_MARK_BYTES:]

    def open(self, expect: Expect) -> Grant | Refusal:
        if self.is_full:
            return Refusal("limit_per_session")
        assert self.may_be_logged_in, f"before a login: {expect}"
        sides = [side for side in Side if self.peers.own(side).host == expect.target.host]
        assert sides or self._may_be_third(expect.target.host), f"a third host: {expect}"
        assert expect.target.port >= self.options.min_port, f"a low port: {expect}"
        others = [self.peers.own(side.other).host for side in sides or Side]
        allowed = set(expect.allow) - set(self.third_party)
        assert len(allowed) == 1, f"more than the other side may come: {expect}"
        (network,) = allowed
        assert network.num_addresses == 1 and network.network_address in others, f"somebody else may come: {expect}"
        assert expect.listen.host in self.seen or self._may_be_third(expect.listen.host), f"a foreign place: {expect}"
        assert expect.source is not None and expect.source.host in self.seen, f"a foreign source: {expect}"
        assert expect.transport is Transport.TCP and expect.reader is None
        assert expect.purpose and expect.trigger and expect.uses is not None and expect.uses >= 1
        assert expect.idle_seconds > 0
        return super().open(expect)

    def renew(self, grant: Grant, allow: tuple[Network, ...], seconds: float) -> None:
        assert allow == grant.expect.allow and 0 < seconds <= self.options.idle, f"{allow} for {seconds}"
        super().renew(grant, allow, seconds)

    def _may_be_third(self, host: Host) -> bool:
        return any(host in network for network in self.third_party)


class TnsPinholes(StrictPinholes):
    """To the server's neighbours where it is not mapped, else to itself; for the client alone, once."""

    def open(self, expect: Expect) -> Grant | Refusal:
        if self.is_full:
            return Refusal("limit_per_session")
        server, target = self.peers.server, expect.target
        neighbours = ip_network(f"{server.host}/{24 if server.host.version == 4 else 64}", strict=False)
        is_mapped = self.peers.is_mapped(Side.SERVER)
        assert target.host == server.host or (target.host in neighbours and not is_mapped), expect
        assert target.port >= 1024 and target != server, expect
        listen = self.peers.server_as_seen.host if self.peers.is_mapped(Side.SERVER) else target.host
        assert expect.listen.host == listen, expect
        assert expect.allow == only(self.peers.client.host), expect
        assert expect.source is not None and expect.source.host == self.peers.client_as_seen.host, expect
        assert (expect.transport, expect.uses) == (Transport.TCP, 1), expect
        before = self.peers.role.via if isinstance(self.peers.role, Redirected) else ()
        assert expect.reader == Reader("tns", Redirected((*before, server))), expect
        return super().open(expect)


class IrcPinholes(StrictPinholes):
    """To a client that its server has let in, for whomever `dcc_peers` names; to a stranger, for the client alone."""

    def __init__(self, peers: Peers, options: Any, beside: StrictPinholes | None = None) -> None:
        super().__init__(peers, options, beside)
        self._said = dict.fromkeys(Side, b"")
        self.has_asked = self.may_be_let_in = False

    def hear(self, side: Side, data: bytes) -> None:
        super().hear(side, data)
        said = self._said[side] + data
        if side is Side.CLIENT:
            self.has_asked = self.has_asked or b"USER" in said.upper()
        else:
            self.may_be_let_in = self.may_be_let_in or (self.has_asked and b"001" in said)
        self._said[side] = said.rpartition(b"\n")[2]  # a line counts when it is whole

    def open(self, expect: Expect) -> Grant | Refusal:
        if self.is_full:
            return Refusal("limit_per_session")
        peers, options, target = self.peers, self.options, expect.target
        assert options.dcc == "allow" and self.may_be_let_in, expect
        assert target.port >= 1024 and target.port not in options.deny_ports, expect
        assert (expect.transport, expect.uses, expect.reader) == (Transport.TCP, 1, None), expect
        assert expect.open_seconds is not None and expect.purpose.removeprefix("irc-") in options.types, expect
        is_inbound = target.host != peers.client.host
        if is_inbound:
            assert options.inbound == "open" and expect.listen == target, expect
            assert expect.allow == only(peers.client.host), expect
            assert expect.source is not None and expect.source.host == peers.client_as_seen.host, expect
        else:
            version = expect.listen.host.version
            anybody = (ip_network("0.0.0.0/0" if version == 4 else "::/0"),)
            peers_may = tuple(net for net in options.dcc_peers if net.version == version)
            assert expect.allow == (peers_may if options.dcc_peers else anybody) != (), expect
            assert expect.listen.host == peers.client_as_seen.host, expect
            assert expect.source is None or expect.source.host == peers.server_as_seen.host, expect
        grant = super().open(expect)
        waiting = [one for one in self.expected() if one.id in self.standing and one.id not in self.visited]
        alike = [one for one in waiting if (one.expect.target.host != peers.client.host) == is_inbound]
        assert len(alike) <= options.max_waiting, f"too many wait: {alike}"
        return grant

    def renew(self, grant: Grant, allow: tuple[Network, ...], seconds: float) -> None:
        assert (allow, seconds) == (grant.expect.allow, grant.expect.open_seconds), f"{allow} for {seconds}"
        super().renew(grant, allow, seconds)


class DnsPinholes(StrictPinholes):
    """No pinhole, and over UDP no answer that the client has not asked for: each has the id of one of its questions."""

    def __init__(self, peers: Peers, options: Any, beside: StrictPinholes | None = None) -> None:
        super().__init__(peers, options, beside)
        self._ids: set[bytes] = set()

    def open(self, expect: Expect) -> Grant | Refusal:
        raise AssertionError(f"a pinhole: {expect}")

    def judge(self, side: Side, data: bytes, effects: Sequence[Effect]) -> None:
        if side is Side.CLIENT:
            self._ids.add(data[:2])
        if self.peers.transport is Transport.UDP and self.options.mode == "active" and self.options.not_dns == "deny":
            sent = [effect for effect in effects if isinstance(effect, Send)]
            assert len(sent) <= 1, f"more than one message for one: {sent}"
            assert all(send.to is Side.SERVER or send.data[:2] in self._ids for send in sent), f"unasked: {sent}"


class PmapPinholes(StrictPinholes):
    """For the client alone, to a port of the server or of a host that an option names; after both sides have spoken."""

    def __init__(self, peers: Peers, options: Any, beside: StrictPinholes | None = None) -> None:
        super().__init__(peers, options, beside)
        self._spoken: set[Side] = set()

    def hear(self, side: Side, data: bytes) -> None:
        super().hear(side, data)
        self._spoken.add(side)

    def open(self, expect: Expect) -> Grant | Refusal:
        if self.is_full:
            return Refusal("limit_per_session")
        peers, target = self.peers, expect.target
        assert self._spoken == set(Side), f"nobody has asked, or nobody has answered: {expect}"
        others = any(target.host in network for network in self.options.service_hosts)
        assert target.host == peers.server.host or others, f"a third host: {expect}"
        assert target.port >= self.options.min_port and target.port != peers.server.port, expect
        assert target.port not in (512, 513, 514, 515, 636, 873, 990, 993, 995), expect
        is_mapped = peers.is_mapped(Side.SERVER)
        assert expect.listen == (Endpoint(peers.server_as_seen.host, 0) if is_mapped else target), expect
        assert expect.allow == only(peers.client.host), f"somebody else: {expect}"
        assert expect.source == Endpoint(peers.client_as_seen.host, 0), expect
        assert (expect.reader, expect.purpose) == (None, "rpc"), expect
        assert expect.lasts_seconds is not None and expect.open_seconds is not None, f"for ever: {expect}"
        own = sum(each == peers.client.host for each in map(_client_of, self.standing.values()))
        assert own < self.options.max_services, f"too many: {expect}"
        return super().open(expect)

    def renew(self, grant: Grant, allow: tuple[Network, ...], seconds: float) -> None:
        assert allow == grant.expect.allow, f"others may come: {allow}"
        assert seconds <= max(max(options.idle, options.hold) for options in self.options_of_all), seconds
        super().renew(grant, allow, seconds)


def _client_of(grant: AnyGrant) -> Host | None:
    return grant.expect.allow[0].network_address if isinstance(grant, Grant) else None


class OfTwoHosts(StrictPinholes):
    """Ways from one host of a session to the other one, where each knows the other: all that most helpers need."""

    def open(self, expect: Expect) -> Grant | Refusal:
        if self.is_full:
            return Refusal("limit_per_session")
        peers = self.peers
        sides = [side for side in Side if expect.target.host == peers.own(side).host]
        assert sides, f"a third host: {expect}"
        assert any(expect.allow == only(peers.own(side.other).host) for side in sides), f"somebody else: {expect}"
        assert any(expect.listen.host == peers.as_seen(side).host for side in sides), f"a foreign place: {expect}"
        source = expect.source
        assert source is None or any(source.host == peers.as_seen(side.other).host for side in sides), expect
        assert expect.purpose and expect.trigger and expect.idle_seconds > 0
        assert expect.uses is not None or expect.lasts_seconds is not None, f"for ever: {expect}"
        return super().open(expect)


class TftpPinholes(OfTwoHosts):
    """For the server's host alone, to the port that has asked, one at a time and once; what comes is read."""

    def open(self, expect: Expect) -> Grant | Refusal:
        peers = self.peers
        assert peers.role is None, f"a transfer opens nothing: {expect}"
        assert (expect.listen, expect.target) == (peers.client_as_seen, peers.client), f"another port: {expect}"
        assert expect.allow == only(peers.server.host), f"somebody else: {expect}"
        assert (expect.transport, expect.uses) == (Transport.UDP, 1), expect
        assert expect.reader is not None and expect.reader.helper == "tftp", expect
        others = [one for one in self.standing.values() if isinstance(one, Grant) and one.listen == expect.listen]
        assert all(one.expect.allow != expect.allow for one in others), f"a second one: {expect}"
        return super().open(expect)


class RshPinholes(OfTwoHosts):
    """One way, to a port that the client has named, for its server alone; where that is rsh, both are privileged."""

    def __init__(self, peers: Peers, options: Any, beside: StrictPinholes | None = None) -> None:
        super().__init__(peers, options, beside)
        self._first = b""

    def hear(self, side: Side, data: bytes) -> None:
        super().hear(side, data)
        if side is Side.CLIENT:
            self._first = (self._first + data)[:_MARK_BYTES]

    def open(self, expect: Expect) -> Grant | Refusal:
        peers, (named, nul, _) = self.peers, self._first.partition(b"\0")
        is_rsh, port = peers.server_as_seen.port == 514, expect.target.port
        assert not self.opened and self.options.stderr == "follow", f"more than one, or none is allowed: {expect}"
        assert nul and int(named) == port >= 512, f"no port that the client has named: {expect}"
        assert (expect.target.host, expect.allow) == (peers.client.host, only(peers.server.host)), expect
        assert expect.from_reserved is is_rsh and expect.reserved is (port < 1024), expect
        assert port < 1024 or not is_rsh, expect
        assert port >= 1024 or 512 <= peers.client.port < 1024, expect
        assert (expect.transport, expect.uses, expect.reader) == (Transport.TCP, 1, None), expect
        return super().open(expect)


class SanePinholes(OfTwoHosts):
    """For the client alone, once, to a port that the server has just named; after a client that began as SANE does has
    asked for a picture."""

    def __init__(self, peers: Peers, options: Any, beside: StrictPinholes | None = None) -> None:
        super().__init__(peers, options, beside)
        self._first = self._asked = self._answered = b""
        self.has_started = False

    def hear(self, side: Side, data: bytes) -> None:
        super().hear(side, data)
        if side is Side.CLIENT:
            self._first = (self._first + data)[:_WORD_BYTES]
            self._asked = self._asked[1 - _WORD_BYTES :] + data
            self.has_started = self.has_started or bytes((0, 0, 0, 7)) in self._asked
        else:
            self._answered = self._answered[-4 * _WORD_BYTES :] + data

    def open(self, expect: Expect) -> Grant | Refusal:
        peers, target = self.peers, expect.target
        assert self._first == bytes(_WORD_BYTES) and self.has_started, f"nobody has asked: {expect}"
        assert target.port.to_bytes(_WORD_BYTES, "big") in self._answered, f"another port: {expect}"
        assert (target.host, expect.allow) == (peers.server.host, only(peers.client.host)), expect
        assert target.port >= 1024, f"a low port: {expect}"
        listen = Endpoint(peers.server_as_seen.host, 0) if peers.is_mapped(Side.SERVER) else target
        assert expect.listen == listen, expect
        assert (expect.transport, expect.uses, expect.reader) == (Transport.TCP, 1, None), expect
        assert expect.open_seconds is not None, expect
        return super().open(expect)


RIGHTS: dict[str, type[StrictPinholes]] = {
    "dns": DnsPinholes,
    "ftp": FtpPinholes,
    "h323": H323Pinholes,
    "ras": RasPinholes,
    "mgcp": MgcpPinholes,
    "irc": IrcPinholes,
    "sip": SipPinholes,
    "tns": TnsPinholes,
    "tftp": TftpPinholes,
    "rsh": RshPinholes,
    "rtsp": RtspPinholes,
    "pmap": PmapPinholes,
    "dcerpc": DcerpcPinholes,
    "pptp": PptpPinholes,
    "sane": SanePinholes,
}
"""Those of helpers that need more, or are to have less."""


def rights(helper: str) -> type[StrictPinholes]:
    return RIGHTS.get(helper, OfTwoHosts)


def left_of(engines: EngineFactory) -> dict[str, int]:
    """What still stands in the table that the engines of a daemon share, if they do."""
    standing: Mapping[str, int] = engines.standing() if isinstance(engines, Shares) else {}
    return {name: number for name, number in standing.items() if number}
