"""`explain` with a client: what policies would say about it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from proxy.config import reading
from proxy.config.files import Source
from proxy.config.schema import Config
from proxy.control.errors import Wrong
from proxy.control.explain import Explainer
from proxy.control.gateway import Gateway
from proxy.control.routes import Asked, Peer
from proxy.sessions.policy import PolicyTable

POLICIES = b"""policies:
  - {name: guests, from: [wlan0], action: deny}
  - {name: lan, from: [lan0], source: 10.1.0.0/24, action: accept}
"""


async def explain(config: Config | None = None, /, **query: Any) -> dict[str, Any]:
    config = config or reading.judge([Source("pinhole.yaml", POLICIES)]).settings
    assert config is not None
    gateway = SimpleNamespace(
        history=SimpleNamespace(find=lambda *_: [], says=lambda _: "the audit file does not tell of it"),
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


async def test_a_client_is_named_with_its_port_or_without() -> None:
    answer = await explain(client="10.1.0.2")
    assert answer["says"] == ["policy lan accepts 10.1.0.2 by lan0 to 198.51.100.2:21; ftp would read it"]


@pytest.mark.parametrize(
    ("client", "address", "host"),
    [
        ("10.9.0.2", "198.51.100.2:21", "10.9.0.2"), ("10.9.0.2:1024", "198.51.100.2:21", "10.9.0.2"),
        ("2001:db8::9", "[2001:db8:1::2]:21", "2001:db8::9"),
        ("[2001:db8::9]:1024", "[2001:db8:1::2]:21", "2001:db8::9"),
    ],
)  # fmt: skip
async def test_the_line_that_is_proposed_lets_the_client_in(client: str, address: str, host: str) -> None:
    answer = await explain(client=client, address=address, interface="lan0")
    assert f"source: {host}, destination: {address.rpartition(':')[0].strip('[]')}, action: accept" in answer["line"]
    config = reading.judge([Source("pinhole.yaml", f"policies:\n  {answer['line']}\n".encode())])
    assert (config.problems, config.settings is not None) == ((), True)
    assert (await explain(config.settings, client=client, address=address, interface="lan0"))["verdict"] == "nothing"


@pytest.mark.parametrize(("client", "address"), [("2001:db8::9", "198.51.100.2:21"), ("10.1.0.2", "[2001:db8::2]:21")])
async def test_nobody_dials_an_address_of_the_other_ip_version(client: str, address: str) -> None:
    with pytest.raises(Wrong) as caught:
        await explain(client=client, address=address)
    assert (caught.value.status, caught.value.code) == (400, "bad_parameter")


async def test_a_client_of_no_policy_is_refused_by_whichever_it_comes() -> None:
    assert (await explain(client="10.9.0.2:1024"))["reason"] == "no_policy"


@pytest.mark.parametrize("client", [{}, {"client": "10.1.0.2"}])
@pytest.mark.parametrize(
    ("source", "command"), [("/srv/x.yaml", "net up -c /srv/x.yaml"), ("built-in default", "net up")]
)
async def test_commands_of_a_remedy_name_the_file_that_is_served(
    client: dict[str, str], source: str, command: str
) -> None:
    config = reading.judge([Source(source, POLICIES)]).settings
    answer = await explain(config, **client, address="198.51.100.2:2121")
    assert (answer["reason"], f"new ports need `pinhole {command}`" in answer["remedy"]) == ("no_helper", True)
