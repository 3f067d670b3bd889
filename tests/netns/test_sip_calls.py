"""Calls of real SIP programs through the engine, in a namespace between them: sipp as caller and as callee.

The engine is not in the registry yet, so the shell is built around it here.
"""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from protocols.sip import helper as sip
from protocols.sip.options import SipOptions
from tests.harness.sip_flow import SDP, message, sdp
from tests.netns.datagrams import Gateway, hear
from tests.netns.namespaces import Hosts, needs_root

pytestmark = [
    pytest.mark.netns,
    pytest.mark.interop,
    needs_root,
    pytest.mark.skipif(not shutil.which("sipp"), reason="not installed (tools/setup --test): sip-tester"),
]

CALLS = 5


def text(host: Any) -> str:
    return f"[{host}]" if host.version == 6 else str(host)


class Calls:
    """A callee at the server, and a caller at the client that calls it some times, one call after the other."""

    def __init__(self, hosts: Hosts, version: int, directory: Path) -> None:
        self.caller, self.callee = hosts.client_address(version), hosts.server_address(version)
        self._hosts = hosts
        self._directory = directory

    def _command(self, name: str, host: Any, *arguments: str) -> list[str]:
        log = str(self._directory / name)
        common = ["-i", text(host), "-p", "5060", "-nostdin", "-trace_msg", "-message_file", log, "-timeout", "20"]
        return ["sipp", *arguments, *common]

    def make(self) -> None:
        """Raises AssertionError when one fails."""
        callee = self._command("callee", self.callee, "-sn", "uas")
        caller = self._command(
            "caller", self.caller, "-sn", "uac", f"{text(self.callee)}:5060", "-m", str(CALLS), "-l", "1", "-d", "50"
        )
        with self._hosts.server.inside():
            answering = self._start(callee)
        try:
            end = time.monotonic() + 10
            while ":5060" not in self._hosts.server.run("ss", "-Huln") and time.monotonic() < end:
                time.sleep(0.02)
            with self._hosts.client.inside():
                calling = self._start(caller)
            try:
                assert calling.wait(30) == 0, self.said("caller").decode(errors="replace")[-2000:]
            finally:
                calling.kill()
                calling.wait()
        finally:
            answering.kill()
            answering.wait()

    def _start(self, command: list[str]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(command, cwd=self._directory, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def said(self, who: str) -> bytes:
        return (self._directory / who).read_bytes()

    def received(self, who: str) -> bytes:
        """What it got, without what it sent."""
        blocks = self.said(who).split(b"-----------------------------------------------")
        return b"".join(block for block in blocks if b"message received" in block.split(b"\n\n")[0])


def gateway(hosts: Hosts, **policy: Any) -> Gateway:
    return Gateway(hosts, sip.SipEngines(), helper="sip", options={"sip": SipOptions()}, **policy)


@pytest.mark.parametrize("version", [4, 6])
async def test_without_nat_calls_pass_and_every_byte_of_them(hosts: Hosts, version: int, tmp_path: Path) -> None:
    async with gateway(hosts) as through:
        calls = Calls(hosts, version, tmp_path)
        await asyncio.to_thread(calls.make)
        log = through.shell.log.events()
        assert (log.count("call.started"), log.count("call.ended")) == (CALLS, CALLS)
        # Two places for each call, all of them given back.
        assert log.count("pinhole.opened") == log.count("pinhole.closed") == 2 * CALLS
        assert "address.rewritten" not in log
        assert "violation" not in log
        received = calls.received("callee")
        assert received.count(f"Contact: sip:sipp@{text(calls.caller)}:5060".encode()) >= CALLS
        assert f"c=IN IP{version} {calls.caller}".encode() in received
        assert b"m=audio 6000 " in received


@pytest.mark.parametrize("version", [4, 6])
async def test_with_nat_the_callee_sees_our_address_and_the_caller_gets_its_own_back(
    hosts: Hosts, version: int, tmp_path: Path
) -> None:
    async with gateway(hosts, snat="interface") as through:
        calls = Calls(hosts, version, tmp_path)
        await asyncio.to_thread(calls.make)
        ours = text(hosts.gateway_address(version))
        seen, answered = calls.received("callee"), calls.received("caller")
        assert seen.count(f"Via: SIP/2.0/UDP {ours}:5060".encode()) >= 3 * CALLS
        assert seen.count(f"Contact: sip:sipp@{ours}:5060".encode()) >= CALLS
        # What names people is theirs (S80); o= is one of sipp's own making over IPv6.
        for line in seen.splitlines():
            if str(calls.caller).encode() in line:
                assert line.startswith((b"From:", b"Call-ID:", b"o=", b"UDP message")), line
        assert answered.count(f"Via: SIP/2.0/UDP {text(calls.caller)}:5060".encode()) >= 3 * CALLS
        assert f"Via: SIP/2.0/UDP {ours}".encode() not in answered
        assert b"m=audio 6000 " not in seen
        log = through.shell.log.events()
        assert log.count("call.ended") == CALLS
        assert log.count("pinhole.opened") == log.count("pinhole.closed") == 2 * CALLS


async def test_a_call_that_outlives_its_session_is_told_of_when_another_one_ends_it(hosts: Hosts) -> None:
    """S75: of a phone that has come anew, be it by another connection or after a reload."""
    async with gateway(hosts) as through:
        shell, phone, server = through.shell, through.client(), through.server()
        dialog = ("From: <sip:a@x>;tag=a", "Call-ID: one")
        here, there = hosts.client_address(4), hosts.server_address(4)

        def says(start: str, number: int, method: str, host: Any, to: str = "To: <sip:b@x>;tag=b") -> bytes:
            via = f"Via: SIP/2.0/UDP {here};branch=z9hG4bK{number}{method}"
            fields = (via, *dialog, to, f"CSeq: {number} {method}", f"Contact: <sip:{host}>")
            return (
                message(start, *fields, SDP, body=sdp(str(host), 7000))
                if method == "INVITE"
                else message(start, *fields)
            )

        async def pass_on(data: bytes) -> None:
            sender, hearer = (server, phone) if data.startswith(b"SIP/2.0") else (phone, server)
            sender.sendto(data, hearer.getsockname())
            assert (await hear(hearer))[0] == data

        await pass_on(says(f"INVITE sip:b@{there} SIP/2.0", 1, "INVITE", here, "To: <sip:b@x>"))
        await pass_on(says("SIP/2.0 200 OK", 1, "INVITE", there))
        (policy,) = shell.config.policies
        other = policy.model_copy(update={"name": "other"})
        shell.sessions.use(shell.config.model_copy(update={"policies": (other,)}))
        await pass_on(says(f"BYE sip:b@{there} SIP/2.0", 2, "BYE", here))
        assert len(shell.sessions.lingering) == 1
        await pass_on(says("SIP/2.0 200 OK", 2, "BYE", there))
        ended = await shell.until("call.ended")
        assert (ended["reason"], len(ended["streams"])) == ("bye_of_caller", 1)
        assert not shell.sessions.lingering
        assert dict(shell.engines[0]._table.calls.media) == {}
