"""The static listeners that TPROXY redirects to: for each family one of TCP and one of UDP on loopback, whatever port
was dialled."""

from __future__ import annotations

import asyncio
import errno
import os
from ipaddress import ip_address

from protocols.contract.addresses import Endpoint, Transport
from proxy.record.audit import Log
from proxy.sessions.flows import Flows
from proxy.sessions.registry import Sessions
from proxy.sockets import packet_info, streams, transparent
from proxy.sockets.arrival import Arrival
from proxy.sockets.endpoint import MOST_LEFT

ACCEPTS_PER_WAKEUP = 64
# A connection that can be neither accepted nor refused waits in the backlog; to look again at once would only burn the
# processor.
RETRY_SECONDS = 0.2


class StreamListener:
    """Accepts redirected TCP connections and hands them to the sessions."""

    def __init__(self, loop: asyncio.AbstractEventLoop, at: Endpoint, sessions: Sessions, log: Log) -> None:
        """Raises OSError when the address is taken or its family is missing, SocketError without the capability."""
        self._loop = loop
        self._sessions = sessions
        self._log = log
        self.at = at
        self._interfaces = packet_info.InterfaceNames()
        self._spare: int | None = _spare_descriptor()
        self._sock = transparent.listen_main(at)
        transparent.limit_segments(self._sock, sessions.pinholes.max_segment)
        streams.tune_control(self._sock)
        self._pause: asyncio.TimerHandle | None = None
        loop.add_reader(self._sock, self._acceptable)

    def close(self) -> None:
        """Stop listening. Connections that were accepted go on."""
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._sock)
        self._sock.close()
        if self._spare is not None:
            os.close(self._spare)
            self._spare = None

    def _acceptable(self) -> None:
        """Accept the connections that wait, up to a limit for each wake-up."""
        for _ in range(ACCEPTS_PER_WAKEUP):
            try:
                arrival = transparent.accept(self._sock)
            except OSError as error:
                self._shed(error)
                return
            if arrival is None:
                return
            sock, client = arrival
            try:
                interface = self._interfaces.of(packet_info.incoming_interface(sock), self._loop.time())
                where = Arrival(Transport.TCP, interface, client, transparent.local(sock))
            except OSError:  # no descriptor is left to ask with, or the client has reset it
                streams.reset(sock)
                continue
            try:
                self._sessions.begin(sock, where)
            except Exception:
                streams.reset(sock)  # a bug of ours: no session owns the socket
                raise

    def _shed(self, error: OSError) -> None:
        """There is no descriptor left. The spare one is given up to accept the next client and tell it, by a reset,
        that there is no service."""
        self._log.write("listener.overloaded", listen=self.at, reason=os.strerror(error.errno or 0))
        if self._spare is not None:
            os.close(self._spare)
            self._spare = None
            try:
                if (refused := transparent.accept(self._sock)) is not None:
                    streams.reset(refused[0])
            except OSError:
                pass
        self._spare = _spare_descriptor()
        if self._spare is None:
            self._loop.remove_reader(self._sock)
            self._pause = self._loop.call_later(RETRY_SECONDS, self._resume)

    def _resume(self) -> None:
        self._pause = None
        self._spare = self._spare if self._spare is not None else _spare_descriptor()
        self._loop.add_reader(self._sock, self._acceptable)


class DatagramListener:
    """Receives redirected datagrams that no flow's own socket receives: everything that clients send.

    It is read together with the flows' own sockets (`proxy/sockets/readers.py`). If the loop watched it as a descriptor
    of its own, a call would cost three more reads of an empty socket, and a wake-up each time that client and server
    take turns.
    """

    def __init__(self, at: Endpoint, flows: Flows) -> None:
        """Raises the same errors as StreamListener."""
        self._readers = flows.endpoints.readers
        self._flows = flows
        self.at = at
        self._sock = transparent.datagrams_main(at)
        try:
            self._readers.add(self._sock, self._readable)
        except OSError:
            self._sock.close()
            raise

    def close(self) -> None:
        """Stop listening, after the datagrams that clients had already sent have been read."""
        self._readers.remove(self._sock)
        for _ in range(MOST_LEFT):
            if not self._readable():
                break
        self._sock.close()

    def _readable(self) -> bool:
        """Read one datagram. Returns whether there may be more."""
        try:
            arrived = packet_info.receive(self._sock)
        except OSError:
            return True
        if arrived is not None:
            self._flows.redirected(*arrived)
        return arrived is not None


def _spare_descriptor() -> int | None:
    """Open a descriptor that can be given up when there are no others left."""
    try:
        return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None


def loopback(port: int) -> tuple[Endpoint, ...]:
    """The addresses of the main listeners. They are never wildcard addresses: one would capture the port for every
    destination."""
    return tuple(Endpoint(ip_address(host), port) for host in ("127.0.0.1", "::1"))


def listen_all(
    loop: asyncio.AbstractEventLoop, port: int, sessions: Sessions, flows: Flows, log: Log
) -> list[StreamListener | DatagramListener]:
    """Start the listeners for each family that this machine has. Raises OSError when an address is taken or no family
    is available."""
    listeners: list[StreamListener | DatagramListener] = []
    missing: OSError | None = None
    for at in loopback(port):
        try:
            listeners.append(StreamListener(loop, at, sessions, log))
            listeners.append(DatagramListener(at, flows))
        except OSError as error:
            if error.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                for listener in listeners:
                    listener.close()
                raise
            missing = error
    if not listeners and missing is not None:
        raise missing
    return listeners
