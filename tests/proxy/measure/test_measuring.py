"""What a daemon tells of itself: series that are there from the start, pages by HTTP, a loop that is looked at."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator
from ipaddress import ip_address

import aiohttp
import pytest

from protocols import HELPERS
from protocols.contract.addresses import Endpoint
from proxy.errors import SocketError
from proxy.measure import loop_delay, measuring, pages
from proxy.measure.health import LATE_SECONDS, Health
from tests.harness.measured import Parts, families, promtool, series
from tests.harness.shell import SECONDS

SOMEWHERE = Endpoint(ip_address("127.0.0.1"), 0)


@pytest.fixture
async def parts() -> AsyncIterator[Parts]:
    parts = Parts()
    yield parts
    await parts.measuring.stop()


async def served(parts: Parts) -> str:
    """The pages are served by TCP; the address to ask."""
    await parts.measuring.start(SOMEWHERE)
    host, port = parts.measuring.listening
    return f"http://{host}:{port}"


async def asked(url: str) -> tuple[int, str, str]:
    """Status, content type and text of a page."""
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return answer.status, answer.headers["Content-Type"], await answer.text()


# -- series ------------------------------------------------------------------------------------------------------------


async def test_promtool_has_no_objection_to_the_metrics(parts: Parts) -> None:
    assert promtool("check", "metrics", given=await parts.text()) == ""


async def test_nothing_is_told_of_when_a_series_was_made(parts: Parts) -> None:
    assert "_created" not in await parts.text()


async def test_what_can_be_asked_for_is_there_from_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop_delay, "LOOK_SECONDS", 3600)  # a look is counted, and one may come before the text is made
    parts = Parts()
    found = series(await parts.text())
    await parts.measuring.stop()
    for name in (
        'pinhole_sessions_denied_total{reason="no_policy"}',
        'pinhole_sessions_failed_total{reason="server_timeout"}',
        'pinhole_pinholes_refused_total{reason="limit_total"}',
        'pinhole_audit_lines_suppressed_total{event="violation"}',
        'pinhole_sip_requests_total{method="INVITE"}',
        'pinhole_sip_responses_total{code="200",method="INVITE"}',
        'pinhole_calls{helper="sip"}',
        'pinhole_registrations{helper="sip"}',
        'pinhole_helper_pinholes{helper="ftp",purpose="ftp-data"}',
        'pinhole_relayed_packets_total{purpose="rtp"}',
        'pinhole_loop_delay_seconds_bucket{le="0.01"}',
        "pinhole_sessions",
        "pinhole_rules_missing",
        "pinhole_ports_used",
        "pinhole_audit_queue_bytes",
    ):
        assert found.pop(name) == 0, name
    for helper in HELPERS:
        assert found[f'pinhole_sessions_opened_total{{helper="{helper}"}}'] == 0
        assert found[f'pinhole_helper_sessions{{helper="{helper}",state="open"}}'] == 0


async def test_every_limit_says_how_much_of_it_is_used(parts: Parts) -> None:
    found = series(await parts.text())
    limits = {name.removeprefix("pinhole_limit") for name in found if name.startswith("pinhole_limit{")}
    assert limits == {name.removeprefix("pinhole_limit_used") for name in found if "limit_used" in name}
    assert found['pinhole_limit{limit="sessions"}'] == 20_000
    assert found['pinhole_limit{limit="ports"}'] == found["pinhole_ports_size"] == 1000
    assert found['pinhole_limit{limit="descriptors"}'] == found["process_max_fds"]
    assert found['pinhole_limit_used{limit="descriptors"}'] == found["process_open_fds"] > 0


async def test_what_serves_is_told_and_what_the_kernel_says_of_it(parts: Parts) -> None:
    text = await parts.text()
    assert 'version="1.2.3"' in next(line for line in text.splitlines() if line.startswith("pinhole_build_info{"))
    assert {"process_cpu_seconds_total", "process_resident_memory_bytes"} <= families(text)


async def test_a_reload_that_is_rejected_does_not_look_like_a_new_one(parts: Parts) -> None:
    before = series(await parts.text())
    assert before["pinhole_config_last_reload_successful"] == 1
    parts.measuring.reloaded(False)
    after = series(await parts.text())
    assert after["pinhole_config_last_reload_successful"] == 0
    name = "pinhole_config_last_reload_success_timestamp_seconds"
    assert 0 < before[name] == after[name] <= time.time()


# -- pages -------------------------------------------------------------------------------------------------------------


async def test_the_pages_are_served_by_tcp(parts: Parts) -> None:
    url = await served(parts)
    status, content_type, text = await asked(f"{url}/metrics")
    assert (status, content_type) == (200, "text/plain; version=1.0.0; charset=utf-8")
    assert "pinhole_sessions 0.0" in text
    assert await asked(f"{url}/healthz") == (200, "application/json; charset=utf-8", '{"alive": true}')
    assert (await asked(f"{url}/status"))[0] == 404


def test_what_keeps_no_session_out_is_told_and_leaves_the_daemon_ready() -> None:
    health = Health({"rules": lambda: None}, {"audit": lambda: "cannot be written"})
    assert health.report() == {"ready": True, "checks": {"audit": "cannot be written", "rules": "ok"}}


async def test_who_cannot_serve_is_alive_and_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "LATE_SECONDS", 3600)  # this process may get no processor for a while
    troubles: list[str] = []
    parts = Parts({"rules": lambda: troubles[-1] if troubles else None})
    url = await served(parts)
    assert await asked(f"{url}/readyz") == (
        200,
        "application/json; charset=utf-8",
        '{"ready": true, "checks": {"rules": "ok", "loop": "ok"}}',
    )
    troubles.append("missing: table inet pinhole")
    status, _, text = await asked(f"{url}/readyz")
    assert status == 503
    assert '"rules": "missing: table inet pinhole"' in text
    assert (await asked(f"{url}/healthz"))[0] == 200
    await parts.measuring.stop()


async def test_an_address_that_is_taken_is_named(parts: Parts) -> None:
    await served(parts)
    host, port = parts.measuring.listening
    other = Parts()
    with pytest.raises(SocketError, match=rf"cannot listen on 127.0.0.1:{port}.*`metrics: listen`"):
        await other.measuring.start(Endpoint(ip_address(host), port))
    await other.measuring.stop()


async def test_connections_take_no_more_descriptors_than_allowed(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "MOST_CONNECTIONS", 1)
    await served(parts)
    async with asyncio.timeout(SECONDS):
        first, writer = await asyncio.open_connection(*parts.measuring.listening)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: here\r\n\r\n")
        assert await first.readline() == b"HTTP/1.1 200 OK\r\n"
        second, other = await asyncio.open_connection(*parts.measuring.listening)
        while await first.readline():
            pass  # its answer; the end of it is the end of the connection
        other.write(b"GET /healthz HTTP/1.1\r\nHost: here\r\n\r\n")
        assert await second.readline() == b"HTTP/1.1 200 OK\r\n"
    other.close()
    writer.close()


async def test_connections_that_ask_nothing_shut_nobody_out(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "MOST_CONNECTIONS", 3)
    url = await served(parts)
    held = [await asyncio.open_connection(*parts.measuring.listening) for _ in range(9)]
    assert (await asked(f"{url}/healthz"))[0] == 200
    for _, writer in held:
        writer.close()


# -- the loop ----------------------------------------------------------------------------------------------------------


async def test_a_loop_that_stood_still_is_late_and_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop_delay, "LOOK_SECONDS", 0.01)
    parts = Parts()
    await asyncio.sleep(0.03)
    time.sleep(LATE_SECONDS + 0.02)  # noqa: ASYNC251 - it is to stand still
    await asyncio.sleep(0.02)
    told = re.match(r"late by (\d+\.\d+) s", parts.measuring.health.troubles()["loop"])
    assert told is not None and float(told[1]) >= LATE_SECONDS  # a busy machine lets it stand still for longer
    found = series(await parts.text())
    assert found['pinhole_loop_delay_seconds_bucket{le="+Inf"}'] > found['pinhole_loop_delay_seconds_bucket{le="0.5"}']
    await parts.measuring.stop()
