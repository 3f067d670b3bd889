"""SIP: registered phones are called from outside, and each hears the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Literal

from tools.demo.job import Demonstration, Job
from tools.lab.gateways import Gateway
from tools.peers import audio, baresip
from tools.peers.baresip import CallFailed, phone
from tools.peers.kamailio import find, kamailio

PHONES: tuple[tuple[Literal["udp", "tcp"], int], ...] = (("udp", 4), ("tcp", 6))
"""By which transport, over which IP version they signal."""
SAID_FRAMES = 50
"""A second of audio, of each phone."""


def jobs(gateway: Gateway, directory: Path) -> Iterator[Job]:
    """The registrar is where the gateway's servers are."""
    with kamailio(gateway.server):
        for transport, version in PHONES:
            yield Job("kamailio", "baresip", f"{transport}-ipv{version}", partial(_call, gateway, transport, version))


def _call(gateway: Gateway, transport: Literal["udp", "tcp"], version: int) -> Mapping[str, str]:
    with (
        phone(gateway.clients[0], "alice", gateway.dialled(version), transport) as alice,
        phone(gateway.neighbour, "bob", gateway.server.address(version), transport) as bob,
    ):
        inside, outside = (bob, alice) if gateway.role.hides_server else (alice, bob)
        outside.dial(inside.user)
        inside.wait_for("CALL_INCOMING")
        inside.answer()
        outside.wait_for("CALL_ESTABLISHED")
        heard = {}
        for listener, speaker, where in ((inside, outside, "inside"), (outside, inside, "outside")):
            frames = listener.hear(SAID_FRAMES)
            if not audio.run_of(frames, speaker.sent()):
                raise CallFailed(f"{listener.user} did not hear what {speaker.user} said")
            heard[f"heard {where}"] = f"{len(frames) * audio.FRAME / audio.RATE:.1f}s"
        outside.hang_up()
        inside.wait_for("CALL_CLOSED")
    return {"called": inside.uri, **heard, "samples": "equal to those sent"}


def _missing() -> str:
    absent = ("baresip" if baresip.is_missing() else "", "" if find() else "kamailio")
    return ", ".join(filter(None, absent))


DEMONSTRATION = Demonstration("sip", "Called", len(PHONES), jobs, _missing)
