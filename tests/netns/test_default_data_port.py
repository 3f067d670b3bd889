"""RFC 959 s.3.3: a server that was told no data port connects from its port 20 to the port of the control connection.

No ordinary server does so any more, so this one is scripted; what is tested is the kernel's consent to a listener on
the very port that our own leg has (rule F33).
"""

from __future__ import annotations

import os
import socket
import threading

import pytest

from tools.lab import Host, Lab, pinhole

pytestmark = [
    pytest.mark.netns,
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
]

POLICY = "policies: [{{name: all, action: accept, snat: {snat}}}]"


def reusable(address: tuple[str, int]) -> socket.socket:
    sock = socket.socket()
    sock.settimeout(10)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind(address)
    return sock


def serve(host: Host, listener: socket.socket) -> None:
    control, client = listener.accept()
    with control, control.makefile("rb") as lines:
        control.sendall(b"220 ready\r\n")
        assert lines.readline() == b"USER anybody\r\n"
        control.sendall(b"230 in\r\n")
        assert lines.readline() == b"RETR file\r\n"
        with host.inside():
            data = reusable((control.getsockname()[0], 20))
        with data:
            data.connect(client)
            control.sendall(b"150 here it comes\r\n")
            data.sendall(b"the file")
        control.sendall(b"226 done\r\n")
        assert lines.readline() == b""


@pytest.mark.parametrize("snat", ["none", "interface"])
def test_a_transfer_over_the_default_data_port(snat: str) -> None:
    with Lab("routed") as lab, pinhole(lab, POLICY.format(snat=snat)) as daemon:
        with lab.server.inside():
            server = reusable((str(lab.server.v4), 21))
        server.listen()
        serving = threading.Thread(target=serve, args=(lab.server, server))
        serving.start()
        with lab.client.inside():
            control = reusable((str(lab.client.v4), 0))
        with server, control, control.makefile("rb") as replies:
            control.connect((str(lab.server.v4), 21))
            with lab.client.inside():
                data = reusable(control.getsockname())
            data.listen()
            assert replies.readline() == b"220 ready\r\n"
            control.sendall(b"USER anybody\r\n")
            assert replies.readline() == b"230 in\r\n"
            control.sendall(b"RETR file\r\n")
            with data:
                incoming, _ = data.accept()
            with incoming:
                assert incoming.recv(100) == b"the file"
            assert replies.readline() == b"150 here it comes\r\n"
            assert replies.readline() == b"226 done\r\n"
            daemon.wait_for("pinhole.closed")  # or what passed would not be known when the session is over
        serving.join()
        opened = daemon.wait_for("pinhole.opened")
        assert (opened["trigger"], opened["allow"]) == ("RETR", [f"{lab.server.v4}/32"])
        assert daemon.wait_for("ftp.transfer")["bytes"] == len("the file")
