"""What an engine may have opened, what it gets for that, and what it hears of it.

What an engine can rely on:

1) A pinhole is there for those whom it allows. At an address of ours all others are refused and counted. Where it
   stands on a host's own address and port (`listen` is `target`), others use the service that waits there, so their
   packets pass this host as if there were no pinhole; of datagrams that holds while it allows single hosts, not
   networks.
2) Its target is none of this host's own addresses, unless that is one of the two hosts of the session
   (`target_is_gateway`): a service of the gateway would meet a connection of the gateway's own, which no firewall looks
   at.
3) It has an end: a time to its first use, a number of uses, a time for all its life, and its session, unless the engine
   is needed for longer (`Engine.is_needed`). What it has admitted ends by itself: its relays when their peers do or are
   silent, its sessions as others do.
4) What comes is relayed unread, or is a session of its own with a `Reader`. Client and server of such a session are not
   those of the one that had the way opened, so the log says `by` which session and which pinhole it was let in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from protocols.contract.addresses import Endpoint, Host, Network, Side, Transport


@dataclass(frozen=True, slots=True)
class Reader:
    """What comes through the pinhole is a session of its own, which an engine of this helper reads.

    The engine that opens may name another helper than its own (RAS opens for H.225). The session is one as policies
    accept it of that helper between the two hosts of the session that opened; whatever it costs is charged to that
    session's client. Policies are asked when somebody comes. For another helper they and the limits of sessions are
    asked when the pinhole is opened, too, so that nothing is announced that nobody would be let in by: the refusal says
    `reader_` and a reason of `session.denied`.

    These are plain values, so that a pinhole can be written down with its reader, and told to another gateway.
    """

    helper: str
    role: object = None
    """What the engine is to be: a value of one of the helper's `roles`. It finds that in `Peers.role`."""


@dataclass(frozen=True, slots=True)
class Expect:
    """A connection that both sides agreed on and that should be let through.

    It will come from `allow` to `listen`; it is dialled on to `target`, which sees it come from `source`.
    """

    transport: Transport
    purpose: str
    """What it carries, for the log: ftp-data, rtp, tns."""
    trigger: str
    """The command, header or packet that asked for it."""
    listen: Endpoint
    """Where it will come to. Port 0: a random free one of ours."""
    allow: tuple[Network, ...]
    """Who may come. Nobody else uses the pinhole up."""
    target: Endpoint
    source: Endpoint | None
    """Port 0: the kernel's choice. None: as whom it came."""
    idle_seconds: float
    open_seconds: float | None = None
    """Time to the first use. None: as configured (`timeouts: pinhole_open`), or as long as it lasts."""
    lasts_seconds: float | None = None
    """All the time of one that may be used more than once, whether it is used or not; `Pinholes.renew` gives it more.
    None: until it is used up, or its session ends."""
    uses: int | None = 1
    """None: as often as may be while it stands."""
    reader: Reader | None = None
    """Who reads what comes; None: it is relayed unread.

    Datagrams are relayed without an engine or a session. The first one that comes from `allow`, whatever port it comes
    from, makes its sender the peer: what it sends goes to `target`, and what `target` answers goes to it, until both
    have been silent for `idle_seconds`. The target knows the peer by the peer's own port, if `source` leaves that open
    and it is free there. Each further use is for a further peer, of which there are few at once.

    Where the pinhole stands on the address of a host of the session, others' datagrams pass undisturbed, if `allow`
    names single hosts; and those of other ports of the peer's host too, once it admits nobody more."""
    confirmed: bool = True
    """False: bound and listening, but nobody is admitted before `Pinholes.confirm` (rules X10, F30)."""
    prefer: int = 0
    """The port that it should have if `listen` leaves that open and the port is free; 0: any."""
    reserved: bool = False
    """Where a port of ours is to be chosen (`listen`, `source`), it is one from 512 to 1023, as rsh and its kin demand
    (rcmd(3)), and none of the pool. As `source` only for a peer that comes from such a port itself: they stand for root
    on its host, and nobody gains that by passing through here. The refusal is `no_free_port` when all that we may take
    are taken, and `not_permitted` where the daemon may not bind them (CAP_NET_BIND_SERVICE)."""


@dataclass(frozen=True, slots=True)
class Grant:
    """An open pinhole. `listen` is where it stands: the address to announce."""

    id: int
    expect: Expect
    listen: Endpoint


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a pinhole was not opened, as one snake_case word: limit_per_session, no_free_port, address_in_use ..."""

    reason: str


@dataclass(frozen=True, slots=True)
class Party:
    """One end of a media stream, as its own session description says."""

    data: Endpoint | None
    """Where it waits for its packets: RTP, UDPTL. None: it has not said where (RTSP without a server_port), or it only
    sends (one-way media of H.323). Then its first packet from `allow` tells from where it sends, and what its partners
    send goes there; before that packet it is lost."""
    control: Endpoint | None
    """Where it waits for what is said about them: RTCP. None: at the same place as the data. A mapped place with
    `control` holds an even port and the next one from the beginning, whether `data` is known or not; whichever address
    becomes known later stands there (`Pinholes.change`)."""
    mapped: Host | None
    """The address of ours under which its partner is to find it; None: its own."""
    allow: tuple[Network, ...]
    """From where its packets may come; which of them it is, is learned from the first ones and then held to (D39)."""
    learn: bool = False
    """Send to where its packets come from, not to where it says that it waits: it stands behind a NAT (D41)."""
    host: Host | None = None
    """Where its signalling comes from; None: where it waits. Another host is a third one, a matter of `may_wait`."""
    side: Side | None = None
    """On which side of the policy it is: of those whom the policy lets in (CLIENT), or of those who are called."""
    is_inside: bool = False
    """It is behind us: what is opened for it opens our own network."""
    is_named: bool = False
    """An option names the third host as one that may have media there."""

    @property
    def is_at_itself(self) -> bool:
        """It waits where its signalling comes from."""
        host = self.host
        return host is None or all(at is None or at.host == host for at in (self.data, self.control))

    @property
    def known(self) -> Endpoint | None:
        """Where it waits, as far as anybody has said."""
        return self.data or self.control


@dataclass(frozen=True, slots=True)
class Media:
    """A stream that one party has offered, or one that another has answered with."""

    purpose: str
    """For the log: rtp, udptl."""
    trigger: str
    party: Party
    idle_seconds: float
    """Without a packet of either party, until it is over."""
    open_seconds: float | None = None
    """Until the first packet. None: as configured (`timeouts: pinhole_open`)."""
    transport: Transport = Transport.UDP
    """Others are refused (`transport_not_carried`)."""


@dataclass(frozen=True, slots=True)
class MediaGrant:
    """Where the party's partner finds it: the addresses to announce. Control is on the port next to that of the data,
    unless the party is not mapped and has it elsewhere."""

    id: int
    media: Media
    data: Endpoint | None
    """None: the party is not mapped, and nobody knows yet where it waits."""
    control: Endpoint | None

    @property
    def known(self) -> Endpoint | None:
        """Where the party is found, as far as anybody knows."""
        return self.data or self.control


AnyGrant = Grant | MediaGrant


class Pinholes(Protocol):
    """The only calls out of an engine. All are local and immediate."""

    def open(self, expect: Expect) -> Grant | Refusal: ...

    def confirm(self, grant: Grant) -> None:
        """The other side agreed: admit the expected peer, also one that has been waiting. Again, or late: no effect."""

    def close(self, grant: AnyGrant, reason: str = "closed_by_session") -> None:
        """Admit nobody more. A relay already admitted runs to its end. Closing again, or too late, has no effect.
        Media stops at once: an answerer's, or an offerer's with all that were joined to it. `reason` is one snake_case
        word for the audit log."""

    def renew(self, grant: Grant, allow: tuple[Network, ...], seconds: float) -> None:
        """From now on it admits these and no others, and stands for so long, whatever it was to be. Late: no effect."""

    def apart(self) -> Pinholes:
        """For something that has a life of its own, such as a call: limited as if it were a session."""

    def may_wait(self, party: Party) -> bool:
        """Whether a party may have media at a third host: one that is reached as its own signalling is, that is neither
        this host nor many, and that the policy names."""

    def keep(self, seconds: float) -> None:
        """Signalling says that what is done here lives for so long: its media may be silent."""

    def offer(self, media: Media) -> MediaGrant | Refusal:
        """Hold the place at which the offerer can be reached. Nobody reaches it before there is an answer."""

    def answer(self, offered: MediaGrant, media: Media) -> MediaGrant | Refusal:
        """Join an answerer to it: packets pass both ways from now on. Several may have answered (forking, D27); each
        has a place of its own."""

    def change(self, grant: MediaGrant, media: Media) -> MediaGrant | Refusal:
        """The party has another address, or other terms, from now on. A mapped place stays where it is, and what was
        learned is forgotten (D28)."""


@dataclass(frozen=True, slots=True)
class Used:
    """The expected peer came and was admitted; its target is being called."""

    peer: Endpoint


@dataclass(frozen=True, slots=True)
class Closed:
    """The pinhole is gone, with its relays. Bytes are those from the peer that came (in) and those sent to it (out)."""

    reason: str
    """One word, which the audit log writes in `pinhole.closed`, too. Of every pinhole:

    - `closed_by_session`, or the word that the engine gave to `Pinholes.close`;
    - `session_closed`: the session is over, and its engine is not needed any more;
    - `never_used`: nobody came in time; `expired`: the time of one that may be used more than once is over;
    - `address_gone`: this host has lost the address; `stopped`: the daemon ends; `failed`: a bug of ours.

    Of one that has admitted somebody, how the last relay ended: `finished`, `idle`, `half_closed`, `reset_by_peer`
    (whoever came), `reset_by_target` (whoever was dialled), `no_descriptors`; or `target_` and why the target could not
    be reached, in the words of `proxy/errors.py`. `used_up`: sessions came, as often as may be.

    Of media: `idle`: all that the call has is silent; `gave_way`: too many offers waited for an answer; `no_place`: the
    place that a party has moved to could not be had. An offerer's place ends all that were joined to it, with the same
    word. The engine of SIP closes places when a medium is removed or declined, an offer is refused, another callee is
    chosen, a callee leaves, or the call is over (`protocols/sip/offers.py`)."""
    bytes_in: int
    bytes_out: int
    seconds: float
    packets_in: int = 0
    packets_out: int = 0
    """Of datagrams that were relayed, as the bytes. Of media: to the party, and from it."""


PinholeEvent = Used | Closed
