"""Real servers and clients of RTSP, through a gateway in each role that drops all that pinhole does not carry."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.netns.namespaces import needs_root
from tools.lab import Lab, gateways, pinhole
from tools.lab.capture import Datagram, conversations, datagrams
from tools.lab.gateways import ROLES, Gateway
from tools.peers import rtsp
from tools.peers.rtsp import AIORTSP, FFMPEG, LOCKED_PORT, NPM, PACKETS, PORT, RTSPSRC, VLC_PORT, Client, NotPlayed

pytestmark = [pytest.mark.interop, pytest.mark.netns, pytest.mark.slow, needs_root]

PLAYED = [
    (FFMPEG, "udp", 4),
    (FFMPEG, "udp", 6),
    (FFMPEG, "tcp", 4),
    (FFMPEG, "http", 6),
    (RTSPSRC, "udp", 4),
    (RTSPSRC, "udp", 6),
    (RTSPSRC, "tcp", 6),
    (AIORTSP, "udp", 4),
    (AIORTSP, "tcp", 4),
    (NPM, "udp", 4),
    (NPM, "udp", 6),
    (NPM, "tcp", 4),
    (NPM, "tcp", 6),
]
LEAST_PACKETS = 12


@pytest.fixture(scope="module", params=ROLES, ids=lambda role: role.name)
def gateway(request: pytest.FixtureRequest) -> Iterator[Gateway]:
    with gateways.serving(request.param, "nft") as serving, rtsp.gst_server(serving.server):
        yield serving


def ended(gateway: Gateway, before: int) -> dict[str, object]:
    """The line of the session that is over, the only one."""
    gateway.daemon.wait_for("rtsp.ended", count=before + 1)
    return gateway.daemon.audit("rtsp.ended")[before]


@pytest.mark.parametrize(
    ("client", "transport", "version"),
    PLAYED,
    ids=[f"{client.name}-{transport}-ipv{version}" for client, transport, version in PLAYED],
)
def test_a_picture_is_played(gateway: Gateway, client: Client, transport: str, version: int) -> None:
    before, opened = len(gateway.daemon.audit("rtsp.ended")), len(gateway.daemon.audit("pinhole.opened"))
    client.play(gateway.client, gateway.dialled(version), transport)
    if transport == "http":
        return  # nobody reads what is in a tunnel
    line = ended(gateway, before)
    assert int(str(line["packets_to_client"])) >= LEAST_PACKETS
    streams = gateway.daemon.audit("rtsp.stream", rtsp_session=line["rtsp_session"])
    assert {stream["transport"] for stream in streams} == {"udp" if transport == "udp" else "interleaved"}
    if transport == "tcp":
        assert len(gateway.daemon.audit("pinhole.opened")) == opened
    assert gateway.daemon.audit("violation") == []


@pytest.mark.parametrize("version", [4, 6])
def test_a_picture_is_published(gateway: Gateway, version: int) -> None:
    before = len(gateway.daemon.audit("rtsp.ended"))
    rtsp.publish(gateway.client, gateway.dialled(version))
    line = ended(gateway, before)
    assert (line["cause"], int(str(line["packets_to_server"])) >= LEAST_PACKETS) == ("teardown", True)
    assert gateway.daemon.audit("rtsp.record", rtsp_session=line["rtsp_session"])


def test_a_challenged_client_plays_when_it_has_said_who_it_is(gateway: Gateway) -> None:
    before = len(gateway.daemon.audit("rtsp.ended"))
    FFMPEG.play(gateway.client, gateway.dialled(4), user="viewer:secret", port=LOCKED_PORT)
    assert ended(gateway, before)["cause"] == "teardown"
    assert gateway.daemon.audit("rtsp.session")[-1]["server"].endswith(":8554")
    assert "secret" not in gateway.daemon.log.read_text()


def test_what_vlc_serves_is_played(gateway: Gateway) -> None:
    """Its ports begin with odd numbers, too (RT16)."""
    with rtsp.vlc_server(gateway.server):
        for client, version in ((FFMPEG, 4), (RTSPSRC, 6), (AIORTSP, 4)):
            before = len(gateway.daemon.audit("rtsp.ended"))
            client.play(gateway.client, gateway.dialled(version), port=VLC_PORT)
            line = ended(gateway, before)
            assert int(str(line["packets_to_client"])) >= LEAST_PACKETS
            (stream,) = gateway.daemon.audit("rtsp.stream", rtsp_session=line["rtsp_session"])
            assert stream["transport"] == "udp"
            if gateway.daemon.kernel_path == "off":  # nobody looks at what the kernel carries
                assert stream["codec_to_client"] == "H264"


@pytest.mark.parametrize("version", [4, 6])
def test_each_packet_of_the_picture_comes_as_it_was_sent(gateway: Gateway, version: int) -> None:
    def played() -> tuple[list[Datagram], list[Datagram]]:
        """What went over the client's line, and over the server's."""
        with (
            gateway.client.capture("eth0", "udp") as near,
            gateway.server.capture("eth0", "udp") as far,
        ):
            RTSPSRC.play_once(gateway.client, gateway.dialled(version))
            return datagrams(near.collect()), datagrams(far.collect())

    came, sent = rtsp.again(played)
    to_client = [one.payload for one in came if one.source[0] == gateway.dialled(version)]
    from_server = [one.payload for one in sent if one.source[0] == gateway.server.address(version)]
    assert len(to_client) >= LEAST_PACKETS
    missing = [payload for payload in to_client if payload not in from_server]
    assert missing == []
    for port in {one.source[1] for one in sent if one.source[0] == gateway.server.address(version)}:
        from_port = [one.payload for one in sent if one.source == (gateway.server.address(version), port)]
        passed = [payload for payload in from_port if payload in to_client]
        # Nothing is lost but what came behind the client's end, which a server may be late to hear of. RTCP, at an odd
        # port, may even begin then.
        assert (passed or port % 2) and passed == from_port[: len(passed)], port
    opening = [one.payload for one in came if one.source[0] == gateway.client.address(version)]
    assert len([payload for payload in opening if len(payload) == 200]) >= 5  # RT28
    arrived = [one.payload for one in sent if one.destination[0] == gateway.server.address(version)]
    assert [payload for payload in opening[:5] if payload not in arrived] == []


@pytest.mark.parametrize("version", [4, 6])
def test_what_a_client_took_is_what_was_sent_by_udp(gateway: Gateway, version: int) -> None:
    before = len(gateway.daemon.audit("rtsp.ended"))
    with gateway.server.capture("eth0", "udp") as far:
        took = rtsp.packets_taken(NPM.play(gateway.client, gateway.dialled(version)))
        sent = [one.payload for one in datagrams(far.collect()) if one.source[0] == gateway.server.address(version)]
    assert len(took) == PACKETS
    assert [payload for payload in sent if payload in took] == took
    assert ended(gateway, before)["cause"] == "teardown"


@pytest.mark.parametrize("version", [4, 6])
def test_what_a_client_took_is_what_was_sent_interleaved(gateway: Gateway, version: int) -> None:
    before = len(gateway.daemon.audit("rtsp.ended"))
    with gateway.server.capture("eth0", f"tcp port {PORT}") as far:
        took = rtsp.packets_taken(NPM.play(gateway.client, gateway.dialled(version), "tcp"))
        (sent,) = (one.from_server for one in conversations(far.collect(), PORT))
    assert len(took) == PACKETS
    at = 0
    for packet in took:
        frame = b"$\0" + len(packet).to_bytes(2, "big") + packet
        at = sent.index(frame, at) + len(frame)
    assert ended(gateway, before)["cause"] == "teardown"


def test_a_client_that_is_cut_off_takes_its_session_along(gateway: Gateway) -> None:
    before, playing = len(gateway.daemon.audit("rtsp.ended")), len(gateway.daemon.audit("rtsp.play"))
    process = rtsp.play_on(gateway.client, gateway.dialled(4), "tcp")
    try:
        gateway.daemon.wait_for("rtsp.play", count=playing + 1)
    finally:
        gateway.client.end(process, 1)
    assert ended(gateway, before)["cause"] == "lost"


_COMPLAINTS = b"""
ERROR: from element /GstPipeline:pipeline0/GstRTSPSrc:s: Could not write to resource.
Additional debug info:
../gst/rtsp/gstrtspsrc.c(6766): gst_rtspsrc_try_send (): /GstPipeline:pipeline0/GstRTSPSrc:s:
Could not send message. (Received end-of-file)
ERROR: from element /GstPipeline:pipeline0/GstRTSPSrc:s: Could not write to resource.
Additional debug info:
../gst/rtsp/gstrtspsrc.c(%b (): /GstPipeline:pipeline0/GstRTSPSrc:s:
Could not send message. (Received end-of-file)
"""


def test_of_all_complaints_of_rtspsrc_only_that_of_its_own_pause_is_none() -> None:
    assert rtsp.has_only_cancelled_its_pause(_COMPLAINTS % b"9240): gst_rtspsrc_pause")
    assert not rtsp.has_only_cancelled_its_pause(_COMPLAINTS % b"8460): gst_rtspsrc_close")
    assert not rtsp.has_only_cancelled_its_pause(b"")


def test_rtspsrc_has_stumbled_when_it_could_not_say_teardown() -> None:
    assert rtsp.has_stumbled(_COMPLAINTS % b"8460): gst_rtspsrc_close")
    assert not rtsp.has_stumbled(_COMPLAINTS % b"9240): gst_rtspsrc_pause")
    assert not rtsp.has_stumbled(b"")


def test_only_rtspsrc_that_has_stumbled_over_its_own_parts_begins_again() -> None:
    tried = []

    def attempt(failed: type[NotPlayed], times: int) -> str:
        tried.append(failed)
        if len(tried) <= times:
            raise failed
        return "played"

    assert rtsp.again(lambda: attempt(rtsp.Stumbled, rtsp.ATTEMPTS - 1)) == "played"
    tried.clear()
    with pytest.raises(rtsp.Stumbled):
        rtsp.again(lambda: attempt(rtsp.Stumbled, rtsp.ATTEMPTS))
    tried.clear()
    with pytest.raises(NotPlayed):
        rtsp.again(lambda: attempt(NotPlayed, 1))
    assert len(tried) == 1


def test_without_its_helper_no_picture_comes_by_udp() -> None:
    with Lab("routed") as lab:
        lab.firewall(
            """
            table inet strict { chain forward { type filter hook forward priority filter; policy drop;
                ct state established,related accept
                iifname lan0 tcp dport 554 accept
                meta l4proto icmpv6 accept
            }
            }
            """
        )
        with rtsp.gst_server(lab.server):
            for client in (FFMPEG, NPM):
                with pytest.raises(NotPlayed):
                    rtsp.run(lab.client, client.command(rtsp.url(lab.server.v4, "live"), "udp"), seconds=4)
                client.play(lab.client, lab.server.v4, "tcp")


def test_clients_that_may_have_no_udp_ask_for_media_in_their_connection() -> None:
    """The SETUP is answered 461 here, and each of them has another transport that it likes less."""
    with Lab("nat") as lab:
        options = "options: {rtsp: {force_interleaved: true}}"
        text = f"version: 1\npolicies: [{{name: out, from: [lan0], action: accept, snat: interface, {options}}}]\n"
        with pinhole(lab, text, "nft", unprivileged=True) as daemon, rtsp.gst_server(lab.server):
            daemon.lock_down()
            for number, (client, transports) in enumerate(((FFMPEG, "udp+tcp"), (RTSPSRC, "udp+tcp")), 1):
                client.play(lab.client, lab.server.v4, transports)
                daemon.wait_for("rtsp.ended", count=number)
            assert {stream["transport"] for stream in daemon.audit("rtsp.stream")} == {"interleaved"}
            assert daemon.audit("violation", rule="rtsp.udp_denied")
            assert daemon.audit("pinhole.opened") == []
