"""A scripted client of RTSP and its server, on either side of a gateway that drops all that pinhole does not carry."""

from __future__ import annotations

import contextlib
import itertools
import re
import socket
from collections import Counter
from collections.abc import Iterator

from tests.harness.measured import series
from tests.netns.media_site import Mode, Socket
from tools.lab import Daemon, Host, Lab, pinhole

SECONDS = 20.0
"""How long whatever must come is waited for: on a busy machine a daemon may be late by some seconds."""
PORT = 554
_names = itertools.count(1)


class Talk:
    """A connection of the client with the server, which has accepted it."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client, self.server = client, server
        for each in (client, server):
            each.settimeout(SECONDS)

    def ask(self, *lines: str) -> bytes:
        """A request, as the server hears it."""
        self.say(*lines)
        return heard(self.server)

    def say(self, *lines: str) -> None:
        """A request, whether anybody hears it or not."""
        self.client.sendall(message(*lines))

    def answer(self, *lines: str) -> bytes:
        """A response, as the client hears it."""
        self.server.sendall(message(*lines))
        return heard(self.client)

    def is_silent(self) -> bool:
        """Whether the server has heard nothing."""
        self.server.settimeout(0.2)
        try:
            return self.server.recv(1) == b""
        except (TimeoutError, ConnectionResetError):
            return True
        finally:
            self.server.settimeout(SECONDS)

    def close(self) -> None:
        self.client.close()
        self.server.close()


def last_words(sock: socket.socket) -> bytes:
    """What comes until the other end is gone. Raises TimeoutError when it stays."""
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while more := sock.recv(4096):
            data += more
    return data


def message(*lines: str) -> bytes:
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode()


def heard(sock: socket.socket) -> bytes:
    """The next message, which has no body."""
    data = b""
    while not data.endswith((b"\r\n\r\n", b"\n\n")):
        more = sock.recv(1)
        if not more:
            raise ConnectionError(f"the end behind {data!r}")
        data += more
    return data


def ports(data: bytes, name: str) -> tuple[int, int]:
    found = re.search(rb"%b=([0-9]+)-([0-9]+)" % name.encode(), data)
    assert found is not None, data
    return int(found[1]), int(found[2])


class Site:
    """Whoever asks is the client; in mode D it is outside, and its server is published."""

    def __init__(self, lab: Lab, daemon: Daemon, mode: Mode) -> None:
        self.lab, self.daemon, self.mode = lab, daemon, mode
        self._open = contextlib.ExitStack()
        is_published = mode == "D"
        self.client, self.server = (lab.server, lab.client) if is_published else (lab.client, lab.server)
        self.stranger = lab.client_stranger if is_published else lab.server_stranger
        """A host beside the server."""
        self.dialled = str(lab.gateway.address(4, "wan0") if is_published else lab.server.v4)
        self.client_as_seen = str(lab.gateway.address(4, "wan0") if mode == "S" else self.client.v4)
        with self.server.inside():
            self._listening = self._open.enter_context(socket.create_server(("", PORT)))
        self._listening.settimeout(SECONDS)

    def talk(self) -> Talk:
        with self.client.inside():
            client = socket.create_connection((self.dialled, PORT), SECONDS)
        server, _ = self._listening.accept()
        talk = Talk(client, server)
        self._open.callback(talk.close)
        return talk

    def socket(self, host: Host, port: int = 0) -> Socket:
        opened = Socket(host, port)
        self._open.callback(opened.socket.close)
        return opened

    def pair(self, host: Host) -> tuple[Socket, Socket]:
        """Two sockets on ports that follow each other."""
        while True:
            first = self.socket(host)
            if first.port % 2 == 0:
                with contextlib.suppress(OSError):
                    return first, self.socket(host, first.port + 1)

    def counted(self, *names: str) -> Counter[str]:
        """The series of these metrics so far."""
        command = ["curl", "-s", "--unix-socket", f"{self.daemon.directory}/control.sock", "http://pinhole/metrics"]
        found, wanted = series(self.lab.gateway.run(command).stdout), tuple(f"pinhole_{name}_total" for name in names)
        return Counter({name: int(value) for name, value in found.items() if name.startswith(wanted)})

    def close(self) -> None:
        self._open.close()


class Stream:
    """A stream that is agreed: where each side waits, and where it finds the other."""

    def __init__(
        self,
        site: Site,
        talk: Talk,
        number: int = 1,
        is_named: bool = True,
        source: str = "",
        timeout: int = 60,
        client: tuple[Socket, Socket] | None = None,
    ) -> None:
        """`is_named`: the server says where it waits. `source`: the host that it says media comes from.
        `timeout`: of the session, in seconds. `client`: where the client waits, if not on ports of any numbers."""
        self.session = f"s{next(_names)}"
        self.client, self.server = client or site.pair(site.client), site.pair(site.server)
        at, there = [f"{one.port}-{two.port}" for one, two in (self.client, self.server)]
        asked = talk.ask(
            f"SETUP rtsp://{site.dialled}/{number} RTSP/1.0",
            f"CSeq: {number}",
            f"Transport: RTP/AVP;unicast;client_port={at}",
        )
        self.client_at = [(site.client_as_seen, port) for port in ports(asked, "client_port")]
        """Where the server finds the client."""
        more = f";server_port={there}" if is_named else ""
        more += f";source={source}" if source else ""
        echoed = "-".join(str(port) for _, port in self.client_at)
        got = talk.answer(
            "RTSP/1.0 200 OK",
            f"CSeq: {number}",
            f"Session: {self.session};timeout={timeout}",
            f"Transport: RTP/AVP;unicast;client_port={echoed}{more}",
        )
        assert ports(got, "client_port") == (self.client[0].port, self.client[1].port)
        self.server_at = [(site.dialled, port) for port in ports(got, "server_port")] if is_named else []
        """Where the client finds the server."""


@contextlib.contextmanager
def site(mode: Mode, options: str = "") -> Iterator[Site]:
    """`options` are those of rtsp, as YAML has them between braces."""
    with Lab("routed" if mode == "N" else "nat") as lab:
        to = f'destination: ["{lab.gateway.address(4, "wan0")}"], dnat: "{lab.client.v4}", from: [wan0]'
        which = to if mode == "D" else f"from: [lan0], snat: {'interface' if mode == 'S' else 'none'}"
        text = f"version: 1\npolicies:\n  - {{name: it, action: accept, {which}, options: {{rtsp: {{{options}}}}}}}\n"
        with pinhole(lab, text, "nft", unprivileged=True) as daemon:
            daemon.lock_down()
            found = Site(lab, daemon, mode)
            try:
                yield found
            finally:
                found.close()
