"""`explain`: of each hole, while it is open and afterwards, who asked for it and why; of what was not let in, why not,
and the line of configuration that would let it in."""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from collections.abc import Callable, Iterator

import pytest

from protocols import HELPERS
from tests.harness.sane_messages import init, initialized, start, started
from tests.harness.sip_flow import message, register
from tests.netns import irc_talk, media_site, rtsp_site
from tests.netns.connections import read_all
from tests.netns.ftp_talk import Served, Talk, dial, fate, passive_address, plain_server, server
from tests.netns.media_site import Voice
from tests.netns.namespaces import needs_root
from tests.netns.operated_site import LINE_OF_POLICY, Here, config, operated
from tests.netns.tns_talk import calling, listening, redirected, to
from tools.peers.tns_packets import accept

pytestmark = [pytest.mark.netns, pytest.mark.slow, needs_root]


@pytest.fixture(scope="module")
def here() -> Iterator[Here]:
    with operated() as found:
        yield found


# -- holes ---------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def a_download(here: Here) -> Iterator[str]:
    with server(here.lab.server), Talk(here.lab.client, str(here.lab.server.v4)) as talk:
        assert talk.ask("PASV").startswith("227")
        yield "ftp-data"


@contextlib.contextmanager
def a_call(here: Here) -> Iterator[str]:
    talk = here.talk()
    media_site.both_are_heard(talk)
    yield "rtp"
    talk.hang_up()


@contextlib.contextmanager
def a_fax(here: Here) -> Iterator[str]:
    talk = here.talk(("image",))
    yield "udptl"
    talk.hang_up()


@contextlib.contextmanager
def a_phone_that_can_be_called(here: Here) -> Iterator[str]:
    """Its registrar takes it up, and in the end an operator closes the way to it."""
    asked = register(1, "<sip:alice@10.1.0.2:5062>", 60)
    here.near.signalling.socket.sendto(asked, here.near.to)
    request = here.far.signalling.socket.recv(65535)
    names = ("Via", "From", "To", "Call-ID", "CSeq", "Contact")
    answer = message("SIP/2.0 200 OK", *(f"{name}: {media_site.field(request, name)}" for name in names))
    here.far.signalling.socket.sendto(answer, here.far.to)
    here.near.signalling.socket.recv(65535)
    (registration,) = here.rows("registrations")
    assert (registration["aor"], registration["contact"]) == ("sip:alice@example.org", "10.1.0.2:5062")
    yield "sip"
    assert here.ask("v1/close", "POST", id=registration["id"])["of"] == "registrations"
    assert here.rows("registrations") == []


@contextlib.contextmanager
def a_redirect(here: Here) -> Iterator[str]:
    elsewhere = to(here.lab.server_stranger.v4, 1522)
    with listening(here.lab.server, elsewhere), calling(here.lab.client, (str(here.lab.server.v4), 1521)) as caller:
        there = redirected(caller)
        yield "tns"
        with listening(here.lab.server_stranger, accept(), 1522), calling(here.lab.client, there) as again:
            read_all(again, len(accept()))


@contextlib.contextmanager
def patiently(here: Here) -> Iterator[None]:
    """Holes that nobody uses stand for longer than the few seconds that are theirs here, which may be over before they
    are looked at."""
    here.daemon.reload(config(tftp_open=60, pmap_hold=60))
    try:
        yield
    finally:
        here.daemon.reload(config())


@contextlib.contextmanager
def a_boot_file(here: Here) -> Iterator[str]:
    with patiently(here), asking_for_a_file(here):
        yield "tftp-transfer"
        assert here.ask("v1/close", "POST", id=here.opened("tftp-transfer")["session"])["of"] == "sessions"


@contextlib.contextmanager
def connected(here: Here, port: int, from_port: int = 0) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A connection of the client's to a port of the server's, and the server's end of it."""
    at = str(here.lab.server.v4), port
    with here.lab.server.inside():
        listener = socket.create_server(at)
    listener.settimeout(media_site.SECONDS)
    with here.lab.client.inside():
        asker = socket.create_connection(at, media_site.SECONDS, (str(here.lab.client.v4), from_port))
    with listener, asker, listener.accept()[0] as server:
        yield asker, server


@contextlib.contextmanager
def speaking(here: Here, port: int, from_port: int = 0) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A socket of the client's for datagrams, and one at a port of the server's, which waits."""
    with here.lab.server.inside():
        waiting = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with here.lab.client.inside():
        asker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with asker, waiting:
        waiting.bind((str(here.lab.server.v4), port))
        waiting.settimeout(media_site.SECONDS)
        asker.bind((str(here.lab.client.v4), from_port))
        yield asker, waiting


@contextlib.contextmanager
def asking_for_a_file(here: Here, of: str = "198.51.100.2") -> Iterator[None]:
    with speaking(here, 69, from_port=2069) as (asker, waiting):
        asker.sendto(b"\0\1file\0octet\0", (of, 69))
        if of == str(here.lab.server.v4):
            waiting.recv(100)
        yield


@contextlib.contextmanager
def a_command(here: Here) -> Iterator[str]:
    """From one reserved port to another one."""
    with connected(here, 514, from_port=1022) as (asker, _):
        asker.sendall(b"1021\0")
        here.daemon.wait_for("pinhole.opened", purpose="rsh-stderr")
        yield "rsh-stderr"


@contextlib.contextmanager
def a_film(here: Here) -> Iterator[str]:
    """A transport stream, which IPTV has in the place of RTP."""
    with connected(here, 554) as (asker, server):
        talk = rtsp_site.Talk(asker, server)
        asked = talk.ask("SETUP rtsp://tv/1 RTSP/1.0", "CSeq: 1", "Transport: MP2T/H2221/UDP;unicast;client_port=5000")
        transport = media_site.field(asked, "Transport")
        talk.answer("RTSP/1.0 200 OK", "CSeq: 1", "Session: a", f"Transport: {transport};server_port=6000")
        yield "stream"
        talk.ask("TEARDOWN rtsp://tv/1 RTSP/1.0", "CSeq: 2", "Session: a")
        talk.answer("RTSP/1.0 200 OK", "CSeq: 2")


@contextlib.contextmanager
def offering(here: Here, kind: str, purpose: str) -> Iterator[str]:
    """A user of IRC who offers something to another one."""
    with irc_talk.serving(here.lab.server), irc_talk.Talk(here.lab.client, str(here.lab.server.v4)) as talk:
        talk.register().offer(5000, kind)
        here.daemon.wait_for("pinhole.opened", purpose=purpose)
        yield purpose


def a_file_for_a_friend(here: Here) -> contextlib.AbstractContextManager[str]:
    return offering(here, "SEND file.txt", "irc-send")


def a_talk_with_a_friend(here: Here) -> contextlib.AbstractContextManager[str]:
    return offering(here, "CHAT chat", "irc-chat")


@contextlib.contextmanager
def a_service(here: Here) -> Iterator[str]:
    """The portmapper tells where NFS is."""
    question = struct.pack(">14I", 7, 0, 2, 100_000, 2, 3, 0, 0, 0, 0, 100_003, 3, 6, 0)
    with patiently(here), speaking(here, 111) as (asker, portmapper):
        asker.sendto(question, portmapper.getsockname())
        _, client = portmapper.recvfrom(1000)
        portmapper.sendto(struct.pack(">7I", 7, 1, 0, 0, 0, 0, 2049), client)
        here.daemon.wait_for("pinhole.opened", purpose="rpc")
        yield "rpc"
        assert here.ask("v1/close", "POST", id=here.opened("rpc")["pinhole"])["of"] == "pinholes"


@contextlib.contextmanager
def a_picture(here: Here) -> Iterator[str]:
    """A scanner is started."""
    with connected(here, 6566) as (asker, server):
        for said, answered in ((init(), initialized()), (start(), started(40001))):
            asker.sendall(said)
            server.recv(len(said), socket.MSG_WAITALL)
            server.sendall(answered)
            asker.recv(len(answered), socket.MSG_WAITALL)
        yield "sane-data"


PURPOSES = [
    a_download, a_call, a_fax, a_phone_that_can_be_called, a_redirect, a_boot_file, a_command, a_film,
    a_file_for_a_friend, a_talk_with_a_friend, a_service, a_picture,
]  # fmt: skip


OF_PURPOSES = [
    "ftp-data", "rtp", "udptl", "sip", "tns", "tftp-transfer", "rsh-stderr", "stream", "irc-send", "irc-chat", "rpc",
    "sane-data",
]  # fmt: skip


@pytest.mark.parametrize(("hole", "of"), [*zip(PURPOSES, OF_PURPOSES, strict=True)], ids=OF_PURPOSES)
def test_a_hole_is_explained_while_it_is_open_and_afterwards(
    here: Here, hole: Callable[[Here], contextlib.AbstractContextManager[str]], of: str
) -> None:
    with hole(here) as purpose:
        assert purpose == of
        opened = here.opened(purpose)
        (live,) = here.explain(pinhole=str(opened["pinhole"]))
        by_address = [one["pinhole"]["id"] for one in here.explain(address=opened["listen"]) if one["pinhole"]]
        assert opened["pinhole"] in by_address
        assert (live["verdict"], live["source"]) == ("open", "live")
        assert live["policy"] == {"name": "one", "place": f"{here.daemon.config}:{LINE_OF_POLICY}"}
        assert (live["session"]["id"], live["session"]["helper"]) == (opened["session"], opened["helper"])
        assert live["message"]["trigger"] == opened["trigger"]
        text = "\n".join(live["says"])
        assert opened["trigger"] in text and opened["listen"] in text and "bytes out have passed" in text
        if purpose in ("rtp", "udptl"):
            assert live["call"]["from"] == "sip:a@example.org"
            assert live["message"]["call_id"] == live["call"]["call_id"]
            assert live["message"]["cseq"] == opened["cseq"] == 1
        during = time.time()
    closed = here.daemon.wait_for("pinhole.closed", pinhole=opened["pinhole"], session=opened["session"])
    at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(during)) + f"{during % 1:.6f}Z"[1:]
    for query in ({"pinhole": str(opened["pinhole"])}, {"address": opened["listen"], "at": at}):
        past = [one for one in here.explain(**query) if one["verdict"] == "closed"]
        after = next(one for one in past if one["pinhole"]["id"] == opened["pinhole"])
        assert (after["source"], after["reason"]) == ("audit", closed["reason"])
        assert (after["since"], after["until"]) == (opened["time"], closed["time"])
        assert after["session"] == live["session"]
        assert after["message"] == live["message"]
        assert after["pinhole"].get("bytes_out") == closed.get("bytes_out")
    assert here.explain(address=opened["listen"], at="2020-01-01T00:00:00Z")[0]["verdict"] == "nothing"


# -- what was not let in -------------------------------------------------------------------------------------------


Asked = dict[str, str]
"""What is asked about the attempt."""


def by_the_wrong_interface(here: Here) -> Asked:
    """The rules bring nothing of that interface here, so nobody has written it down: policies are asked."""
    assert fate(here.lab.server, str(here.lab.client.v4), 21) == "silent"
    return {"address": f"{here.lab.client.v4}:21", "client": f"{here.lab.server.v4}:1024", "interface": "wan0"}


def denied_by_a_policy(here: Here) -> Asked:
    with asking_for_a_file(here, "198.51.100.3"):
        here.daemon.wait_for("session.denied", reason="denied_by_policy")
    return {"address": "198.51.100.3:69"}


def at_a_port_in_no_entry(here: Here) -> Asked:
    return {"address": f"{here.lab.server.v4}:2121"}


def what_is_none_of_the_protocol(here: Here) -> Asked:
    sock = here.open(here.lab.client, 6060)
    sock.socket.sendto(b"hello\r\n", (str(here.lab.server_stranger.v4), 5060))
    here.daemon.wait_for("session.denied", reason="not_sip")
    return {"address": f"{here.lab.client.v4}:6060"}


def of_a_server_that_refuses(here: Here) -> Asked:
    assert fate(here.lab.client, str(here.lab.server_stranger.v4), 21) in ("reset", "closed", "refused")
    return {"address": f"{here.lab.server_stranger.v4}:21"}


def beyond_a_limit(here: Here) -> Asked:
    talk = media_site.Talk(*here.parties)
    talk.media[here.near] = [here.near.media() for _ in range(5)]
    here.near.say(talk, "INVITE", 1, talk.describes(here.near, kinds=("audio",) * 5))
    refused = here.daemon.wait_for("pinhole.refused", reason="limit_per_session")
    return {"address": refused["target"]}


def a_stranger_at_a_pinhole(here: Here) -> Asked:
    with server(here.lab.server), Talk(here.lab.client, str(here.lab.server.v4)) as talk:
        talk.ask("PORT 10,1,0,2,20,21")
        opened = here.opened("ftp-data")
        with contextlib.suppress(OSError):
            host, _, port = opened["listen"].rpartition(":")
            dial(here.lab.server_stranger, host, int(port)).close()
        here.daemon.wait_for("violation", rule="pinhole.stranger", pinhole=opened["pinhole"])
    return {"address": opened["listen"]}


def media_of_an_unknown_party(here: Here) -> Asked:
    talk = here.talk()
    stranger = here.open(here.lab.server_stranger, 9900)
    for _ in range(3):
        stranger.say(Voice(), talk.to[here.far][0], 1)
    here.daemon.wait_for("violation", rule="pinhole.stranger", helper="sip")
    talk.hang_up()
    return {"address": f"{here.lab.server_stranger.v4}:9900"}


def at_an_expired_pinhole(here: Here) -> Asked:
    before = len(here.daemon.audit("pinhole.opened", purpose="tftp-transfer"))
    with asking_for_a_file(here):
        opened = here.daemon.wait_for("pinhole.opened", before + 1, purpose="tftp-transfer")
        here.daemon.wait_for("pinhole.closed", pinhole=opened["pinhole"], session=opened["session"])
    return {"address": opened["listen"]}


def through_to_a_target_that_refuses(here: Here) -> Asked:
    def nobody_listens(served: Served, line: bytes) -> bytes | None:
        return served.passive(None) if line.startswith(b"PASV") else plain_server(served, line)

    with server(here.lab.server, nobody_listens), Talk(here.lab.client, str(here.lab.server.v4)) as talk:
        address = passive_address(talk.ask("PASV"))
        with contextlib.suppress(OSError), dial(here.lab.client, *address) as data:
            data.recv(1)
        here.daemon.wait_for("pinhole.closed", reason="target_refused")
    return {"address": f"{address[0]}:{address[1]}"}


def a_redirect_elsewhere(here: Here) -> Asked:
    elsewhere = to("203.0.113.99", 1522)
    with listening(here.lab.server, elsewhere), calling(here.lab.client, (str(here.lab.server.v4), 1521)) as caller:
        caller.recv(1000)
        here.daemon.wait_for("violation", rule="tns.redirect_elsewhere")
    return {"address": "203.0.113.99:1522"}


def a_low_port(here: Here) -> Asked:
    with server(here.lab.server), Talk(here.lab.client, str(here.lab.server.v4)) as talk:
        assert talk.ask("PORT 10,1,0,2,0,80").startswith("504")
        here.daemon.wait_for("violation", rule="ftp.low_port")
    return {"address": f"{here.lab.client.v4}:80"}


def an_offer_to_many(here: Here) -> Asked:
    with irc_talk.serving(here.lab.server), irc_talk.Talk(here.lab.client, str(here.lab.server.v4)) as talk:
        talk.register().offer(5004, to="#chan")
        here.daemon.wait_for("violation", rule="irc.channel_offer")
    return {"address": f"{here.lab.client.v4}:5004"}


def before_the_login(here: Here) -> Asked:
    with server(here.lab.server), Talk(here.lab.client, str(here.lab.server.v4), login=False) as talk:
        talk.reply()
        assert talk.ask("PASV").startswith("530")
        here.daemon.wait_for("violation", rule="ftp.before_login")
        host, port = talk.control.getsockname()
    return {"address": f"{host}:{port}"}


REFUSED = [
    (by_the_wrong_interface, "no_policy", "policies: a policy", "`from` is lan0, and it came by wan0"),
    (denied_by_a_policy, "denied_by_policy", "destination: 198.51.100.3", "policy no-files denies"),
    (at_a_port_in_no_entry, "no_helper", "port: 2121", "is in no entry of `session-helpers`"),
    (what_is_none_of_the_protocol, "not_sip", None, "is none of sip"),
    (of_a_server_that_refuses, "server_refused", None, "refused the connection"),
    (beyond_a_limit, "limit_per_session", "limits: {pinholes_per_session:", "as many pinholes"),
    (a_stranger_at_a_pinhole, "pinhole.stranger", None, "came to"),
    (media_of_an_unknown_party, "pinhole.stranger", "options: {sip: {media_from:", "sent to"),
    (at_an_expired_pinhole, "never_used", "timeouts: {pinhole_open:", "nobody came in time"),
    (through_to_a_target_that_refuses, "target_refused", None, "refused the connection"),
    (a_redirect_elsewhere, "tns.redirect_elsewhere", "options: {tns: {redirect_to:", "lets nobody be led"),
    (a_low_port, "ftp.low_port", "options: {ftp: {min_port:", "below `min_port`"),
    (an_offer_to_many, "irc.channel_offer", "options: {irc: {channel_offers:", "to several users"),
    (before_the_login, "ftp.before_login", None, "before a 2yz"),
]


@pytest.mark.parametrize(
    ("attempt", "reason", "line", "words"), REFUSED, ids=[str(attempt.__name__) for attempt, *_ in REFUSED]
)
def test_what_was_not_let_in_is_explained(
    here: Here, attempt: Callable[[Here], Asked], reason: str, line: str | None, words: str
) -> None:
    answers = here.explain(**attempt(here))
    found = [one for one in answers if one["reason"] == reason]
    assert found, answers
    assert any(words in text for text in found[0]["says"]), found[0]
    assert found[0]["remedy"] or line is None
    if line is not None:
        assert line.removeprefix("policies: a policy") in found[0]["line"]


def test_a_call_that_was_refused_says_by_which_answer(here: Here) -> None:
    talk = media_site.Talk(*here.parties)
    talk.media[here.near] = [here.near.media()]
    invite = here.near.ask(talk, "INVITE", 1, talk.describes(here.near))
    here.far.answer(talk, invite, 486)
    here.daemon.wait_for("call.failed", call_id=talk.call)
    (row,) = [row for row in here.rows("refusals") if row["says"] == "the call was refused: 486 So"]
    assert row["event"] == "call.failed"
    answers = here.explain(address=str(row["client"]))
    assert "the call was refused: 486 So" in {answer["says"][0] for answer in answers}


ELSEWHERE = {"gre-pptp", "h245", "h323", "ras", "rpc-callback", "t120"}
"""Purposes whose holes the tests of their own helpers open. They are explained as these are."""


def test_there_is_a_hole_of_each_purpose_among_them() -> None:
    assert set(OF_PURPOSES) | ELSEWHERE == {purpose for helper in HELPERS.values() for purpose in helper.purposes}
    assert not set(OF_PURPOSES) & ELSEWHERE


def test_policies_say_what_they_would_do_with_somebody(here: Here) -> None:
    query = {"address": "198.51.100.2:21", "client": "10.1.0.2:1024"}
    assert "accepts" in here.explain(**query, interface="lan0")[0]["says"][0]
    refused = here.explain(**query, interface="wan0")[0]
    assert (refused["verdict"], refused["reason"], refused["source"]) == ("refused", "no_policy", "configuration")


def test_refusals_and_violations_of_the_last_hour_are_listed(here: Here) -> None:
    for attempt in (denied_by_a_policy, a_low_port, a_low_port):
        attempt(here)
    (refusal,) = [row for row in here.rows("refusals") if row["reason"] == "denied_by_policy"]
    assert (refusal["interface"], refusal["policy"]) == ("lan0", "no-files")
    assert refusal["line"].startswith("- {name: for-10.1.0.2, from: lan0")
    (violation,) = [row for row in here.rows("violations") if row["rule"] == "ftp.low_port"]
    assert violation["count"] >= 2
    assert (violation["helper"], violation["policy"]) == ("ftp", "one")
