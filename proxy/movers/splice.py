"""Relays of TCP without an engine: splice(2) moves the bytes, so no payload ever enters Python.

Each direction owns a pipe. It takes the pipe when its first bytes come (most FTP data flows one way) and gives it back
empty:

    source socket --splice--> pipe --splice--> sink socket

A direction reads only when its pipe is empty, so a sink that does not keep up stops the source by TCP's own window.
Half-close is passed on after the last byte (rule X24); a reset on one leg becomes a reset on the other (rule F56).
Nothing waits for an acknowledgement (Nagle), and no segment goes out half full while its source has more.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import select
import socket
import termios
from collections.abc import Callable
from enum import Enum
from functools import partial

from proxy.movers.pipes import Pipe, Splicer
from proxy.sockets import streams

SPLICE_BYTES = 1 << 20
# One direction may go round so many times before the loop serves others.
ROUNDS_PER_WAKEUP = 16
# So much is read at a time where splice(2) cannot work: around a byte of urgent data.
PAST_URGENT_BYTES = 64 * 1024
# One side has ended, and nothing moves for so long. It is long because a server may still be writing down what it was
# sent.
HALF_CLOSED_SECONDS = 600.0
# Most transfers are over sooner than this, and need no keep-alive.
KEEP_ALIVE_AFTER_SECONDS = 60.0

# The events are edge-triggered, so that a socket is registered once in its life. Otherwise a relay would change from
# waiting for its source to waiting for its sink and back at each turn.
_EVENTS = select.EPOLLIN | select.EPOLLPRI | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET
_JUST_DATA = select.EPOLLIN | select.EPOLLOUT
_NOTHING = bytes(4)  # an int for ioctl()
_FLAGS = 1 | 2  # SPLICE_F_MOVE | SPLICE_F_NONBLOCK; not in Python 3.11's os module.
_AND_MORE = _FLAGS | 4  # SPLICE_F_MORE: the last segment waits until what comes next has filled it.


class _Stop(Enum):
    """Why a direction goes no further for now."""

    SOURCE_DRY = "source_dry"
    SINK_FULL = "sink_full"
    NOTHING_LEFT = "nothing_left"
    TURN_OVER = "turn_over"


class _Direction:
    """One direction of a relay. `head` has bytes that an engine left behind, which go out before all others."""

    __slots__ = (
        "from_fd",
        "has_urgent",
        "head",
        "in_pipe",
        "is_done",
        "is_scheduled",
        "may_stop",
        "moved",
        "pipe",
        "sink",
        "source",
        "to_fd",
        "urgent",
    )

    def __init__(self, source: socket.socket, sink: socket.socket, head: bytes) -> None:
        self.source = source
        self.sink = sink
        self.from_fd = source.fileno()
        self.to_fd = sink.fileno()
        self.has_urgent = False
        """Whether urgent data has come, and may not have been read yet."""
        self.may_stop = False
        """Whether an end, an error or urgent data has been reported: then an empty source may still have something to
        tell."""
        self.urgent = b""
        """The byte that goes out next as urgent data."""
        self.head = head
        self.pipe: Pipe | None = None
        self.in_pipe = 0
        """Bytes in the pipe."""
        self.moved = 0
        """Bytes that have gone out to the sink."""
        self.is_done = False
        """Whether the source has ended and the sink has been told."""
        self.is_scheduled = False

    @property
    def is_loaded(self) -> bool:
        """Whether some bytes have come in that have not gone out."""
        return bool(self.in_pipe or self.head or self.urgent)


class SpliceRelay:
    """Two connected sockets, each the other's sink, until both have finished, one is reset, or nothing moves for long.

    Owns the sockets from construction on. `ended(reason)` is called exactly once, after both are closed. The reason is
    finished; idle; half_closed (one side had ended, and the other one was silent for too long); reset_by_peer (`peer`,
    the side that came to us); reset_by_target (`target`, the side that we dialled); no_descriptors; or what abort() was
    given.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        splicer: Splicer,
        peer: socket.socket,
        target: socket.socket,
        idle_seconds: float,
        ended: Callable[[str], None],
        heads: tuple[bytes, bytes] = (b"", b""),
        carries_urgent: bool = False,
        silent_seconds: float | None = None,
        half_closed_seconds: float | None = None,
    ) -> None:
        """`heads` has the bytes that go first to the target, and to the peer. `carries_urgent`: urgent data goes on as
        urgent data; otherwise it becomes part of the stream. `silent_seconds` replaces `idle_seconds` while both ends
        answer keep-alives. `half_closed_seconds` is the same once one side has ended (None: HALF_CLOSED_SECONDS)."""
        self._loop = loop
        self._splicer = splicer
        self._peer = peer
        self._inward = _Direction(peer, target, heads[0])
        self._outward = _Direction(target, peer, heads[1])
        self._idle_seconds = idle_seconds
        self._silent_seconds = silent_seconds
        self._half_closed_seconds = HALF_CLOSED_SECONDS if half_closed_seconds is None else half_closed_seconds
        self._ended = ended
        self._is_over = False
        self._is_kept_alive = False
        self._active_at = loop.time()
        self._timer = loop.call_later(min(idle_seconds, KEEP_ALIVE_AFTER_SECONDS, HALF_CLOSED_SECONDS), self._look)
        # If this process dies, the kernel closes both sockets. It is a reset then, or half a file would look like a
        # whole one (F56).
        for sock in (peer, target):
            streams.reset_when_closed(sock)
            streams.no_delay(sock)
            if silent_seconds is not None and idle_seconds < 2 * KEEP_ALIVE_AFTER_SECONDS:
                streams.keep_alive(sock, idle_seconds)
        self._carries_urgent = carries_urgent
        if not carries_urgent:
            streams.urgent_inline(peer)
            streams.urgent_inline(target)

    def start(self) -> None:
        """Move what has come already, and watch both sockets from now on."""
        ways = (self._inward, self._outward)
        for way in ways:
            if not self._is_over:
                self._move(way)
        # The poll reports at once what the first moves left waiting, and what has come since.
        for reads, writes in (ways, ways[::-1]):
            if not self._is_over:
                self._watch(reads, writes)

    def _watch(self, reads: _Direction, writes: _Direction) -> None:
        """Watch the socket that one direction reads from and the other one writes to."""
        try:
            self._splicer.poll.add(reads.source, _EVENTS, partial(self._changed, reads, writes))
        except OSError:
            self.abort("no_descriptors")

    @property
    def sockets(self) -> tuple[socket.socket, ...]:
        """The sockets of the peer and the target."""
        return self._peer, self._outward.source

    @property
    def bytes_in(self) -> int:
        """Bytes that have gone from the peer to the target."""
        return self._inward.moved

    @property
    def bytes_out(self) -> int:
        """Bytes that have gone from the target to the peer."""
        return self._outward.moved

    def abort(self, reason: str) -> None:
        """Reset both ends now."""
        self._end(reason, streams.reset)

    def _changed(self, reads: _Direction, writes: _Direction, events: int) -> None:
        """The poll has reported events of a socket."""
        if events & select.EPOLLERR and (reads.is_done or reads.is_loaded):
            # The relay does not read from this socket now, and the error is reported only once: with the sink full it
            # would be noticed much later.
            self.abort(self._reset_by(reads.source))
        elif events & ~select.EPOLLOUT:
            reads.has_urgent = reads.has_urgent or bool(events & select.EPOLLPRI)
            reads.may_stop = reads.may_stop or bool(events & ~_JUST_DATA)
            if not reads.is_loaded:  # otherwise its sink has no room, and the poll reports when it has
                self._move(reads)
        if writes.is_loaded and events & ~select.EPOLLIN:
            self._move(writes)

    def _move(self, way: _Direction) -> None:
        """Move what can be moved now."""
        if self._is_over or way.is_done:
            return
        try:
            for _ in range(ROUNDS_PER_WAKEUP):
                if (way.head or way.urgent) and not self._send(way):
                    return
                stopped = self._pour(way)
                if stopped is _Stop.SINK_FULL:
                    return
                if stopped is _Stop.TURN_OVER:
                    break
                if not self._look_behind(way, has_ended=stopped is _Stop.NOTHING_LEFT):
                    return
        except OSError as error:
            self._fail(way, error)
        else:
            if not way.is_scheduled:  # there is more to move, but the loop serves others first
                way.is_scheduled = True
                self._loop.call_soon(self._next_turn, way)

    def _next_turn(self, way: _Direction) -> None:
        way.is_scheduled = False
        self._move(way)

    def _send(self, way: _Direction) -> bool:
        """Send what goes ahead of the pipe's content. Returns whether all of it has gone out."""
        try:
            if way.urgent:
                way.moved += way.sink.send(way.urgent, socket.MSG_OOB)
                way.urgent = b""
            while way.head:
                sent = way.sink.send(way.head)
                way.head = way.head[sent:]
                way.moved += sent
        except BlockingIOError:
            return False
        return True

    def _pour(self, way: _Direction) -> _Stop:
        """Move bytes from the source to the sink. All of a bulk transfer is spent in these lines, so they ask nothing
        twice."""
        if way.pipe is None:
            way.pipe = self._splicer.take_pipe()
        splice, ioctl, source, sink = os.splice, fcntl.ioctl, way.from_fd, way.to_fd
        into, out_of = way.pipe.write, way.pipe.read
        waiting, before, moved = way.in_pipe, way.in_pipe, 0
        try:
            for _ in range(ROUNDS_PER_WAKEUP):
                # An exception costs Python as much as ten such questions. If more bytes come after the question, the
                # poll reports them.
                has_more = ioctl(source, termios.FIONREAD, _NOTHING) != _NOTHING
                if waiting:
                    sent = splice(out_of, sink, waiting, None, None, _AND_MORE if has_more else _FLAGS)
                    waiting -= sent
                    moved += sent
                    if waiting:  # the sink takes what it has room for; until all has gone out the source waits too
                        return _Stop.SINK_FULL
                if not (has_more or way.may_stop):
                    return _Stop.SOURCE_DRY
                waiting = splice(source, into, SPLICE_BYTES, None, None, _FLAGS)
                if not waiting:
                    return _Stop.NOTHING_LEFT
        except BlockingIOError:
            return _Stop.SINK_FULL if waiting else _Stop.SOURCE_DRY
        finally:
            way.in_pipe = waiting
            if moved or waiting != before:
                way.moved += moved
                self._active_at = self._loop.time()
        return _Stop.TURN_OVER

    def _look_behind(self, way: _Direction, has_ended: bool) -> bool:
        """The pipe is empty, and splice(2) brings nothing more into it. Look for what it cannot bring: urgent data, and
        the source's end. The end is passed on, and the relay is over when the other direction has ended too. Returns
        whether there is more to move."""
        if (has_ended or way.has_urgent) and streams.at_urgent_mark(way.source):
            # splice(2) stops before urgent data, and reports that as nothing to read, or as the end. The urgent byte
            # itself may still be on its way.
            has_ended = False
            if self._carries_urgent and not self._take_urgent(way):
                return False
            with contextlib.suppress(BlockingIOError):
                way.head = way.source.recv(PAST_URGENT_BYTES)
                has_ended = not way.head
        if way.is_loaded:
            self._active_at = self._loop.time()
            return True
        # A pipe is held only while bytes are in it: thousands of quiet relays need none.
        self._give_pipe(way)
        if not has_ended:
            return False
        way.is_done = True
        if self._inward.is_done and self._outward.is_done:
            self._end("finished", streams.close)
        else:
            streams.finish(way.sink)
        return False

    def _take_urgent(self, way: _Direction) -> bool:
        """Read the urgent byte that stands next, out of line. Returns whether it has come: it may be announced before
        it comes."""
        try:
            way.urgent = way.source.recv(1, socket.MSG_OOB)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno != errno.EINVAL:  # EINVAL: the byte was taken already
                raise
        return True

    def _give_pipe(self, way: _Direction) -> None:
        if way.pipe is not None:
            self._splicer.give_pipe(way.pipe, is_empty=way.in_pipe == 0)
            way.pipe = None

    def _fail(self, way: _Direction, error: OSError) -> None:
        """A system call has failed, so both ends are reset."""
        if error.errno in (errno.EMFILE, errno.ENFILE):
            self.abort("no_descriptors")
            return
        # EPIPE comes from the sink. A reset is reported on whichever socket was touched, so find out which peer it was.
        by_sink = error.errno == errno.EPIPE or way.is_loaded
        culprit = way.sink if by_sink else way.source
        self.abort(self._reset_by(culprit))

    def _reset_by(self, culprit: socket.socket) -> str:
        """The reason that names the peer which has reset its connection."""
        return "reset_by_peer" if culprit is self._peer else "reset_by_target"

    def _look(self) -> None:
        """Runs from time to time. It ends a relay that has been idle for too long. It also turns keep-alive on for a
        relay that lasts, so that a peer that vanishes is noticed."""
        limit = self._idle_seconds
        # A slow reader that still fetches what it was sent is left alone.
        is_half_closed = self._inward.is_done or self._outward.is_done
        if is_half_closed and not (streams.unsent(self._inward.sink) or streams.unsent(self._outward.sink)):
            limit = min(limit, self._half_closed_seconds)
        silent_for = self._loop.time() - self._active_at
        left = limit - silent_for
        if left <= 0 and limit == self._idle_seconds and self._is_alive(silent_for):
            left = limit  # the question is asked again after that time
        if left <= 0:
            self.abort("idle" if limit == self._idle_seconds else "half_closed")
            return
        if not self._is_kept_alive:
            self._is_kept_alive = True
            for way in (self._inward, self._outward):
                streams.keep_alive(way.source, self._idle_seconds)
        self._timer = self._loop.call_later(min(left, HALF_CLOSED_SECONDS), self._look)

    def _is_alive(self, silent_for: float) -> bool:
        """Whether the relay is merely silent: both ends answer keep-alives, and neither keeps the other waiting."""
        if self._silent_seconds is None or silent_for >= self._silent_seconds:
            return False
        return all(
            not way.is_loaded and not streams.unsent(way.sink) and streams.heard_within(way.source, self._idle_seconds)
            for way in (self._inward, self._outward)
        )

    def give_up(self) -> None:
        """A bug of ours resets both ends (`proxy/record/failures.py`)."""
        try:
            self.abort("failed")
        finally:
            for sock in (self._peer, self._outward.source):
                streams.reset(sock)

    def _end(self, reason: str, close: Callable[[socket.socket], None]) -> None:
        """Close both sockets by this function, once, and report the reason."""
        if self._is_over:
            return
        self._is_over = True
        self._timer.cancel()
        for way in (self._inward, self._outward):
            self._give_pipe(way)
            self._splicer.poll.closes(way.source)
            close(way.source)
        self._ended(reason)
