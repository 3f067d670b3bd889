"""Every TFTP server with every client, through a gateway in each role that drops all that pinhole does not carry."""

from __future__ import annotations

import contextlib
import functools
import os
import random
import select
import socket
import time
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from tests.netns.namespaces import needs_root
from tools.lab import Lab, gateways
from tools.lab.bad_link import Fate, bad_link
from tools.lab.gateways import HIDING, ROLES, Gateway, Role
from tools.peers import tftp
from tools.peers.ftp import TransferFailed
from tools.peers.tftp import ATFTP, CLIENTS, CURL, READING, TFTP_HPA, TFTPY, WRITING, Client, Server

pytestmark = [pytest.mark.interop, pytest.mark.netns, pytest.mark.slow, needs_root]

SIZES = (0, 511, 512, 513, 1428, 70_000)
"""Less than a block, a block, and more (TF5)."""
LOST = frozenset((6, 30, 47))
"""Datagrams of a transfer in windows that its line loses: request, OACK and ACK come before the first window, so 6 is
its third block. Which one is lost is not left to chance: behind the last ACK nobody speaks any more, so where that one
is lost the log tells of the transfer half a minute later (TF17)."""
NUMBERS = 1 << 16
"""As many block numbers as there are (TF6)."""
LONG_SECONDS = 120
"""For a file of more blocks than that, which takes some four."""
IN_A_ROW, AT_ONCE = 200, 500
CROWD = "10.50.0.0/16"
"""Addresses of clients that stand behind the client's host."""

IMPATIENT = Client("curl", lambda at, remote, local: [*CURL.get(at, remote, local), "--max-time", "2"], CURL.put)

LARGE = Client("curl", lambda at, remote, local: [*CURL.get(at, remote, local), "--tftp-blksize", "65464"], CURL.put)
WINDOWED = Client(
    "atftp",
    lambda at, remote, local: [
        *ATFTP.get(at, remote, local),
        "--option",
        "windowsize 8",
        "--option",
        "timeout 1",
        "--tftp-timeout",
        "1",
    ],
    ATFTP.put,
)
WIDE = Client(
    "atftp", lambda at, remote, local: [*ATFTP.get(at, remote, local), "--option", "windowsize 64"], ATFTP.put
)


@pytest.fixture(scope="module")
def standing() -> Iterator[Callable[[Role], Gateway]]:
    """A gateway in each role, made once, however pytest orders the tests."""
    with contextlib.ExitStack() as stack:
        yield functools.cache(lambda role: stack.enter_context(gateways.serving(role, "nft")))


@pytest.fixture(scope="module", params=ROLES, ids=lambda role: role.name)
def gateway(request: pytest.FixtureRequest, standing: Callable[[Role], Gateway]) -> Gateway:
    return standing(request.param)


@pytest.fixture(scope="module", params=READING)
def server(request: pytest.FixtureRequest, gateway: Gateway) -> Iterator[Server]:
    with READING[request.param](gateway.server) as serving:
        for size in SIZES:
            (serving.home / str(size)).write_bytes(os.urandom(size))
        for client in CLIENTS:  # tftpd-hpa writes only what is there
            (serving.home / client.name).touch()
            (serving.home / client.name).chmod(0o666)
        (serving.home / "secret").write_bytes(b"of others")
        (serving.home / "secret").chmod(0)
        yield serving


def moved(gateway: Gateway, before: int, direction: str, name: str) -> None:
    """The audit log has one line of the transfer."""
    gateway.daemon.wait_for("tftp.transfer", count=before + 1)
    line = gateway.daemon.audit("tftp.transfer")[-1]
    assert (line["direction"], line["result"]) == (direction, "complete")
    assert line["file"].lstrip("/") == name


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
def test_files_come_and_go(gateway: Gateway, server: Server, client: Client, tmp_path: Path) -> None:
    here = tmp_path / "file"
    # curl 7.88 ends with an error of its own when a file is empty, and tftpy takes long to start.
    sizes = {CURL: SIZES[1:], TFTPY: SIZES[-1:]}.get(client, SIZES)
    done = len(gateway.daemon.audit("tftp.transfer"))
    for version in sorted(set(client.versions) & set(server.versions)):
        at = gateway.dialled(version)
        for size in sizes:
            client.read(gateway.client, at, str(size), here)
            assert here.read_bytes() == (server.home / str(size)).read_bytes()
            moved(gateway, done, "read", str(size))
            done += 1
            here.unlink()
        if server.name in WRITING:
            here.write_bytes(os.urandom(70_000))
            client.write(gateway.client, at, here, client.name)
            moved(gateway, done, "write", client.name)
            done += 1
            assert (server.home / client.name).read_bytes() == here.read_bytes()
            here.unlink()


def test_what_a_server_refuses_its_client_is_told(gateway: Gateway, server: Server, tmp_path: Path) -> None:
    """TF7. Servers differ in the code for a file that is there and may not be read."""
    for name, told in (("nothing", "error 1"), ("secret", "error ")):
        before = len(gateway.daemon.audit("tftp.transfer"))
        with pytest.raises(TransferFailed):
            CURL.read(gateway.client, gateway.dialled(4), name, tmp_path / "file")
        gateway.daemon.wait_for("tftp.transfer", count=before + 1)
        assert gateway.daemon.audit("tftp.transfer")[-1]["result"].startswith(told)


def test_a_block_may_be_larger_than_the_path_carries_at_once(gateway: Gateway, server: Server, tmp_path: Path) -> None:
    """TF19: datagrams in pieces, over both versions of IP."""
    (server.home / "large").write_bytes(os.urandom(200_000))
    for version in server.versions:
        before = len(gateway.daemon.audit("tftp.transfer"))
        LARGE.read(gateway.client, gateway.dialled(version), "large", tmp_path / "file")
        assert (tmp_path / "file").read_bytes() == (server.home / "large").read_bytes()
        moved(gateway, before, "read", "large")
        is_cut = server.name.startswith("dnsmasq")  # which looks at its MTU
        assert is_cut or gateway.daemon.audit("tftp.transfer")[-1]["block_bytes"] > 1500


def test_one_port_asks_for_as_many_files_in_a_row_as_it_likes(gateway: Gateway, tmp_path: Path) -> None:
    """TF15. More of them than sessions that stay would allow (`limits: sessions_per_client`)."""
    with tftp.tftpd_hpa(gateway.server) as server:
        for number in range(IN_A_ROW):
            (server.home / str(number)).write_bytes(b"%d" % number)
        before, denied = len(gateway.daemon.audit("tftp.transfer")), len(gateway.daemon.audit("session.denied"))
        orders = "".join(f"get {number} {tmp_path}/{number}\n" for number in range(IN_A_ROW))
        command = [*TFTP_HPA.get(gateway.dialled(4), "", tmp_path)[:4]]
        gateway.client.run(command, stdin=f"{orders}quit\n")
        for number in range(IN_A_ROW):
            assert (tmp_path / str(number)).read_bytes() == b"%d" % number
        gateway.daemon.wait_for("tftp.transfer", count=before + IN_A_ROW)
        assert {line["result"] for line in gateway.daemon.audit("tftp.transfer")[before:]} == {"complete"}
        assert limited(gateway, denied) == []


def test_five_hundred_clients_start_at_once_from_the_same_port(gateway: Gateway) -> None:
    """The session of a request ends with the first packet of its answer, and that of a file some seconds behind it."""
    route = ["ip", "route", "add", CROWD, "via", str(gateway.client.v4)]
    gateway.lab.gateway.run(route)
    gateway.client.run(["ip", "route", "add", "local", CROWD, "dev", "lo"])
    before = {event: len(gateway.daemon.audit(event)) for event in ("tftp.transfer", "session.denied")}
    with tftp.dnsmasq(gateway.server) as server:
        (server.home / "boot").write_bytes(content := os.urandom(3000))
        assert boot(gateway, AT_ONCE, "boot") == [content] * AT_ONCE
    gateway.daemon.wait_for("tftp.transfer", count=before["tftp.transfer"] + AT_ONCE)
    lines = gateway.daemon.audit("tftp.transfer")[before["tftp.transfer"] :]
    assert {line["result"] for line in lines} == {"complete"}
    assert limited(gateway, before["session.denied"]) == []
    gateway.lab.gateway.run(["ip", "route", "del", *route[3:]])


def limited(gateway: Gateway, before: int) -> list[str]:
    """The limits that have denied a session. What a server sends from a second port, because a request came twice, is
    denied as well."""
    reasons = [line["reason"] for line in gateway.daemon.audit("session.denied")[before:]]
    return [reason for reason in reasons if "limit" in reason or "port" in reason]


def boot(gateway: Gateway, count: int, name: str) -> list[bytes]:
    """Read a file by so many hosts at once, each of which repeats what is not answered within a second."""
    first = int(ip_address(CROWD.partition("/")[0])) + 1
    server = (str(gateway.dialled(4)), tftp.PORT)
    machines: dict[int, Machine] = {}
    with gateway.client.inside(), select.epoll() as ready:
        for number in range(count):
            machine = Machine(str(ip_address(first + number)), server, name)
            machines[machine.sock.fileno()] = machine
            ready.register(machine.sock, select.EPOLLIN)
        end = time.monotonic() + 30
        while not all(machine.is_done for machine in machines.values()) and time.monotonic() < end:
            for descriptor, _ in ready.poll(0.1, count):
                machines[descriptor].hear()
            for machine in machines.values():
                machine.repeat()
        for machine in machines.values():
            machine.sock.close()
    return [bytes(machine.content) for machine in machines.values()]


class Machine:
    """One that boots."""

    def __init__(self, host: str, server: tuple[str, int], name: str) -> None:
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind((host, 2070))
        self.content = bytearray()
        self.is_done = False
        self._number = 0
        self._say(f"\0\1{name}\0octet\0".encode(), server)

    def _say(self, data: bytes, to: tuple[str, int]) -> None:
        self._last, self._at = data, to
        self._due = time.monotonic() + 1.0
        self.sock.sendto(data, to)

    def repeat(self) -> None:
        if not self.is_done and time.monotonic() > self._due:
            self._say(self._last, self._at)

    def hear(self) -> None:
        data, at = self.sock.recvfrom(2048)
        assert data[:2] == b"\0\3" and at[0] == self._at[0]
        if int.from_bytes(data[2:4]) == self._number + 1:
            self._number += 1
            self.content += data[4:]
        self._say(b"\0\4" + data[2:4], at)
        self.is_done = len(data) < 516


def test_a_window_of_blocks_comes_whole_over_a_line_that_loses_some(gateway: Gateway, tmp_path: Path) -> None:
    """RFC 7440, and TF5: of a window that is cut the log counts each block once."""
    with tftp.atftpd(gateway.server) as server:
        (server.home / "windowed").write_bytes(os.urandom(30_000))
        with bad_link(gateway.lab, "lan0-0", Fate(lost_ones=LOST), random.Random(0)) as counts:
            WINDOWED.read(gateway.client, gateway.dialled(4), "windowed", tmp_path / "file")
        assert (tmp_path / "file").read_bytes() == (server.home / "windowed").read_bytes()
        line = gateway.daemon.wait_for("tftp.transfer", file="windowed")
        assert line["result"] == "complete"
        assert (line["window"], line["bytes"]) == (8, 30_000)
        assert counts.lost == len(LOST)
        assert line["repeated"]


def test_a_file_of_more_blocks_than_there_are_numbers_comes_whole(
    standing: Callable[[Role], Gateway], tmp_path: Path
) -> None:
    """TF6: behind block 65535 comes 0. Each block says which one it is, so that none can stand for another. In windows,
    because one block at a time takes three times as long."""
    gateway = standing(HIDING)
    content = b"".join(number.to_bytes(4) * 128 for number in range(NUMBERS + 100)) + b"end"
    with tftp.atftpd(gateway.server) as server:
        (server.home / "numbers").write_bytes(content)
        before = len(gateway.daemon.audit("tftp.transfer"))
        WIDE.read(gateway.client, gateway.dialled(4), "numbers", tmp_path / "file", LONG_SECONDS)
        assert (tmp_path / "file").read_bytes() == content
        moved(gateway, before, "read", "numbers")
        line = gateway.daemon.audit("tftp.transfer")[-1]
        assert (line["bytes"], line["blocks"], line["window"]) == (len(content), NUMBERS + 101, 64)
    (tmp_path / "file").unlink()


def test_without_its_helper_no_file_comes(tmp_path: Path) -> None:
    """The answer comes from another port, which the firewall drops."""
    with Lab("routed") as lab:
        lab.firewall(
            """
            table inet strict { chain forward { type filter hook forward priority filter; policy drop;
                ct state established,related accept
                iifname lan0 udp dport 69 accept
                meta l4proto icmpv6 accept
            }
            }
            """
        )
        with tftp.tftpd_hpa(lab.server) as server:
            (server.home / "file").write_bytes(b"something")
            with pytest.raises(TransferFailed):
                IMPATIENT.read(lab.client, lab.server.v4, "file", tmp_path / "file")
