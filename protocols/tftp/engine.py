"""TFTP: a request to port 69, and a transfer from another port of the server (RFC 1350 s.4).

Ids in comments (TF11) are those of `protocols/FACTS.md`.

    client:C -> server:69   RRQ or WRQ    the request's session: a way in for the server's host is opened
    server:S -> client:C    DATA, ACK ... comes by that way and is a session of its own (`Moving`), and the request's is
                                          over; whoever comes from a third port finds nothing open (TF14)
    the last ACK passes                   `tftp.transfer` in the log; some seconds later the session is over (TF16)

What each must believe:
1) The client asked `server_as_seen` and takes nothing from another host, so what moves comes to it from there (TF12).
2) The server answers `client_as_seen`, the only address of the client that it knows, so the way in stands there.

House rules:
- No byte is changed: no address stands in any packet (TF9).
- A server may answer from port 69 itself; then the request's session is the transfer's as well (TF10).
- The same request again, until the client takes the answer up, opens nothing more. After that it is another one: of a
  machine that has started anew (TF15).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from protocols.contract.addresses import Endpoint, Malformed, Peers, Side, Transport, only
from protocols.contract.effects import Close, Effect, Note, Send, violation
from protocols.contract.engine import Begun, Engine, Helper
from protocols.contract.pinholes import AnyGrant, Expect, Grant, PinholeEvent, Pinholes, Reader, Refusal, Used
from protocols.tftp.options import PERMITS, TftpOptions
from protocols.tftp.policy import refused
from protocols.tftp.transfer import LEAST_IDLE_SECONDS, Transfer, direction
from protocols.tftp.under_way import Ends, UnderWay
from protocols.tftp.wire import Code, Request, error, is_first_answer, is_of_transfer, is_request, read_request

CLIENT, SERVER = Side.CLIENT, Side.SERVER

MAX_PER_SECOND = 16
"""How many requests of one port may each begin something, without an answer. A client waits for its file. A sender that
does not wait would make four lines of log with each datagram."""
NOTHING_SECONDS = 2.0
"""How long a session stays whose requests begin nothing."""


@dataclass(frozen=True, slots=True)
class Moving:
    """The role of the session that a request has let in: its server is the client of the request."""

    request: Request
    ends: Ends


class RequestEngine(Engine):
    """The session of one client port with port 69 of a server. It reads the client's requests, and what the server
    sends from port 69."""

    __slots__ = (
        "_begun", "_ends", "_grant", "_options", "_over", "_peers", "_pinholes", "_transfer", "_under_way",
    )  # fmt: skip

    def __init__(self, peers: Peers, options: TftpOptions, pinholes: Pinholes, now: float, under_way: UnderWay) -> None:
        self._peers = peers
        self._options = options
        self._pinholes = pinholes
        self._under_way = under_way
        self._ends = Ends(peers.client, peers.client_as_seen, peers.server)
        self._grant: Grant | None = None
        """The way in that stands while the last request waits for its answer."""
        self._transfer: Transfer | None = None
        """What the last request began, until it is known that another session has it."""
        self._over: tuple[float, str] | None = None
        """When the session ends in which nothing has begun, and why."""
        standing = under_way.get(self._ends)
        if standing is not None and standing.server is SERVER and standing.is_answered:  # a reload came between
            standing.most_bytes = options.max_bytes
            self._transfer = standing
        self._begun = now, 0
        """Since when requests are counted that begin something, and how many there have been without an answer."""

    def receive(self, side: Side, data: bytes, now: float) -> Sequence[Effect]:
        if side is CLIENT and is_request(data):
            return self._asked(data, now)
        if self._transfer is None:
            return (violation("tftp.not_tftp", "what belongs to no request", "dropped"),)
        effects = self._under_way.receive(self._ends, self._transfer, side, data, now)
        if self._transfer.is_answered:  # the server answers from where it was asked, so from nowhere else (TF10)
            self._begun = now, 0
        if self._transfer.is_answered or self._transfer.result is not None:
            self._close()
        return effects

    def _asked(self, data: bytes, now: float) -> Sequence[Effect]:
        try:
            request = read_request(data)
        except Malformed as bad:
            return (violation("tftp.malformed", str(bad), "dropped"),)
        under_way = self._under_way.get(self._ends)
        # The request comes again, perhaps by another session (TF15).
        if under_way is not None and under_way.request == request and not under_way.is_taken_up:
            self._nothing_began("repeated", now)
            return under_way.asked_again(data)
        if (why := self._why_not(request, now)) is not None:
            self._nothing_began("refused", now)
            return why
        self._close()
        told = self._end("replaced", now)
        grant = self._pinholes.open(self._expect(request))
        if isinstance(grant, Refusal):
            self._nothing_began("refused", now)
            return (*told, Send(CLIENT, error(Code.UNDEFINED, "no way in for the answer")))
        self._grant, self._over = grant, None
        self._transfer = Transfer(request, SERVER, self._options.max_bytes, now)
        self._under_way.begin(self._ends, self._transfer)
        facts = {"direction": direction(request), "file": request.name, "mode": request.mode}
        return (*told, Note("tftp.request", {**facts, "options": dict(request.options)}), Send(SERVER, data))

    def _why_not(self, request: Request, now: float) -> Sequence[Effect] | None:
        """Why a request does not pass, and what is said about it. None: it may pass."""
        most = self._options.unanswered_per_minute
        host = self._under_way.guard.refuses(self._ends.client.host, self._ends.server.host, most, now)
        if host is not None:  # not even an answer of ours goes to a host that may have asked for nothing
            return (violation("tftp.reflection", f"nobody takes up what is sent on behalf of {host}", "dropped"),)
        if (why := refused(request, self._options)) is not None:
            return why
        since, count = self._begun
        self._begun = (since, count + 1) if now - since < 1.0 else (now, 1)
        if self._begun[1] <= MAX_PER_SECOND:
            return None
        return (violation("tftp.too_many", f"more than {MAX_PER_SECOND} requests in a second", "dropped"),)

    def _nothing_began(self, reason: str, now: float) -> None:
        """The session of a request that has begun nothing is not over at once. Otherwise each datagram would be a
        session, with two lines in the log."""
        if self._transfer is None:
            self._over = now + NOTHING_SECONDS, reason

    def _expect(self, request: Request) -> Expect:
        """TF11: the pinhole lets the server's host in, from any port, to the client as that host knows it."""
        peers = self._peers
        return Expect(
            transport=Transport.UDP,
            purpose="tftp-transfer",
            trigger=request.opcode.name,
            listen=peers.client_as_seen,
            allow=only(peers.server.host),
            target=peers.client,
            source=Endpoint(peers.server_as_seen.host, 0),
            idle_seconds=LEAST_IDLE_SECONDS,
            open_seconds=self._options.open_seconds,
            reader=Reader("tftp", Moving(request, self._ends)),
        )

    def pinhole(self, grant: AnyGrant, event: PinholeEvent, now: float) -> Sequence[Effect]:
        if grant is not self._grant:
            return ()  # the pinhole stood for a request that another one has replaced
        self._grant = None
        if isinstance(event, Used):  # the session that it begins has put its own transfer in the place of this one
            if self._transfer is not None:
                self._under_way.let_go(self._ends, self._transfer)
            self._transfer = None
            return (Close("answered"),)
        reason = "unanswered" if self.is_needed() else "answered"
        return (*self._end(reason, now), Close(reason))

    def _close(self) -> None:
        grant, self._grant = self._grant, None
        if grant is not None:
            self._pinholes.close(grant)

    def _end(self, result: str, now: float) -> Sequence[Effect]:
        transfer, self._transfer = self._transfer, None
        return () if transfer is None else self._under_way.end(self._ends, transfer, result, now)

    def is_needed(self) -> bool:
        return self._transfer is not None and self._transfer.result is None

    def deadline(self) -> float | None:
        """When the session ends. While a way in stands this is None, because the pinhole has a clock of its own."""
        if self._transfer is None:
            return None if self._over is None else self._over[0]
        return None if self._grant is not None else self._transfer.deadline()

    def tick(self, now: float) -> Sequence[Effect]:
        if self._transfer is not None:
            return self._under_way.tick(self._ends, self._transfer, now)
        return () if self._over is None else (Close(self._over[1]),)

    def stop(self, now: float) -> Sequence[Effect]:
        self._close()
        return self._end("cut", now)


class TransferEngine(Engine):
    """The session that a server begins from another port, towards the client that asked it."""

    __slots__ = ("_ends", "_transfer", "_under_way")

    def __init__(self, role: Moving, options: TftpOptions, now: float, under_way: UnderWay) -> None:
        self._ends = role.ends
        self._under_way = under_way
        standing = under_way.get(role.ends)
        if standing is not None and standing.server is CLIENT and standing.request is role.request:
            standing.most_bytes = options.max_bytes  # a reload came between
            self._transfer = standing
            return
        self._transfer = Transfer(role.request, CLIENT, options.max_bytes, now)
        under_way.begin(self._ends, self._transfer)

    def receive(self, side: Side, data: bytes, now: float) -> Sequence[Effect]:
        if side is CLIENT and self._transfer.result is not None:
            self._go_on(data, now)
        return self._under_way.receive(self._ends, self._transfer, side, data, now)

    def _go_on(self, data: bytes, now: float) -> None:
        """A server may send its next file to the same client from the same port, and so into the session of the one
        before."""
        waiting = self._under_way.waiting(self._ends, self._transfer)
        if waiting is None or not is_first_answer(waiting.request, data):
            return
        self._under_way.end(self._ends, self._transfer, "cut", now)
        waiting.result = "answered"  # what waits elsewhere for this answer has nothing to tell any more
        self._transfer = Transfer(waiting.request, CLIENT, waiting.most_bytes, now)
        self._under_way.begin(self._ends, self._transfer)

    def is_needed(self) -> bool:
        """Whether the transfer goes on. Then the engine's own clock says how long the two sides may be silent
        (TF17)."""
        return self._transfer.result is None

    def deadline(self) -> float:
        return self._transfer.deadline()

    def tick(self, now: float) -> Sequence[Effect]:
        return self._under_way.tick(self._ends, self._transfer, now)

    def stop(self, now: float) -> Sequence[Effect]:
        return self._under_way.end(self._ends, self._transfer, "cut", now)


def begins(data: bytes, options: TftpOptions, role: object) -> bool:
    """Whether a session begins with this. The server's host may send other things to the client's port than the answer
    to its request, as the last ACK of a file that the client has stored there before."""
    return is_of_transfer(role.request, True, data) if isinstance(role, Moving) else is_request(data)


class TftpEngines:
    """Makes the engines of one daemon, which share what is under way."""

    def __init__(self) -> None:
        self._under_way = UnderWay()

    def __call__(self, peers: Peers, options: TftpOptions, pinholes: Pinholes, now: float) -> Engine:
        if isinstance(peers.role, Moving):
            return TransferEngine(peers.role, options, now, self._under_way)
        return RequestEngine(peers, options, pinholes, now, self._under_way)

    def counts(self) -> Mapping[str, int]:
        """What is under way, for the daemon's status."""
        return {"transfers": len(self._under_way)}

    def standing(self) -> Mapping[str, int]:
        return {**self.counts(), "dallying": self._under_way.dallying}


HELPER = Helper(
    name="tftp",
    summary="TFTP: files from port 69, moved by another port of the server",
    ports=((Transport.UDP, 69),),
    options=TftpOptions,
    permits=PERMITS,
    least={
        "open_seconds": (5, "servers that fetch a file first need ten seconds"),
    },
    servers_begin=(Begun(Transport.UDP),),
    start=TftpEngines,
    purposes=("tftp-transfer",),
    begins=begins,
    roles=(Moving,),
)
