"""What a session of H.323 has the right to ask for."""

from __future__ import annotations

from typing import Any

from protocols.contract.addresses import Endpoint, Network, Peers, Side, Transport, only
from protocols.contract.pinholes import Expect, Grant, Media, MediaGrant, Reader, Refusal
from protocols.h323.answers import Answers
from protocols.h323.session import Called
from protocols.h323.ways import MAX_WAYS, Control
from tests.harness.strict_pinholes import StrictPinholes

MAX_MEDIA = 128


class H323Pinholes(StrictPinholes):
    """Ways from one host of the session to the other, at no low port, few of them; and media at these two hosts, or at
    one on a side that is not mapped, or that an option names."""

    def open(self, expect: Expect) -> Grant | Refusal:
        if self.is_full:
            return Refusal("limit_per_session")
        peers, target = self.peers, expect.target
        assert (expect.transport, target.port >= 1024) == (Transport.TCP, True), expect
        assert expect.open_seconds is not None and expect.uses is not None, f"for ever: {expect}"
        if expect.purpose == "h323":
            assert any(target.host in network for network in self.options.forward_to), f"a third host: {expect}"
            assert (expect.reader, expect.uses) == (Reader("h323"), 1), expect
            dialler = next(side for side in Side if expect.allow == only(peers.own(side).host))
            assert target.host not in (peers.own(dialler).host, peers.as_seen(dialler).host), expect
        else:
            sides = [side for side in Side if target.host == peers.own(side).host]
            waiting = [side for side in sides if expect.allow == only(peers.own(side.other).host)]
            assert waiting, f"a third host, or somebody else: {expect}"
            side = waiting[0]
            at_ours = Endpoint(peers.as_seen(side).host, 0)
            assert expect.listen == (at_ours if peers.is_mapped(side) else target), expect
            assert expect.source == Endpoint(peers.as_seen(side.other).host, 0), expect
            if expect.purpose == "h245":
                assert expect.uses == 1 and isinstance(expect.reader and expect.reader.role, Control), expect
            else:
                assert (expect.purpose, expect.reader, self.options.t120) == ("t120", None, "allow"), expect
        grant = super().open(expect)
        ways = [one for one in self.standing.values() if isinstance(one, Grant)]
        assert len(ways) <= MAX_WAYS * 64, f"too many: {ways}"
        return grant

    def offer(self, media: Media) -> MediaGrant | Refusal:
        return self._refused(media) or super().offer(media)

    def answer(self, offered: MediaGrant, media: Media) -> MediaGrant | Refusal:
        assert media.party.side is not offered.media.party.side, f"both are of one side: {media}"
        return self._refused(media) or super().answer(offered, media)

    def change(self, grant: MediaGrant, media: Media) -> MediaGrant | Refusal:
        self._judge(media)
        return super().change(grant, media)

    def _refused(self, media: Media) -> Refusal | None:
        if sum(isinstance(one, MediaGrant) for one in self.standing.values()) >= MAX_MEDIA:
            return Refusal("limit_per_session")
        self._judge(media)
        return None

    def _judge(self, media: Media) -> None:
        party = media.party
        assert party.side is not None and media.purpose in ("rtp", "udptl"), media
        is_called = isinstance(self.peers.role, Called)  # its client is on the server's side of the policy
        side = party.side.other if is_called else party.side
        own = self.peers.own(side).host
        hosts = {at.host for at in (party.data, party.control) if at is not None}
        assert set(party.allow) == {network for host in {own, *hosts} for network in only(host)}, media
        third = hosts - {own}
        is_named = all(any(host in network for network in self.options.media_hosts) for host in third)
        is_free = party.side is Side.SERVER and not self.peers.is_mapped(side)
        assert not third or is_named or is_free, f"a third host: {media}"
        assert all(at is None or at.port >= 1024 for at in (party.data,)), f"a low port: {media}"
        assert (party.mapped is not None) == self.peers.is_mapped(side), media


class RasPinholes(StrictPinholes):
    """Ways to an endpoint's own address for whom options let call it, once it has asked for one; and ways to where a
    gatekeeper sends it, for it alone."""

    def __init__(self, peers: Peers, options: Any, beside: StrictPinholes | None = None) -> None:
        super().__init__(peers, options, beside)
        self._spoken: set[Side] = set()
        self._said = b""
        self._askers: list[RasPinholes] = beside._askers if isinstance(beside, RasPinholes) else []
        """Those of the sessions whose answers may come in another one."""
        if not isinstance(peers.role, Answers):
            self._askers.append(self)

    def hear(self, side: Side, data: bytes) -> None:
        super().hear(side, data)
        self._spoken.add(side)
        self._said += data
        if isinstance(self.peers.role, Answers):
            asker = Side(self.peers.role.asker)
            for asked in self._askers:
                asked._spoken.add(asker if side is Side.SERVER else asker.other)
                asked._said += data

    def open(self, expect: Expect) -> Grant | Refusal:
        if self.is_full:
            return Refusal("limit_per_session")
        peers, target = self.peers, expect.target
        assert target.port >= 1024, f"a low port: {expect}"
        sides = [side for side in Side if target.host == peers.own(side).host]
        if expect.reader is not None and isinstance(expect.reader.role, Answers):
            self._judge_answers(expect, Side(expect.reader.role.asker))
            return super().open(expect)
        assert expect.reader in (Reader("ras"), Reader("h323"), Reader("h323", Called())), expect
        if expect.reader == Reader("h323", Called()):
            assert sides, f"a third host registers: {expect}"
            assert (expect.confirmed, expect.transport) == (False, Transport.TCP), f"nobody has agreed: {expect}"
            assert expect.lasts_seconds is not None and expect.lasts_seconds <= 60, expect
            assert any(expect.listen == self._outside(side, target) for side in sides), expect
            self._judge_callers(expect.allow, sides)
        else:
            assert self._spoken == set(Side), f"nobody has asked, or nobody has answered: {expect}"
            led = [side for side in Side if expect.allow == only(peers.own(side).host)]
            assert led, f"somebody else: {expect}"
            assert any(target.host not in (peers.own(s).host, peers.as_seen(s).host) for s in led), expect
            assert expect.uses == 1 or expect.lasts_seconds is not None, f"for ever: {expect}"
        return super().open(expect)

    def _judge_answers(self, expect: Expect, asker: Side) -> None:
        """Answers come from who was asked alone, to the host that has asked, by datagrams, and for a time."""
        assert asker in self._spoken, f"nobody has asked: {expect}"
        assert (expect.transport, expect.target.host) == (Transport.UDP, self.peers.own(asker).host), expect
        assert expect.listen == self._outside(asker, expect.target), expect
        assert expect.allow == only(self.peers.own(asker.other).host), f"somebody else: {expect}"
        assert expect.lasts_seconds is not None and expect.lasts_seconds <= 60, f"for ever: {expect}"

    def _outside(self, side: Side, own: Endpoint) -> Endpoint:
        return Endpoint(self.peers.as_seen(side).host, 0) if self.peers.is_mapped(side) else own

    def _judge_callers(self, allow: tuple[Network, ...], sides: list[Side]) -> None:
        callers = self.options.callers
        if callers != "any":
            others = {self.peers.own(side.other).host for side in sides}
            networks = callers if isinstance(callers, tuple) else ()
            for network in set(allow) - set(networks):
                host = network.network_address
                assert network.num_addresses == 1, f"more than a host: {network}"
                is_named = host.packed in self._said or callers == "admitted"
                assert host in others or is_named, f"a stranger may call: {host}"

    def renew(self, grant: Grant, allow: tuple[Network, ...], seconds: float) -> None:
        assert 0 < seconds <= 8 * 86400, seconds
        self._judge_callers(allow, list(Side))
        super().renew(grant, allow, seconds)
