"""A TCP session: two legs, one engine, and nothing between bytes in and effects out.

    accepted -> dial the server -> [legs stand] engine reads -> closed
                     |                              |
          not reached: client is reset         Splice: relay without the engine -> closed

No task and no lock: every step is a callback of the loop that runs to its end.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Mapping
from functools import partial

from protocols.contract.addresses import Endpoint, Host, Peers, Side
from protocols.contract.effects import Splice
from protocols.contract.pinholes import AnyGrant, PinholeEvent
from proxy.errors import dial_failure
from proxy.movers.splice import SpliceRelay
from proxy.pinholes.opening import mark_to
from proxy.sessions.leg import Leg
from proxy.sessions.session import Admission, Registry, Session
from proxy.sockets import streams, transparent
from proxy.sockets.poll import WRITE

# When a session is to stop, its last data connection may just have ended. This is the time that the server's final
# reply has to pass.
LAST_REPLY_SECONDS = 1.0


class StreamSession(Session):
    """A session over TCP. It owns the two sockets, as legs once the server is connected, or the relay that took them
    over.

    `Sessions` begins it. Its legs, the relay and the pinholes call back; the registry calls `stop` and `cut`.
    """

    def __init__(self, sessions: Registry, admission: Admission, client: socket.socket) -> None:
        super().__init__(sessions, admission)
        self._client = client
        self._poll = sessions.pinholes.poll
        self._server: socket.socket | None = None
        self._legs: dict[Side, Leg] = {}
        self._relay: SpliceRelay | None = None
        self._before_relay: Mapping[Side, int] = {}
        """How many bytes had come from each side, and gone on, when the relay took over."""
        self._dialling: asyncio.TimerHandle | None = None
        self._has_ended = False
        """Whether at least one side has sent its last byte."""
        self._half_closed_at: asyncio.TimerHandle | None = None
        """The timer that runs while only one side has ended."""
        self._is_stopping = False

    # -- beginning ------------------------------------------------------------------------------------------------

    def dial(self) -> None:
        """Connect to the server before a byte of the client is read. The kernel has answered the client's SYN already,
        so a server that cannot be reached must become a reset and never a silent hang (rule X20)."""
        try:
            self._server = self._call(self._nat.dial, self._nat.source)
            self._poll.add(self._server, WRITE, self._dialled)
        except OSError as error:
            self._not_reached("server_" + dial_failure(error.errno))
            return
        self._dialling = self._loop.call_later(self._sessions.timeouts.connect, self._not_reached, "server_timeout")

    def _call(self, server: Endpoint, host: Host | None) -> socket.socket:
        """Begin the connection to the server from this host's address. None: from the address that the route prefers.
        Raises OSError."""
        pinholes, mark = self._sessions.pinholes, mark_to(self, server.host)
        if self.helper.reserved_source:
            host = host or transparent.route_source(server, mark)
            ports = pinholes.reserved.sources(self.arrival.client, host)
            return transparent.dial_from(ports, host, server, mark, pinholes.max_segment)
        source = None if host is None else Endpoint(host, 0)
        return transparent.dial(server, source, mark, pinholes.max_segment)

    def _dialled(self, events: int) -> None:
        """The connection to the server stands, or has failed."""
        assert self._server is not None
        if code := transparent.dial_result(self._server, events):
            self._not_reached("server_" + dial_failure(code))
            return
        self._stop_dialling()
        streams.tune_control(self._server)
        if self.helper.urgent_inline:  # the engine reads urgent data as part of the stream (F8), or never sees it (T27)
            streams.urgent_inline(self._client)
            streams.urgent_inline(self._server)
        known_as = transparent.local(self._server)
        client, server = self.arrival.client, self.arrival.server
        peers = Peers(client, known_as, self._nat.dial, server, role=self._role)
        for side, sock in ((Side.CLIENT, self._client), (Side.SERVER, self._server)):
            self._legs[side] = Leg(
                self._loop,
                self._poll,
                sock,
                partial(self._received, side),
                partial(self._reset_by, side),
                self._resume,
                self._sessions.held,
            )
        self._open(peers)
        self._resume()

    def _not_reached(self, reason: str) -> None:
        """The session ends before it has begun: the client is reset, since the server cannot be reached."""
        self._stop_dialling()
        dialled_from = None if self._server is None else transparent.local(self._server)
        self.log.write("session.failed", reason=reason, dialled=self._nat.dial, dialled_from=dialled_from)
        self._sessions.metrics.sessions_failed.labels(reason).inc()
        if self._server is not None:
            streams.reset(self._server)
        streams.reset(self._client)
        self._leave()

    def _stop_dialling(self) -> None:
        if self._dialling is not None:
            self._dialling.cancel()
            self._dialling = None
            assert self._server is not None
            self._poll.forget(self._server)

    # -- bytes in -------------------------------------------------------------------------------------------------

    def _received(self, side: Side, data: bytes) -> None:
        """A leg has read bytes, or b"" at the end of the stream."""
        if self._driver is None:
            return
        if data:
            self._driver.receive(side, data)
            return
        is_first, self._has_ended = not self._has_ended, True
        self._driver.eof(side)
        if is_first and not self.is_over and self._relay is None:
            self._wait_for_other_end()

    def _wait_for_other_end(self) -> None:
        self._half_closed_at = self._loop.call_later(self._sessions.timeouts.half_closed, self._half_closed)

    def pinhole_event(self, grant: AnyGrant, event: PinholeEvent) -> None:
        """Tell the engine, and stop if the session waited for this transfer to end."""
        super().pinhole_event(grant, event)
        if self._is_stopping:
            self.stop()

    def settle(self) -> None:
        """Close the session when both sides have ended and everything has been passed on, or pause reading when a leg
        is full."""
        if self._driver is None or self.is_over:
            super().settle()
            return
        # This is called after each read, and mostly there is nothing to do.
        if self._has_ended and all(leg.has_ended and leg.has_sent_all for leg in self._legs.values()):
            self.close("finished", Leg.close)
        elif self._sessions.held.bytes and any(leg.is_congested for leg in self._legs.values()):
            for leg in self._legs.values():
                leg.pause()

    def _resume(self) -> None:
        """Read from both legs again, since what waited in a leg has gone out."""
        if self._driver is None:
            return
        for leg in self._legs.values():
            leg.resume()
        self.settle()

    def _half_closed(self) -> None:
        """One side ended long ago and the other one has not. Nobody is left who could want the bytes of the other side,
        unless a transfer still runs."""
        if self.is_over or self._relay is not None:
            return
        if self.is_transferring:
            self._wait_for_other_end()
        else:
            self.close("half_closed", Leg.reset)

    # -- effects --------------------------------------------------------------------------------------------------

    def send(self, to: Side, data: bytes) -> None:
        """Send bytes to this side."""
        if not self.is_over:
            self._legs[to].send(data)

    def finish(self, to: Side) -> None:
        """Half-close towards this side."""
        if not self.is_over:
            self._legs[to].finish()

    def abort(self, reason: str, told: frozenset[Side]) -> None:
        """A side that was just told the reason gets time to read it; the other side is reset."""
        legs = self._legs
        self._legs = {}
        for side, leg in legs.items():
            if side in told or not leg.has_sent_all:
                leg.close_after_last_words()
            else:
                leg.reset()
        self._end(reason, {side: leg.bytes_received for side, leg in legs.items()})

    def conclude(self, reason: str) -> None:
        """Both sides get what was sent to them, and then the end of the stream."""
        legs, self._legs = self._legs, {}
        for leg in legs.values():
            leg.close_in_order(self._sessions.timeouts.half_closed)
        self._end(reason, {side: leg.bytes_received for side, leg in legs.items()})

    def splice(self, splice: Splice) -> None:
        """The kernel carries the bytes from now on, and the engine is released. The relay takes over the sockets
        together with what had not gone out yet."""
        legs = self._legs
        client, to_client = legs[Side.CLIENT].hand_over()
        server, to_server = legs[Side.SERVER].hand_over()
        self._stop_engine()
        relay: SpliceRelay

        def ended(reason: str) -> None:
            names = {"reset_by_peer": "reset_by_client", "reset_by_target": "reset_by_server"}
            received = self.received
            self._legs = {}
            self._end(names.get(reason, reason), received)

        relay = self._relay = self._sessions.pinholes.relay(
            client,
            server,
            splice.idle_seconds,
            ended,
            (to_server, to_client),
            splice.carries_urgent,
            splice.half_closed_seconds,
        )
        self._before_relay = {
            Side.CLIENT: legs[Side.CLIENT].bytes_received - len(to_server),
            Side.SERVER: legs[Side.SERVER].bytes_received - len(to_client),
        }
        relay.start()

    # -- ends -----------------------------------------------------------------------------------------------------

    @property
    def is_transferring(self) -> bool:
        """Whether a data connection of this session is open or being dialled."""
        return any(pinhole.relays or pinhole.dialling for pinhole in self.pinholes)

    @property
    def state(self) -> str:
        """One word for the operator."""
        return "dialling" if not (self._legs or self._relay) else "relaying" if self._relay else "serving"

    @property
    def received(self) -> Mapping[Side, int]:
        """How many bytes have come from each side."""
        before, relay = self._before_relay, self._relay
        if relay is not None:
            return {
                Side.CLIENT: before[Side.CLIENT] + relay.bytes_in,
                Side.SERVER: before[Side.SERVER] + relay.bytes_out,
            }
        return {side: leg.bytes_received for side, leg in self._legs.items()}

    def idle_seconds(self, now: float) -> float | None:
        """For how long both sides have been silent, as the kernel knows it. None: the server is still being dialled,
        the sockets are gone, or the kernel does not say."""
        socks = self._relay.sockets if self._relay is not None else [leg.sock for leg in self._legs.values()]
        silent = min(map(streams.silent_seconds, socks), default=float("inf"))
        # The kernel counts from the beginning of the connection, which is older than the session, and by its own clock.
        return None if silent == float("inf") else min(silent, now - self.opened_at)

    def _reset_by(self, side: Side) -> None:
        """The connection of a side has failed, so the session ends. A peer that answers keep-alives no more is logged
        as one that has reset it."""
        if not self.is_over and self._driver is not None:
            self.break_off(f"reset_by_{side.value}")

    def stop(self) -> None:
        """The daemon is about to end. The session ends at once when nothing is being transferred; otherwise after the
        transfer and its final reply."""
        if self.is_over:
            return
        if not self._is_stopping:
            self._is_stopping = True
            if not self.is_transferring:
                self.cut("stopped")
        elif not self.is_transferring:
            self._loop.call_later(LAST_REPLY_SECONDS, self.cut, "stopped")

    def cut(self, reason: str) -> None:
        """End the session now, in order: both peers see the end of the stream."""
        if self.is_over:
            return
        if self._relay is not None:
            self._relay.abort(reason)
        elif self._driver is None:
            self._not_reached(reason)
        else:
            self.close(reason, Leg.close)

    def is_known_by(self, host: Host) -> bool:
        """Whether one side knows the other side by this address of ours, or is being dialled from it."""
        if self.peers is None:  # The server is being dialled from that address, and no answer would ever arrive.
            return self._server is not None and transparent.local(self._server).host == host
        return super().is_known_by(host)

    def break_off(self, reason: str) -> None:
        """End the session now, by resets that neither peer mistakes for the proper end."""
        if self.is_over:
            return
        if self._relay is not None:
            self._relay.abort(reason)
        elif self._driver is None:
            self._not_reached(reason)
        else:
            self.close(reason, Leg.reset)

    def _last_steps(self) -> list[Callable[[], None]]:
        steps: list[Callable[[], None]] = [self._stop_dialling, *(leg.reset for leg in self._legs.values())]
        if self._relay is not None:
            steps.append(self._relay.give_up)
        return [*steps, *(partial(streams.reset, sock) for sock in (self._client, self._server) if sock is not None)]

    def close(self, reason: str, how: Callable[[Leg], None]) -> None:
        """End both legs by the method `how`, after the engine has heard that the session is cut short."""
        if self.is_over:
            return
        if self._driver is not None:
            self._driver.hear_out()
            if self.is_over:  # the engine failed meanwhile, which has ended the session
                return
        legs, self._legs = self._legs, {}
        for leg in legs.values():
            how(leg)
        self._end(reason, {side: leg.bytes_received for side, leg in legs.items()})

    def _end(self, reason: str, received: Mapping[Side, int]) -> None:
        """The legs or the relay are gone; settle the rest."""
        self._relay = None
        if self._half_closed_at is not None:  # the timer would keep this finished session in memory until it runs out
            self._half_closed_at.cancel()
        self._closed(reason, received)

    def _leave(self) -> None:
        """Forget the session, which never reached its server."""
        self.is_over = True
        self._sessions.forget(self)
