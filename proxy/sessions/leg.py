"""A leg is our socket towards one side of a control session. It sends in order, and buffers what the peer does not take
yet.

A leg is no asyncio stream, because a stream owns its socket and hides four things that a session needs. The socket must
be given away, so that the kernel or a relay can splice it. Urgent data must be sent and seen. A reset must be told
apart from an ordinary end of the stream, also after the last byte. And one pair of water marks must pause the reading
of both sides, with one budget for all sessions.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from proxy.sockets import streams
from proxy.sockets.poll import READ, WRITE, Poll

RECEIVE_BYTES = 16 * 1024
# Above the high mark of either leg nothing more is read from both sides; below the low mark reading goes on (rule X25).
HIGH_WATER = 64 * 1024
LOW_WATER = 16 * 1024
# All legs together may hold this much. Beyond it a leg that holds anything counts as full, so that thousands of peers
# that read nothing cost no more than this and what each was sent at once.
MOST_HELD_BYTES = 64 * 1024 * 1024
# So long the peer has to fetch a last answer; then the connection is reset whatever the peer does.
LAST_WORDS_SECONDS = 2.0


class Held:
    """Counts the bytes that the legs of all sessions hold for peers that do not read."""

    __slots__ = ("bytes",)

    def __init__(self) -> None:
        self.bytes = 0

    @property
    def high_water(self) -> int:
        """How many bytes one leg may hold before reading pauses."""
        return HIGH_WATER if self.bytes < MOST_HELD_BYTES else 0


class Leg:
    """Owns one connected, non-blocking socket. The owner gives three callbacks: `received` gets the bytes that come,
    and b"" at the end of the stream; `failed` is called when the peer has reset the connection, or answers keep-alives
    no more; `drained` when the bytes that wait to be sent have fallen below the low mark.
    """

    __slots__ = (
        "_drained",
        "_failed",
        "_finishing",
        "_held",
        "_loop",
        "_poll",
        "_received",
        "_waiting",
        "_watched",
        "bytes_received",
        "has_ended",
        "is_reading",
        "sock",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        poll: Poll,
        sock: socket.socket,
        received: Callable[[bytes], None],
        failed: Callable[[], None],
        drained: Callable[[], None],
        held: Held,
    ) -> None:
        self._loop = loop
        self._poll = poll
        self._held = held
        self.sock = sock
        self._received = received
        self._failed = failed
        self._drained = drained
        self._waiting = bytearray()
        """Bytes that the kernel has not taken yet."""
        self._finishing = False
        """Whether a half-close follows the waiting bytes."""
        self._watched = 0
        """The events that the poll waits for at this socket."""
        self.is_reading = False
        self.bytes_received = 0
        self.has_ended = False
        """Whether the peer has sent its last byte."""

    @property
    def is_congested(self) -> bool:
        """Whether so many bytes wait that reading should pause."""
        waiting = len(self._waiting)
        return waiting > 0 and waiting > self._held.high_water

    @property
    def has_sent_all(self) -> bool:
        """Whether the kernel has taken every byte."""
        return not self._waiting

    def resume(self) -> None:
        """Read from now on, unless the peer has ended its stream."""
        if not (self.is_reading or self.has_ended):
            self.is_reading = True
            self._watch()

    def pause(self) -> None:
        """Read no more until `resume`."""
        if self.is_reading:
            self.is_reading = False
            self._watch()

    def _watch(self) -> None:
        events = (READ if self.is_reading else 0) | (WRITE if self._waiting else 0)
        if events == self._watched:
            return
        if not events:
            self._poll.forget(self.sock)
        elif self._watched:
            self._poll.change(self.sock, events, self._ready)
        else:
            self._poll.add(self.sock, events, self._ready)
        self._watched = events

    def _ready(self, events: int) -> None:
        if self._waiting and events != READ:
            self._flush()
        if self.is_reading and events != WRITE:
            self._receive()

    def _receive(self) -> None:
        """Read once. The poll reports again if more is left."""
        try:
            data = self.sock.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            self._failed()
            return
        self.bytes_received += len(data)
        if not data:
            self.has_ended = True
            self.pause()
        self._received(data)

    def send(self, data: bytes) -> None:
        """Send now what the kernel takes, and keep the rest for later."""
        if self._finishing:
            return  # the peer has been told that the stream ended, so nobody hears this answer
        if not self._waiting:
            try:
                sent = self.sock.send(data)
            except BlockingIOError:
                sent = 0
            except OSError:
                # The failure is reported from the loop, so that the session is not closed in the midst of applying
                # effects.
                self._loop.call_soon(self._failed)
                return
            if sent == len(data):
                return
            data = data[sent:]
        self._waiting += data
        self._held.bytes += len(data)
        self._watch()

    def finish(self) -> None:
        """Half-close the connection behind the bytes that wait."""
        if not self._finishing:
            self._finishing = True
            if not self._waiting:
                streams.finish(self.sock)

    def _flush(self) -> None:
        """Send more of what waits."""
        try:
            sent = self.sock.send(self._waiting)
        except BlockingIOError:
            return
        except OSError:
            self._failed()
            return
        was_congested = len(self._waiting) > LOW_WATER
        del self._waiting[:sent]
        self._held.bytes -= sent
        if not self._waiting:
            self._watch()
            if self._finishing:
                streams.finish(self.sock)
        if (was_congested and len(self._waiting) <= LOW_WATER) or not self._waiting:
            self._drained()

    def give_up(self) -> None:
        """A bug of ours while this leg was at work ends the leg (`proxy/record/failures.py`)."""
        try:
            self._failed()
        finally:
            self.reset()

    # -- ends: after any of these the leg is gone -----------------------------------------------------------------

    def hand_over(self) -> tuple[socket.socket, bytes]:
        """Give the socket away, together with the bytes that have not gone out yet."""
        self._poll.forget(self.sock)
        self._let_go()
        return self.sock, bytes(self._waiting)

    def close(self) -> None:
        """Close the connection now. Bytes that the kernel has not taken are lost."""
        self._poll.closes(self.sock)
        self._let_go()
        self.sock.close()

    def reset(self) -> None:
        """Reset the connection now."""
        self._poll.closes(self.sock)
        self._let_go()
        streams.reset(self.sock)

    def close_after_last_words(self) -> None:
        """Send what waits and the end of the stream, then reset. What the peer still says goes unread."""
        LastWords(self._loop, *self.hand_over(), self._held, LAST_WORDS_SECONDS, streams.reset)

    def close_in_order(self, seconds: float) -> None:
        """Send what waits and the end of the stream, then close. The connection is reset only if the peer does not take
        the waiting bytes within so many seconds."""
        LastWords(self._loop, *self.hand_over(), self._held, seconds, socket.socket.close)

    def _let_go(self) -> None:
        self.is_reading = False
        self._held.bytes -= len(self._waiting)


class LastWords:
    """Ends a connection only after the peer has had a moment to read what it was just told.

    A reset overtakes the bytes that were sent before it, and the kernel sends a reset when bytes arrive that nobody
    reads. So the socket stays open, and whatever comes is read and thrown away.
    """

    __slots__ = ("_held", "_let_go", "_loop", "_sock", "_timer", "_waiting")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        waiting: bytes,
        held: Held,
        seconds: float,
        let_go: Callable[[socket.socket], None],
    ) -> None:
        """`seconds` is the time for the peer to take what waits. `let_go` ends the connection once the peer has had
        time to read."""
        self._loop = loop
        self._sock = sock
        self._waiting = waiting
        self._held = held
        self._let_go = let_go
        held.bytes += len(waiting)
        self._timer = loop.call_later(seconds if waiting else LAST_WORDS_SECONDS, self._end)
        loop.add_reader(sock, self._discard)
        if waiting:
            loop.add_writer(sock, self._flush)
        else:
            streams.finish(sock)

    def _flush(self) -> None:
        try:
            sent = self._sock.send(self._waiting)
        except BlockingIOError:
            return
        except OSError:
            self._end()
            return
        self._waiting = self._waiting[sent:]
        self._held.bytes -= sent
        if not self._waiting:
            self._loop.remove_writer(self._sock)
            streams.finish(self._sock)
            self._timer.cancel()
            self._timer = self._loop.call_later(LAST_WORDS_SECONDS, self._end)

    def _discard(self) -> None:
        try:
            if not self._sock.recv(RECEIVE_BYTES):
                self._end()
        except BlockingIOError:
            pass
        except OSError:
            self._end()

    def give_up(self) -> None:
        """A bug of ours ends the connection at once (`proxy/record/failures.py`)."""
        self._end()

    def _end(self) -> None:
        self._timer.cancel()
        self._loop.remove_reader(self._sock)
        self._held.bytes -= len(self._waiting)
        if self._waiting:
            self._loop.remove_writer(self._sock)
            streams.reset(self._sock)
        else:
            self._let_go(self._sock)
