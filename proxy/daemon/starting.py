"""How a daemon begins and ends: rules and routes, the processes beside it, the user that serves, and then the loop."""

from __future__ import annotations

import importlib
import os
import signal
import sys
from collections import ChainMap

import uvloop

from proxy import version
from proxy.config import files, reading, whereabouts
from proxy.config.schema import Config
from proxy.control import place
from proxy.daemon.daemon import Daemon
from proxy.daemon.recorder import KeptFiles
from proxy.errors import PinholeError
from proxy.holder import process
from proxy.holder.process import Child
from proxy.host import guard, link, net, privileges, rules
from proxy.host.keeper import Keeper, Wish, fork_keeper
from proxy.host.link import Link
from proxy.host.privileges import User
from proxy.host.rules import Backend
from proxy.text import say

ENDING_SECONDS = 2.0
"""A guard of a daemon that was killed needs a moment to notice it."""


def run(path: str | None, sets_up: bool, wanted: Backend | None) -> int:
    """`pinhole run`: serve until told to stop. Returns the exit status; raises PinholeError when it cannot begin.

    `sets_up`: firewall rules and routes are set up before, and taken down at the end. Otherwise they are left alone,
    but for a guard that keeps them. A daemon that root starts serves as an ordinary user.
    """
    _fill_standard_descriptors()
    if (path := whereabouts.chosen(path)) is not None:
        path = whereabouts.in_any_directory(path)  # it is named to others, who are in other directories
    settings = reading.in_force(path)
    is_root = os.geteuid() == 0
    who = privileges.user(settings.user) if is_root else privileges.User("", os.geteuid(), os.getegid())
    elsewhere = link.find()
    if sets_up and elsewhere is not None:
        _let_end(elsewhere)
        elsewhere = None
    backend = net.chosen(settings, wanted) if sets_up else None
    keeper: Keeper | None = None
    watcher = elsewhere
    holder: Child | None = None
    _end_in_order_until_served()
    try:
        if backend is not None:
            net.up(settings, backend, say)
        # A SIGTERM right after a fork may be lost in Python, and one while the loop starts does harm. So it is blocked
        # until the loop takes signals itself.
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM,))
        holder = _holder(settings, who) if is_root and settings.network.fastpath != "off" else None
        if watcher is None:
            watcher = guard.fork(path, settings, backend or wanted, backend is not None)
        else:
            watcher.ask("apply", rules=rules.label(settings, Backend.NFT))
        if is_root or backend is not None:
            keeper = _keeper(path, settings, who, backend, watcher)
    except BaseException:
        if watcher is not None:
            watcher.end()
        if holder is not None:
            holder.end()
        if backend is not None:
            net.down(backend, say)
        raise
    try:
        _load_what_comes_late()
        privileges.become(who)
        return uvloop.run(_serve(path, settings, keeper, watcher))
    finally:
        if holder is not None:
            holder.end()
        watcher.end()
        if keeper is not None:
            keeper.end("end")


def _holder(settings: Config, who: User) -> Child | None:
    """The process beside the serving one that attaches programs to interfaces, unless there is one here already."""
    try:
        return process.fork(process.of_config(settings, who.uid))
    except PinholeError as error:
        say(f"media passes in user space: {error}")
        return None


def _let_end(other: Link) -> None:
    """Another guard may be that of a daemon which was killed, and about to end. Raises PinholeError when it lasts."""
    said = other.lasts(ENDING_SECONDS)
    other.end()
    if said is None:
        return
    if said.get("command") == guard.RUN_NET:
        raise PinholeError("another `pinhole run --net` serves here, and keeps the rules: end it first")
    raise PinholeError("`pinhole net guard` keeps the rules here: leave --net out, or end it first")


def _keeper(path: str | None, settings: Config, who: User, backend: Backend | None, watcher: Link) -> Keeper:
    """The process beside the serving one, which keeps root's rights and does what the serving process no longer may."""

    bound: list[str] = []
    """The control sockets that stand: two for a moment, when a reload moves it."""

    def control() -> int:
        at = reading.control_in_force(path) if bound else settings.control
        sock = place.bind(at.path, who.gid, at.is_for_group)
        bound.append(at.path)
        return sock.detach()

    def forget_control() -> None:
        if bound:
            place.remove(bound.pop(0))

    def take_back_control() -> None:
        if bound:
            place.remove(bound.pop())

    def end() -> None:
        if backend is not None:
            net.down(backend, say)

    def deserted() -> None:
        for at in bound:
            place.remove(at)
        if backend is not None:
            say("it ended without a word; rules and routes stay as they are (`pinhole net down` removes them)")

    def configuration() -> int:
        # A daemon that began with the built-in configuration may have a file by now.
        return files.pack(files.gather(whereabouts.chosen(path) or whereabouts.SYSTEM_PATH))

    kept = KeptFiles(settings.audit)

    def audit() -> None:
        """A reload may name other files for the log."""
        kept.use(reading.in_force(path).audit)

    wishes: dict[str, Wish] = {
        "audit": audit,
        "configuration": configuration,
        "control": control,
        "forget-control": forget_control,
        "take-back-control": take_back_control,
        "end": end,
    }
    return fork_keeper(ChainMap(wishes, kept.wishes), "end", deserted, [watcher.sock])


def _end_in_order_until_served() -> None:
    """Until the loop takes signals, SIGTERM must not leave the rules behind. The other signals are ignored, since there
    is no log to reopen yet."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    for number in (signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)


def _fill_standard_descriptors() -> None:
    """The parent process may have closed the standard descriptors. Then a socket would get one of their numbers, and
    the peer would get the audit log."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)


def _load_what_comes_late() -> None:
    """Import now the modules that Python imports only when it needs them. They lie where root installed them, and an
    ordinary user may not be able to read them later."""
    # pydantic wants the last one to say what is wrong with a configuration that is read again.
    for name in ("encodings.idna", "encodings.unicode_escape", "pydantic.type_adapter"):
        importlib.import_module(name)
    version.installed()


async def _serve(path: str | None, settings: Config, keeper: Keeper | None, watcher: Link) -> int:
    """Run the daemon in this loop until it is told to stop."""
    daemon = Daemon(path, settings, keeper, watcher)
    try:
        await daemon.start()
        for text in settings.warnings:
            say(text)
        await daemon.until_stopped()
    finally:
        await daemon.stop()
    return 0
