"""An owner of pinholes for media, and the parties of its calls, for tests of relays on a real kernel."""

from __future__ import annotations

import socket
from typing import Any

from protocols.contract.addresses import Endpoint, Host, Transport, only
from protocols.contract.pinholes import AnyGrant, Media, MediaGrant, Party, PinholeEvent
from proxy.pinholes.of_session import SessionPinholes
from proxy.pinholes.shares import Group
from proxy.record.audit import Log
from proxy.sockets.arrival import Arrival
from proxy.sockets.packet_info import endpoint
from tests.harness.media import said
from tests.netns.datagrams import PORT, Gateway


class Call:
    """An owner of pinholes, and what was told to it. The offerer is at the client, the answerer at the server."""

    def __init__(self, gateway: Gateway) -> None:
        self.key = "call"
        self.charged_to = str(gateway.hosts.client_address(4))
        (self.policy,) = gateway.shell.config.policies
        client = Endpoint(gateway.hosts.client_address(4), PORT)
        server = Endpoint(gateway.hosts.server_address(4), PORT)
        self.arrival = self.decided_by = Arrival(Transport.UDP, "lan0", client, server)
        self.group = Group("test", False)
        self.log: Log = gateway.shell.log
        self.helper = gateway.shell.helper
        self.hosts = client.host, server.host
        self.events: list[PinholeEvent] = []
        self.pinholes = SessionPinholes(gateway.shell.pinholes, self)

    def pinhole_event(self, grant: AnyGrant, event: PinholeEvent) -> None:
        self.events.append(event)

    def offer(self, party: Party, **terms: Any) -> MediaGrant:
        answer = self.pinholes.offer(media(party, **terms))
        assert isinstance(answer, MediaGrant)
        return answer

    def answer(self, offered: MediaGrant, party: Party, **terms: Any) -> MediaGrant:
        answer = self.pinholes.answer(offered, media(party, **terms))
        assert isinstance(answer, MediaGrant)
        return answer


def media(party: Party, idle_seconds: float = 60, open_seconds: float | None = None) -> Media:
    return Media("rtp", "INVITE", party, idle_seconds, open_seconds)


def at(sock: socket.socket) -> Endpoint:
    return endpoint(sock.getsockname())


def party(rtp: socket.socket, rtcp: socket.socket | None = None, mapped: Host | None = None, **more: Any) -> Party:
    allow = more.pop("allow", only(at(rtp).host))
    return Party(at(rtp), at(rtcp) if rtcp is not None else None, mapped, allow, **more)


def to(grant: MediaGrant) -> tuple[str, int]:
    return str(said(grant.data).host), said(grant.data).port


def rtp_packet(number: int) -> bytes:
    return b"\x80\x00" + number.to_bytes(2, "big") + bytes(4) + b"ssrc" + bytes(160)
