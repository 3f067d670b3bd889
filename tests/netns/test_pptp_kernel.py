"""The kernel's own helper, nf_conntrack_pptp with nf_nat_pptp, beside that of pinhole: the same clients, and calls of
which the kernel's knows one in each connection."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from tests.harness import pptp_messages as pptp
from tests.harness.waiting import until
from tests.netns.namespaces import needs_root
from tests.netns.pptp_talk import Tunnel, called, connection, listening
from tools.lab import Lab
from tools.peers import pptp as programs

pytestmark = [pytest.mark.netns, pytest.mark.slow, needs_root]

RULES = """
table ip kernel {
    ct helper pptp { type "pptp" protocol tcp; }
    chain prerouting { type filter hook prerouting priority filter; tcp dport 1723 ct helper set "pptp"; }
    chain forward {
        type filter hook forward priority filter; policy drop;
        ct state established,related accept
        tcp dport 1723 accept
    }
    chain postrouting { type nat hook postrouting priority srcnat; oifname wan0 masquerade; }
}
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab("nat") as lab:
        lab.firewall(RULES)
        yield lab


def test_it_carries_two_clients_as_ours_does(lab: Lab) -> None:
    hosts = (lab.client, lab.client_stranger)
    with programs.pptpd(lab.server, lab.server.v4), contextlib.ExitStack() as stack:
        calls = [stack.enter_context(programs.pptp(host, lab.server.v4, host.v4)) for host in hosts]
        assert all(call.is_greeted() and call.echo(b"\xff\x03payload") for call in calls)


def test_without_any_helper_the_same_client_has_a_connection_and_no_tunnel(lab: Lab) -> None:
    """`test_three_clients_have_a_tunnel_each_and_end_in_any_order` has it with ours."""
    lab.firewall("delete table ip kernel" + RULES.replace('tcp dport 1723 ct helper set "pptp";', ""))
    lab.gateway.run(["conntrack", "-F"])
    with (
        programs.pptpd(lab.server, lab.server.v4) as server,
        programs.pptp(lab.client, lab.server.v4, lab.client.v4) as call,
    ):
        until(server.counts)  # a call has come about, and the server's program has sent its greeting
        with pytest.raises(OSError):  # silence, or the end of a server that was told of no way
            call.is_greeted(1)
    lab.firewall("delete table ip kernel" + RULES)


def test_of_two_calls_in_one_connection_it_carries_one(lab: Lab) -> None:
    """PP13: both get the same id, the port of the connection. `test_two_calls_of_one_connection` has ours."""
    server_at, known_at = lab.server.v4, lab.gateway.v4
    with (
        listening(lab.server) as listener,
        Tunnel(lab.client) as near,
        Tunnel(lab.server) as far,
        connection(lab.client, server_at, listener) as (client, server),
    ):
        first = called(client, server, 5, 0)
        near.send(server_at, pptp.gre(0))
        assert far.receive().call == 0
        far.send(known_at, pptp.gre(first))
        assert near.receive().call == 5
        second = called(client, server, 6, 128)
        assert second == first
        near.send(server_at, pptp.gre(128))
        assert far.hears_nothing()
        far.send(known_at, pptp.gre(second))
        assert near.receive().call == 5
