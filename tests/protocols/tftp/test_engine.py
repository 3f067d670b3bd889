"""Sessions of TFTP (protocols/tftp/engine.py): what a request opens, and who follows its file."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest

from protocols.contract.addresses import Endpoint, Peers, Side, Transport
from protocols.contract.effects import Close, Effect, Note, Send
from protocols.contract.pinholes import Expect, Grant, Reader
from protocols.tftp.engine import HELPER, MAX_PER_SECOND, NOTHING_SECONDS, Moving, TftpEngines
from protocols.tftp.guard import WINDOW_SECONDS
from protocols.tftp.options import TftpOptions
from protocols.tftp.transfer import MAX_ASKED_AGAIN, UNHEARD_SECONDS
from protocols.tftp.under_way import MAX_DALLYING, Ends
from protocols.tftp.wire import Request
from tests.harness.playbook import NETWORKS, Session, on

CLIENT, SERVER = Side.CLIENT, Side.SERVER
RRQ = b"\0\1boot.img\0octet\0"
WRQ = b"\0\2backup\0octet\0"
DATA = b"\0\3\0\1last"
ACK = b"\0\4\0\1"
UNKNOWN = b"\0\5\0\5no such transfer\0"
PORT = 2070
"""Of the client."""


AT = Endpoint(ip_address("10.1.0.2"), PORT)
ENDS = Ends(AT, AT, Endpoint(ip_address("10.1.0.3"), 69))
READING = Moving(Request(True, b"f", b"octet"), ENDS)
WRITING = Moving(Request(False, b"f", b"octet"), ENDS)


def asking(network: str = "none", **options: Any) -> Session:
    peers = on(NETWORKS[network], HELPER, Transport.UDP, PORT)
    return Session.of(HELPER, peers, HELPER.options(**options))


def opened(session: Session) -> Expect:
    (grant,) = session.pinholes.standing.values()
    assert isinstance(grant, Grant)
    return grant.expect


def refused(session: Session) -> tuple[bytes, Effect]:
    """What the client is told, and how the session ends when nothing else comes."""
    session.wait(NOTHING_SECONDS)
    return session.sent(CLIENT), session.effects[-1]


@pytest.mark.parametrize("network", ["none", "snat", "dnat", "none6", "snat6", "dnat6"])
def test_a_request_opens_one_way_for_the_servers_host_to_where_it_sees_the_client(network: str) -> None:
    """TF11, TF12."""
    session = asking(network)
    peers = on(NETWORKS[network], HELPER, Transport.UDP, PORT)
    session.receive(CLIENT, RRQ)
    expect = opened(session)
    assert (expect.transport, expect.uses, expect.open_seconds) == (Transport.UDP, 1, 15.0)
    assert (expect.listen, expect.target) == (peers.client_as_seen, peers.client)
    assert [network.network_address for network in expect.allow] == [peers.server.host]
    assert expect.source == Endpoint(peers.server_as_seen.host, 0)
    request = Request(True, b"boot.img", b"octet")
    assert expect.reader == Reader("tftp", Moving(request, Ends(peers.client, peers.client_as_seen, peers.server)))
    assert session.sent(SERVER) == RRQ


def test_the_log_says_what_was_asked_for() -> None:
    session = asking()
    session.receive(CLIENT, b"\0\2../conf\0octet\0tsize\x0042\0")
    assert session.notes("tftp.request") == [
        {"direction": "write", "file": b"../conf", "mode": b"octet", "options": {"tsize": b"42"}}
    ]


def test_the_same_request_again_opens_nothing_more() -> None:
    """TF15."""
    session = asking()
    session.receive(CLIENT, RRQ)
    session.receive(CLIENT, RRQ)
    assert len(session.pinholes.opened) == 1
    assert session.sent(SERVER) == RRQ + RRQ


def test_a_request_does_not_come_again_without_end() -> None:
    """A server that answers from port 69 repeats its first block each time (TF22)."""
    session = asking()
    for _ in range(MAX_ASKED_AGAIN + 3):
        session.receive(CLIENT, RRQ)
    assert session.sent(SERVER) == (MAX_ASKED_AGAIN + 1) * RRQ
    assert session.violations() == ["tftp.too_many"]


def test_another_request_of_the_same_port_takes_the_place_of_the_one_that_waits() -> None:
    session = asking()
    session.receive(CLIENT, RRQ)
    session.receive(CLIENT, WRQ)
    assert opened(session).trigger == "WRQ"
    assert [note["result"] for note in session.notes("tftp.transfer")] == ["replaced"]
    assert not session.is_over


def test_a_denied_request_ends_no_other_one_of_the_same_port() -> None:
    session = asking(write="deny")
    session.receive(CLIENT, RRQ)
    session.receive(CLIENT, WRQ)
    assert session.sent(CLIENT) == b"\0\5\0\2refused\0"
    session.use(1)
    assert session.effects[-1] == Close("answered")


def test_when_the_server_comes_the_session_of_the_request_is_over() -> None:
    session = asking()
    session.receive(CLIENT, RRQ)
    session.use(1)
    assert session.effects[-1] == Close("answered")


def test_a_server_may_answer_from_port_69_itself_and_then_nothing_else_is_open() -> None:
    """TF10."""
    session = asking("snat")
    session.receive(CLIENT, RRQ)
    session.receive(SERVER, DATA)
    assert session.pinholes.standing == {}
    session.receive(CLIENT, ACK)
    assert [(note["bytes"], note["result"]) for note in session.notes("tftp.transfer")] == [(4, "complete")]
    assert session.sent(CLIENT) == DATA
    session.wait(10.0)
    assert session.effects[-1] == Close("finished")


def test_a_file_is_asked_for_again_from_the_same_port_when_it_has_come() -> None:
    session = asking()
    for _ in range(2):
        session.receive(CLIENT, RRQ)
        session.receive(SERVER, DATA)
        session.receive(CLIENT, ACK)
    assert len(session.notes("tftp.transfer")) == len(session.pinholes.opened) == 2


def test_a_request_that_nobody_answers_is_over_with_its_pinhole() -> None:
    session = asking()
    session.receive(CLIENT, RRQ)
    session.end(1, 0, 0, "never_used")
    (note,) = session.notes("tftp.transfer")
    assert (note["result"], note["bytes"]) == ("unanswered", 0)
    assert session.effects[-1] == Close("unanswered")


@pytest.mark.parametrize(
    ("options", "request_", "rule"),
    [
        ({"write": "deny"}, WRQ, "tftp.write"),
        ({"read": "deny"}, RRQ, "tftp.read"),
        ({"names": ("pxe*",)}, RRQ, "tftp.name"),
        ({"deny_names": ("*.img",)}, RRQ, "tftp.name"),
    ],
    ids=["write", "read", "names", "deny_names"],
)
def test_what_an_option_denies_is_answered_and_reaches_no_server(
    options: dict[str, Any], request_: bytes, rule: str
) -> None:
    session = asking(**options)
    session.receive(CLIENT, request_)
    assert refused(session) == (b"\0\5\0\2refused\0", Close("refused"))
    assert session.sent(SERVER) == b""
    assert session.violations() == [rule]
    assert session.pinholes.opened == []


def test_what_is_refused_again_and_again_is_one_session() -> None:
    """Each session is two lines of the log."""
    session = asking(write="deny")
    for _ in range(5):
        session.receive(CLIENT, WRQ)
        session.wait(0.9 * NOTHING_SECONDS)
    assert not session.is_over
    session.receive(CLIENT, RRQ)
    session.wait(NOTHING_SECONDS)
    assert not session.is_over


def test_requests_that_wait_for_no_answer_are_dropped_when_they_are_too_many() -> None:
    session = asking()
    for number in range(MAX_PER_SECOND + 1):
        session.receive(CLIENT, b"\0\1%d\0octet\0" % number)
    assert session.violations() == ["tftp.too_many"]
    assert len(session.pinholes.opened) == MAX_PER_SECOND
    session.wait(1.0)
    session.receive(CLIENT, RRQ)
    assert len(session.pinholes.opened) == MAX_PER_SECOND + 1


def test_those_that_are_answered_are_never_too_many() -> None:
    session = asking()
    for number in range(2 * MAX_PER_SECOND):
        for side, data in ((CLIENT, b"\0\1%d\0octet\0" % number), (SERVER, DATA), (CLIENT, ACK)):
            session.receive(side, data)
    assert session.violations() == []


@pytest.mark.parametrize(("pattern", "passes"), [("boot*", True), ("boot", False), ("BOOT*", False)])
def test_names_that_may_pass_are_judged_as_a_whole_and_by_case(pattern: str, passes: bool) -> None:
    session = asking(names=(pattern,))
    session.receive(CLIENT, RRQ)
    assert bool(session.sent(SERVER)) is passes


@pytest.mark.parametrize(
    ("name", "options"),
    [
        (b"boot/../etc/shadow", {"names": ("boot/*",)}),
        (b"boot/..\\..\\etc/shadow", {"names": ("boot/*",)}),
        (b"x/../secret/key", {"deny_names": ("secret/*",)}),
        (b"./secret//key", {"deny_names": ("secret/key",)}),
        (b"secret\\key", {"deny_names": ("secret/*",)}),
        (b"/secret/key", {"deny_names": ("secret/*",)}),
        (b"//secret/key", {"deny_names": ("/secret/*",)}),
        (b"../../secret/key", {"deny_names": ("secret/*",)}),
        (b"Secret\\KEY", {"deny_names": ("secret/*",)}),
        (b"router-CONFG", {"deny_names": ("*-confg",)}),
    ],
)
def test_a_name_is_judged_as_file_systems_read_it_too(name: bytes, options: dict[str, Any]) -> None:
    """TF24."""
    session = asking(**options)
    session.receive(CLIENT, b"\0\1%b\0octet\0" % name)
    assert session.violations() == ["tftp.name"]
    assert session.sent(SERVER) == b""


@pytest.mark.parametrize("name", [rb"boot\x64\wdsnbp.com", b"boot/x64/wdsnbp.com"])
@pytest.mark.parametrize("pattern", ["boot\\*", "boot/*"])
def test_slashes_of_either_kind_are_alike(name: bytes, pattern: str) -> None:
    session = asking(names=(pattern,))
    session.receive(CLIENT, b"\0\1%b\0octet\0" % name)
    assert session.violations() == []


@pytest.mark.parametrize(("size", "passes"), [(100, True), (101, False)])
def test_a_file_that_says_that_it_is_too_long_to_be_written_reaches_no_server(size: int, passes: bool) -> None:
    """The server would have thrown away the old one for it."""
    session = asking(max_bytes=100)
    session.receive(CLIENT, WRQ + b"tsize\0%d\0" % size)
    assert bool(session.sent(SERVER)) is passes
    if not passes:
        assert refused(session) == (b"\0\5\0\3file too long\0", Close("refused"))
        assert session.violations() == ["tftp.too_long"]


def test_without_a_way_in_nothing_is_asked_for() -> None:
    session = asking()
    session.pinholes.refuse_next.append("limit_per_client")
    session.receive(CLIENT, RRQ)
    assert refused(session) == (b"\0\5\0\0no way in for the answer\0", Close("refused"))
    assert session.sent(SERVER) == b""


def test_what_belongs_to_no_request_goes_nowhere() -> None:
    session = asking()
    for side, data in ((CLIENT, ACK), (SERVER, DATA), (CLIENT, b"\0\1no mode\0")):
        session.receive(side, data)
    assert session.violations() == ["tftp.not_tftp", "tftp.not_tftp", "tftp.malformed"]
    assert not [effect for effect in session.effects if isinstance(effect, Send)]


@pytest.mark.parametrize("data", [b"", b"\0\3\0\1data", b"\0\5\0\0no\0", b"GET / HTTP/1.1\r\n"])
def test_no_session_begins_with_anything_but_a_request(data: bytes) -> None:
    assert not HELPER.begins(data, HELPER.options(), None)
    assert HELPER.begins(RRQ, HELPER.options(), None)


@pytest.mark.parametrize(
    ("role", "data"),
    [
        (READING, DATA),
        (WRITING, ACK),
        *((role, answer) for role in (READING, WRITING) for answer in (b"\0\5\0\1no\0", b"\0\6tsize\x000\0")),
    ],
)
def test_a_session_that_a_request_has_let_in_begins_with_what_answers_it(role: Moving, data: bytes) -> None:
    assert HELPER.begins(data, HELPER.options(), role)


@pytest.mark.parametrize(
    ("role", "data"),
    [(WRITING, DATA), (READING, ACK), *((READING, other) for other in (b"", b"x", b"\0\3", RRQ, b"\x24\1\0\0"))],
)
def test_what_is_no_answer_does_not_use_the_way_in_up(role: Moving, data: bytes) -> None:
    """The server's host may have other services, whose datagrams come to the client's port as well, and it may repeat
    the last ACK of a file that was stored before (TF23)."""
    assert not HELPER.begins(data, HELPER.options(), role)


def test_a_client_that_gives_up_before_it_is_answered_waits_for_nothing() -> None:
    session = asking()
    session.receive(CLIENT, RRQ)
    session.receive(CLIENT, b"\0\5\0\0enough\0")
    assert session.pinholes.standing == {}
    assert [note["result"] for note in session.notes("tftp.transfer")] == ["error 0 enough"]


def test_what_is_no_answer_does_not_close_the_way_in() -> None:
    session = asking()
    session.receive(CLIENT, RRQ)
    session.receive(SERVER, b"\0\4\0\0")
    assert session.violations() == ["tftp.not_tftp"]
    assert opened(session).trigger == "RRQ"
    session.receive(SERVER, DATA)
    assert session.pinholes.standing == {}


class Daemon:
    """A request's session, and the one that its server begins."""

    def __init__(self) -> None:
        self.engines = TftpEngines()
        self.request = self._session(on(NETWORKS["snat"], HELPER, Transport.UDP, PORT))
        self.request.receive(CLIENT, RRQ)
        self.role = opened(self.request).reader
        assert self.role is not None
        server, client = Endpoint(ip_address("203.0.113.7"), 40001), Endpoint(ip_address("10.1.0.2"), PORT)
        known_as = Endpoint(ip_address("198.51.100.1"), PORT)
        self.transfer = self._session(Peers(server, server, client, known_as, Transport.UDP, role=self.role.role))

    def _session(self, peers: Peers) -> Session:
        session = Session.of(HELPER, peers)
        session.engine = self.engines(peers, TftpOptions(), session.pinholes, 0.0)
        return session


def test_the_session_that_the_server_begins_follows_the_file_to_its_end() -> None:
    daemon = Daemon()
    daemon.transfer.receive(CLIENT, DATA)
    daemon.transfer.receive(SERVER, ACK)
    (note,) = daemon.transfer.notes("tftp.transfer")
    assert (note["file"], note["bytes"], note["result"]) == (b"boot.img", 4, "complete")
    daemon.transfer.wait(10.0)
    assert daemon.transfer.effects[-1] == Close("finished")


def test_while_a_file_moves_its_request_may_come_again_by_another_session_and_opens_nothing() -> None:
    daemon = Daemon()
    daemon.request.use(1)
    again = daemon._session(on(NETWORKS["snat"], HELPER, Transport.UDP, PORT))
    again.receive(CLIENT, RRQ)
    again.wait(NOTHING_SECONDS)
    assert again.effects == [Send(SERVER, RRQ), Close("repeated")]
    assert again.pinholes.opened == []


def test_of_a_client_that_has_answered_the_same_request_is_another_one() -> None:
    """TF15: a machine that was switched off in the midst asks from the same port when it starts."""
    daemon = Daemon()
    daemon.request.use(1)
    daemon.transfer.receive(CLIENT, b"\0\3\0\1" + bytes(512))
    daemon.transfer.receive(SERVER, ACK)
    again = daemon._session(on(NETWORKS["snat"], HELPER, Transport.UDP, PORT))
    again.receive(CLIENT, RRQ)
    assert len(again.pinholes.opened) == 1


def test_when_it_has_moved_the_same_request_is_another_one() -> None:
    daemon = Daemon()
    daemon.request.use(1)
    daemon.transfer.receive(CLIENT, DATA)
    daemon.transfer.receive(SERVER, ACK)
    again = daemon._session(on(NETWORKS["snat"], HELPER, Transport.UDP, PORT))
    again.receive(CLIENT, RRQ)
    assert len(again.pinholes.opened) == 1


def test_a_transfer_that_is_cut_is_told() -> None:
    daemon = Daemon()
    daemon.transfer.receive(CLIENT, b"\0\3\0\1" + bytes(512))
    (note,) = daemon.transfer.engine.stop(1.0)
    assert isinstance(note, Note)
    assert (note.facts["result"], note.facts["bytes"]) == ("cut", 512)
    assert daemon.engines.counts() == {"transfers": 0}


class Reflected:
    """Requests in the name of clients that have not sent them, and what becomes of them; the servers answer from port
    69 or from another one."""

    def __init__(self, most: int = 2) -> None:
        self.engines = TftpEngines()
        self.options = TftpOptions(unanswered_per_minute=most)

    def request(self, client: str, port: int = PORT, now: float = 0.0) -> Session:
        ends = Endpoint(ip_address(client), port), Endpoint(ip_address("203.0.113.7"), 69)
        session = self._session(Peers(ends[0], ends[0], ends[1], ends[1], Transport.UDP), now)
        session.receive(CLIENT, RRQ)
        return session

    def _session(self, peers: Peers, now: float) -> Session:
        session = Session.of(HELPER, peers)
        session.now = now
        session.engine = self.engines(peers, self.options, session.pinholes, now)
        return session

    def answer(self, request: Session, from_its_port: bool = False) -> Session:
        if from_its_port:
            request.receive(SERVER, DATA)
            return request
        expect = opened(request)
        assert expect.reader is not None
        request.use(1)
        server = Endpoint(expect.allow[0].network_address, 40001)
        peers = Peers(server, server, expect.target, expect.listen, Transport.UDP, role=expect.reader.role)
        session = self._session(peers, request.now)
        session.receive(CLIENT, DATA)
        return session


@pytest.mark.parametrize("from_its_port", [False, True])
def test_answers_that_nobody_takes_up_end_what_is_asked_in_a_clients_name(from_its_port: bool) -> None:
    """TF22."""
    forged = Reflected()
    for port in (40001, 40002):
        forged.answer(forged.request("198.51.100.9", port), from_its_port).wait(UNHEARD_SECONDS)
    refused = forged.request("198.51.100.9")
    assert refused.violations() == ["tftp.reflection"]
    assert refused.sent(SERVER) == refused.sent(CLIENT) == b""
    later = forged.request("198.51.100.9", now=WINDOW_SECONDS + UNHEARD_SECONDS)
    assert later.violations() == []


@pytest.mark.parametrize("from_its_port", [False, True])
def test_answers_to_which_a_victim_says_that_it_has_not_asked_are_counted_as_well(from_its_port: bool) -> None:
    """TF22: whoever protests is no worse off than who is silent."""
    forged = Reflected()
    for port in (40001, 40002):
        answered = forged.answer(forged.request("198.51.100.9", port), from_its_port)
        answered.receive(CLIENT if from_its_port else SERVER, UNKNOWN)
        assert answered.effects[-1] == Close("finished")
    assert forged.request("198.51.100.9").violations() == ["tftp.reflection"]


def test_a_client_that_has_taken_an_answer_up_is_served_while_its_server_is_misused() -> None:
    forged = Reflected()
    known = forged.answer(forged.request("198.51.100.2"))
    known.receive(SERVER, ACK)
    for victim in ("198.51.100.8", "198.51.100.9"):
        forged.answer(forged.request(victim)).wait(UNHEARD_SECONDS)
    assert forged.request("198.51.100.3").violations() == ["tftp.reflection"]
    assert forged.request("198.51.100.2").violations() == []


def test_requests_that_no_server_answers_reach_nobody_and_are_not_counted() -> None:
    forged = Reflected()
    for _ in range(5):
        request = forged.request("198.51.100.9")
        request.end(1, 0, 0, "never_used")
        assert request.violations() == []


def test_a_request_that_is_replaced_before_its_answer_is_taken_up_is_counted() -> None:
    forged = Reflected(most=1)
    session = forged.answer(forged.request("198.51.100.9"), from_its_port=True)
    session.receive(CLIENT, WRQ)
    session.receive(CLIENT, RRQ)
    assert session.violations() == ["tftp.reflection"]


WHOLE_BLOCK = b"\0\3\0\1" + bytes(512)
LAST_BLOCK = b"\0\3\0\2last"
LAST_ACK = b"\0\4\0\2"


def test_a_server_sends_its_next_file_from_the_same_port_into_the_session_of_the_one_before() -> None:
    daemon = Daemon()
    daemon.request.use(1)
    daemon.transfer.receive(CLIENT, DATA)
    daemon.transfer.receive(SERVER, ACK)
    again = daemon._session(on(NETWORKS["snat"], HELPER, Transport.UDP, PORT))
    again.receive(CLIENT, b"\0\2backup\0octet\0")
    daemon.transfer.receive(CLIENT, WHOLE_BLOCK)  # the last one of the file before, once more, is no answer to a WRQ
    daemon.transfer.receive(CLIENT, b"\0\4\0\0")
    daemon.transfer.receive(SERVER, DATA)
    daemon.transfer.receive(CLIENT, ACK)
    again.end(1, 0, 0, "never_used")
    assert again.effects[-1] == Close("answered")
    notes = daemon.transfer.notes("tftp.transfer") + again.notes("tftp.transfer")
    assert [(note["direction"], note["file"], note["bytes"]) for note in notes] == [
        ("read", b"boot.img", 4),
        ("write", b"backup", 4),
    ]


def test_of_many_files_in_a_row_few_sessions_stand_behind_their_end() -> None:
    """TF16: each would count against the client's limit."""
    daemon = Daemon()
    peers = on(NETWORKS["none"], HELPER, Transport.UDP, PORT)
    sessions = []
    for number in range(MAX_DALLYING + 2):
        client = Endpoint(peers.client.host, 10_000 + number)
        session = daemon._session(Peers(client, client, peers.server, peers.server, Transport.UDP))
        for side, data in ((CLIENT, RRQ), (SERVER, DATA), (CLIENT, ACK)):
            session.receive(side, data)
        sessions.append(session)
    assert [session.is_over for session in sessions] == [False] * MAX_DALLYING + [True] * 2
    sessions[0].wait(10.0)
    assert sessions[0].effects[-1] == Close("finished")
    assert daemon.engines.standing()["dallying"] == MAX_DALLYING - 1
    for session in (*sessions[1:], daemon.request, daemon.transfer):
        session.engine.stop(session.now)
    assert daemon.engines.standing() == {"transfers": 0, "dallying": 0}


def test_after_a_reload_a_file_from_port_69_goes_on_and_is_told_once() -> None:
    """The same two begin another session, by the policy of now."""
    peers, engines = on(NETWORKS["snat"], HELPER, Transport.UDP, PORT), TftpEngines()
    before, after = Session.of(HELPER, peers), Session.of(HELPER, peers)
    before.engine = engines(peers, TftpOptions(), before.pinholes, 0.0)
    before.receive(CLIENT, RRQ)
    before.receive(SERVER, WHOLE_BLOCK)
    after.engine = engines(peers, TftpOptions(), after.pinholes, 0.0)
    for side, data in ((CLIENT, ACK), (SERVER, LAST_BLOCK), (CLIENT, LAST_ACK)):
        after.receive(side, data)
    assert after.sent(SERVER) == ACK + LAST_ACK
    before.close()
    notes = before.notes("tftp.transfer") + after.notes("tftp.transfer")
    assert [(note["bytes"], note["result"]) for note in notes] == [(516, "complete")]


def test_after_a_reload_a_file_from_another_port_goes_on_and_is_told_once() -> None:
    daemon = Daemon()
    daemon.request.use(1)
    before = daemon.transfer
    before.receive(CLIENT, WHOLE_BLOCK)
    assert daemon.role is not None
    after = daemon._session(replace(on(NETWORKS["snat"], HELPER, Transport.UDP, PORT), role=daemon.role.role))
    for side, data in ((SERVER, ACK), (CLIENT, LAST_BLOCK), (SERVER, LAST_ACK)):
        after.receive(side, data)
    before.close()
    notes = before.notes("tftp.transfer") + after.notes("tftp.transfer")
    assert [(note["bytes"], note["result"]) for note in notes] == [(516, "complete")]
