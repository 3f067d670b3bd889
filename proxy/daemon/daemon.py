"""Builds the parts from a configuration, runs them, and takes them down in order; `starting` does what comes before.

SIGTERM, SIGINT  stop: no new sessions, let transfers end within `timeouts: drain`; a second one ends at once
SIGHUP           read the configuration again
SIGUSR1          reopen the audit log (log rotation)
"""

from __future__ import annotations

import asyncio
import gc
import secrets
import signal
import time
import traceback
from collections.abc import Coroutine, Iterator, Mapping
from functools import partial
from typing import Any

from protocols import HELPERS
from protocols.contract.addresses import Endpoint
from protocols.contract.engine import Counts
from protocols.contract.live import Call
from proxy import version
from proxy.config import files
from proxy.config.schema import Config
from proxy.config.shown import hash_of
from proxy.control import api, past, switches
from proxy.control.events import Events
from proxy.control.gateway import Gateway
from proxy.control.history import History
from proxy.daemon import descriptors
from proxy.daemon.answering import Answering
from proxy.daemon.fastpath import FastPath
from proxy.daemon.recorder import READ_AUDIT, Recorder
from proxy.daemon.reloading import Fresh, Reloading
from proxy.daemon.rules import Outcome, Rules
from proxy.errors import PinholeError, SocketError
from proxy.host import service
from proxy.host.keeper import Keeper
from proxy.host.link import Link
from proxy.measure.health import Check
from proxy.measure.measuring import Measuring
from proxy.pinholes.table import PinholeTable
from proxy.record import failures
from proxy.record.metrics import Metrics
from proxy.record.recent import Recent
from proxy.sessions import listener
from proxy.sessions.flows import Flows
from proxy.sessions.progress import Progress
from proxy.sessions.registry import Sessions
from proxy.sessions.session import Session
from proxy.sockets import reserved, transparent
from proxy.sockets.ports import PortPool
from proxy.sockets.watch import AddressWatch
from proxy.text import say


class Daemon:
    """All parts of one running pinhole. It owns the listeners, the table of pinholes, the sessions, the flows, the
    audit log and the control socket."""

    def __init__(
        self, path: str | None, settings: Config, keeper: Keeper | None = None, watcher: Link | None = None
    ) -> None:
        """`keeper` opens the files that this process may not open itself. `watcher` tells when rules go away."""
        self._keeper = keeper
        self._config = settings
        self._hash = hash_of(settings)
        self._loop = asyncio.get_running_loop()
        self._began = time.monotonic()
        self._stop_asked = asyncio.Event()
        self._is_draining = False
        self._tasks: set[asyncio.Task[None]] = set()  # they would be lost if nobody held them
        self._listeners: list[listener.StreamListener | listener.DatagramListener] = []
        self._watch: AddressWatch | None = None
        instance = secrets.token_hex(4)
        opens = (lambda path: keeper.descriptor(f"audit {path}")) if keeper else None
        self._metrics = Metrics()
        self._recent = Recent()
        self._events = Events()
        self._recorder = Recorder(
            self._loop, settings.audit, instance, self._metrics, opens, self._recent.note, self._events
        )
        self._log = self._recorder.log
        self._rules = Rules(self._loop, watcher, settings.source, self._log, self._metrics, say)
        self._rules.changed = self._tell_manager
        self._version = version.installed()
        own = frozenset(listener.loopback(settings.network.listen_port))
        self._pinholes = self._empty_table(own, instance)
        self._sessions = Sessions(self._loop, settings, HELPERS, self._pinholes, self._log, self._metrics, own)
        self._sessions.is_unrecorded = self._recorder.is_unavailable
        self._fastpath = FastPath(self._loop, settings.network, self._pinholes.kernel, self._log, settings.source)
        self._flows = Flows(self._sessions, self._pinholes.endpoints)
        self._progress = Progress(self._loop, self._sessions, self._pinholes)
        self._measuring = Measuring(
            self._loop,
            self._metrics,
            self._sessions,
            self._pinholes,
            self._recorder,
            self._version,
            self._checks(),
            {"audit": lambda: "cannot be written" if self._recorder.failing else None},
        )
        self._gateway = Gateway(
            HELPERS, self._sessions, self._pinholes, lambda: self._config, self._status, descriptors.in_use,
            self._reload, self._log, self._recent, History(self._audit_files), self._events,
        )  # fmt: skip
        self._answering = Answering(keeper, lambda: api.routes(self._gateway, self._measuring.pages), self._hold)
        self._reloading = Reloading(self, path, self._gathered, self._log)
        self._reloading.ended = self._measuring.reloaded

    def _empty_table(self, own: frozenset[Endpoint], instance: str) -> PinholeTable:
        """The table of pinholes, as the configuration has it. `own` are our listeners, to which no pinhole leads."""
        settings = self._config
        ports = PortPool(settings.ports.first, settings.ports.last, taken=settings.helper_ports)
        most = settings.network.max_segment
        table = PinholeTable(self._loop, settings.limits, settings.timeouts, ports, self._metrics, own, most, instance)
        table.reserved.keep_off(settings.helper_ports)
        return table

    def _checks(self) -> Mapping[str, Check]:
        """What has to be right for new sessions to be served."""
        return {
            "listeners": lambda: "stopping" if self._is_draining else None if self._listeners else "none yet",
            "rules": lambda: f"missing: {', '.join(self._rules.missing)}" if self._rules.missing else None,
            "audit": lambda: "cannot be written" if self._recorder.is_unavailable() else None,
        }

    async def start(self) -> None:
        """Begin to serve. Raises SocketError, which names the remedy, when a listener or the control socket cannot be
        had."""
        descriptors.raise_limit(self._config.limits)
        _check_rights(self._config)
        port = self._config.network.listen_port
        try:
            self._listeners = listener.listen_all(self._loop, port, self._sessions, self._flows, self._log)
        except OSError as error:
            raise SocketError(
                f"cannot listen on port {port} of loopback: {error.strerror}; is another pinhole running? "
                f"`network: listen_port` chooses another port"
            ) from error
        await self._answering.start(self._config.control)  # from here on the socket is ours to remove
        await self._measuring.start(self._config.metrics.listen)
        self._measuring.copy_to(self._config.hep)
        try:
            self._watch = AddressWatch(self._loop, self._sessions.address_gone)
        except OSError as error:
            say(f"cannot be told of addresses of this host that go away: {error.strerror} (systemd: AF_NETLINK)")
        await self._fastpath.start()
        self._rules.start()
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._ask_to_stop)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM,))
        self._loop.add_signal_handler(signal.SIGHUP, self._reload_now)
        self._loop.add_signal_handler(signal.SIGUSR1, self._recorder.reopen)
        self._loop.set_exception_handler(self._callback_failed)
        # The objects that exist now stay for good, so the collector need not look at them again. Nor need it look often
        # at thousands of quiet sessions, which are freed by reference counts alone.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 50, 100)
        listen = list(dict.fromkeys(one.at for one in self._listeners))
        if (seconds := service.alive_seconds()) is not None:
            self._tell_alive(seconds)
        self._tell_manager("READY=1")
        self._progress.use(self._config.audit.progress)
        self._log.write(
            "daemon.started",
            version=self._version,
            config=self._config.source,
            hash=self._hash,
            listen=listen,
            **self._fastpath.facts(),
        )

    def _audit_files(self) -> list[past.Opener]:
        """What opens the audit file, and the one before it, for reading."""
        files = past.files(self._config.audit.readable)
        if self._keeper is not None:
            return [partial(self._keeper.descriptor, wish) for wish, _ in zip(READ_AUDIT, files, strict=False)]
        return [partial(past.open_file, path) for path in files]

    async def until_stopped(self) -> None:
        """Wait for a signal to stop."""
        await self._stop_asked.wait()

    def _ask_to_stop(self) -> None:
        """A signal asks the daemon to stop. The second one ends everything at once."""
        if self._is_draining:
            self._sessions.cut()
        self._stop_asked.set()

    async def stop(self) -> None:
        """End in order: no new sessions, then the sessions that there are, then the log."""
        self._is_draining = True
        self._tell_manager("STOPPING=1")
        for one in self._listeners:
            one.close()
        if self._watch is not None:
            self._watch.close()
        self._rules.stop()
        if self._answering.has_begun:  # otherwise the daemon never began to serve
            self._log.write("daemon.stopping", sessions=len(self._sessions), transfers=self._pinholes.relays())
            await self._sessions.drain(self._config.timeouts.drain)
            self._pinholes.close("stopped")
            await self._answering.stop()
            self._recorder.tell_last()
            self._log.write("daemon.stopped")
        self._fastpath.stop()
        await self._measuring.stop()
        self._progress.stop()
        self._recorder.close()

    def _callback_failed(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """A bug of ours outside any engine: log it, count it, let go of the session or pinhole that it happened to, and
        keep serving."""
        error = context.get("exception")
        lines = "".join(traceback.format_exception(error)).splitlines() if error else [str(context.get("message"))]
        self._metrics.engine_failures.inc()
        self._log.write("daemon.failed", traceback=lines[-40:])
        if error is not None:
            failures.let_go(error)

    # -- the service manager -----------------------------------------------------------------------------------------

    @property
    def _state(self) -> str:
        """One word for the operator."""
        if self._is_draining:
            return "draining"
        return "degraded" if self._rules.missing else "serving"

    def _tell_manager(self, *facts: str) -> None:
        service.tell(f"STATUS={self._state}", *facts)

    def _tell_alive(self, seconds: float) -> None:
        # The next time is sure before anything can go wrong: a daemon that stays silent is killed, with all its calls.
        self._loop.call_later(seconds, self._tell_alive, seconds)
        service.tell("WATCHDOG=1")

    # -- reload ---------------------------------------------------------------------------------------------------

    def _hold(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something beside all else."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _reload_now(self) -> None:
        """SIGHUP: read the configuration again, and report problems on standard error."""
        self._hold(self._reload_and_say())

    async def _reload_and_say(self) -> None:
        answer = await self._reload()
        for text in (*answer["problems"], *answer["warnings"], *answer["remarks"]):
            say(text)

    async def _reload(self, is_dry: bool = False) -> dict[str, Any]:
        """The control socket's request to read the configuration again."""
        if is_dry:
            return await self._reloading.reload(is_dry=True)
        self._tell_manager("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
        try:
            return await self._reloading.reload()
        finally:
            self._tell_manager("READY=1")

    def _gathered(self, path: str) -> list[files.Source]:
        """The files of the configuration, read by the keeper if there is one."""
        return files.unpack(self._keeper.descriptor("configuration")) if self._keeper else files.gather(path)

    @property
    def config(self) -> Config:
        """The configuration in force."""
        return self._config

    def all_sessions(self) -> Iterator[Session]:
        """The sessions, and those that are over while their engines still look after something."""
        return self._gateway.all_sessions()

    def calls(self) -> Iterator[Call]:
        """The calls that are under way."""
        return self._gateway.calls()

    async def prepare(self, fresh: Config) -> Outcome:
        """Do what may fail at a reload: rights, the log, rules, another control socket. Raises PinholeError."""
        _check_rights(fresh)
        if fresh.audit != self._config.audit and self._keeper is not None:
            await asyncio.to_thread(self._keeper.ask, "audit")
        self._recorder.prepare(fresh.audit)
        try:
            return await self._prepare_host(fresh)
        except PinholeError:
            self._recorder.forget()
            raise

    async def _prepare_host(self, fresh: Config) -> Outcome:
        # The rules come last. A guard reads the configuration itself, so nothing could make it go back to those before.
        async with self._answering.changed(self._config.control, fresh.control):
            return await self._rules.bring_in_force(fresh, self._config)

    def use(self, fresh: Fresh) -> None:
        """Bring a configuration in force. The sessions come last: they divide the limits and the ports of the table
        among the new policies."""
        self._config = config = fresh.config
        self._hash = fresh.hash
        self._pinholes.use(config.limits, config.timeouts)
        self._pinholes.ports.use(config.ports.first, config.ports.last, config.helper_ports)
        self._pinholes.reserved.keep_off(config.helper_ports)
        self._sessions.use(config, fresh.policies)
        self._measuring.copy_to(config.hep)
        self._recorder.use()
        self._progress.use(config.audit.progress)
        self._recorder.reopen()

    # -- reports --------------------------------------------------------------------------------------------------

    def _status(self) -> dict[str, Any]:
        """The report `/status` of the control socket."""
        return {
            "version": self._version,
            "config": self._config.source,
            "config_hash": self._hash,
            "uptime_seconds": round(time.monotonic() - self._began, 3),
            "state": self._state,
            "rules_missing": self._rules.missing,
            "rules_watched": self._rules.watched,
            "rules_kept": self._rules.are_kept,
            "rules_in_doubt": self._rules.are_in_doubt,
            "sessions": len(self._sessions),
            "sessions_opened": self._sessions.opened,
            "pinholes": len(self._pinholes),
            "transfers": self._pinholes.relays(),
            "fastpath": self._fastpath.status(),
            "udp_endpoints": len(self._pinholes.endpoints),
            "ports_leased": self._pinholes.ports.in_use(),
            "descriptors": descriptors.in_use(),
            "switches": [switches.in_words(row) for row in switches.switch_rows(self._gateway)],
            "audit_failing": self._recorder.failing,
            "audit_lines_lost": self._recorder.lost,
            "audit_lines_waiting": self._recorder.waiting,
            "helpers": {
                name: counts
                for name, engines in self._sessions.engines.items()
                if isinstance(engines, Counts) and (counts := dict(engines.counts()))
            },
        }


def _check_rights(settings: Config) -> None:
    """Raises SocketError when this process may not do what the configuration asks for."""
    if any(policy.route_mark for policy in settings.policies):
        transparent.check_marks()
    if settings.on_reserved_ports:
        reserved.check(settings.on_reserved_ports)
