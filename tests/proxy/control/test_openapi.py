"""The OpenAPI description and the running socket agree: what schemathesis asks by the one is answered by the other as
the one says."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from jsonschema import Draft202012Validator

from proxy.control.shapes import Shape
from tests.proxy.control.test_api import LISTS
from tests.proxy.control.world import world

schemathesis = pytest.importorskip("schemathesis")
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    positive_data_acceptance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

pytestmark = [pytest.mark.usefixtures("network"), pytest.mark.slow, pytest.mark.timeout(240)]

EXAMPLES = 8
"""Requests of each kind for each operation."""
STREAMS = {"/v1/events", "/v1/trace"}
"""They have no end."""
CHECKS = [
    not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance,
    unsupported_method,
]  # fmt: skip
OF_MODE = {
    GenerationMode.POSITIVE: [*CHECKS, positive_data_acceptance],
    GenerationMode.NEGATIVE: [*CHECKS, negative_data_rejection],
}


LEFT_OUT = {
    # Some of their parameters need others, which a description cannot say.
    **dict.fromkeys(("/v1/explain", "/v1/close", "/v1/switches"), (positive_data_acceptance,)),
    # It says by 503 that something is wrong, as that the loop was late while requests were made up.
    "/readyz": (not_a_server_error,),
}


@asynccontextmanager
async def by_tcp(path: Path) -> AsyncIterator[str]:
    """The socket at an address that schemathesis can reach."""

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_unix_connection(str(path))
        await asyncio.gather(pass_on(reader, back), pass_on(there, writer))

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.close()


def ask_all(operation: Any, base: str, mode: GenerationMode) -> None:
    """Make requests by this operation's description and hold the answers against it."""

    left_out = LEFT_OUT.get(operation.path, ())
    checks = [check for check in OF_MODE[mode] if check not in left_out]

    @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: Any) -> None:
        case.call_and_validate(base_url=base, checks=checks)

    ask()


@pytest.mark.parametrize("mode", list(OF_MODE), ids=lambda mode: str(mode.value))
async def test_the_description_and_the_running_socket_agree(tmp_path: Path, mode: GenerationMode) -> None:
    async with world(tmp_path) as here, by_tcp(here.path) as base:
        here.open()
        described = schemathesis.openapi.from_dict(await here.get("/v1/openapi.json"))
        asked = set()
        for found in described.get_all_operations():
            operation = found.ok()
            if operation.path not in STREAMS and (mode is GenerationMode.POSITIVE or has_parameters(operation)):
                await asyncio.to_thread(ask_all, operation, base, mode)
                asked.add(operation.path)
    assert {"/v1/sessions", "/v1/explain", "/v1/close"} <= asked


def has_parameters(operation: Any) -> bool:
    """Whether there is something that a request can have wrong."""
    return bool(list(operation.iter_parameters()))


async def test_it_describes_every_list_with_its_fields_and_is_served_at_both_places(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        described = await here.get("/v1/openapi.json")
        assert described == await here.get("/openapi.json")
    assert described["openapi"] == "3.1.0"
    for name, shape in LISTS:
        assert f"/v1/{name}" in described["paths"]
        Draft202012Validator.check_schema(described["components"]["schemas"][shape.name])
        assert described["components"]["schemas"][shape.name]["properties"].keys() == shape.fields.keys()


def test_every_field_has_a_sentence() -> None:
    def all_of(shape: Shape) -> list[str]:
        return [field.says for field in shape.fields.values()] + [
            says for inner in shape.within for says in all_of(inner)
        ]

    assert all(says and not says.endswith(".") for _, shape in LISTS for says in all_of(shape))


async def test_whoever_changes_something_is_in_the_audit_log(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        described = await here.get("/v1/openapi.json")
        (session,) = (await here.get("/v1/sessions"))["sessions"]
        queries = {
            "/v1/close": f"?id={session['id']}",
            "/v1/switches": "?helper=test&mode=off",
        }
        for path, operations in described["paths"].items():
            if "post" in operations:
                before = len(here.shell.log.lines)
                await here.ask(path + queries.get(path, ""), "POST")
                (told,) = [line for line in here.shell.log.lines[before:] if line["event"] == "control.changed"]
                assert told["uid"] == 0 and told["what"] in path
        await here.ask("/v1/switches?helper=test", "DELETE")
        assert here.shell.log.last("control.changed")["what"] == "unswitch"


async def test_the_page_for_programs_names_every_path(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        described = await here.get("/v1/openapi.json")
    page = (Path(__file__).parents[3] / "docs" / "control-socket.md").read_text()
    asked = {f"{method.upper()} {path}" for path, methods in described["paths"].items() for method in methods}
    assert {one for one in asked if f"`{one}`" not in page} == set()
    assert set(re.findall(r"`((?:GET|POST|DELETE) /[^`?]*)`", page)) == asked
