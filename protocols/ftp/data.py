"""FTP's data connections: the agreement in force, the pinholes behind it, and what became of each transfer.

An *agreement* is what the last successful PORT, EPRT, PASV or EPSV said (RFC 959 s.3.2, s.3.3). There is one at a
time; a connection that came through an earlier one goes on to its end (F29, F47).
"""

from __future__ import annotations

from dataclasses import dataclass

from protocols.contract.addresses import Endpoint, Host, Network, Peers, Side, Transport, only
from protocols.contract.effects import Note, Outbox
from protocols.contract.pinholes import AnyGrant, Expect, Grant, PinholeEvent, Pinholes, Refusal, Used

GRACE_SECONDS = 5.0
"""F59: after a failed transfer some servers keep the agreement for the next try, and clients use it at once or
never."""
LATE_SECONDS = 60.0
"""How long a data connection may still come after the final reply of its transfer: its SYN may have been lost once or
twice."""


@dataclass(slots=True, eq=False)
class Transfer:
    """A command that moves data. It is over when its final reply and the end of its data connection are both known."""

    command: str
    path: bytes
    data: Data | None = None
    """The data connection that it goes over."""
    has_begun: bool = False
    """The server goes ahead with the transfer."""
    is_over: bool = False
    """The data connection has ended; `moved` (bytes) and `seconds` say what it was."""
    moved: int | None = None
    seconds: float | None = None
    result: int | None = None
    """The code of the final reply. None: the reply has not come."""
    is_unanswered: bool = False
    """The final reply cannot come any more."""


@dataclass(slots=True, eq=False)
class Data:
    """An open pinhole, and the connection that came through it."""

    grant: Grant
    used_at: float | None = None
    """When its connection came."""
    close_at: float | None = None
    """When the pinhole is closed if no connection comes. Its transfer has had its final reply."""
    transfer: Transfer | None = None
    """The transfer that goes over it."""


class DataConnections:
    """The data connections of one session, and its agreement in force. `using` counts the connections that move data,
    or may."""

    __slots__ = (
        "_allow_extra",
        "_idle_seconds",
        "_open",
        "_out",
        "_peers",
        "_pinholes",
        "_source_port",
        "agreement",
        "is_persistent",
        "using",
    )

    def __init__(
        self,
        peers: Peers,
        pinholes: Pinholes,
        out: Outbox,
        *,
        third_party: tuple[Network, ...],
        idle_seconds: float,
        active_source_port: int,
    ) -> None:
        self._peers = peers
        self._pinholes = pinholes
        self._out = out
        self._allow_extra = third_party
        self._idle_seconds = idle_seconds
        self._source_port = active_source_port
        self._open: dict[int, Data] = {}
        self.agreement: Data | None = None
        self.using = 0
        self.is_persistent = False
        """F57: in block and compressed mode one data connection carries many files."""

    # -- who may be named ------------------------------------------------------------------------------------------

    def is_own(self, side: Side, host: Host) -> bool:
        """Whether this is the host on that side, by either of its addresses."""
        return host == self._peers.own(side).host or host == self._peers.as_seen(side).host

    def is_third_party(self, host: Host) -> bool:
        """Whether the policy lets this host be named. Both legs must be able to say its address."""
        return self._peers.client.host.version == self._peers.server.host.version == host.version and any(
            host in network for network in self._allow_extra
        )

    # -- open and close --------------------------------------------------------------------------------------------

    def open(self, side: Side, announced: Endpoint, trigger: str, *, confirmed: bool) -> Data | Refusal:
        """Open a way in to `side`, which waits for data at the address that it announced. The other side will come."""
        peers = self._peers
        listen = target = announced
        if self.is_own(side, announced.host) or not self.is_third_party(announced.host):
            target = Endpoint(peers.own(side).host, announced.port)
            listen = Endpoint(peers.as_seen(side).host, 0 if peers.is_mapped(side) else announced.port)
        return self._open_at(side, listen, target, trigger, confirmed=confirmed)

    def open_default(self, trigger: str) -> Data | Refusal:
        """F33: without an agreement the server connects to the port that the client's control connection comes from."""
        return self._open_at(Side.CLIENT, self._peers.client_as_seen, self._peers.client, trigger, confirmed=False)

    def _open_at(
        self, side: Side, listen: Endpoint, target: Endpoint, trigger: str, *, confirmed: bool
    ) -> Data | Refusal:
        other = side.other
        answer = self._pinholes.open(
            Expect(
                transport=Transport.TCP,
                purpose="ftp-data",
                trigger=trigger,
                listen=listen,
                allow=only(self._peers.own(other).host) + self._allow_extra,
                target=target,
                source=Endpoint(self._peers.as_seen(other).host, self._source_port if side is Side.CLIENT else 0),
                idle_seconds=self._idle_seconds,
                confirmed=confirmed,
            )
        )
        if isinstance(answer, Refusal):
            return answer
        data = self._open[answer.id] = Data(answer)
        return data

    def stands_at(self, announced: Endpoint) -> Data | None:
        """The agreement, if it is this very address and no connection has come to it yet."""
        data = self.agreement
        if data is not None and data.used_at is None and data.grant.expect.listen == announced:
            return data
        return None

    def confirm(self, data: Data) -> None:
        """The server has agreed, so from now on this is the agreement."""
        self._pinholes.confirm(data.grant)
        if data.grant.id in self._open:  # it may have had its time while the server thought
            self.replace(data)

    def replace(self, data: Data | None) -> None:
        """F29, F47: the last agreement counts. A connection that came through the old one goes on."""
        old, self.agreement = self.agreement, data
        if old is not None and old is not data and old.used_at is None:
            self.close(old)

    def close(self, data: Data) -> None:
        """Close a pinhole, so that no further connection is admitted."""
        # Forgotten first: the table may report the end before its close() returns.
        if self._open.pop(data.grant.id, None) is None:
            return
        if self.agreement is data:
            self.agreement = None
        self._ended(data, 0, None)
        self._pinholes.close(data.grant)

    def event(self, grant: AnyGrant, event: PinholeEvent, now: float, coming: Transfer | None) -> None:
        """A pinhole was used, or is closed. coming: the transfer whose command the server has but not answered yet."""
        data = self._open.get(grant.id)
        if data is None:
            return
        if isinstance(event, Used):
            data.used_at = now
            data.close_at = None
            self.using += 1
            return
        del self._open[grant.id]
        if data is self.agreement:
            # Data may be quicker than the 150 that announces it: two connections have no common order.
            if coming is not None and data.used_at is not None:
                self.attach(coming)
            self.agreement = None
        seconds = None
        if data.used_at is not None:
            self.using -= 1
            seconds = round(now - data.used_at, 6)
        # One direction of a data connection is empty.
        self._ended(data, event.bytes_in + event.bytes_out, seconds)

    # -- transfers -------------------------------------------------------------------------------------------------

    def attach(self, transfer: Transfer) -> None:
        """The server goes ahead with the transfer. It goes over the agreement of this moment."""
        data = self.agreement
        if transfer.data is not None or data is None or transfer.is_over:
            return
        if data.transfer is not None:
            self.report(data.transfer)  # its connection goes on with this one
        transfer.data, data.transfer = data, transfer

    def wait(self, data: Data | None) -> None:
        """A transfer wants this pinhole, which then stands until the final reply, for `idle` at most. Servers may fetch
        files from tape, or sort listings of large directories."""
        if data is not None and data.used_at is None:
            data.close_at = None
            self._pinholes.renew(data.grant, data.grant.expect.allow, self._idle_seconds)

    def replied(self, transfer: Transfer, code: int, now: float) -> None:
        """The final reply of a transfer. A connection that has come is drained, whatever the reply (F55)."""
        transfer.result = code
        if code < 400:
            self.attach(transfer)
        data = transfer.data if transfer.data is not None else self.agreement
        if data is not None and data.used_at is None:
            self.expect_no_longer(data, code, now)
            if code >= 400:
                transfer.data = data.transfer = None
        if transfer.data is None or self.is_persistent:
            self.report(transfer)

    def expect_no_longer(self, data: Data, code: int, now: float) -> None:
        """The command that a pinhole was opened for has its final reply. A late connection still gets some time
        (F59)."""
        if data.used_at is None:
            data.close_at = now + (LATE_SECONDS if code < 400 else GRACE_SECONDS)

    def report(self, transfer: Transfer) -> None:
        """Tell the log of a transfer, with what is known. The caller forgets the transfer after that."""
        if transfer.data is not None:
            transfer.data.transfer = None
            transfer.data = None
        facts = {
            "command": transfer.command,
            "path": transfer.path,
            "bytes": transfer.moved,
            "seconds": transfer.seconds,
            "result": transfer.result,
        }
        self._out.add(Note("ftp.transfer", facts))

    def report_all(self) -> None:
        """The session ends: what is still missing will not be known."""
        for data in self._open.values():
            if data.transfer is not None:
                self.report(data.transfer)

    def _ended(self, data: Data, moved: int, seconds: float | None) -> None:
        transfer = data.transfer
        if transfer is None:
            return
        transfer.moved, transfer.seconds, transfer.is_over = moved, seconds, True
        transfer.data = data.transfer = None
        if transfer.result is not None or transfer.is_unanswered:
            self.report(transfer)
