"""Two Asterisk that register at a gatekeeper, and find each other by it. What each has heard is judged by what it
recorded. The gatekeeper is a script (`h323_gatekeeper.py`): there is none that could be unpacked."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import pytest

from tests.harness import h323_oracle
from tests.interop.h323_gatekeeper import Gatekeeper, Model, gatekeeper
from tests.netns.namespaces import needs_root
from tools.lab import Host, Lab
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
GIVES_UP_SECONDS = 3
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
def registered(inside: Host, outside: Host, keeper: Gatekeeper, others: Sequence[Address] = ()) -> Iterator[Pair]:
    """An endpoint on either side that has registered. others: by what, beside their own addresses and that of the
    gatekeeper, they may know each other."""
    at, before = keeper.address, keeper.count("registrationRequest")
    friends = [
        Friend(f"friend{number}", address) for number, address in enumerate((inside.v4, outside.v4, at, *others))
    ]
    with contextlib.ExitStack() as stack:
        one, other = (
            stack.enter_context(
                asterisk.asterisk(host, host.v4, friends, name=host.name, number=int(number), gatekeeper=at)
            )
            for host, number in ((inside, INSIDE), (outside, OUTSIDE))
        )
        keeper.wait_for("registrationRequest", before + 2)
        yield one, other


def called(pair: Pair, seconds: float = SECONDS) -> dict[str, tuple[bool, bool]]:
    """What comes of a call out, and of one in: whether its caller and its callee have heard each other."""
    inside, outside = pair
    return {
        "out": converse(inside, outside, OUTSIDE, seconds),
        "in": converse(outside, inside, INSIDE, seconds),
    }


@pytest.mark.parametrize("model", MODELS)
def test_calls_without_a_firewall_and_with_the_kernels_helpers(model: Model) -> None:
    """What pinhole is held against. The kernel's helper lets in who signals alone: no caller but the gatekeeper, and
    no media of anybody else (HF42, RA14)."""
    found = {}
    with Lab("routed") as lab, gatekeeper(lab.server_stranger, lab.server_stranger.v4, model) as keeper:
        for name, rules, seconds in (("no firewall", "flush ruleset", SECONDS), ("kernel", STRICT, GIVES_UP_SECONDS)):
            lab.firewall(rules)
            with registered(lab.client, lab.server, keeper) as pair:
                found[name] = called(pair, seconds)
    is_direct = model == "direct"
    assert found == {
        "no firewall": {"out": HEARD, "in": HEARD},
        "kernel": {"out": HEARD if is_direct else SILENT, "in": SILENT},
    }
