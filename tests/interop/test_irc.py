"""Users of IRC who offer files and chats to each other: real clients and servers, through a gateway in each role that
drops all that pinhole does not carry."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.namespaces import needs_root
from tools.lab import Host, Lab, gateways
from tools.lab.gateways import ROLES, Gateway
from tools.peers import irc
from tools.peers.irc import SERVERS, Irssi, PythonIrc, User, Weechat

pytestmark = [pytest.mark.interop, pytest.mark.netns, pytest.mark.slow, needs_root]

FILE_BYTES = 100_000


@pytest.fixture(scope="module", params=ROLES, ids=lambda role: role.name)
def gateway(request: pytest.FixtureRequest) -> Iterator[Gateway]:
    with gateways.serving(request.param, "nft") as serving:
        yield serving


@pytest.fixture(scope="module", params=SERVERS)
def server(request: pytest.FixtureRequest, gateway: Gateway) -> Iterator[str]:
    with SERVERS[request.param](gateway.server):
        yield request.param


@pytest.fixture(scope="module", params=[4, 6], ids=["ipv4", "ipv6"])
def users(request: pytest.FixtureRequest, gateway: Gateway, server: str) -> Iterator[dict[str, User]]:
    """By name: alice, wendy and pia come by the gateway; bob and walt need none."""
    version = request.param
    names: dict[str, tuple[type[User], Host]] = {
        "alice": (Irssi, gateway.client),
        "wendy": (Weechat, gateway.client),
        "pia": (PythonIrc, gateway.client),
        "bob": (Irssi, gateway.neighbour),
        "walt": (Weechat, gateway.neighbour),
    }
    # A server may take some time to see that those are gone who had these nicks before.
    who = [(kind, host, f"{name}{version}") for name, (kind, host) in names.items() if version == 4 or kind.speaks_ipv6]
    those, these = ([one for one in who if one[1] is host] for host in (gateway.client, gateway.neighbour))
    with (
        irc.users(gateway.dialled(version), *those) as inside,
        irc.users(gateway.server.address(version), *these) as outside,
    ):
        yield {user.nick[:-1]: user for user in (*inside, *outside)}


def near(users: dict[str, User]) -> list[User]:
    return [users[nick] for nick in ("alice", "wendy", "pia") if nick in users]


def far(users: dict[str, User]) -> list[User]:
    return [users["bob"], users["walt"]]


def send(sender: User, receiver: User, *, passively: bool = False, begun: int = 0) -> str:
    """A file of a name that has not been used yet is offered and received. `begun`: the receiver has so much of it.
    Returns the name."""
    content = os.urandom(FILE_BYTES)
    file = sender.home / f"file {os.urandom(4).hex()} of {sender.nick}"
    file.write_bytes(content)
    if begun:
        (receiver.down / file.name).write_bytes(content[:begun])
    sender.send(receiver.nick, file, passively=passively)
    if passively:
        assert isinstance(receiver, Irssi)
        receiver.take(sender.nick, file.name)
    receiver.wait_to_receive(file.name, content)
    sender.is_done(receiver.nick)
    return file.name


def test_files_are_sent_out(gateway: Gateway, users: dict[str, User]) -> None:
    for sender in near(users):
        for receiver in far(users):
            line = gateway.daemon.wait_for("irc.transfer", file=send(sender, receiver))
            assert (line["direction"], line["nick"], line["bytes_out"]) == ("out", receiver.nick, FILE_BYTES)
            assert line["peer"].rpartition(":")[0].strip("[]") in map(str, (receiver.host.v4, receiver.host.v6))


def test_chats_are_offered_to_users_outside(users: dict[str, User]) -> None:
    for one in near(users):
        for other in far(users):
            one.chat(other)


def test_a_file_is_sent_on_where_it_was_left(gateway: Gateway, users: dict[str, User]) -> None:
    """IR15: RESUME and ACCEPT name the port that their reader knows."""
    for receiver in far(users):
        for sender in near(users)[:2]:
            line = gateway.daemon.wait_for("irc.transfer", file=send(sender, receiver, begun=FILE_BYTES // 4))
            assert line["bytes_out"] == FILE_BYTES - FILE_BYTES // 4


def test_a_passive_offer_of_a_stranger_is_taken_up(users: dict[str, User]) -> None:
    """IR10: the client inside says where it waits."""
    send(users["bob"], users["alice"], passively=True)
    users["bob"].chat(users["alice"], passively=True)


def test_offers_of_strangers_are_taken_up(gateway: Gateway, users: dict[str, User]) -> None:
    """IR17: `inbound: open`. What is beside a published server stays there (IR19)."""
    if gateway.role.hides_server:
        before = len(gateway.daemon.audit("irc.dcc", direction="in", result="refused"))
        users["bob"].offer_chat(users["wendy"].nick)
        line = gateway.daemon.wait_for("irc.dcc", count=before + 1, direction="in", result="refused")
        assert line["reason"] == "third_host"
        return
    for sender in far(users):
        for receiver in near(users):
            send(sender, receiver)
    send(users["alice"], users["bob"], passively=True)
    users["alice"].chat(users["bob"], passively=True)


@pytest.mark.parametrize("nat", ["", "oifname wan0 masquerade"], ids=["no_nat", "source_nat"])
def test_without_its_helper_nobody_gets_what_is_offered(nat: str, tmp_path: Path) -> None:
    """The firewall lets sessions with the server out, and nothing in; the address of a hidden client leads nowhere."""
    with Lab("nat" if nat else "routed") as lab:
        lab.firewall(
            f"""
            table inet strict {{
                chain forward {{ type filter hook forward priority filter; policy drop;
                    ct state established,related accept
                    iifname lan0 tcp dport 6667 accept
                    meta l4proto icmpv6 accept
                    reject with icmpx admin-prohibited
                }}
                chain out {{ type nat hook postrouting priority srcnat; {nat}; }}
            }}
            """
        )
        who = (Irssi, lab.client, "alice"), (Irssi, lab.server_stranger, "bob")
        with irc.ngircd(lab.server), irc.users(lab.server.v4, *who) as (alice, bob):
            (tmp_path / "file").write_bytes(b"something")
            alice.send("bob", tmp_path / "file")
            bob.wait_to_hear("dcc failed alice")
            assert not (bob.down / "file").exists()
