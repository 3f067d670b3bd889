"""What the control socket says of sessions, pinholes, helpers, policies and limits, as programs read it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import pytest_asyncio

from proxy.config.shown import hash_of
from proxy.control import configuration, inventory, rows, trouble
from proxy.control.shapes import Shape
from tests.harness.shell import dial, say
from tests.proxy.conftest import CLIENT, SERVER
from tests.proxy.control.world import World, world

pytestmark = pytest.mark.usefixtures("network")


@pytest_asyncio.fixture
async def here(network: None, tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as found:
        yield found


LISTS = [
    ("sessions", rows.SESSION), ("pinholes", rows.PINHOLE), ("calls", rows.CALL),
    ("registrations", rows.REGISTRATION), ("helpers", inventory.HELPER), ("policies", inventory.POLICY),
    ("limits", inventory.LIMIT), ("refusals", trouble.REFUSAL), ("violations", trouble.VIOLATION),
]  # fmt: skip


@pytest.mark.parametrize(("name", "shape"), LISTS, ids=[name for name, _ in LISTS])
async def test_every_row_is_as_its_shape_says(here: World, name: str, shape: Shape) -> None:
    with suppress(ConnectionResetError):  # the pinhole is for another one
        (await dial(SERVER, here.open().listen)).close()
    facts = {**await here.shell.until("violation")}
    here.recent.note(facts.pop("event"), facts, "", f"{SERVER}:1024")
    denied = {"reason": "no_policy", "client": f"{CLIENT}:1024", "server": f"{SERVER}:21", "transport": "tcp"}
    here.recent.note("session.denied", denied, "", f"{CLIENT}:1024")
    found = (await here.get(f"/v1/{name}"))[name]
    assert found or name in ("calls", "registrations")
    for row in found:
        jsonschema.validate(row, shape.schema)


async def test_a_session_says_who_talks_to_whom_how_long_and_how_much(here: World) -> None:
    (session,) = here.shell.sessions
    await say(here.client, b"hello")
    assert await receive(here) == b"hello"
    (row,) = (await here.get("/v1/sessions"))["sessions"]
    exists_for = here.shell.loop.time() - session.opened_at
    assert (row["helper"], row["policy"], row["state"], row["interface"]) == ("test", "all", "serving", "lan0")
    assert row["client"] == "{}:{}".format(*here.client.getsockname())
    assert row["server"] == "{}:{}".format(*here.server.getsockname())
    assert (row["bytes_from_client"], row["bytes_from_server"]) == (5, 0)
    assert 0 <= row["idle_seconds"] <= row["age_seconds"] <= exists_for + 0.01  # rounded
    assert (row["snat"], row["dnat"], row["parent"]) == (None, None, None)


async def test_a_session_has_been_silent_no_longer_than_it_exists(here: World) -> None:
    """The connection is older than the session, and the kernel counts from the connection's begin."""
    await asyncio.sleep(0.1)
    (session,) = here.shell.sessions
    session.opened_at = here.shell.loop.time()
    (row,) = (await here.get("/v1/sessions"))["sessions"]
    exists_for = here.shell.loop.time() - session.opened_at
    assert row["idle_seconds"] <= row["age_seconds"] <= exists_for + 0.01  # rounded


async def receive(here: World) -> bytes:
    return await here.shell.loop.sock_recv(here.server, 100)


async def test_a_pinhole_says_for_whom_it_is_what_asked_for_it_and_when_it_closes(here: World) -> None:
    began = here.shell.loop.time()
    grant = here.open()
    (row,) = (await here.get("/v1/pinholes"))["pinholes"]
    took = here.shell.loop.time() - began
    assert row["listen"] == str(grant.listen)
    assert row["target"] == "{}:{}".format(*here.data.getsockname())
    assert (row["allow"], row["peer"], row["state"]) == ([f"{CLIENT}/32"], None, "waiting")
    assert (row["purpose"], row["trigger"], row["transport"]) == ("test-data", "TEST", "tcp")
    assert 59.9 - took < row["expires_seconds"] <= 60
    (session,) = (await here.get("/v1/sessions"))["sessions"]
    assert row["session"] == session["id"]


async def test_it_says_who_came_and_how_much_has_passed(here: World) -> None:
    grant = here.open()
    peer, target = await here.through(grant)
    await say(target, b"a file")
    assert await here.shell.loop.sock_recv(peer, 100) == b"a file"
    row = await here.get(f"/v1/pinholes/{here.shell.pinholes.name(grant.id)}")
    assert (row["state"], row["peer"]) == ("relaying", "{}:{}".format(*peer.getsockname()))
    assert (row["bytes_in"], row["bytes_out"], row["packets_in"], row["expires_seconds"]) == (0, 6, None, None)
    peer.close()
    target.close()


async def test_one_session_comes_with_its_pinholes(here: World) -> None:
    grant = here.open()
    (row,) = (await here.get("/v1/sessions"))["sessions"]
    one = await here.get(f"/v1/sessions/{row['id']}")
    assert [pinhole["id"] for pinhole in one["open"]] == [here.shell.pinholes.name(grant.id)]
    assert one["pinholes"] == 1


@pytest.mark.parametrize("name", ["sessions/x-1", "pinholes/4711", "pinholes/x", "calls/one@10.1.0.2/x"])
async def test_what_is_not_there_is_said_to_be_not_there(here: World, name: str) -> None:
    answer = await here.ask(f"/v1/{name}")
    assert answer.status == 404
    assert answer.body["error"]["code"].startswith("no_such_")


async def test_policies_and_helpers_say_how_much_they_carry(here: World) -> None:
    here.open()
    (policy,) = (await here.get("/v1/policies"))["policies"]
    (helper,) = (await here.get("/v1/helpers"))["helpers"]
    assert (policy["policy"], policy["action"], policy["sessions"], policy["pinholes"]) == ("all", "accept", 1, 1)
    assert (helper["helper"], helper["state"], helper["sessions"], helper["pinholes"]) == ("test", "on", 1, 1)
    assert "tcp/1-65535" in helper["ports"]


async def test_limits_say_how_far_they_are_used_and_by_whom(here: World) -> None:
    here.open()
    limits = {row["limit"]: row for row in (await here.get("/v1/limits"))["limits"]}
    assert (limits["sessions"]["used"], limits["sessions"]["most"]) == (1, 20_000)
    assert (limits["pinholes_per_client"]["used"], limits["pinholes_per_client"]["by"]) == (1, CLIENT)
    assert (limits["ports"]["used"], limits["ports"]["most"], limits["ports"]["used_percent"]) == (1, 1000, 0.1)
    assert limits["descriptors"]["used"] == 10


async def test_lists_are_filtered_by_their_fields(here: World) -> None:
    here.open()
    wanted: dict[str, int] = {
        f"sessions?client={CLIENT}": 1, f"sessions?server=!{SERVER}": 0, "sessions?helper=sip": 0,
        "pinholes?purpose=test-data": 1, "pinholes?state=!waiting": 0, f"pinholes?address={SERVER}": 1,
        "policies?policy=all": 1, "limits?limit=1": 1, "limits?text=ports": 1,
    }  # fmt: skip
    for query, count in wanted.items():
        answer: dict[str, list[Any]] = await here.get(f"/v1/{query}")
        assert len(answer[query.partition("?")[0]]) == count, query


async def test_the_old_paths_answer_with_the_old_names(here: World) -> None:
    here.open()
    (session,) = (await here.get("/sessions"))["sessions"]
    (pinhole,) = (await here.get("/pinholes"))["pinholes"]
    assert session["session"] == pinhole["session"]
    assert {"helper", "policy", "interface", "client", "server", "state", "age_seconds", "pinholes"} <= session.keys()
    assert {"pinhole", "purpose", "transport", "listen", "allow", "target", "state", "bytes_in"} <= pinhole.keys()
    assert await here.get("/status") == {"state": "serving"}
    assert (await here.ask("/reload", "POST")).body == (await here.ask("/v1/reload", "POST")).body
    assert "pinhole_sessions" in (await here.ask("/metrics")).text


async def test_the_configuration_in_force_is_told_with_its_hash(here: World) -> None:
    short, whole = await here.get("/v1/config"), await here.get("/v1/config?defaults=true")
    jsonschema.validate(short, configuration.IN_FORCE.schema)
    assert short["hash"] == whole["hash"] == hash_of(here.shell.config)
    assert "timeouts" not in short["configuration"]
    assert whole["configuration"]["timeouts"]["drain"] == 30
