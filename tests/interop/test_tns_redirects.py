"""python-oracledb led from one listener to another, through the gateway in each role.

The listeners are emulated (tools/peers/oracle.py), the drivers are not: several versions, synchronous and asyncio. They
have got through when the last listener hears the packet that they send after ACCEPT.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.netns.namespaces import needs_root
from tools.lab import Host, Lab, gateways
from tools.lab.gateways import BACKENDS, HIDING, ROLES, ROUTING, Gateway, Role
from tools.peers import oracle
from tools.peers.oracle import NAME, REDIRECTED, Listener, accept, connect, listening, redirect
from tools.peers.tns_packets import address

pytestmark = [pytest.mark.interop, pytest.mark.netns, pytest.mark.slow, needs_root]

GATEWAYS = [(role, backend) for role in ROLES for backend in BACKENDS]
MODES = ("synchronous", "asyncio")
VERSIONS = ("", "2.5.1", "4.0.2")
ATTEMPT_SECONDS = 4
"""For what is not to be reached."""
every_driver = pytest.mark.parametrize("driver", VERSIONS, ids=lambda driver: driver or "newest")
both_versions = pytest.mark.parametrize("version", [4, 6], ids=["ipv4", "ipv6"])


@pytest.fixture(scope="module", params=GATEWAYS, ids=lambda param: f"{param[0].name}-{param[1]}")
def gateway(request: pytest.FixtureRequest) -> Iterator[Gateway]:
    role, backend = request.param
    with gateways.serving(role, backend) as serving:
        yield serving


def to(host: Host, version: int, port: int) -> oracle.Answer:
    return lambda _, data: redirect(address(host.address(version), port), data)


def got_through(last: Listener) -> None:
    assert [NAME in packet for packet in last.got] == [True], last.got


def told(gateway: Gateway, before: int) -> list[str]:
    log = gateway.log_after(before)
    events = [line["event"] for line in log]
    assert not {"violation", "engine.failed", "pinhole.refused", "session.denied", "session.failed"} & set(events), log
    return events


def test_the_drivers_are_here() -> None:
    assert set(VERSIONS) <= set(oracle.drivers())


@every_driver
@pytest.mark.parametrize("mode", MODES)
@both_versions
def test_a_redirect_to_another_port_is_followed(gateway: Gateway, version: int, mode: str, driver: str) -> None:
    before = len(gateway.daemon.audit())
    server = gateway.server
    with (
        listening(server, version, 1521, to(server, version, 21522)) as first,
        listening(server, version, 21522, lambda *_: accept()) as last,
    ):
        said = connect(gateway.client, gateway.dialled(version), 1521, mode, driver, last.heard)
        got_through(last)
        assert said.splitlines()[0].startswith(driver)
    assert (first.flags, last.flags) == ([0], [REDIRECTED])
    events = told(gateway, before)
    assert [events.count(event) for event in ("tns.connect", "tns.redirected", "tns.accepted")] == [2, 1, 1]
    assert events.count("pinhole.opened") == events.count("pinhole.used") == events.count("pinhole.closed") == 1
    assert events.count("address.rewritten") == gateway.role.hides_server


@dataclass(frozen=True)
class Form:
    """In what shape a listener may say it, of those that python-oracledb follows."""

    name: str
    flags: int = 2
    cut_at: int = 0
    segment: int = 0


FORMS = (
    Form("without_flag", flags=0),
    Form("cut_over_two_data_packets", cut_at=30),
    Form("byte_by_byte", segment=1),
    Form("header_alone", segment=10),
)


@pytest.mark.parametrize("gateway", [(HIDING, "nft")], ids=["snat_interface"], indirect=True, scope="module")
@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
@every_driver
def test_every_form_that_the_drivers_follow_without_a_gateway(gateway: Gateway, form: Form, driver: str) -> None:
    before = len(gateway.daemon.audit())
    server = gateway.server
    where = address(server.v4, 21522)

    def answer(_: bytes, data: bytes) -> bytes:
        return redirect(where, data, form.flags, form.cut_at)

    with (
        listening(server, 4, 1521, answer, form.segment),
        listening(server, 4, 21522, lambda *_: accept()) as last,
    ):
        connect(gateway.client, gateway.dialled(4), 1521, "synchronous", driver, last.heard)
        got_through(last)
    assert told(gateway, before).count("tns.redirected") == 1


@pytest.mark.parametrize(
    "gateway", [(role, "nft") for role in (ROUTING, HIDING)], ids=["snat_none", "snat_interface"], indirect=True,
    scope="module",
)  # fmt: skip
@both_versions
def test_a_redirect_to_a_neighbour_of_the_listener_is_followed_twice(gateway: Gateway, version: int) -> None:
    before = len(gateway.daemon.audit())
    server, neighbour = gateway.server, gateway.neighbour
    with (
        listening(server, version, 1521, to(neighbour, version, 1521)),
        listening(neighbour, version, 1521, to(server, version, 21522)),
        listening(server, version, 21522, lambda *_: accept()) as last,
    ):
        connect(gateway.client, gateway.dialled(version), 1521, "synchronous", until=last.heard)
        got_through(last)
    assert told(gateway, before).count("tns.redirected") == 2


def test_a_name_is_resolved_here_and_a_neighbour_inside_is_named_by_the_policy() -> None:
    def policies(lab: Lab) -> str:
        options = f"redirect_to: [10.1.0.0/24], hosts: {{node2: {lab.client_stranger.v4}}}"
        return f"""
  - name: publish
    from: [wan0]
    destination: ["{lab.gateway.address(4, "wan0")}"]
    action: accept
    dnat: "{lab.client.v4}"
    options: {{tns: {{{options}}}}}
"""

    with gateways.serving(Role("dnat", policies, hides_server=True), "nft") as gateway:
        with (
            listening(gateway.server, 4, 1521, lambda _, data: redirect(address("Node2", 1521), data)),
            listening(gateway.neighbour, 4, 1521, lambda *_: accept()) as last,
        ):
            connect(gateway.client, gateway.dialled(4), 1521, "synchronous", until=last.heard)
            got_through(last)
        assert "address.rewritten" in told(gateway, 0)


FORWARDING = "chain forward { type filter hook forward priority 0; policy drop; ct state established accept; "
NAT = {
    "snat_none": "",
    "snat_interface": "chain out { type nat hook postrouting priority 100; oif wan0 masquerade; }",
    "dnat": "chain in { type nat hook prerouting priority -100; iif wan0 tcp dport 1521 dnat to INSIDE; }",
}


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_without_the_helper_the_same_attempt_fails(role: Role) -> None:
    """A firewall that forwards sessions to 1521: the listener is reached, and what it names is not."""
    with Lab("nat" if role is not ROUTING else "routed") as lab:
        server, client = (lab.client, lab.server) if role.hides_server else (lab.server, lab.client)
        dialled = lab.gateway.address(4, "wan0") if role.hides_server else server.v4
        nat = NAT[role.name].replace("INSIDE", str(lab.client.v4))
        lab.firewall(f"table ip plain {{\n {FORWARDING} tcp dport 1521 accept; }}\n {nat}\n}}\n")
        is_enough = threading.Event()
        timer = threading.Timer(ATTEMPT_SECONDS, is_enough.set)

        def answer(_: bytes, data: bytes) -> bytes:
            timer.start()  # the driver may have taken a while to begin
            return redirect(address(server.v4, 21522), data)

        with (
            listening(server, 4, 1521, answer) as first,
            listening(server, 4, 21522, lambda *_: accept()) as last,
        ):
            said = connect(client, dialled, 1521, "synchronous", until=is_enough, seconds=60)
            timer.cancel()
            assert (len(first.flags), last.got) == (1, []), said
