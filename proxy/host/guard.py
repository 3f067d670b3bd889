"""Sees to it that the rules and routes that bring sessions here stand. An operator may reload a ruleset with a flush,
restart a network or take `lo` down, and from then on sessions stop, or pass unread.

A process of its own does it, because it needs more rights than serving does, and peers never reach it. It comes in two
forms: a child of the daemon, which tells what is missing, and puts it back for `run --net`; and `pinhole net guard`,
which puts back what is missing for a daemon that may not. News about our rules are few (`news`), and what they mean is
found by looking at the whole (`standing`), as `pinhole net status` does. Only iptables of the legacy kind has no news,
and is looked at now and then.

    kernel --news--> guard --looks--> what is missing --a line of JSON--> the daemon
                       +--sets up--> what was missing --a line of JSON--> the daemon

Wishes of listeners are few, and none of them says what the rules are: the guard reads the configuration itself.

    apply   set up what the configuration says now
    rest    let the rules go until they stand again, as `pinhole net down` wants
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from proxy.config import reading
from proxy.config.schema import Config
from proxy.errors import NetError, PinholeError
from proxy.host import beside, entrances, link, net, privileges, rules, service
from proxy.host.commands import turn
from proxy.host.link import Link
from proxy.host.news import News
from proxy.host.passed import Passed
from proxy.host.rules import Backend
from proxy.host.standing import Standing
from proxy.text import say

SETTLE_SECONDS = 0.5
"""How long to wait for the rest of a change before it is told. A change comes in several pieces of news."""
QUICK_SETTLE_SECONDS = 0.1
"""The same for who puts things back: meanwhile sessions may pass unread."""
LONGEST_SETTLE = 10
"""For so many times as long at most."""
LOOK_SECONDS = 30.0
"""The time between looks at rules that have no news."""
AT_ONCE, WITHIN_SECONDS = 30, 60.0
"""So often within this time things are put back at once. Whoever takes them away more often is left to it for a while,
since each time takes effort."""
LONGEST_PAUSE_SECONDS = 10.0
"""Between two attempts to put back what cannot be put back now."""
NET_GUARD, RUN_NET = "net guard", "run --net"
"""The commands that keep rules, as a guard names its own."""
_LISTENERS = 16
_LONGEST_WISH = 1 << 12

_NEEDED = frozenset({privileges.NET_ADMIN, privileges.NET_RAW, privileges.DAC_READ_SEARCH})
"""The rights of this process; iptables asks by a raw socket, and the configuration may be another user's."""

Say = Callable[[str], None]


class Guard:
    """Looks, tells, and puts back. It serves its listeners and the kernel's news in turn."""

    def __init__(self, path: str | None, config: Config, wanted: Backend | None, keeps: bool, say: Say) -> None:
        """`path` is the file that `config` was read from. `wanted` is the backend whose rules must stand (None: as the
        configuration says, or either). `keeps`: what is missing is put back."""
        self._path = path  # without one the system's file, which may come to be there later
        self._config = config
        self._wanted = wanted
        self._keeps = keeps
        self._say = say
        self._news = News(privileges.NET_ADMIN in privileges.effective())
        self._sees_rules = self._news.has_rules
        self._standing = self._of(config)
        self._poll = select.poll()
        self._ready: dict[int, Callable[[], None]] = {}
        for descriptor in self._news:
            self._watch(descriptor, partial(self._heard, descriptor))
        self._listeners: list[socket.socket] = []
        self._command = NET_GUARD
        self._is_over = False
        self._is_resting = False
        self._missing: list[str] | None = None
        """What was missing at the last look. None: nobody has looked yet."""
        self._heard_at: float | None = None
        """When the first of those news came that are not looked into yet."""
        self._look_at: float | None = None
        self._put_back_at: deque[float] = deque(maxlen=AT_ONCE)
        self._passed: Passed | None = None

    def listen_at(self, entrance: socket.socket) -> None:
        """Let listeners come by this socket."""
        self._watch(entrance.fileno(), partial(self._come_in, entrance))

    def add(self, listener: socket.socket, is_last: bool = False) -> None:
        """Tell this listener. `is_last`: its end is the guard's."""
        if is_last:
            self._command = RUN_NET
        self._listeners.append(listener)
        self._watch(listener.fileno(), partial(self._hear, listener, is_last))
        if self._missing is not None:
            self._tell_one(listener, self._line())

    def heed(self, signals: socket.socket) -> None:
        """Heed the signals whose numbers come by this socket: SIGHUP sets up what the configuration says now, others
        are the end."""
        self._watch(signals.fileno(), partial(self._signalled, signals))

    def set_up(self, config: Config) -> None:
        """Set up what this configuration says, and keep that from now on. Raises NetError."""
        net.up(config, net.chosen(config, self._wanted))
        self._config, self._standing, self._is_resting = config, self._of(config), False
        self._drain()
        self.look()

    def look(self) -> None:
        """Look at what stands, tell what is missing, and put it back. When things go wrong, look again a while
        later."""
        at = self._heard_at or time.monotonic()
        self._heard_at = self._look_at = None
        missing = self._looked()
        self._tell(missing, at)
        if not missing:
            self._is_resting = False
        elif self._keeps and not self._is_resting:
            self._put_back(missing, at)
        if self._look_at is None and self._standing.needs_looking:
            self._look_at = time.monotonic() + LOOK_SECONDS

    def serve(self) -> None:
        """Do all of this until the end."""
        self.look()
        while not self._is_over:
            now = time.monotonic()
            for descriptor, _ in self._poll.poll(None if self._look_at is None else max(0, self._look_at - now) * 1000):
                if descriptor in self._ready:  # it may have gone with the one before it
                    self._ready[descriptor]()
            if self._look_at is not None and time.monotonic() >= self._look_at and not self._is_over:
                self.look()

    def close(self) -> None:
        """Let go of all sockets."""
        self._news.close()
        for listener in self._listeners:
            listener.close()

    # -- what stands -----------------------------------------------------------------------------------------------

    def _of(self, config: Config) -> Standing:
        named = config.network.backend
        wanted = self._wanted or (None if named is None else Backend(named))
        return Standing(config, wanted, self._sees_rules)

    def _looked(self) -> list[str]:
        """What is missing, or why that cannot be told."""
        try:
            return self._standing.missing()
        except NetError as error:
            return [f"cannot be looked at: {error}"]

    def _put_back(self, missing: list[str], at: float) -> None:
        """Set up what is missing, unless that was done too often. What it takes to do so is no news."""
        now = time.monotonic()
        if len(self._put_back_at) == AT_ONCE and now - self._put_back_at[0] < WITHIN_SECONDS:
            self._say(f"somebody takes rules or routes away again and again ({', '.join(missing)}): left to it for now")
            self._look_at = self._put_back_at[0] + WITHIN_SECONDS
            return
        self._put_back_at.append(now)
        try:
            net.up(self._config, net.chosen(self._config, self._wanted or self._standing.backend))
        except NetError as error:
            self._say(f"{', '.join(missing)}: cannot be put back: {error}")
            self._look_at = time.monotonic() + min(len(self._put_back_at), LONGEST_PAUSE_SECONDS)
            return
        self._drain()
        done = time.monotonic()
        left = self._looked()
        self._tell(left, done, by_guard=True)
        if left:
            self._say(f"{', '.join(left)}: is so still, after it was set up")
        else:
            self._say(f"{', '.join(missing)}: put back after {done - at:.2f} s")

    def _heard(self, descriptor: int) -> None:
        """News have come. They are looked into when the rest of the same change has come."""
        if self._news.drain(descriptor, self._config.network.table):
            now = time.monotonic()
            settle = QUICK_SETTLE_SECONDS if self._keeps else SETTLE_SECONDS
            if self._heard_at is None:
                self._heard_at = now
                self._count_passed()
            self._look_at = min(self._heard_at + LONGEST_SETTLE * settle, now + settle)

    def _count_passed(self) -> None:
        """Sessions may pass unread from now on. At the first news nobody knows whether they do."""
        if self._passed is None and self._sees_rules:
            with contextlib.suppress(OSError):
                self._passed = Passed(self._config)

    def _drain(self) -> None:
        """Forget the news that have come: what follows looks at the whole."""
        for descriptor in self._news:
            self._news.drain(descriptor, self._config.network.table)

    # -- listeners -------------------------------------------------------------------------------------------------

    def _line(self, **facts: Any) -> bytes:
        wanted = self._standing.wanted
        always = {
            "missing": self._missing,
            "sees_rules": self._sees_rules,
            "keeps": self._keeps,
            "command": self._command,
            "backend": None if wanted is None else wanted.value,
        }
        return json.dumps(always | facts).encode()

    def _tell(self, missing: list[str], at: float, by_guard: bool = False) -> None:
        """Tell all listeners if this is other than before. `at` is when it came to be so, by the clock of `monotonic`,
        which is the same for all processes."""
        facts: dict[str, Any] = {"at": at}
        if missing:
            self._count_passed()
        else:
            facts["by"] = "guard" if by_guard else "others"
            if self._passed is not None:
                facts["passed"], facts["sessions"] = self._passed.close()
                self._passed = None
        if missing == self._missing:
            return
        self._missing = missing
        line = self._line(**facts)
        for listener in tuple(self._listeners):
            self._tell_one(listener, line)

    def _tell_one(self, listener: socket.socket, line: bytes) -> None:
        with contextlib.suppress(OSError):  # its end is heard next; one that does not read is no reason to wait
            listener.send(line, socket.MSG_DONTWAIT)

    def _come_in(self, entrance: socket.socket) -> None:
        listener, _ = entrance.accept()
        if len(self._listeners) < _LISTENERS and self._is_trusted(listener):
            self.add(listener)
        else:
            listener.close()

    def _is_trusted(self, listener: socket.socket) -> bool:
        """Root may listen and wish, and so may the user that serves."""
        who = entrances.user_at(listener)
        if who in (0, os.geteuid()):
            return True
        with contextlib.suppress(PinholeError):
            return who == privileges.user(self._config.user).uid
        return False

    def _hear(self, listener: socket.socket, is_last: bool) -> None:
        """A listener has a wish, or is gone."""
        try:
            data = listener.recv(_LONGEST_WISH)
        except OSError:
            data = b""
        if not data:
            self._forget(listener)
            self._is_over = self._is_over or is_last
            return
        wish: dict[str, Any] = {}
        problem: str | None = None
        try:
            wish = json.loads(data)
            self._grant(wish["wish"], wish, entrances.user_at(listener))
        except PinholeError as error:
            problem = str(error)
        except (ValueError, KeyError, TypeError, RecursionError):
            problem = "no wish that the guard understands"
        name = wish.get("wish") if isinstance(wish, dict) else None
        self._tell_one(listener, json.dumps({"done": name, "problem": problem}).encode())

    def _grant(self, name: str, facts: dict[str, Any], who: int) -> None:
        """Do what is wished. Raises PinholeError with the problem."""
        match name:
            case "apply":
                self._apply(str(facts["rules"]))
            case "rest" if who in (0, os.geteuid()):
                self._is_resting = True
            case _:
                raise NetError(f"user {who} may not ask the guard for {name!r}")

    def _apply(self, label: str) -> None:
        """Set up what the configuration says now. `label` is that of the rules that the listener means. Raises
        PinholeError."""
        if not self._sees_rules:
            raise NetError("this process lacks CAP_NET_ADMIN")
        fresh = reading.in_force(self._path)
        if rules.label(fresh, Backend.NFT) != label:
            raise NetError(f"the guard reads {fresh.source}, which asks for other rules: give both the same `-c FILE`")
        if not self._keeps and not net.all_standing():
            raise NetError("no rules of ours stand")
        self.set_up(fresh)

    # -- descriptors -----------------------------------------------------------------------------------------------

    def _watch(self, descriptor: int, ready: Callable[[], None]) -> None:
        self._ready[descriptor] = ready
        self._poll.register(descriptor, select.POLLIN)

    def _forget(self, listener: socket.socket) -> None:
        self._listeners.remove(listener)
        self._poll.unregister(listener.fileno())
        del self._ready[listener.fileno()]
        listener.close()

    def _signalled(self, signals: socket.socket) -> None:
        if set(signals.recv(_LONGEST_WISH)) != {signal.SIGHUP}:
            self._is_over = True
            return
        try:
            self.set_up(reading.in_force(self._path))
        except PinholeError as error:
            self._say(str(error))


def entrance() -> socket.socket:
    """The socket where listeners find a guard. Raises NetError when another one stands in this network namespace."""
    with turn():  # of two that come at once, the second one finds the first
        if (other := link.find(of=(0, os.geteuid()))) is not None:
            other.sock.close()
            raise NetError("another process guards the rules of this network namespace (`ss -xlp` names it)")
        return entrances.make(link.ENTRANCE)


# -- as a child of the daemon ------------------------------------------------------------------------------------------


def fork(path: str | None, config: Config, backend: Backend | None, keeps: bool) -> Link:
    """Start a guard beside this process, which ends with it. This must be called before there is a second thread.
    Raises NetError when it is to keep the rules, and another guard does."""
    entry = entrance() if keeps else None
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    def work() -> int:
        ours.close()
        guard = Guard(path, config, backend, keeps, say)
        guard.add(theirs, is_last=True)
        if entry is not None:
            guard.listen_at(entry)
        guard.serve()
        return 0

    pid = beside.start(_NEEDED, work)
    theirs.close()
    if entry is not None:
        entry.close()
    ours.setblocking(False)
    return Link(ours, pid)


# -- as a command ------------------------------------------------------------------------------------------------------


def run(path: str | None, wanted: Backend | None) -> int:
    """`pinhole net guard`: set rules and routes up and keep them, until SIGTERM or SIGINT. Returns the exit status;
    raises PinholeError when it cannot begin."""
    config = reading.in_force(path)
    net.require_admin()
    entry = entrance()
    privileges.keep(_NEEDED)
    told, tells = socket.socketpair()
    tells.setblocking(False)
    signal.set_wakeup_fd(tells.fileno(), warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    with contextlib.closing(Guard(path, config, wanted, keeps=True, say=say)) as guard:
        guard.set_up(config)
        guard.listen_at(entry)
        guard.heed(told)
        service.tell("READY=1")
        guard.serve()
    return 0
