"""What a SIP session has the right to ask for (ARCHITECTURE.md tells the reasons).

An address opens something only if its own party said it of itself, in a request of its own, for the transport that it
signals by, and a 2xx has agreed to it; before that a port may be reserved, which admits nobody.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import ip_network
from typing import Any

from protocols.contract.addresses import Endpoint, Network, Peers, Side, Transport
from protocols.contract.effects import Effect, Send, Splice
from protocols.contract.pinholes import Expect, Grant, Reader, Refusal
from protocols.sip.contacts import Called
from tests.harness.media_rights import MediaPinholes
from tests.harness.sip_mended import rest_behind
from tests.harness.sip_sayings import Sayings, is_sip
from tests.harness.strict_pinholes import StrictPinholes

MAX_START_BYTES = 10_000
"""Of a stream that are looked at for how it begins."""
CONTENT_LENGTH = re.compile(rb"(?ims)^(?:Content-Length|l)[ \t]*:[ \t]*([0-9]{1,5})[ \t]*\r?$.*?\n\r?\n")
"""The header field, and all that stands between it and the body."""
ANYBODY = (ip_network("0.0.0.0/0"), ip_network("::/0"))


class SipPinholes(MediaPinholes):
    """Ways to a party, for hosts that somebody has named and those of the options; and media."""

    third_hosts = "media_hosts"

    def __init__(self, peers: Peers, options: Any, beside: StrictPinholes | None = None) -> None:
        super().__init__(peers, options, beside)
        self._is_read = options.mode == "active"
        self._is_observed = options.mode == "observe"
        self._is_to_pass = self._is_observed or not any(map(peers.is_mapped, Side))
        self._not_passed = dict.fromkeys(Side, b"")
        """Of a stream: what has come and is held back."""
        self._begun = dict.fromkeys(Side, b"")
        """How a stream has begun, or the last datagram."""
        self._has_spoken: set[Side] = set()
        """Who has sent what begins as SIP."""
        others = beside._sayings if isinstance(beside, SipPinholes) else None
        self._sayings: Sayings = Sayings(peers, others, options.topology_hiding)
        self._everybody: list[SipPinholes] = beside._everybody if isinstance(beside, SipPinholes) else []
        """Of the sessions: a party may name itself in one, and be agreed to in another."""
        self._everybody.append(self)

    def hear(self, side: Side, data: bytes) -> None:
        super().hear(side, data)
        if found := CONTENT_LENGTH.search(data):  # by its number the body may end within an address
            self._unread.append(data[: found.end() + int(found[1])])
        self._sayings.hear(side, data)

    def judge(self, side: Side, data: bytes, effects: Sequence[Effect]) -> None:
        """Without NAT every byte goes through as it came, but for what others could read in another way; an observer
        opens and answers nothing, either."""
        assert not self._is_observed or not self.log, f"an observer asks: {self.log[-1]}"
        self._judge_expected(side, data, effects)
        if not self._is_to_pass:
            return
        sent = [effect for effect in effects if isinstance(effect, Send)]
        answers = [effect.data for effect in sent if effect.to is side]
        if self.peers.transport is Transport.UDP:
            passed = b"".join(effect.data for effect in sent if effect.to is not side)
            is_as_it_came = passed in (b"", data) or (not self._is_observed and rest_behind(data, passed) == b"")
            assert is_as_it_came, f"another one goes on: {passed!r}"
            assert not self._is_observed or (passed and not answers), f"an observer answers: {effects}"
            return
        # What is answered or dropped does not go on; an observer holds nothing back for good.
        self._not_passed[side] += data
        for effect in sent:
            if effect.to is side and not self._is_observed:
                continue
            came_from = effect.to.other
            before, found, after = self._not_passed[came_from].partition(effect.data)
            if not found and not self._is_observed:
                found, after = self._mended(came_from, effect.data)
            assert found and not (before and self._is_observed), f"something else goes on: {effect}"
            self._not_passed[came_from] = after

    def judge_end(self, side: Side, effects: Sequence[Effect]) -> None:
        self.judge(side, b"", effects)
        assert not self._is_observed or not self._not_passed[side], f"held back for good: {self._not_passed[side]!r}"

    def _mended(self, side: Side, sent: bytes) -> tuple[bytes, bytes]:
        """What of the stream was mended to be what goes on, and what stands behind it."""
        came, start = self._not_passed[side], sent.partition(b"\n")[0]
        at = came.find(start)
        while at >= 0:
            if (rest := rest_behind(came[at:], sent)) is not None:
                return sent, rest
            at = came.find(start, at + 1)
        return b"", b""

    def _judge_expected(self, side: Side, data: bytes, effects: Sequence[Effect]) -> None:
        """By a pinhole nothing goes on unread, or it could be meant for any service of the party, unless an operator
        has switched the reading off."""
        if self.peers.role is None or not self._is_read:
            return
        is_stream = self.peers.transport is Transport.TCP
        self._begun[side] = (self._begun[side] + data)[:MAX_START_BYTES] if is_stream else data
        # What is refused on its way was said all the same: its sender has shown what it is.
        if is_sip(self._begun[side]):
            self._has_spoken.add(side)
        for effect in effects:
            assert not isinstance(effect, Splice), "a pinhole is no tunnel"
            if isinstance(effect, Send) and effect.to is not side:
                is_proved = len(self._has_spoken) == len(Side)
                assert is_proved or is_sip(effect.data), f"what is not SIP passes by a pinhole: {effect}"
                self._has_spoken.add(side)

    def open(self, expect: Expect) -> Grant | Refusal:
        if self.is_full:
            return Refusal("limit_per_session")
        assert expect.target.host in self.own, f"a third host: {expect}"
        assert expect.target.port >= 1024, f"a low port: {expect}"
        assert expect.target.host in self.mapped_to(expect.listen.host), f"a foreign place: {expect}"
        assert expect.source is None or expect.source.host in self.seen, f"a foreign source: {expect}"
        assert expect.purpose == "sip" and expect.trigger and expect.uses is None
        assert expect.reader == Reader("sip", Called()), f"read by another one: {expect}"
        assert expect.lasts_seconds is not None and 0 < expect.lasts_seconds <= 8 * 86400, f"for ever: {expect}"
        assert bool(expect.allow) is expect.confirmed, f"reserved for somebody, or open to nobody: {expect}"
        self._check_callers(expect.allow)
        self._check_target(expect, is_reserved=not expect.confirmed)
        return super().open(expect)

    def _check_target(self, expect: Expect, is_reserved: bool) -> None:
        at = expect.target
        assert expect.transport is self.peers.transport, f"another transport than it signals by: {expect}"
        if self._is_signalled_by(at, expect.transport):
            return
        assert is_reserved or self._is_agreed(at, expect.transport), f"nobody has agreed to it: {expect}"
        assert any(one._says(at, expect.transport) for one in self._everybody), f"an echo: {expect}"

    def _is_signalled_by(self, at: Endpoint, transport: Transport) -> bool:
        """In this session; of a connection it is the dialled end alone that waits for others."""
        ends = Side if transport is Transport.UDP else (Side.SERVER,)
        return transport is self.peers.transport and any(self.peers.own(side) == at for side in ends)

    def _is_agreed(self, at: Endpoint, transport: Transport) -> bool:
        """Or only those responses come there that the party has asked for."""
        is_told = transport is Transport.UDP and any(one._says(at, transport, in_via=True) for one in self._everybody)
        return is_told or any(one._says(at, transport, is_agreed=True) for one in self._everybody)

    def _says(self, at: Endpoint, transport: Transport, in_via: bool = False, is_agreed: bool = False) -> bool:
        """Whether the party in this session that has this address has named it as its own."""
        if self.peers.transport is not transport:
            return False
        for one in self._everybody:
            one._sayings.read()
        sides = [side for side in Side if self.peers.own(side).host == at.host]
        return any(self._sayings.has_said(side, at, in_via, is_agreed) for side in sides)

    def confirm(self, grant: Grant) -> None:
        at, transport = grant.expect.target, grant.expect.transport
        is_known = any(one._is_signalled_by(at, transport) for one in self._everybody)
        assert is_known or self._is_agreed(at, transport), f"nobody has agreed to it: {grant}"
        super().confirm(grant)

    def renew(self, grant: Grant, allow: tuple[Network, ...], seconds: float) -> None:
        assert seconds <= 8 * 86400, "for ever"
        self._check_callers(allow)
        super().renew(grant, allow, seconds)

    def _check_callers(self, allow: tuple[Network, ...]) -> None:
        hosts = self.own | self.named
        trusted = {network for options in self.options_of_all for network in options.trusted_peers}
        for network in set(allow) - trusted:
            if network in ANYBODY:
                is_strict = all(options.strict_register for options in self.options_of_all)
                assert not is_strict, f"anybody may come: {allow}"
            else:
                assert network.num_addresses == 1 and network.network_address in hosts, f"who is that: {network}"
