"""Two Asterisk that register at a gatekeeper, and find each other by it. What each has heard is judged by what it
recorded. The gatekeeper is a script (`h323_gatekeeper.py`): there is none that could be unpacked."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import pytest

from tests.harness import h323_oracle
from tests.interop.h323_gatekeeper import Gatekeeper, Model, gatekeeper
from tests.netns.namespaces import needs_root
from tools.lab import Host, Lab, gateways
from tools.lab.gateways import HIDING, PUBLISHING, ROUTING, Gateway, Role
from tools.lab.lab import LAN4
from tools.peers import asterisk
from tools.peers.asterisk import SECONDS, Address, Asterisk, Friend, converse

MISSING = asterisk.missing() or h323_oracle.missing()
pytestmark = [
    pytest.mark.interop,
    pytest.mark.netns,
    pytest.mark.slow,
    needs_root,
    pytest.mark.skipif(bool(MISSING), reason=f"not installed (tools/setup --test): {MISSING}"),
]

MODELS: tuple[Model, ...] = ("direct", "gatekeeperRouted")
Pair = tuple[Asterisk, Asterisk]
HEARD, SILENT = (True, True), (False, False)
GIVES_UP_SECONDS = 5
"""How long a call is waited for that may never be answered."""
INSIDE, OUTSIDE = "101", "102"
STRICT = """
flush ruleset
table inet strict {
    chain forward { type filter hook forward priority filter; policy drop;
        ct state established,related accept
        iifname lan0 tcp dport 1720 accept
        iifname lan0 udp dport 1719 accept
    }
}
"""
KERNEL = """
table ip kernel {
    ct helper signalling { type "Q.931" protocol tcp; }
    ct helper registration { type "RAS" protocol udp; }
    chain prerouting { type filter hook prerouting priority filter;
        tcp dport 1720 ct helper set "signalling"
        udp dport 1719 ct helper set "registration"
    }
}
"""


@contextlib.contextmanager
def registered(
    inside: Host, outside: Host, keeper: Gatekeeper, registrar: Address | None = None, others: Sequence[Address] = ()
) -> Iterator[Pair]:
    """An endpoint on either side that has registered. registrar: where the first one finds the gatekeeper. others: by
    what, beside their own addresses and that of the gatekeeper, they may know each other."""
    at = keeper.address
    found = {inside.name: registrar or at}
    friends = [
        Friend(f"friend{number}", address) for number, address in enumerate((inside.v4, outside.v4, at, *others))
    ]
    with contextlib.ExitStack() as stack:
        one, other = (
            stack.enter_context(
                asterisk.asterisk(
                    host, host.v4, friends, name=host.name, number=int(number), gatekeeper=found.get(host.name, at)
                )
            )
            for host, number in ((inside, INSIDE), (outside, OUTSIDE))
        )
        yield one, other


def called(pair: Pair, seconds: float = SECONDS) -> dict[str, tuple[bool, bool]]:
    """What comes of a call out, and of one in: whether its caller and its callee have heard each other. seconds: how
    long the one that comes in is waited for."""
    inside, outside = pair
    return {
        "out": converse(inside, outside, OUTSIDE),
        "in": converse(outside, inside, INSIDE, seconds),
    }


@pytest.mark.parametrize("model", MODELS)
def test_calls_without_a_firewall_without_a_helper_and_with_those_of_the_kernel(model: Model) -> None:
    """What pinhole is held against. Where a firewall drops what nobody asked for, and no helper reads what was agreed,
    nobody hears anybody. The kernel's helper lets in who signals alone: no caller but the gatekeeper, and no media of
    anybody else (HF42, RA14)."""
    ways = (
        ("no firewall", "flush ruleset", SECONDS),
        ("no helper", STRICT, GIVES_UP_SECONDS),
        ("kernel", STRICT + KERNEL, GIVES_UP_SECONDS),
    )
    found = {}
    with Lab("routed") as lab, gatekeeper(lab.server_stranger, lab.server_stranger.v4, model) as keeper:
        for name, rules, seconds in ways:
            lab.firewall(rules)
            lab.gateway.run(["conntrack", "-F"])
            with registered(lab.client, lab.server, keeper) as pair:
                found[name] = called(pair, seconds)
    is_direct = model == "direct"
    assert found == {
        "no firewall": {"out": HEARD, "in": HEARD},
        "no helper": {"out": SILENT, "in": SILENT},
        "kernel": {"out": HEARD if is_direct else SILENT, "in": SILENT},
    }


# -- with pinhole ------------------------------------------------------------------------------------------------------


def letting_in(role: Role) -> Role:
    """The role with policies by which anybody may call who has registered, and whose media may be beside a published
    gatekeeper."""
    options = f'options: {{ras: {{callers: any}}, h323: {{media_hosts: ["{LAN4}"]}}, '
    return replace(role, policies=lambda lab: role.policies(lab).replace("options: {", options))


@dataclass(frozen=True)
class Site:
    """An endpoint on either side of a gateway, and a gatekeeper beside one of them."""

    gateway: Gateway
    near: Host
    """The host whose gatekeeper is behind the gateway."""
    far: Host
    keeper: Host
    registrar: Address
    """Where the near host finds the gatekeeper."""


@pytest.fixture(scope="module")
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    with gateways.serving(letting_in(request.param), "nft") as gateway:
        lab = gateway.lab
        if request.param is PUBLISHING:
            yield Site(gateway, lab.server, lab.client_stranger, lab.client, gateway.dialled(4))
        else:
            yield Site(gateway, lab.client, lab.server, lab.server_stranger, lab.server_stranger.v4)


SITES: tuple[tuple[Role, Model], ...] = (
    (ROUTING, "direct"), (ROUTING, "gatekeeperRouted"), (HIDING, "direct"), (HIDING, "gatekeeperRouted"),
    (PUBLISHING, "gatekeeperRouted"),  # direct calls would go to an endpoint that is not published
)  # fmt: skip


@pytest.mark.parametrize(
    ("site", "model"), SITES, ids=[f"{role.name}-{model}" for role, model in SITES], indirect=["site"], scope="module"
)
def test_calls_out_and_in_by_a_gatekeeper(site: Site, model: Model) -> None:
    """RA3, RA10 to RA20, HF42: through a gateway that drops all else. Registrations are renewed more than once, and a
    registration that the gatekeeper ends lets nobody in any more."""
    gateway, daemon = site.gateway, site.gateway.daemon
    before = len(daemon.audit())
    others = [address for port in ("wan0", "lan0") if (address := gateway.lab.gateway.address(4, port))]
    with (
        gatekeeper(site.keeper, site.keeper.v4, model, life=2) as keeper,
        registered(site.near, site.far, keeper, site.registrar, others) as pair,
    ):
        assert called(pair) == {"out": HEARD, "in": HEARD}
        keeper.wait_for("registrationRequest", keeper.count("registrationRequest") + 4)
        assert converse(pair[1], pair[0], INSIDE) == HEARD
        daemon.wait_for("registration.refreshed", count=len(daemon.audit("registration.added")) + 1)
        keeper.unregister(INSIDE)
        daemon.wait_for("registration.removed")
        log = gateway.calls_after(before, 3)
    assert not {"violation", "engine.failed", "pinhole.refused"} & {line["event"] for line in log}
    for line in log:
        if line["event"] == "call.ended":
            (stream,) = line["streams"]
            assert min(stream["packets_to_caller"], stream["packets_to_callee"]) >= 20


@pytest.mark.parametrize("site", [HIDING], ids=lambda role: role.name, indirect=True, scope="module")
def test_after_a_restart_an_endpoint_is_called_again_once_it_has_renewed_its_registration(site: Site) -> None:
    daemon = site.gateway.daemon
    with (
        gatekeeper(site.keeper, site.keeper.v4, "direct", life=2) as keeper,
        registered(site.near, site.far, keeper) as pair,
    ):
        at, added = keeper.registered[INSIDE], len(daemon.audit("registration.added"))
        daemon.stop()
        daemon.start()
        daemon.wait_for("registration.added", count=added + 1)
        assert keeper.registered[INSIDE] == at
        assert converse(pair[1], pair[0], INSIDE) == HEARD
