"""What an engine may have opened, what it gets for that, and what it hears of it.

What an engine can rely on:

1) A pinhole exists for the peers that it allows. At an address of ours all other peers are refused and counted. A
   pinhole may also stand on a host's own address and port (`listen` is `target`). There other peers use the host's
   service, so their packets pass this host as if there were no pinhole; for datagrams that holds while the pinhole
   allows single hosts and not networks.
2) The target is none of this host's own addresses, unless it is one of the two hosts of the session
   (`target_is_gateway`): a service of the gateway would get a connection from the gateway itself, which no firewall
   looks at.
3) A pinhole has an end: a time to its first use, a number of uses, a time for its whole life, and the end of its
   session, unless the engine is needed for longer (`Engine.is_needed`). What the pinhole has admitted ends by itself:
   its relays when their peers end or are silent, its sessions as other sessions do.
4) What comes through a pinhole is relayed unread, or is a session of its own with a `Reader`. Such a session has other
   client and server addresses than the session whose engine opened the pinhole. So the log says `by` which session and
   which pinhole it was let in.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from protocols.contract.addresses import Endpoint, Host, Network, Side, Transport


@dataclass(frozen=True, slots=True)
class Reader:
    """What comes through the pinhole is a session of its own, which an engine of this helper reads.

    The engine that opens the pinhole may name another helper than its own (RAS opens for H.225). Policies decide about
    the session as about one of that helper between the two hosts of the opening session, and whatever it costs is
    charged to the opening session's client. Policies are asked when a peer comes. For another helper, they and the
    limits of sessions are also asked when the pinhole is opened, so that no address is announced through which no
    session would be let in: the refusal says `reader_` and a reason of `session.denied`.

    These are plain values, so that a pinhole can be written down with its reader, and sent to another gateway.
    """

    helper: str
    role: object = None
    """The role that the engine is to have: a value of one of the helper's `roles`. The engine finds it in
    `Peers.role`."""


@dataclass(frozen=True, slots=True)
class Expect:
    """A connection that both sides agreed on and that should be let through. For datagrams, the same words hold.

    The peer comes from `allow` to `listen`. It is dialled on to `target`, which sees it come from `source`.
    """

    transport: Transport
    purpose: str
    """What the connection carries, for the log: ftp-data, rtp, tns."""
    trigger: str
    """The command, header or packet that asked for the pinhole."""
    listen: Endpoint
    """The address that the peer will come to. Port 0: a random free port of ours."""
    allow: tuple[Network, ...]
    """The networks that the peer may come from. No other peer uses the pinhole up."""
    target: Endpoint
    """The address that the peer is led to."""
    source: Endpoint | None
    """The address that the target sees. Port 0: the kernel chooses the port. None: the peer's own address; of a
    connection between two hosts behind one interface of ours, our address there, because the target would answer the
    peer past us."""
    idle_seconds: float
    """How long a relay may be silent."""
    open_seconds: float | None = None
    """The time to the first use. None: as configured (`timeouts: pinhole_open`), or as long as the pinhole lasts."""
    lasts_seconds: float | None = None
    """The whole life of a pinhole that may be used more than once, whether it is used or not; `Pinholes.renew` gives it
    more. None: until it is used up, or its session ends."""
    renewed_by_use: bool = False
    """Whether `lasts_seconds` begin anew with each use and with the end of each relay, and do not run out while
    something is relayed."""
    uses: int | None = 1
    """How often the pinhole may be used. None: without a limit while it stands."""
    at_once: int | None = None
    """How many connections may be relayed at once. A further one is reset, and the pinhole stands. None: as many as
    come. Datagrams, and what a helper reads, have other limits."""
    reader: Reader | None = None
    """The helper that reads what comes. None: it is relayed unread.

    Datagrams are relayed without an engine or a session. The first datagram that comes from `allow`, from whatever
    port, makes its sender the peer: what the peer sends goes to `target`, and what `target` answers goes to the peer,
    until both have been silent for `idle_seconds`. The target knows the peer by the peer's own port, if `source` leaves
    the port open and it is free there. Each further use is for a further peer. There can be few of them at once, and
    the one that has been silent for longest gives way to a further one.

    Where the pinhole stands on the address of a host of the session, datagrams of other hosts pass undisturbed, if
    `allow` names single hosts. So do those of other ports of the peer's host, once the pinhole admits no more peers.
    """
    confirmed: bool = True
    """False: the pinhole is bound and listens, but admits no peer before `Pinholes.confirm` (rules X10, F30)."""
    prefer: int = 0
    """The port that the pinhole should have if `listen` leaves the port open and it is free; 0: any."""
    reserved: bool = False
    """Whether a port of ours that is to be chosen (`listen`, `source`) is one from 512 to 1023, as rsh and its kin
    demand (rcmd(3)), and not one of the pool. As `source` it is such a port only for a peer that comes from such a port
    itself: these ports stand for root on their host, and no peer gains that trust by passing through here. The refusal
    is `no_free_port` when all ports that we may take are taken, and `not_permitted` where the daemon may not bind them
    (CAP_NET_BIND_SERVICE)."""
    reserved_source: bool = False
    """The same for `source` alone: the port of `listen` is one of the pool all the same."""
    from_reserved: bool = False
    """Whether a peer from `allow` must come from a port from 512 to 1023. Who comes from any other port is a stranger
    on a host's own address, too, and does not use the pinhole up."""


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
    """The address where the party waits for its packets: RTP, UDPTL. None: the party has not said where (RTSP without a
    server_port), or it only sends (one-way media of H.323). Then its first packet from `allow` tells where it sends
    from, and what its partners send goes there; before that packet it is lost."""
    control: Endpoint | None
    """The address where the party waits for packets about its packets: RTCP. None: at the same place as the data. A
    mapped place with `control` holds an even port and the next one from the beginning, whether `data` is known or not;
    whichever address becomes known later stands there (`Pinholes.change`)."""
    mapped: Host | None
    """The address of ours at which the party's partner finds it. None: the party's own address."""
    allow: tuple[Network, ...]
    """The networks that the party's packets may come from. The first packets tell from which address they really come,
    and then that one is held to (D39)."""
    learn: bool = False
    """Whether partners' packets go to the address that the party's packets come from, not to the one where it says that
    it waits: the party stands behind a NAT (D41)."""
    host: Host | None = None
    """The host that the party's signalling comes from. None: the host where the party waits. Media at any other host is
    at a third host, about which `may_wait` decides."""
    side: Side | None = None
    """The side of the policy that the party is on: CLIENT for hosts that the policy lets in, SERVER for hosts that are
    called."""
    is_inside: bool = False
    """Whether the party is behind us: what is opened for it opens our own network."""
    is_named: bool = False
    """Whether an option names the third host as one that may have media there."""
    keeps_port: bool = False
    """Of a tunnel at an address of ours: whether it has the party's own id there, if that is free, and not one of ours.
    A server that is published has its own, for each of its ids is another one already."""
    has_control: bool = False
    """Whether packets about its packets have an address of their own, though nobody has said which (`control` is None).
    Then that is told by the first of them, as that of the data is (RTSP without a server_port)."""

    @property
    def is_at_itself(self) -> bool:
        """Whether the party waits at the host that its signalling comes from."""
        host = self.host
        return host is None or all(at is None or at.host == host for at in (self.data, self.control))

    @property
    def has_two(self) -> bool:
        """Whether its data and its control have an address each."""
        return self.control is not None or self.has_control

    @property
    def known(self) -> Endpoint | None:
        """The address where the party waits, as far as it has said one."""
        return self.data or self.control


class Codec(NamedTuple):
    """What a payload type of RTP stands for."""

    name: str
    """As PCMA, opus, H264."""
    rate: int
    """Of its time stamps, a second."""


class Codecs(Protocol):
    """What the payload types of a stream stand for."""

    def of(self, payload_type: int) -> Codec | None:
        """The codec. None: nobody has said."""


@dataclass(frozen=True, slots=True)
class Media:
    """A stream that one party has offered, or that another party has answered with."""

    purpose: str
    """What the stream carries, for the log: rtp, udptl."""
    trigger: str
    party: Party
    idle_seconds: float
    """How long both parties may be silent until the stream is over."""
    open_seconds: float | None = None
    """The time to the first packet. None: as configured (`timeouts: pinhole_open`)."""
    transport: Transport = Transport.UDP
    """The protocol that carries the stream: UDP, or GRE for a tunnel. Anything else is refused
    (`transport_not_carried`).

    A tunnel has two parties, which are the two hosts of the session (`third_host`), each with the id that packets to it
    bear (`Party.data`). Its place is where the partner finds it: the address that the partner knows it by, and an id.
    On an address of ours that is a random id from 1 to 65535 which no other tunnel has there, or its own
    (`Party.keeps_port`). Packets are passed on with the party's id in the place of that one, and nothing else of them
    is looked at; those of other hosts, and those with other ids, are refused and counted. An offer is answered once."""
    codecs: Codecs | None = field(default=None, compare=False, repr=False)
    """What the party understands, if the stream is RTP. To agree on a further codec changes no place."""
    number: int | None = field(default=None, compare=False, repr=False)
    """The number of the message that asked (`trigger`), by which its parties know it: CSeq."""


@dataclass(frozen=True, slots=True)
class MediaGrant:
    """The addresses at which the party's partner finds it, and which are to be announced. Control is on the port next
    to that of the data, unless the party is not mapped and has it elsewhere."""

    id: int
    media: Media
    data: Endpoint | None
    """None: the party is not mapped, and it is not known yet where it waits."""
    control: Endpoint | None

    @property
    def known(self) -> Endpoint | None:
        """The address at which the party is found, as far as one is known."""
        return self.data or self.control


AnyGrant = Grant | MediaGrant


class Pinholes(Protocol):
    """The only calls that an engine may make. All of them are local and immediate."""

    def open(self, expect: Expect) -> Grant | Refusal:
        """Open a pinhole, or say why not."""

    def confirm(self, grant: Grant) -> None:
        """The other side has agreed: admit the expected peer, also one that has been waiting. A second call, or a late
        one, has no effect."""

    def close(self, grant: AnyGrant, reason: str = "closed_by_session") -> None:
        """Admit no more peers. A relay that was admitted runs to its end. A second call, or a late one, has no effect.
        Media stops at once: an answerer's place alone, or an offerer's with all places that were joined to it. `reason`
        is one snake_case word for the audit log."""

    def renew(self, grant: Grant, allow: tuple[Network, ...], seconds: float) -> None:
        """From now on the pinhole admits these networks and no others, and stands for so long, whatever its time was to
        be. A late call has no effect."""

    def apart(self, of: Mapping[str, Any] | None = None) -> Pinholes:
        """Pinholes for something that has a life of its own, such as a call. They are limited as if it were a
        session. `of` is what every line of the log about them says as well."""

    def may_wait(self, party: Party) -> bool:
        """Whether a party may have media at a third host: one that is reached as the party's own signalling is, that is
        a single host and not this one, and that the policy names."""

    def reached_as(self, host: Host) -> Collection[Host]:
        """The addresses by which the client of this session reaches a host, if policies have others for it than the
        host is named by here: a client for whom they publish the host reaches it by the published address, and a client
        on the host's own side reaches a published address by the host's own. They are of the host's version.
        Empty: it is reached by the address that it is named by."""

    def reached_at(self, host: Host) -> Collection[Host]:
        """The other way round: the hosts that the client of this session reaches by this address."""

    def keep(self, seconds: float) -> None:
        """Signalling says that what these pinholes are for lives for so long, so its media may be silent."""

    def offer(self, media: Media) -> MediaGrant | Refusal:
        """Hold the place at which the offerer can be reached. No packet reaches the offerer before there is an
        answer."""

    def answer(self, offered: MediaGrant, media: Media) -> MediaGrant | Refusal:
        """Join an answerer to the offerer: packets pass both ways from now on. Several may have answered (forking,
        D27); each has a place of its own."""

    def change(self, grant: MediaGrant, media: Media) -> MediaGrant | Refusal:
        """The party has another address, or other terms, from now on. A mapped place stays where it is, and what was
        learned is forgotten (D28)."""


@dataclass(frozen=True, slots=True)
class Used:
    """The expected peer came and was admitted. Its target is being dialled, or its session begins."""

    peer: Endpoint


class Heard(NamedTuple):
    """How RTP came to a party."""

    packets: int
    lost: int
    """Packets that should have come and did not, up to here: their numbers are missing."""
    jitter_seconds: float
    """RFC 3550 s.6.4.1, as this gateway has seen it."""
    codec: str | None
    """The codec that most packets had. None: nobody has said what their payload type means."""

    def plus(self, other: Heard) -> Heard:
        """Both together. The jitter is the greater one, the codec that of more packets."""
        more = max(self, other, key=lambda heard: heard.packets)
        jitter = max(self.jitter_seconds, other.jitter_seconds)
        return Heard(self.packets + other.packets, self.lost + other.lost, jitter, more.codec)


@dataclass(frozen=True, slots=True)
class Closed:
    """The pinhole is gone, with its relays. `bytes_in` came from the peer, `bytes_out` were sent to it."""

    reason: str
    """Why the pinhole ended: one word, which the audit log writes in `pinhole.closed`, too. Any pinhole may end by:

    - `closed_by_session`, or the word that the engine gave to `Pinholes.close`;
    - `session_closed`: the session is over, and its engine is no longer needed;
    - `never_used`: no peer came in time; `expired`: the time of a pinhole that may be used more than once is over;
    - `closed_by_operator`: an operator has closed it, or its session or call;
    - `address_gone`: this host has lost the address; `stopped`: the daemon ends; `failed`: a bug of ours.

    A pinhole that has admitted a peer may also end with its last relay: `finished`, `idle`, `half_closed`,
    `reset_by_peer` (the peer that came), `reset_by_target` (the target that was dialled), `no_descriptors`; or
    `target_` and why the target could not be reached, in the words of `proxy/errors.py`. `used_up`: as many sessions
    came as may come.

    Media may also end by `idle`: all media of the call is silent (`proxy/pinholes/silence.py`); by `gave_way`: too many
    offers waited for an answer (`media_offers.py` beside it); by `no_place`: the new place of a party that moved could
    not be had (`MediaPlace.change`). An offerer's place ends all places that were joined to it, with the same word.
    The engines close places by what the signalling says:

    - SIP when a medium is removed or declined, a re-offer is answered that puts another one in its stead, an offer is
      refused, another callee is chosen, a callee leaves, or the call is over (`protocols/sip/offers.py`);
    - MGCP when a medium is removed, a command that described media is refused or never answered, or the connection is
      deleted (`protocols/mgcp/media.py`);
    - H.323 when no channel uses a medium any more, or the call is over (`protocols/h323/media.py`);
    - RTSP when a stream or its session is over, by the word that the log has for that, and by `not_agreed` when a SETUP
      is answered otherwise (`protocols/rtsp/sessions.py`, `setup.py`).
    """
    bytes_in: int
    bytes_out: int
    seconds: float
    packets_in: int = 0
    packets_out: int = 0
    """Datagrams that were relayed, counted like the bytes. For media: `packets_in` went to the party, and `packets_out`
    came from it."""
    heard: Heard | None = None
    """Of media: how RTP came to the party. None: there was none, or it passed where nobody looks."""


PinholeEvent = Used | Closed
