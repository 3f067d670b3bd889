"""Our socket towards one side of a control session: sends in order, buffers what the peer does not take yet."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from proxy.sockets import streams

RECEIVE_BYTES = 16 * 1024
# Above the high mark of either leg nothing more is read from both sides; below the low mark reading goes on (rule X25).
HIGH_WATER = 64 * 1024
LOW_WATER = 16 * 1024
# What all legs may hold together. Beyond it a leg that holds anything counts as full, so that thousands of peers who
# read nothing cost no more than this and what each was sent at once.
MOST_HELD_BYTES = 64 * 1024 * 1024
# How long the peer has to fetch a last answer, before the connection is reset whatever it does.
LAST_WORDS_SECONDS = 2.0


class Held:
    """Bytes that the legs of all sessions hold for peers who do not read."""

    __slots__ = ("bytes",)

    def __init__(self) -> None:
        self.bytes = 0

    @property
    def high_water(self) -> int:
        """What one leg may hold before nothing more is read for it."""
        return HIGH_WATER if self.bytes < MOST_HELD_BYTES else 0


class Leg:
    """Owns one connected, non-blocking socket. The session reads through `receive`; `failed` is told of errors on
    write, `drained` when the buffer has fallen below the low mark.
    """

    __slots__ = (
        "_drained",
        "_failed",
        "_finishing",
        "_held",
        "_loop",
        "_reader",
        "_waiting",
        "bytes_received",
        "has_ended",
        "sock",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        failed: Callable[[], None],
        drained: Callable[[], None],
        held: Held,
    ) -> None:
        self._loop = loop
        self._held = held
        self.sock = sock
        self._failed = failed
        self._drained = drained
        self._waiting = bytearray()
        self._finishing = False
        self._reader: Callable[[], None] | None = None
        self.bytes_received = 0
        self.has_ended = False
        """Whether the peer has sent its last byte."""

    @property
    def is_congested(self) -> bool:
        waiting = len(self._waiting)
        return waiting > 0 and waiting > self._held.high_water

    @property
    def is_reading(self) -> bool:
        return self._reader is not None

    @property
    def has_sent_all(self) -> bool:
        return not self._waiting

    @property
    def is_finished(self) -> bool:
        """Whether our last byte has gone out and the half-close behind it."""
        return self._finishing and not self._waiting

    def read_with(self, reader: Callable[[], None] | None) -> None:
        """Call `reader` when there is something to read; None stops that."""
        if reader is self._reader:
            return
        if reader is None:
            self._loop.remove_reader(self.sock)
        else:
            self._loop.add_reader(self.sock, reader)
        self._reader = reader

    def receive(self) -> bytes | None:
        """What has come; b"" at the end of the stream; None when nothing has. Raises OSError on a reset."""
        try:
            data = self.sock.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return None
        self.bytes_received += len(data)
        return data

    def send(self, data: bytes) -> None:
        if self._finishing:
            return  # an answer for somebody who has been told the end: there is nobody to hear it
        if not self._waiting:
            try:
                sent = self.sock.send(data)
            except BlockingIOError:
                sent = 0
            except OSError:
                # Told from the loop, so that the session is not closed in the midst of applying effects.
                self._loop.call_soon(self._failed)
                return
            if sent == len(data):
                return
            data = data[sent:]
            self._loop.add_writer(self.sock, self._flush)
        self._waiting += data
        self._held.bytes += len(data)

    def finish(self) -> None:
        """Half-close, after what waits."""
        if not self._finishing:
            self._finishing = True
            if not self._waiting:
                streams.finish(self.sock)

    def _flush(self) -> None:
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
            self._loop.remove_writer(self.sock)
            if self._finishing:
                streams.finish(self.sock)
        if (was_congested and len(self._waiting) <= LOW_WATER) or not self._waiting:
            self._drained()

    def give_up(self) -> None:
        """A bug of ours while it sent (`proxy/record/failures.py`)."""
        try:
            self._failed()
        finally:
            self.reset()

    # -- ends: after any of these the leg is gone -----------------------------------------------------------------

    def _detach(self) -> None:
        self.read_with(None)
        self._held.bytes -= len(self._waiting)
        if self._waiting:
            self._loop.remove_writer(self.sock)

    def hand_over(self) -> tuple[socket.socket, bytes]:
        """Give the socket away, with what had not gone out yet."""
        self._detach()
        return self.sock, bytes(self._waiting)

    def close(self) -> None:
        self._detach()
        self.sock.close()

    def reset(self) -> None:
        self._detach()
        streams.reset(self.sock)

    def close_after_last_words(self) -> None:
        """Send what waits and the end of the stream, then let go; what the peer still says goes unread."""
        self._detach()
        LastWords(self._loop, self.sock, bytes(self._waiting), self._held, LAST_WORDS_SECONDS, streams.reset)

    def close_in_order(self, seconds: float) -> None:
        """The same, but the connection is not reset unless the peer does not take what waits in so many seconds."""
        self._detach()
        LastWords(self._loop, self.sock, bytes(self._waiting), self._held, seconds, socket.socket.close)


class LastWords:
    """A reset overtakes what was sent before it, and what comes and nobody reads makes the kernel send one. So a peer
    that was just told something gets a moment to read that."""

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
        """seconds: for the peer to take what waits. let_go: how the connection ends when it has had time to read."""
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
        """A bug of ours (`proxy/record/failures.py`)."""
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
