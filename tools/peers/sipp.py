"""Calls of sipp: one as the caller, one as the callee, over UDP or TCP, with audio that the callee sends back.

The caller sends a file as G.711 in RTP; the callee returns each packet as it comes. So what the caller hears is what it
said, and went through whatever stands between them twice.
"""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any, Literal

from tools.lab import Host

SECONDS = 20
"""For any one call, and for the callee to be ready."""
FRAME_BYTES = 160
"""G.711: 20 ms of 8,000 samples a second."""
MEDIA_PORT = 6000
"""Of both parties, each on its own host."""
HANG_UP_MILLISECONDS = 1500
"""From when the last packet is due to the BYE: on a busy machine it goes out late, and its echo comes back later."""
RETRANSMIT_MILLISECONDS = 5000
"""Nothing is lost in a lab. A message that is sent again, since a peer got no turn, would be counted twice."""

Transport = Literal["udp", "tcp"]

_CALL = """<?xml version="1.0" encoding="UTF-8"?>
<scenario name="a call with audio">
  <send retrans="{retransmit}"><![CDATA[
INVITE sip:callee@[remote_ip]:[remote_port] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
From: "A. Caller" <sip:caller@example.org>;tag=[pid]-[call_number]
To: <sip:callee@example.org>
Call-ID: [call_id]
CSeq: 1 INVITE
Contact: <sip:caller@[local_ip]:[local_port];transport=[transport]>
Max-Forwards: 70
Content-Type: application/sdp
Content-Length: [len]

v=0
o=caller 1 1 IN IP[media_ip_type] [local_ip]
s=-
c=IN IP[media_ip_type] [media_ip]
t=0 0
m=audio [rtpstream_audio_port] RTP/AVP 8
a=rtpmap:8 PCMA/8000
]]></send>
  <recv response="100" optional="true"/>
  <recv response="180" optional="true"/>
  <recv response="200" rrs="true"/>
  <send><![CDATA[
ACK [next_url] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
From: "A. Caller" <sip:caller@example.org>;tag=[pid]-[call_number]
[last_To:]
Call-ID: [call_id]
CSeq: 1 ACK
Contact: <sip:caller@[local_ip]:[local_port];transport=[transport]>
Max-Forwards: 70
Content-Length: 0

]]></send>
  <nop><action><exec rtp_stream="{audio},1,8"/></action></nop>
  <pause milliseconds="{milliseconds}"/>
  <send retrans="{retransmit}"><![CDATA[
BYE [next_url] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
From: "A. Caller" <sip:caller@example.org>;tag=[pid]-[call_number]
[last_To:]
Call-ID: [call_id]
CSeq: 2 BYE
Max-Forwards: 70
Content-Length: 0

]]></send>
  <recv response="200"/>
</scenario>
"""

_ANSWER = """<?xml version="1.0" encoding="UTF-8"?>
<scenario name="its answer">
  <recv request="INVITE"/>
  <send><![CDATA[
SIP/2.0 180 Ringing
[last_Via:]
[last_From:]
[last_To:];tag=[pid]-[call_number]
[last_Call-ID:]
[last_CSeq:]
Contact: <sip:callee@[local_ip]:[local_port];transport=[transport]>
Content-Length: 0

]]></send>
  <send retrans="{retransmit}"><![CDATA[
SIP/2.0 200 OK
[last_Via:]
[last_From:]
[last_To:];tag=[pid]-[call_number]
[last_Call-ID:]
[last_CSeq:]
Contact: <sip:callee@[local_ip]:[local_port];transport=[transport]>
Content-Type: application/sdp
Content-Length: [len]

v=0
o=callee 1 1 IN IP[media_ip_type] [local_ip]
s=-
c=IN IP[media_ip_type] [media_ip]
t=0 0
m=audio [media_port] RTP/AVP 8
a=rtpmap:8 PCMA/8000
]]></send>
  <recv request="ACK"/>
  <recv request="BYE"/>
  <send><![CDATA[
SIP/2.0 200 OK
[last_Via:]
[last_From:]
[last_To:]
[last_Call-ID:]
[last_CSeq:]
Content-Length: 0

]]></send>
</scenario>
"""


class CallFailed(Exception):
    """A program did not do what it was told. The text is what it said."""


def call(
    caller: Host, callee: Host, dialled: IPv4Address | IPv6Address, transport: Transport, audio: bytes, calls: int = 1
) -> None:
    """So many calls, one after the other, each with this audio. The callee is the host behind `dialled`.

    audio: G.711, a multiple of FRAME_BYTES. Raises CallFailed.
    """
    with tempfile.TemporaryDirectory(prefix="sipp-") as made:
        directory = Path(made)
        (directory / "audio").write_bytes(audio)
        scenario = directory / "call.xml"
        milliseconds = len(audio) // FRAME_BYTES * 20 + HANG_UP_MILLISECONDS
        scenario.write_text(
            _CALL.format(audio=directory / "audio", milliseconds=milliseconds, retransmit=RETRANSMIT_MILLISECONDS)
        )
        (directory / "answer.xml").write_text(_ANSWER.format(retransmit=RETRANSMIT_MILLISECONDS))
        of_callee, of_caller = callee.address(dialled.version), caller.address(dialled.version)
        words = ["-sf", str(directory / "answer.xml"), "-rtp_echo"]
        with _sipp(callee, of_callee, transport, directory / "callee", *words) as answering:
            try:
                callee.wait_until_bound(transport, 5060, answering)
            except TimeoutError as error:
                raise CallFailed(f"sipp does not listen: {_said(directory / 'callee')}") from error
            words = ["-sf", str(scenario), f"{_text(dialled)}:5060", "-m", str(calls), "-l", "1"]
            with _sipp(caller, of_caller, transport, directory / "caller", *words) as calling:
                try:
                    status = calling.wait(SECONDS)
                except subprocess.TimeoutExpired:
                    status = -1
            if status:
                raise CallFailed(f"sipp: exit status {status}: {_said(directory / 'caller')}")


@contextlib.contextmanager
def _sipp(
    host: Host, address: IPv4Address | IPv6Address, transport: Transport, log: Path, *words: str
) -> Iterator[subprocess.Popen[Any]]:
    command = ["sipp", *words, "-i", _text(address), "-p", "5060", "-t", "t1" if transport == "tcp" else "u1"]
    command += ["-mi", _text(address), "-mp", str(MEDIA_PORT), "-nostdin"]
    command += ["-trace_err", "-error_file", str(log.with_suffix(".err"))]
    with log.open("wb") as output:
        process = host.popen(command, stdout=output, stderr=output, cwd=log.parent)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _said(log: Path) -> str:
    errors = log.with_suffix(".err")
    told = errors.read_text(errors="replace") if errors.exists() else ""
    return told[-3000:] or log.read_text(errors="replace")[-3000:]


def _text(address: IPv4Address | IPv6Address) -> str:
    return f"[{address}]" if address.version == 6 else str(address)
