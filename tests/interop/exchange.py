"""A gateway with a registrar behind it, and phones on both sides that call each other: baresip and Kamailio."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager
from typing import Any

from tests.interop.sip_legs import agree, captured
from tools.lab import Capture
from tools.lab.gateways import Gateway
from tools.peers import audio
from tools.peers.baresip import SECONDS, Phone, phone

THIRD_HOST = frozenset((b"start line", b"via", b"contact", b"proxy-authorization"))
"""Where a host behind us is named that is none of a session's own: there it stays as it is (S39, X8)."""


class Exchange:
    """A gateway with a registrar behind it, and phones on both sides."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway

    def client(self, user: str, version: int = 4, *, host: int = 0, **options: Any) -> AbstractContextManager[Phone]:
        return phone(self.gateway.clients[host], user, self.gateway.dialled(version), **options)

    def neighbour(self, user: str, version: int = 4, **options: Any) -> AbstractContextManager[Phone]:
        return phone(self.gateway.neighbour, user, self.gateway.server.address(version), **options)

    @contextlib.contextmanager
    def log(self, calls: int, spared: Collection[bytes] = ()) -> Iterator[list[dict[str, Any]]]:
        """Filled in at the end, with what was written meanwhile, until so many calls and all media have ended.

        spared: fields in which addresses of hosts behind us may be told outside.
        """
        before = len(self.gateway.daemon.audit())
        log: list[dict[str, Any]] = []
        with captured(self.gateway) as legs:
            yield log
            self.gateway.calls_after(before, calls)
        # A phone beside a published PBX is published by no policy: only its media is mapped, since the policy says so.
        agree(self.gateway, legs, {*spared, *(THIRD_HOST if self.gateway.role.hides_server else ())})
        for _ in range(SECONDS * 100):
            log[:] = self.gateway.daemon.audit()[before:]
            media = {line["pinhole"] for line in log if line["event"] == "pinhole.opened" and line["purpose"] == "rtp"}
            left = media - {line["pinhole"] for line in log if line["event"] == "pinhole.closed"}
            if not left:
                break
            time.sleep(0.01)
        assert not left
        events = {line["event"] for line in log}
        assert not events & {"violation", "engine.failed", "pinhole.refused", "session.denied", "session.failed"}
        has_nat = self.gateway.role.hides_client or self.gateway.role.hides_server
        assert has_nat or "address.rewritten" not in events


def connect(caller: Phone, callee: Phone) -> None:
    caller.dial(callee.user)
    callee.wait_for("CALL_INCOMING")
    callee.answer()
    for one in (caller, callee):
        one.wait_for("CALL_ESTABLISHED")


def converse(one: Phone, other: Phone) -> None:
    """Each hears what the other says, frame by frame and sample by sample."""
    for listener, speaker in ((one, other), (other, one)):
        heard = listener.hear()
        assert audio.run_of(heard, speaker.sent())
        assert audio.run_of(heard, audio.frames(audio.decoded(speaker.played), 2))


def hang_up(one: Phone, other: Phone) -> None:
    one.hang_up()
    other.wait_for("CALL_CLOSED")


class Listener:
    """What comes to a phone's host as audio."""

    def __init__(self, phone: Phone, capture: Capture) -> None:
        self._phone = phone
        self._capture = capture

    def new(self) -> list[bytes]:
        phone = self._phone
        return audio.rtp_payloads(self._capture.collect(), phone.host.address(phone.version), phone.media_ports)

    def until_silent(self) -> None:
        """Whole 500 ms without a packet."""
        for _ in range(SECONDS * 2):
            self.new()
            time.sleep(0.5)
            if not self.new():
                return
        raise AssertionError(f"{self._phone.user} still hears something")

    def hear(self, count: int = 20) -> list[bytes]:
        heard = self.new()
        for _ in range(SECONDS * 50):
            if len(heard) >= count:
                return heard
            time.sleep(0.02)
            heard += self.new()
        raise AssertionError(f"{self._phone.user} hears {len(heard)} packets")


@contextlib.contextmanager
def listening(phone: Phone) -> Iterator[Listener]:
    with phone.host.capture("eth0", "udp and not port 5060") as capture:
        yield Listener(phone, capture)
