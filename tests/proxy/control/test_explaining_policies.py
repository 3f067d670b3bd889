"""`explain` with a client: what policies would say about it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from proxy.config import reading
from proxy.config.files import Source
from proxy.control.explain import Explainer
from proxy.control.gateway import Gateway
from proxy.control.routes import Asked, Peer
from proxy.sessions.policy import PolicyTable

POLICIES = b"""policies:
  - {name: guests, from: [wlan0], action: deny}
  - {name: lan, from: [lan0], source: 10.1.0.0/24, action: accept}
"""


async def explain(**query: Any) -> dict[str, Any]:
    config = reading.judge([Source("pinhole.yaml", POLICIES)]).settings
    assert config is not None
    gateway = SimpleNamespace(
        history=SimpleNamespace(find=lambda *_: []),
        recent=SimpleNamespace(all=lambda *_: iter(())),
        all_pinholes=lambda: iter(()),
        wall_clock=lambda: 0.0,
        config=lambda: config,
        helpers={},
        sessions=SimpleNamespace(policies=PolicyTable(config)),
    )
    asked = Asked({"address": "198.51.100.2:21", **query}, Peer(0, 0, 1))
    (answer,) = (await Explainer(cast(Gateway, gateway)).explain(asked))["answers"]
    return dict(answer)


@pytest.mark.parametrize("more", [{}, {"interface": "lan0"}])
async def test_a_client_is_accepted_by_the_interface_that_a_policy_names(more: dict[str, str]) -> None:
    answer = await explain(client="10.1.0.2:1024", **more)
    assert answer["verdict"] == "nothing"
    assert answer["says"] == ["policy lan accepts 10.1.0.2:1024 by lan0 to 198.51.100.2:21; ftp would read it"]


async def test_where_the_interface_is_said_no_other_counts() -> None:
    answer = await explain(client="10.1.0.2:1024", interface="wlan0")
    assert (answer["verdict"], answer["reason"]) == ("refused", "denied_by_policy")


async def test_a_client_of_no_policy_is_refused_by_whichever_it_comes() -> None:
    assert (await explain(client="10.9.0.2:1024"))["reason"] == "no_policy"
