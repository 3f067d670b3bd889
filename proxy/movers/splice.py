"""Data without an engine: TCP relayed by splice(2), so that no payload ever enters Python.

Each direction owns a pipe, taken when its first bytes come (most FTP data flows one way) and given back empty:

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
# How often one direction may go round before the loop serves others.
ROUNDS_PER_WAKEUP = 16
# How much is read at a time where splice(2) cannot: around a byte of urgent data.
PAST_URGENT_BYTES = 64 * 1024
# One side has ended and nothing moves any more. Long, for a server may still be writing down what it was sent.
HALF_CLOSED_SECONDS = 600.0
# Most transfers are over sooner and need no keep-alive.
KEEP_ALIVE_AFTER_SECONDS = 60.0

# Edge-triggered, so that a socket is watched once in its life. Else a relay would change from waiting for its source to
# waiting for its sink and back at each turn.
_EVENTS = select.EPOLLIN | select.EPOLLPRI | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET
_JUST_DATA = select.EPOLLIN | select.EPOLLOUT
_NOTHING = bytes(4)  # an int for ioctl()
_FLAGS = 1 | 2  # SPLICE_F_MOVE | SPLICE_F_NONBLOCK; not in Python 3.11's os module.
_AND_MORE = _FLAGS | 4  # SPLICE_F_MORE: the last segment waits until what comes next has filled it.


class _Stop(Enum):
    """Why a way goes no further for now."""

    SOURCE_DRY = "source_dry"
    SINK_FULL = "sink_full"
    NOTHING_LEFT = "nothing_left"
    TURN_OVER = "turn_over"


class _Direction:
    """One way of a relay. `head`: bytes an engine left behind, to go out before all others."""

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
        """Urgent data has come, and may still be ahead."""
        self.may_stop = False
        """An end, an error or urgent data has come: nothing to read does not mean that there is nothing to learn."""
        self.urgent = b""
        """That which has to go out next, as such."""
        self.head = head
        self.pipe: Pipe | None = None
        self.in_pipe = 0
        self.moved = 0
        self.is_done = False
        self.is_scheduled = False

    @property
    def is_loaded(self) -> bool:
        """Something has come in that has not gone out."""
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
    ) -> None:
        """heads: what goes first to the target, and to the peer. carries_urgent: urgent data goes on as such; else it
        becomes part of the stream. silent_seconds: takes the place of `idle_seconds` while both ends answer
        keep-alives."""
        self._loop = loop
        self._splicer = splicer
        self._peer = peer
        self._inward = _Direction(peer, target, heads[0])
        self._outward = _Direction(target, peer, heads[1])
        self._idle_seconds = idle_seconds
        self._silent_seconds = silent_seconds
        self._ended = ended
        self._is_over = False
        self._is_kept_alive = False
        self._active_at = loop.time()
        self._timer = loop.call_later(min(idle_seconds, KEEP_ALIVE_AFTER_SECONDS, HALF_CLOSED_SECONDS), self._look)
        # If this process dies, the kernel closes both: as a reset, or half a file would look like a whole one (F56).
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
        ways = (self._inward, self._outward)
        for way in ways:
            if not self._is_over:
                self._move(way)
        # What the first moves left waiting, or what came since, is told at once.
        for reads, writes in (ways, ways[::-1]):
            if not self._is_over:
                self._watch(reads, writes)

    def _watch(self, reads: _Direction, writes: _Direction) -> None:
        """The socket that the one direction reads from and the other writes to."""
        try:
            self._splicer.poll.add(reads.source, _EVENTS, partial(self._changed, reads, writes))
        except OSError:
            self.abort("no_descriptors")

    @property
    def sockets(self) -> tuple[socket.socket, ...]:
        return self._peer, self._outward.source

    @property
    def bytes_in(self) -> int:
        """From the peer to the target."""
        return self._inward.moved

    @property
    def bytes_out(self) -> int:
        return self._outward.moved

    def abort(self, reason: str) -> None:
        """Reset both ends now."""
        self._end(reason, streams.reset)

    def _changed(self, reads: _Direction, writes: _Direction, events: int) -> None:
        if events & select.EPOLLERR and (reads.is_done or reads.is_loaded):
            # Nobody reads from it now, and this is told once: with the sink full it would be known much later.
            self.abort(self._reset_by(reads.source))
        elif events & ~select.EPOLLOUT:
            reads.has_urgent = reads.has_urgent or bool(events & select.EPOLLPRI)
            reads.may_stop = reads.may_stop or bool(events & ~_JUST_DATA)
            if not reads.is_loaded:  # else its sink has no room, and will say when it has
                self._move(reads)
        if writes.is_loaded and events & ~select.EPOLLIN:
            self._move(writes)

    def _move(self, way: _Direction) -> None:
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
            if not way.is_scheduled:  # there is more, but it is others' turn
                way.is_scheduled = True
                self._loop.call_soon(self._next_turn, way)

    def _next_turn(self, way: _Direction) -> None:
        way.is_scheduled = False
        self._move(way)

    def _send(self, way: _Direction) -> bool:
        """Whether all that goes ahead of the pipe's content has gone out."""
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
        """From the source to the sink. All of a bulk transfer is spent in these lines, so they ask nothing twice."""
        if way.pipe is None:
            way.pipe = self._splicer.take_pipe()
        splice, ioctl, source, sink = os.splice, fcntl.ioctl, way.from_fd, way.to_fd
        into, out_of = way.pipe.write, way.pipe.read
        waiting, before, moved = way.in_pipe, way.in_pipe, 0
        try:
            for _ in range(ROUNDS_PER_WAKEUP):
                # An error costs Python as much as ten such questions. What comes after it wakes us again.
                has_more = ioctl(source, termios.FIONREAD, _NOTHING) != _NOTHING
                if waiting:
                    sent = splice(out_of, sink, waiting, None, None, _AND_MORE if has_more else _FLAGS)
                    waiting -= sent
                    moved += sent
                    if waiting:  # it takes what there is room for; until all has gone out the source waits too
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
        """The pipe is empty, and nothing more comes into it. Whether something came past it; at the source's end pass
        that on, and be over when the other way is."""
        if (has_ended or way.has_urgent) and streams.at_urgent_mark(way.source):
            # splice() stops before urgent data, and calls that nothing, or the end. The byte itself may be on its way.
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
        """The byte that stands next, out of line. Whether it has come: it may be announced before."""
        try:
            way.urgent = way.source.recv(1, socket.MSG_OOB)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno != errno.EINVAL:  # it was taken already
                raise
        return True

    def _give_pipe(self, way: _Direction) -> None:
        if way.pipe is not None:
            self._splicer.give_pipe(way.pipe, is_empty=way.in_pipe == 0)
            way.pipe = None

    def _fail(self, way: _Direction, error: OSError) -> None:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            self.abort("no_descriptors")
            return
        # EPIPE is the sink's doing. Of a reset we are told on whichever socket was touched; ask which one it was.
        by_sink = error.errno == errno.EPIPE or way.is_loaded
        culprit = way.sink if by_sink else way.source
        self.abort(self._reset_by(culprit))

    def _reset_by(self, culprit: socket.socket) -> str:
        return "reset_by_peer" if culprit is self._peer else "reset_by_target"

    def _look(self) -> None:
        """From time to time: idle for too long? And a relay that lasts wants to learn when a peer has vanished."""
        limit = self._idle_seconds
        # Not while a slow reader still fetches what it was sent.
        is_half_closed = self._inward.is_done or self._outward.is_done
        if is_half_closed and not (streams.unsent(self._inward.sink) or streams.unsent(self._outward.sink)):
            limit = min(limit, HALF_CLOSED_SECONDS)
        silent_for = self._loop.time() - self._active_at
        left = limit - silent_for
        if left <= 0 and limit == self._idle_seconds and self._is_alive(silent_for):
            left = limit  # asked again then
        if left <= 0:
            self.abort("idle" if limit == self._idle_seconds else "half_closed")
            return
        if not self._is_kept_alive:
            self._is_kept_alive = True
            for way in (self._inward, self._outward):
                streams.keep_alive(way.source, self._idle_seconds)
        self._timer = self._loop.call_later(min(left, HALF_CLOSED_SECONDS), self._look)

    def _is_alive(self, silent_for: float) -> bool:
        """Whether silence is all that is wrong: both ends answer keep-alives, and neither keeps the other waiting."""
        if self._silent_seconds is None or silent_for >= self._silent_seconds:
            return False
        return all(
            not way.is_loaded and not streams.unsent(way.sink) and streams.heard_within(way.source, self._idle_seconds)
            for way in (self._inward, self._outward)
        )

    def give_up(self) -> None:
        """A bug of ours (`proxy/record/failures.py`)."""
        try:
            self.abort("failed")
        finally:
            for sock in (self._peer, self._outward.source):
                streams.reset(sock)

    def _end(self, reason: str, close: Callable[[socket.socket], None]) -> None:
        if self._is_over:
            return
        self._is_over = True
        self._timer.cancel()
        for way in (self._inward, self._outward):
            self._give_pipe(way)
            self._splicer.poll.closes(way.source)
            close(way.source)
        self._ended(reason)
