"""SANE: what clients and saned say to each other, and the pictures that come by connections of their own.

Section 5 of the SANE standard, "Network Protocol". Ids in comments (SA4) are those of `protocols/FACTS.md`.

    client -> server   INIT, OPEN, CONTROL_OPTION ...   one request, and the next one behind its answer (SA3)
    server -> client   answers, walked by their forms and kept nowhere
    client -> server   START
    server -> client   status 0 and a port: a way to that port of the server stands before the client hears of it
    client -> server   connects to it, and gets the picture

What each must believe:
1) The client connects to the host that it has asked, `server_as_seen`, at the port in the answer to START: with
   destination NAT that is one of ours.
2) The server takes the connection for the picture from the host alone that has asked: `client_as_seen`.

House rules:
- Which word is the answer to START is known only to who has followed everything before it. What cannot be followed ends
  that for good: from there on the connection opens nothing (SA8).
- Passwords, and names of users, pass by without being read.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from protocols.contract.addresses import LEAST_PORT, Endpoint, Malformed, Peers, Side, Transport, only
from protocols.contract.effects import Abort, Close, Effect, Finish, Note, Outbox, Splice, violation
from protocols.contract.engine import Engine, Helper
from protocols.contract.pinholes import AnyGrant, Closed, Expect, Grant, PinholeEvent, Pinholes, Refusal
from protocols.sane import wire
from protocols.sane.options import PERMITS, SaneOptions
from protocols.sane.wire import Code, Form, Status, Stream

CLIENT, SERVER = Side.CLIENT, Side.SERVER

OPEN_SECONDS = 30.0
"""Seconds from the answer to the connection for the picture. saned waits for four (own)."""
MAX_AWAITED = 16
"""How many requests may wait for their answers: one, and those behind it that need not wait for it (SA3)."""
AT_ANY_TIME = (Code.CANCEL, Code.CLOSE, Code.EXIT)
"""Requests that need not wait. A program that is interrupted sends them from the midst of another request. It ends soon
then, and no picture comes any more."""


class OutOfTurn(Malformed):
    """What was said has a form, but no place here."""


class Request:
    """What the client has asked for, and the server did not answer yet."""

    __slots__ = ("code", "handle", "name")

    def __init__(self, code: Code, handle: int = 0, name: bytes = b"") -> None:
        self.code = code
        self.handle = handle
        self.name = name
        """Of the device that is to be opened."""


class SaneEngine(Engine):
    """A connection to saned."""

    __slots__ = (
        "_awaited",
        "_data",
        "_ends_at",
        "_has_begun",
        "_is_interrupted",
        "_is_over",
        "_options",
        "_out",
        "_peers",
        "_pinholes",
        "_streams",
        "_version",
        "_waits_for_user",
        "_ways",
    )

    def __init__(self, peers: Peers, options: SaneOptions, pinholes: Pinholes, now: float) -> None:
        self._peers = peers
        self._options = options
        self._pinholes = pinholes
        self._ends_at = now + options.idle
        self._out = Outbox()
        self._is_over = False
        self._has_begun = False
        """Whether the client's first request is INIT."""
        self._version = wire.WITHOUT_AUTO_VALUE
        """Of the protocol, as the server speaks it (SA7)."""
        self._awaited: deque[Request] = deque()
        """Requests that wait for their answers, in the order in which those will come."""
        self._is_interrupted = False
        """The client has once not waited for an answer. What it says may not be what its server hears (SA3)."""
        self._waits_for_user = False
        """The first of them has been answered by the name of a resource, and waits for a user who may have it (SA5)."""
        self._ways: dict[int, Grant] = {}
        """The handle of a device -> the way to its picture, as long as nobody has come by it."""
        self._data: set[int] = set()
        """Pinholes that are not over."""
        self._streams = {CLIENT: Stream(self._requests()), SERVER: Stream(self._answers())}

    # -- what comes in -----------------------------------------------------------------------------------------------

    def receive(self, side: Side, data: bytes, now: float) -> Sequence[Effect]:
        self._ends_at = now + self._options.idle
        stream = self._streams[side]
        stream.held += data
        try:
            while not self._is_over and (part := stream.step()) is not None:
                if part and not self._is_over:
                    self._out.send(side.other, part)
        except Malformed as bad:
            self._lose(side, bad)
        return self._out.take()

    def eof(self, side: Side, now: float) -> Sequence[Effect]:
        held = self._streams[side].held
        if held:
            self._out.send(side.other, bytes(held))
            held.clear()
        self._out.add(Finish(side.other))
        return self._out.take()

    def _lose(self, side: Side, bad: Malformed) -> None:
        """What this side said cannot be followed, so nobody can tell any more what is an answer to what (SA8). The
        rest of the connection passes unread, or it ends, as `malformed` says; it opens nothing in either case."""
        rule = "malformed" if self._has_begun else "not_sane"
        rule = "out_of_turn" if isinstance(bad, OutOfTurn) else rule
        passes = self._options.malformed == "pass"
        self._out.add(violation(f"sane.{rule}", f"{side.value}: {bad}", "passed" if passes else "closed"))
        if not passes:
            self._end(Abort(rule))
            return
        for one, stream in self._streams.items():
            if stream.held:
                self._out.send(one.other, bytes(stream.held))
                stream.held.clear()
        self._end(Splice(self._options.idle))

    # -- the client --------------------------------------------------------------------------------------------------

    def _requests(self) -> Form[None]:
        """All that a client says."""
        if (yield from wire.word()) != Code.INIT:
            raise Malformed("the first request is not INIT")
        yield from wire.version()
        self._has_begun = True
        yield from wire.string()
        self._awaited.append(Request(Code.INIT))
        while True:
            yield wire.SOMETHING
            self._streams[CLIENT].begin()
            yield from self._request((yield from wire.word()))

    def _request(self, number: int) -> Form[None]:
        if not Code.INIT < number <= Code.EXIT:
            # A larger number may be letters, which nobody knows the meaning of.
            raise Malformed(f"request {number}" if number <= 0xFF else "no request of SANE")
        code = Code(number)
        self._check_turn(code)
        match code:
            case Code.GET_DEVICES:
                self._awaited.append(Request(code))
            case Code.OPEN:
                self._awaited.append(Request(code, name=(yield from wire.name())))
            case Code.CONTROL_OPTION:
                handle = yield from wire.control_option(self._version < wire.WITHOUT_AUTO_VALUE)
                self._awaited.append(Request(code, handle))
            case Code.AUTHORIZE:
                yield from wire.authorize()
                self._waits_for_user = False
                self._awaited.appendleft(Request(code))
            case Code.EXIT:
                # A server in the midst of a scan throws away what came along, and reads on in the middle of it.
                yield wire.SOMETHING
                raise OutOfTurn("a request after EXIT")
            case _:
                handle = yield from wire.word()
                if code in (Code.CANCEL, Code.CLOSE):
                    self._close_unused(handle)
                self._awaited.append(Request(code, handle))

    def _check_turn(self, code: Code) -> None:
        """SA3: a request comes when the one before it has been answered."""
        if code is Code.AUTHORIZE:
            if not self._waits_for_user:
                raise OutOfTurn("AUTHORIZE that nobody has asked for")
        elif self._awaited:
            if code not in AT_ANY_TIME:
                raise OutOfTurn(f"{code.name} before the answer to {self._awaited[-1].code.name}")
            self._is_interrupted = True
        if len(self._awaited) >= MAX_AWAITED:
            raise OutOfTurn(f"{code.name}, and {MAX_AWAITED} requests wait")

    # -- the server --------------------------------------------------------------------------------------------------

    def _answers(self) -> Form[None]:
        """All that a server says."""
        while True:
            yield wire.SOMETHING
            self._streams[SERVER].begin()
            if not self._awaited or self._waits_for_user:
                raise OutOfTurn("an answer that nobody has asked for")
            yield from self._answer(self._awaited[0])
            if not self._waits_for_user:
                self._awaited.popleft()

    def _answer(self, request: Request) -> Form[None]:
        match request.code:
            case Code.INIT:
                status, version = yield from wire.initialized()
                self._version = version
                self._tell_refused(request, status)
            case Code.GET_DEVICES:
                yield from wire.devices()
            case Code.OPEN:
                yield from self._opened(request)
            case Code.GET_OPTION_DESCRIPTORS:
                yield from wire.option_descriptors()
            case Code.CONTROL_OPTION:
                self._waits_for_user = (yield from wire.controlled()) > 0
            case Code.GET_PARAMETERS:
                yield from wire.parameters()
            case Code.START:
                yield from self._started(request)
            case _:  # CLOSE, CANCEL, AUTHORIZE. A server that could not read the names of a user leaves this word out.
                if (yield from wire.word()):
                    raise OutOfTurn(f"no acknowledgement of {request.code.name}")

    def _opened(self, request: Request) -> Form[None]:
        """The answer to OPEN: a scanner is open, or a user has to be named first (SA5). It opens no way."""
        status = yield from wire.word()
        handle = yield from wire.word()
        if (yield from wire.string()):
            self._waits_for_user = True
            return
        self._tell_refused(request, status)
        if status == Status.GOOD:
            self._out.add(Note("sane.opened", {"device": request.name, "handle": handle}))

    def _started(self, request: Request) -> Form[None]:
        """SA4: whether this is the answer is known when the length of its resource is, which stands behind the port."""
        head = yield wire.START_HEAD
        status, port, byte_order, resource = wire.read_started(head)
        if resource:
            yield from wire.rest(resource)
            self._waits_for_user = True
            return
        self._tell_refused(request, status)
        if status != Status.GOOD:
            return
        if byte_order not in wire.BYTE_ORDERS:
            raise Malformed(f"byte order {byte_order:#x}")
        if self._is_interrupted:
            raise OutOfTurn("an answer to START, of a client that has not waited for another answer")
        self._open_way(request, head, port)

    def _tell_refused(self, request: Request, status: int) -> None:
        if status != Status.GOOD:
            self._out.add(Note("sane.refused", {"request": request.code.name, "status": wire.status_text(status)}))

    # -- the way to a picture ----------------------------------------------------------------------------------------

    def _open_way(self, request: Request, head: bytes, port: int) -> None:
        """Open the way to the picture before the client hears of the port. Where there can be none, the client gets an
        error and the session ends, for a server that waits for a picture's connection answers nothing else (SA9)."""
        if not LEAST_PORT <= port <= 0xFFFF:
            self._out.add(violation("sane.low_port", f"the picture is at port {port}", "answered with an error"))
            self._give_up(head)
            return
        self._close_unused(request.handle)
        grant = self._pinholes.open(self._expect(port))
        if isinstance(grant, Refusal):
            self._give_up(head)
            return
        self._ways[request.handle] = grant
        self._data.add(grant.id)
        if not self._peers.is_mapped(SERVER):
            return
        change = {"field": "port", "before": grant.expect.target, "after": grant.listen}
        self._out.add(Note("address.rewritten", {"message": "START", "changes": [change]}))
        self._streams[SERVER].instead = wire.with_port(head, grant.listen.port)

    def _expect(self, port: int) -> Expect:
        """SA10: for the client alone, once."""
        peers = self._peers
        return Expect(
            transport=Transport.TCP,
            purpose="sane-data",
            trigger="START",
            listen=Endpoint(peers.server_as_seen.host, 0 if peers.is_mapped(SERVER) else port),
            allow=only(peers.client.host),
            target=Endpoint(peers.server.host, port),
            source=Endpoint(peers.client_as_seen.host, 0),
            idle_seconds=self._options.idle,
            open_seconds=OPEN_SECONDS,
        )

    def _close_unused(self, handle: int) -> None:
        """The picture of this device is not wanted any more, if nobody has come for it by now."""
        grant = self._ways.pop(handle, None)
        if grant is not None:
            self._pinholes.close(grant)

    def pinhole(self, grant: AnyGrant, event: PinholeEvent, now: float) -> Sequence[Effect]:
        for handle, way in self._ways.items():
            if way.id == grant.id:
                del self._ways[handle]
                break
        if isinstance(event, Closed):
            self._data.discard(grant.id)
            self._ends_at = now + self._options.idle
        return ()

    # -- ends and clocks ---------------------------------------------------------------------------------------------

    def _give_up(self, head: bytes) -> None:
        """The client hears of an error in place of the port, and the session ends."""
        self._out.send(CLIENT, wire.refused(head))
        self._end(Abort("refused"))

    def _end(self, effect: Abort | Close | Splice) -> None:
        self._out.add(effect)
        self._is_over = True

    def deadline(self) -> float | None:
        """None: a picture is on its way (X14)."""
        return None if self._is_over or self._data else self._ends_at

    def tick(self, now: float) -> Sequence[Effect]:
        if now >= self._ends_at:
            self._end(Close("idle"))
        return self._out.take()


def start() -> Callable[[Peers, Any, Pinholes, float], SaneEngine]:
    """Make an engine. Sessions know nothing of each other."""
    return SaneEngine


HELPER = Helper(
    name="sane",
    summary="SANE: scanners of other hosts, and the connections by which pictures come",
    ports=((Transport.TCP, 6566),),
    off={(Transport.TCP, 6566): "data_portrange in saned.conf and a firewall rule do it as well"},
    options=SaneOptions,
    permits=PERMITS,
    start=start,
    purposes=("sane-data",),
)
