"""What goes on at a gateway while something fails: a call with media, and a transfer of which half has come."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Iterator
from typing import Any

from tests.harness.measured import series
from tests.netns.ftp_talk import Talk, server
from tests.netns.media_site import SECONDS, SILENCE_SECONDS, Site, audio, both_are_heard, described
from tests.netns.media_site import Talk as Call
from tests.netns.test_daemon import HeldServer, ending, half_way, read
from tools.lab import Host


class Traffic:
    """On a site with source NAT: the call and the transfer, and what its operator looks at."""

    def __init__(self, place: Site, held: HeldServer, ftp: Talk, data: socket.socket) -> None:
        self.place, self.daemon, self.gateway = place, place.daemon, place.lab.gateway
        self.client, self.server = place.lab.client, str(place.lab.server.v4)
        self.held, self.ftp, self.data = held, ftp, data
        self.call = place.talk()
        both_are_heard(self.call)

    def goes_on(self) -> None:
        both_are_heard(self.call)
        self.held.data[0].sendall(b"more")
        read(self.data, 4)

    def ends(self) -> None:
        """In order, and the daemon has nothing of it."""
        self.held.finish()
        assert ending(self.data) == "closed"
        self.data.close()
        assert self.ftp.reply().startswith("226")
        self.call.hang_up()
        self.ftp.close()
        self.is_over()

    def is_over(self) -> None:
        """Nothing is left but the session of the phone, which keeps the port by which it is known."""
        self.daemon.until(sessions=1, pinholes=0, transfers=0, ports_leased=1)

    def another(self) -> Talk:
        """A further session of FTP."""
        return Talk(self.client, self.server)

    def calls(self) -> None:
        """A further call, from its beginning to its end."""
        call = self.place.talk()
        both_are_heard(call)
        call.hang_up()

    def offers(self) -> str:
        """The first line of what either party hears of a further INVITE: the INVITE, or why not."""
        near = self.place.near
        near.say(Call(near, self.place.far), "INVITE", 1, described(near.at, audio(near.media().port)))
        return self.place.hear_any().decode().splitlines()[0]

    # -- what its operator sees ---------------------------------------------------------------------------------------

    def metric(self, name: str) -> float:
        return series(self._page("metrics"))[name]

    def checks(self) -> dict[str, str]:
        """What `/readyz` says of each part."""
        found: dict[str, str] = json.loads(self._page("readyz"))["checks"]
        return found

    def listed(self, name: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = json.loads(self._page(f"v1/{name}"))[name]
        return rows

    def _page(self, name: str) -> str:
        curl = ["curl", "-sS", "--unix-socket", f"{self.daemon.directory}/control.sock", f"http://pinhole/{name}"]
        return self.gateway.run(curl).stdout


@contextlib.contextmanager
def going_on(place: Site) -> Iterator[Traffic]:
    client, at = place.lab.client, place.lab.server
    with (
        contextlib.closing(HeldServer()) as held,
        server(at, held),
        Talk(client, str(at.v4)) as ftp,
        half_way(place.lab, ftp) as data,
    ):
        yield Traffic(place, held, ftp, data)


def last_heard(call: Call) -> float:
    """For how many seconds packets of the caller still pass, one each millisecond, from now on."""
    began = last = time.monotonic()
    hearer = call.media[call.callee][0].socket
    hearer.setblocking(False)
    while time.monotonic() - last < SILENCE_SECONDS and time.monotonic() - began < SECONDS:
        call.say(call.caller, 1)
        time.sleep(0.001)
        with contextlib.suppress(BlockingIOError):
            while hearer.recv(2000):
                last = time.monotonic()
    hearer.settimeout(SECONDS)
    return last - began


@contextlib.contextmanager
def setting(gateway: Host, name: str, value: str) -> Iterator[None]:
    """A setting of the kernel is another one for a while."""
    before = gateway.run(["sysctl", "-n", name]).stdout.replace("\t", " ").strip()
    gateway.run(["sysctl", "-w", f"{name}={value}"])
    try:
        yield
    finally:
        gateway.run(["sysctl", "-w", f"{name}={before}"])
