"""All sessions of the daemon: admission by policy and limits, counting, and their orderly end."""

from __future__ import annotations

import asyncio
import itertools
import secrets
import socket
from collections import Counter
from collections.abc import Mapping
from typing import Any

from protocols.engine import Endpoint, Helper, Host
from proxy import sockets
from proxy.audit import Log
from proxy.config import Config
from proxy.metrics import Metrics
from proxy.pinholes import PinholeTable
from proxy.policy import Accepted, Arrival, Denied, PolicyTable, nat
from proxy.stream import StreamSession


class Sessions:
    """The policy in force and the sessions it let in. A reload changes the first and leaves the second alone."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        config: Config,
        helpers: Mapping[str, Helper],
        pinholes: PinholeTable,
        log: Log,
        metrics: Metrics,
        own_listeners: frozenset[Endpoint],
    ) -> None:
        self.loop = loop
        self.pinholes = pinholes
        self.log = log
        self.metrics = metrics
        self._helpers = helpers
        self._own_listeners = own_listeners
        self._sessions: set[StreamSession] = set()
        self._per_client: Counter[Host] = Counter()
        # Unique over restarts too, so that one log can hold many lives of the daemon.
        self._prefix = secrets.token_hex(4)
        self._numbers = itertools.count(1)
        self._all_gone = asyncio.Event()
        self.opened = 0
        """Sessions that reached their server, since the start."""
        self.use(config)

    def use(self, config: Config) -> None:
        """Decide about new sessions by this configuration."""
        self.timeouts = config.timeouts
        self._limits = config.limits
        self._policies = PolicyTable(config)

    def __len__(self) -> int:
        return len(self._sessions)

    def __iter__(self) -> Any:
        return iter(tuple(self._sessions))

    def begin(self, client: socket.socket, arrival: Arrival) -> None:
        """Let an accepted connection in, or reset it; either way the audit log says so."""
        decision = self._policies.decide(arrival)
        if isinstance(decision, Denied):
            self._deny(client, arrival, decision)
            return
        limit = self._limit_reached(arrival.client.host)
        how = Denied(limit, decision.policy.name) if limit else nat(decision.policy, arrival)
        if isinstance(how, Denied):
            self._deny(client, arrival, how, decision)
            return
        if arrival.server in self._own_listeners or how.dial in self._own_listeners:
            # Dialling ourselves would come back to us, and again, until the descriptors are gone (rule X28).
            self._deny(client, arrival, Denied("loop", decision.policy.name), decision)
            return
        key = f"{self._prefix}-{next(self._numbers)}"
        log = self.log.bind(
            session=key,
            helper=decision.entry.name,
            policy=decision.policy.name,
            client=str(arrival.client),
            server=str(arrival.server),
        )
        helper = self._helpers[decision.entry.name]
        session = StreamSession(self, key, client, arrival, decision, helper, how, log)
        self._sessions.add(session)
        self._per_client[arrival.client.host] += 1
        self.metrics.sessions.set(len(self._sessions))
        session.dial()

    def _limit_reached(self, client: Host) -> str | None:
        if len(self._sessions) >= self._limits.sessions:
            return "limit_total"
        if self._per_client[client] >= self._limits.sessions_per_client:
            return "limit_per_client"
        return None

    def _deny(self, client: socket.socket, arrival: Arrival, why: Denied, accepted: Accepted | None = None) -> None:
        sockets.reset(client)
        self.metrics.sessions_denied.labels(why.reason).inc()
        self.log.write(
            "session.denied",
            helper=accepted.entry.name if accepted else None,
            policy=why.policy,
            client=arrival.client,
            server=arrival.server,
            interface=arrival.interface,
            reason=why.reason,
        )

    def count_opened(self, helper: Helper) -> None:
        self.opened += 1
        self.metrics.sessions_opened.labels(helper.name).inc()

    def forget(self, session: StreamSession) -> None:
        self._sessions.discard(session)
        client = session.arrival.client.host
        self._per_client[client] -= 1
        if not self._per_client[client]:
            del self._per_client[client]
        self.metrics.sessions.set(len(self._sessions))
        if not self._sessions:
            self._all_gone.set()

    async def drain(self, limit_seconds: float) -> None:
        """End every session: the quiet ones now, those with a transfer when it is done, all of them after the limit.

        Transfers whose session has ended before them get the same time.
        """
        self._all_gone.clear()
        for session in self:
            session.stop()
        try:
            async with asyncio.timeout(limit_seconds):
                if self._sessions:
                    await self._all_gone.wait()
                await self.pinholes.drained()
        except TimeoutError:
            self.cut()

    def cut(self) -> None:
        """End everything now."""
        for session in self:
            session.cut("stopped")
        self.pinholes.close("stopped")
