"""Addresses in names (protocols/mgcp/names.py): MG19, MG21."""

from __future__ import annotations

import pytest

from protocols.contract.addresses import Side, Transport
from protocols.mgcp.helper import HELPER
from protocols.mgcp.names import Names, address_of
from protocols.mgcp.wire import read_message
from protocols.toolbox.spans import replace
from tests.harness.playbook import NETWORKS, on

CLIENT, SERVER = Side.CLIENT, Side.SERVER


def renamed(names: Names, side: Side, data: bytes) -> bytes:
    return replace(data, [(one.span, one.after) for one in names.renamed(side, read_message(data))])


def of(network: str) -> Names:
    return Names(on(NETWORKS[network], HELPER, Transport.UDP))


@pytest.mark.parametrize(
    ("network", "side", "said", "read"),
    [
        ("snat", CLIENT, b"RSIP 1 aaln/1@[10.1.0.2] MGCP 1.0\r\n", b"RSIP 1 aaln/1@[198.51.100.1] MGCP 1.0\r\n"),
        ("snat", CLIENT, b"RSIP 1 a@10.1.0.2 MGCP 1.0\r\n", b"RSIP 1 a@[198.51.100.1] MGCP 1.0\r\n"),
        ("snat", CLIENT, b"RSIP 1 a@10.1.0.22 MGCP 1.0\r\n", None),
        ("snat", CLIENT, b"RSIP 1 a@[10.1.0.2].example.net MGCP 1.0\r\n", None),
        ("snat", CLIENT, b"RSIP 1 a@[010.1.0.2] MGCP 1.0\r\n", None),
        ("snat", CLIENT, b"RSIP 1 10.1.0.2@gw MGCP 1.0\r\n", None),
        ("snat", CLIENT, b"RSIP 1 a@gw MGCP 1.0\r\n", None),
        ("snat", CLIENT, b"200 1\nZ: a@[10.1.0.2]:2427, b@[10.1.0.2]\n",
            b"200 1\nZ: a@[198.51.100.1]:2427, b@[198.51.100.1]\n"),
        ("snat", SERVER, b"RQNT 1 a@gw MGCP 1.0\nN: [198.51.100.1]:1\n", b"RQNT 1 a@gw MGCP 1.0\nN: [10.1.0.2]:1\n"),
        ("snat", SERVER, b"RQNT 1 a@gw MGCP 1.0\nN:ca@[203.0.113.7]:2727\n", None),
        ("snat", SERVER, b"RQNT 1 a@gw MGCP 1.0\nN:\n", None),
        ("snat", SERVER, b"RQNT 1 a@gw MGCP 1.0\nX: @[198.51.100.1]\n", None),
        ("dnat", SERVER, b"RQNT 1 a@gw MGCP 1.0\nN: ca@[10.0.0.5]:2427\n",
            b"RQNT 1 a@gw MGCP 1.0\nN: ca@[203.0.113.7]:2427\n"),
        ("none", CLIENT, b"RSIP 1 a@[198.51.100.2] MGCP 1.0\r\n", None),
        ("snat6", CLIENT, b"RSIP 1 a@[FD01::0002] MGCP 1.0\r\n", b"RSIP 1 a@[2001:db8:1::1] MGCP 1.0\r\n"),
        ("4to6", CLIENT, b"RSIP 1 a@[10.1.0.2] MGCP 1.0\r\n", b"RSIP 1 a@[2001:db8:1::1] MGCP 1.0\r\n"),
    ],
)  # fmt: skip
def test_an_address_of_a_host_is_told_as_the_other_side_knows_it(
    network: str, side: Side, said: bytes, read: bytes | None
) -> None:
    assert renamed(of(network), side, said) == (said if read is None else read)


def test_a_host_gets_its_own_spelling_back() -> None:
    names = of("snat6")
    renamed(names, CLIENT, b"RSIP 1 a@[FD01:0:0::2] MGCP 1.0\r\n")
    back = renamed(names, SERVER, b"RQNT 2 a@[2001:DB8:1::1] MGCP 1.0\r\n")
    assert back == b"RQNT 2 a@[FD01:0:0::2] MGCP 1.0\r\n"
    assert renamed(names, CLIENT, b"NTFY 3 a@[fd01::2] MGCP 1.0\r\n") == b"NTFY 3 a@[2001:DB8:1::1] MGCP 1.0\r\n"


def test_a_port_is_mapped_with_its_address_when_it_is_the_hosts_own() -> None:
    names = Names(on(NETWORKS["snat"], HELPER, Transport.UDP, 5000))
    seen = on(NETWORKS["snat"], HELPER, Transport.UDP, 5000).client_as_seen
    assert (
        renamed(names, CLIENT, b"NTFY 3 a@[10.1.0.2]:5000 MGCP 1.0\n")
        == b"NTFY 3 a@[198.51.100.1]:%d MGCP 1.0\n" % seen.port
    )
    assert (
        renamed(names, CLIENT, b"NTFY 3 a@[10.1.0.2]:99999 MGCP 1.0\n") == b"NTFY 3 a@[198.51.100.1]:99999 MGCP 1.0\n"
    )


def test_the_domain_of_a_name_may_be_an_address() -> None:
    assert str(address_of(b"ca@[2001:db8::1]:2727")) == "2001:db8::1"
    assert address_of(b"ca@[2001:db8::1::2]") is None
    assert address_of(b"ca.example.net") is None
    assert address_of(b"") is None
