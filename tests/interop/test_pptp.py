"""pptpd with three clients of pptp-linux at once, through a gateway in each of its roles that drops all that pinhole
does not carry. In the place of PPP, which takes a kernel that knows it, frames are counted and returned
(`tools/peers/ppp.py`)."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
from collections import Counter
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address
from typing import Any

import pytest

from tests.harness.waiting import until
from tests.netns.namespaces import needs_root
from tools.lab import gateways
from tools.lab.gateways import HIDING, ROLES, BackendName, Gateway
from tools.peers import ppp, pptp

pytestmark = [pytest.mark.interop, pytest.mark.netns, pytest.mark.slow, needs_root]

ORDERS = tuple(itertools.permutations(range(3)))
"""In which three calls may end."""
Site = tuple[gateways.Role, BackendName, Sequence[Sequence[int]]]
SITES: tuple[Site, ...] = (
    *((role, "nft", ORDERS[number * 2 : number * 2 + 2]) for number, role in enumerate(ROLES)),
    (HIDING, "iptables", ORDERS[:1]),
)
"""Each with some of the orders, for a client of pptp-linux begins slowly."""


def site_id(site: Site) -> str:
    return f"{site[0].name}-{site[1]}"


@pytest.fixture(scope="module", params=SITES, ids=site_id)
def site(request: pytest.FixtureRequest) -> Site:
    found: Site = request.param
    return found


@pytest.fixture(scope="module")
def gateway(site: Site) -> Iterator[Gateway]:
    role, backend, _ = site
    with gateways.serving(role, backend) as serving:
        second = IPv4Address(int(serving.client.v4) + 7)
        serving.client.run(["ip", "address", "add", f"{second}/24", "dev", "eth0"])
        yield serving


@pytest.fixture(scope="module")
def server(gateway: Gateway) -> Iterator[pptp.Server]:
    with pptp.pptpd(gateway.server, gateway.server.v4) as serving:
        yield serving


@contextlib.contextmanager
def three_calls(gateway: Gateway) -> Iterator[list[pptp.Call]]:
    """Of three clients, two of them on one host, to one server. All of them have heard the server's first frame."""
    one, other = gateway.clients
    ends = [(one, one.v4), (one, IPv4Address(int(one.v4) + 7)), (other, other.v4)]
    with contextlib.ExitStack() as stack:
        calls = [stack.enter_context(pptp.pptp(host, gateway.dialled(4), source)) for host, source in ends]
        assert all(call.is_greeted() for call in calls)
        yield calls


def payloads(number: int) -> list[bytes]:
    """Short, as long as a link carries, and longer; each call has others."""
    return [
        bytes((0xFF, 3, 0xC0, 0x21, number)),
        bytes((number,)) * 1400,
        bytes(range(256)) * 15 + bytes((number,)) * 160,
    ]


def told(gateway: Gateway, before: int) -> list[dict[str, Any]]:
    """The lines of the log but for the first `before`, once all calls have ended."""
    gateway.daemon.until(sessions=0, pinholes=0)
    return gateway.daemon.audit()[before:]


def packets(frames: Sequence[bytes]) -> Counter[tuple[bytes, bytes]]:
    """How many packets went from whom to whom: of those that were cut, the first part counts."""
    whole = [frame for frame in frames if not int.from_bytes(frame[20:22], "big") & 0x1FFF]
    return Counter((frame[26:30], frame[30:34]) for frame in whole)


def test_three_clients_have_a_tunnel_each_and_end_in_any_order(
    site: Site, gateway: Gateway, server: pptp.Server
) -> None:
    for order in site[2]:
        before = len(told(gateway, 0))
        with three_calls(gateway) as calls:
            for number, call in enumerate(calls):
                assert call.echo(*payloads(number))
            over = len(gateway.daemon.audit("pptp.ended"))
            for number in order:
                calls[number].hang_up()
                over += 1
                gateway.daemon.wait_for("pptp.ended", count=over)
                assert all(call.echo(b"\xff\x03still here") for call in calls if call.process.poll() is None)
        lines = told(gateway, before)
        begun = [line for line in lines if line["event"] == "pptp.call"]
        assert len({line["client_known_as"] for line in begun}) == len(begun) == 3
        assert {line["client_call"] == line["client_known_as"] for line in begun} == {not gateway.role.hides_client}
        ended = [line for line in lines if line["event"] == "pptp.ended"]
        assert len(ended) == 3 and all(
            line["packets_from_client"] >= 3 <= line["packets_from_server"] for line in ended
        )
        assert all(min(line["bytes_from_client"], line["bytes_from_server"]) > 5400 for line in ended)
        assert [line for line in lines if line["event"] == "violation"] == []


@pytest.mark.parametrize("site", SITES[:3], indirect=True, ids=site_id)
def test_what_passes_is_counted_alike_at_both_ends_and_here(gateway: Gateway, server: pptp.Server) -> None:
    near, far = gateway.client, gateway.server
    with (
        near.capture("eth0", "ip proto 47") as at_client,
        far.capture("eth0", "ip proto 47") as at_server,
        pptp.pptp(near, gateway.dialled(4), near.v4) as call,
    ):
        assert call.is_greeted() and call.echo(*payloads(9) * 3)
        here: Counter[tuple[bytes, bytes]] = Counter()
        there: Counter[tuple[bytes, bytes]] = Counter()

        def agree() -> bool:
            here.update(packets(at_client.collect()))
            there.update(packets(at_server.collect()))
            places = gateway.daemon.ask("pinholes")["pinholes"]
            ours = [sorted((place["packets_in"], place["packets_out"])) for place in places]
            return len(here) == 2 and ours == [sorted(here.values())] * 2 == [sorted(there.values())] * 2

        until(agree, lambda: f"{here} {there}")
        assert server.counts()[-1] == (9, 10)
        assert here[near.v4.packed, gateway.dialled(4).packed] >= 9


@pytest.mark.parametrize("site", [SITES[1]], indirect=True, ids=site_id)
def test_a_call_ends_with_its_server(gateway: Gateway, server: pptp.Server) -> None:
    """The other calls stay; the client of the one that is over hears of it."""
    before = len(told(gateway, 0))
    with three_calls(gateway) as calls:
        lost = gateway.daemon.audit("pptp.call")[-1]
        ended = len(gateway.daemon.audit("pptp.ended"))
        newest = max(server.directory.glob("ppp-*"), key=lambda path: path.stat().st_ctime)
        os.kill(int(newest.name.removeprefix("ppp-")), signal.SIGKILL)
        gone = gateway.daemon.wait_for("pptp.ended", count=ended + 1)
        assert gone["cause"] in ("disconnected", "control_lost", "stopped")
        left = [call for call in calls if call.process.poll() is None]
        assert lost["event"] == "pptp.call" and sum(_echoes(call) for call in left) == 2
    assert sum(line["event"] == "pptp.ended" for line in told(gateway, before)) == 3


def _echoes(call: pptp.Call) -> bool:
    try:
        return call.echo(b"\xff\x03still here")
    except OSError:
        return False


def test_frames_of_the_stand_in_are_those_of_the_standard() -> None:
    """RFC 1662 s.C.2: a checksum over a frame and its own checksum is always the same."""
    data = bytes(range(256))
    whole = ppp.framed(data)
    assert list(ppp.Frames().push(whole[:7])) == [] and list(ppp.Frames().push(whole)) == [data]
    with pytest.raises(ValueError, match="wrong checksum"):
        list(ppp.Frames().push(whole.replace(b"\x30\x31", b"\x31\x30")))
