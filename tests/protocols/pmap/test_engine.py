"""Sessions of the portmapper (protocols/pmap/engine.py): what is asked, opened, told and refused."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import pytest

from protocols.contract.addresses import Endpoint, Peers, Side, Transport
from protocols.contract.effects import Abort, Close
from protocols.contract.pinholes import Expect, Grant
from protocols.observe import Engines
from protocols.pmap.answers import NEVER
from protocols.pmap.engine import HELPER, MAX_PENDING, PmapEngine, PmapEngines
from protocols.pmap.options import PmapOptions
from protocols.pmap.services import MAX_CONNECTIONS, UDP_IDLE_SECONDS
from protocols.pmap.wire import MAX_CALL_BYTES, number, record
from protocols.toolbox.memory import MAX_HELD_OF_CLIENT
from protocols.toolbox.rates import IN_A_ROW_SECONDS
from tests.harness.fake_pinholes import FakePinholes
from tests.harness.playbook import NETWORKS, Session, endpoint, on
from tests.harness.pmap_messages import (
    DUMP,
    GETSTAT,
    GETVERSADDR,
    INDIRECT,
    MOUNTD,
    NFS,
    NULL,
    UDP,
    UNSET,
    address,
    call,
    getaddr,
    getport,
    listed,
    numbers,
    port,
    reply,
    rpcb,
)

CLIENT, SERVER = Side.CLIENT, Side.SERVER


class Daemon:
    """Sessions whose engines share what those of a daemon share."""

    def __init__(self) -> None:
        self.engines = PmapEngines()
        self.sessions: list[Session] = []

    def session(
        self, network: str = "none", transport: Transport = Transport.UDP, client: str = "", **options: Any
    ) -> Session:
        peers = on(NETWORKS[network], HELPER, transport, 888)
        if client:
            peers = Peers(endpoint(client), endpoint(client), peers.server, peers.server_as_seen, transport)
        session = Session.of(HELPER, peers, HELPER.options(**options))
        session.engine = self.engines(peers, PmapOptions(**options), session.pinholes, 0.0)
        if self.sessions:
            session.pinholes._numbers = self.sessions[0].pinholes._numbers
        self.sessions.append(session)
        return session


def asking(network: str = "none", **options: Any) -> Session:
    return Daemon().session(network, **options)


def streaming(network: str = "none", **options: Any) -> Session:
    return Daemon().session(network, Transport.TCP, **options)


def opened(session: Session) -> Expect:
    (grant,) = session.pinholes.standing.values()
    assert isinstance(grant, Grant)
    return grant.expect


def ask(session: Session, question: bytes, answer: bytes) -> None:
    session.receive(CLIENT, question)
    session.receive(SERVER, answer)


# -- what is opened ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("network", ["none", "snat", "dnat", "none6", "snat6", "dnat6", "4to6", "6to4"])
@pytest.mark.parametrize("protocol", [6, 17])
def test_an_answer_opens_one_way_for_its_client(network: str, protocol: int) -> None:
    """PM20, PM21, PM31, PM32."""
    session = asking(network)
    peers = on(NETWORKS[network], HELPER, Transport.UDP, 888)
    ask(session, getport(protocol=protocol), port(2049))
    expect = opened(session)
    transport = Transport.TCP if protocol == 6 else Transport.UDP
    assert (expect.transport, expect.uses, expect.reader) == (transport, None, None)
    assert expect.at_once == MAX_CONNECTIONS
    assert expect.target == Endpoint(peers.server.host, 2049)
    is_mapped = peers.is_mapped(SERVER)
    assert expect.listen == (Endpoint(peers.server_as_seen.host, 0) if is_mapped else expect.target)
    assert expect.prefer == 2049
    assert [network.network_address for network in expect.allow] == [peers.client.host]
    assert expect.source == Endpoint(peers.client_as_seen.host, 0) and expect.reserved_source
    assert (expect.open_seconds, expect.lasts_seconds, expect.renewed_by_use) == (600.0, 86400.0, True)
    assert expect.idle_seconds == (86400.0 if protocol == 6 else UDP_IDLE_SECONDS)
    assert expect.trigger == f"GETPORT nfs v3 {transport.value}"


def test_options_say_how_it_is_opened() -> None:
    session = asking("dnat", same_port=False, reserved_source="never", hold=60.0, idle=300.0)
    ask(session, getport(), port(2049))
    expect = opened(session)
    assert (expect.prefer, expect.reserved_source) == (0, False)
    assert (expect.open_seconds, expect.lasts_seconds, expect.idle_seconds) == (60.0, 300.0, 300.0)


def test_a_low_port_of_the_server_is_none_of_ours() -> None:
    session = asking("dnat")
    ask(session, getport(MOUNTD), port(892))
    assert (opened(session).prefer, opened(session).target.port) == (0, 892)


@pytest.mark.parametrize("refused", [1, 22, 111 + 400])
def test_no_low_port_is_opened(refused: int) -> None:
    """PM24."""
    session = asking()
    ask(session, getport(), port(refused))
    assert (session.pinholes.opened, session.violations()) == ([], ["pmap.low_port"])


@pytest.mark.parametrize("refused", sorted(NEVER))
def test_no_port_of_other_services_is_opened_whatever_the_lowest_port_is(refused: int) -> None:
    """PM24."""
    session = asking(min_port=1)
    ask(session, getport(), port(refused))
    assert (session.pinholes.opened, session.violations()) == ([], ["pmap.denied_port"])
    assert "pmap.denied_port" not in HELPER.permits


def test_an_option_says_what_is_a_low_port() -> None:
    session = asking(min_port=1)
    ask(session, getport(), port(22))
    assert opened(session).target.port == 22


def test_getversaddr_is_read_as_getaddr() -> None:
    session = asking()
    ask(session, getaddr(procedure=GETVERSADDR), address(b"203.0.113.7.8.1"))
    assert opened(session).trigger == "GETVERSADDR nfs v3 udp"


@pytest.mark.parametrize("netid", [b"", b"tcp", b"udp", b"udp6"])
@pytest.mark.parametrize(("network", "inferred"), [("none", "udp"), ("snat6", "udp6")])
def test_an_address_is_for_the_transport_of_the_call(network: str, inferred: str, netid: bytes) -> None:
    """PM11: rpcbind looks at nothing else."""
    session = asking(network)
    host = on(NETWORKS[network], HELPER, Transport.UDP, 888).server.host
    ask(session, getaddr(netid=netid), address(Endpoint(host, 2049)))
    assert opened(session).trigger == f"GETADDR nfs v3 {inferred}"


def test_a_transport_that_stays_on_its_host_opens_nothing() -> None:
    session = asking()
    ask(session, getaddr(netid=b"local"), address(b"/run/nfs.sock"))
    ask(session, getport(protocol=132, xid=8), port(2049, xid=8))
    assert session.pinholes.opened == []
    assert [str(note["at"]) for note in session.notes("pmap.lookup")] == ["None", "203.0.113.7:2049"]


def test_the_public_address_of_a_server_is_its_own_as_well() -> None:
    session = asking("dnat")
    ask(session, getaddr(), address(b"203.0.113.7.8.1"))
    assert opened(session).target == endpoint("10.0.0.5:2049")


def test_a_host_that_an_option_names_is_reached_at_its_own_address() -> None:
    session = asking("none", service_hosts=(ip_network("203.0.113.8/32"),))
    ask(session, getaddr(), address(b"203.0.113.8.8.1"))
    assert (opened(session).listen, opened(session).target) == (endpoint("203.0.113.8:2049"),) * 2


def test_a_question_alone_opens_nothing_and_neither_does_a_failure() -> None:
    session = asking()
    ask(session, getport(), reply(status=1))
    session.receive(CLIENT, getport(xid=8))
    assert session.pinholes.opened == [] and session.sent(CLIENT) == reply(status=1)


@pytest.mark.parametrize("version", [2, 3, 4])
def test_a_list_opens_nothing(version: int) -> None:
    entry = numbers(NFS, 3, UDP, 2049) if version == 2 else rpcb(NFS, 3, b"udp", b"0.0.0.0.8.1", b"")
    session = asking()
    ask(session, call(version, DUMP), reply(listed([entry])))
    assert (session.pinholes.opened, session.sent(CLIENT)) == ([], reply(listed([entry])))
    assert session.notes("pmap.dump") == [{"version": version, "entries": 1}]


def test_a_list_that_cannot_be_read_passes_unless_it_has_to_be_changed() -> None:
    for network, passes in (("none", True), ("dnat", False)):
        session = asking(network)
        ask(session, call(2, DUMP), reply(number(1)))
        assert (session.sent(CLIENT) == reply(number(1))) is passes
        assert session.violations() == ([] if passes else ["pmap.malformed"])


def test_of_a_list_entries_elsewhere_stay() -> None:
    entries = [rpcb(NFS, 3, b"tcp", b"203.0.113.99.8.1", b""), rpcb(MOUNTD, 3, b"tcp", b"10.0.0.5.3.124", b"")]
    session = asking("dnat")
    ask(session, call(4, DUMP), reply(listed(entries)))
    changed = [entries[0], rpcb(MOUNTD, 3, b"tcp", b"203.0.113.7.3.124", b"")]
    assert session.sent(CLIENT) == reply(listed(changed))


# -- life --------------------------------------------------------------------------------------------------------------


def test_what_is_open_outlives_its_session_and_another_session_renews_it() -> None:
    """PM22, PM25."""
    daemon = Daemon()
    first, second = daemon.session(), daemon.session(transport=Transport.TCP)
    ask(first, getport(), port(2049))
    first.close()
    assert not first.is_dissolved
    ask(second, record(getport()), record(port(2049)))
    assert (len(first.pinholes.opened), second.pinholes.opened) == (1, [])
    assert first.pinholes.log[-1] == "renew 1 from 198.51.100.2 for 600 s"
    first.use(1)
    ask(second, record(getport(xid=8)), record(port(2049, xid=8)))
    assert first.pinholes.log[-1] == "renew 1 from 198.51.100.2 for 86400 s"
    first.end(1, 10, 20, "expired")
    assert first.is_dissolved and daemon.engines.standing() == {"services": 0}
    ask(second, record(getport(xid=9)), record(port(2049, xid=9)))
    assert len(second.pinholes.opened) == 1


def test_each_client_has_its_own_and_its_own_bound() -> None:
    daemon = Daemon()
    first = daemon.session(max_services=1)
    second = daemon.session(client="198.51.100.3:888", max_services=1)
    for session in (first, second):
        ask(session, getport(), port(2049))
        ask(session, getport(MOUNTD, xid=8), port(892, xid=8))
        assert len(session.pinholes.opened) == 1
        assert session.violations() == ["pmap.too_many"]
        assert session.sent(CLIENT) == port(2049) + port(0, xid=8)
    assert daemon.engines.counts() == {"services": 2}


def test_the_end_of_its_session_by_an_operator_ends_what_it_opened() -> None:
    daemon = Daemon()
    session = daemon.session()
    ask(session, getport(), port(2049))
    session.dissolve()
    assert daemon.engines.standing() == {"services": 0}


def test_who_only_observes_changes_nothing_and_has_the_same_clock() -> None:
    """What would have been open is not told of again before its time would have been over."""
    peers = on(NETWORKS["dnat"], HELPER, Transport.UDP, 888)
    options, engines = PmapOptions(mode="observe", deny_programs=("mountd",)), Engines(HELPER)
    told, daemon = [], list[Session]()
    # The second question comes in the time of the first one, and the third in that of the second.
    for seconds in (300.0, 500.0, 700.0, 0.0):
        now = daemon[0].now if daemon else 0.0
        pinholes = FakePinholes()
        session = Session(engines(peers, options, pinholes, now), pinholes, engines, now=now, daemon=daemon)
        ask(session, getport(), port(2049))
        assert session.sent(CLIENT) == port(2049)
        told.append(len(session.notes("pinhole.observed")))
        session.wait(seconds)
    assert told == [1, 0, 0, 1]
    session.receive(CLIENT, getport(MOUNTD, xid=5))
    assert session.sent(SERVER) == getport() + getport(MOUNTD, xid=5)
    assert session.notes("violation")[0]["action"].startswith("passed; else ")


STARTTLS = number(0) + number(8) + b"STARTTLS"


def test_after_tls_nothing_is_looked_after() -> None:
    daemon = Daemon()
    session = daemon.session(transport=Transport.TCP)
    ask(session, record(getport()), record(port(2049)))
    ask(session, record(call(2, NULL, credentials=numbers(7, 0), xid=8)), record(reply(verifier=STARTTLS, xid=8)))
    assert session.is_over and not session.engine.is_needed()
    assert daemon.engines.standing() == {"services": 0}
    assert session.pinholes.log[-1] == "close 1"  # else another session would find its place taken
    another = daemon.session(transport=Transport.TCP)
    ask(another, record(getport()), record(port(2049)))
    assert len(another.pinholes.opened) == 1


def test_what_has_come_behind_the_turn_to_tls_goes_on() -> None:
    session = streaming()
    session.receive(CLIENT, record(call(2, NULL, credentials=numbers(7, 0))) + b"\x16")
    session.receive(SERVER, record(reply(verifier=STARTTLS)) + b"\x15\x03")
    assert session.is_over
    assert session.sent(SERVER).endswith(b"\x16") and session.sent(CLIENT).endswith(b"\x15\x03")


def test_a_lookup_does_not_turn_to_tls() -> None:
    session = streaming()
    asked = call(2, 3, numbers(NFS, 3, 6, 0), credentials=numbers(7, 0))
    ask(session, record(asked), record(reply(number(2049), verifier=STARTTLS)))
    assert (session.is_over, opened(session).target.port) == (False, 2049)


def test_a_flow_is_over_when_all_is_answered() -> None:
    session = asking()
    ask(session, getport(), port(0))
    session.wait(4.0)
    assert not session.is_over
    ask(session, getport(xid=8), port(0, xid=8))
    session.wait(4.9)
    assert not session.is_over
    session.wait(0.1)
    assert session.effects[-1] == Close("answered") and session.is_dissolved


def test_an_early_clock_ends_nothing() -> None:
    session = asking()
    session.receive(CLIENT, getport())
    assert session.engine.tick(1.0) == ()


# -- who is believed ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", list(Transport)[:2])
def test_a_reply_belongs_to_one_call(transport: Transport) -> None:
    """PM6."""
    session = Daemon().session(transport=transport)
    as_sent = record if transport is Transport.TCP else bytes
    session.receive(SERVER, as_sent(port(2049)))
    session.receive(CLIENT, as_sent(getport()))
    session.receive(SERVER, as_sent(port(2049, xid=9)))
    assert (session.pinholes.opened, session.violations()) == ([], ["pmap.unsolicited"] * 2)


def test_an_answer_on_a_stream_counts_once() -> None:
    session = streaming()
    ask(session, record(getport()), record(port(2049)) + record(port(2050)))
    assert session.violations() == ["pmap.unsolicited"]
    assert [grant.listen.port for grant in session.pinholes.expected()] == [2049]


def test_a_repeated_call_is_the_same_one_and_another_with_its_number_is_not() -> None:
    session = asking()
    ask(session, getport(), port(2049))
    ask(session, getport(), port(2049))
    assert len(session.notes("pmap.lookup")) == 1
    ask(session, getport(MOUNTD), port(892))
    assert [note["name"] for note in session.notes("pmap.lookup")] == ["nfs", "mountd"]
    assert session.violations() == []


@pytest.mark.parametrize(
    "question", [call(4, GETSTAT), call(4, DUMP), call(2, NULL, program=NFS)], ids=["statistics", "list", "other"]
)
def test_what_opens_nothing_may_be_answered_otherwise_each_time(question: bytes) -> None:
    """PM43 is for what opens something: a client whose first answer was lost has to get the next one."""
    session = asking()
    first, second = reply(listed([])), reply(listed([rpcb(NFS, 3, b"tcp", b"0.0.0.0.8.1", b"")]))
    ask(session, question, first)
    ask(session, question, second)
    assert (session.sent(CLIENT), session.violations()) == (first + second, [])
    assert len(session.notes("pmap.dump")) <= 1


def test_of_many_calls_the_oldest_is_forgotten() -> None:
    session = asking()
    for xid in range(MAX_PENDING + 1):
        session.receive(CLIENT, getport(xid=xid))
    session.receive(SERVER, port(2049, xid=0))
    assert session.violations() == ["pmap.unsolicited"]
    session.receive(SERVER, port(2049, xid=1))
    assert len(session.pinholes.opened) == 1


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("question", "rule"),
    [(call(4, INDIRECT), "pmap.indirect"), (call(3, UNSET), "pmap.write"), (getaddr()[:-20], "pmap.malformed")],
)
def test_what_is_refused_never_reaches_the_server(question: bytes, rule: str) -> None:
    session = streaming()
    session.receive(CLIENT, record(question))
    assert (session.sent(SERVER), session.violations()) == (b"", [rule])
    assert len(session.sent(CLIENT)) == 4 + 24


def test_behind_the_end_of_its_server_a_client_hears_nothing_of_us() -> None:
    session = streaming()
    session.eof(SERVER)
    session.receive(CLIENT, record(call(4, INDIRECT)))
    assert (session.sent(CLIENT), session.violations()) == (b"", ["pmap.indirect"])


@pytest.mark.parametrize("procedure", [DUMP, GETSTAT])
def test_calls_over_udp_have_rates_and_long_answers_lower_ones(procedure: int) -> None:
    """PM41."""
    session = asking(udp_calls=4, udp_dumps=1)
    for xid in range(100):
        session.receive(CLIENT, call(4, procedure, xid=xid))
    assert len(session.sent(SERVER)) // len(call(4, procedure)) == IN_A_ROW_SECONDS
    assert session.violations() == ["pmap.rate"]
    session.now = 3.0
    for xid in range(100):
        session.receive(CLIENT, call(4, procedure, xid=xid))
    assert len(session.sent(SERVER)) // len(call(4, procedure)) == IN_A_ROW_SECONDS + 3


def test_a_stream_has_none() -> None:
    session = streaming(udp_calls=1)
    for xid in range(50):
        session.receive(CLIENT, record(getport(xid=xid)))
    assert session.violations() == []


def test_a_call_that_is_too_long_ends_its_connection() -> None:
    session = streaming()
    session.receive(CLIENT, record(getport()))
    session.receive(CLIENT, number(MAX_CALL_BYTES + 1))
    assert (session.violations(), session.effects[-1]) == (["pmap.malformed"], Abort("malformed"))


@pytest.mark.parametrize("bad", [b"", getport(), bytes(30)])
def test_a_server_that_speaks_no_rpc_is_cut_off(bad: bytes) -> None:
    session = streaming()
    session.receive(CLIENT, record(getport()))
    session.receive(SERVER, record(bad))
    assert (session.violations(), session.effects[-1]) == (["pmap.malformed"], Abort("malformed"))
    dropped = asking()
    dropped.receive(SERVER, bad)
    assert (dropped.violations(), dropped.sent(CLIENT)) == (["pmap.malformed"], b"")


def test_all_connections_of_a_client_may_hold_so_much() -> None:
    """PM42: half of a record takes room until it is whole, or its connection is over."""
    daemon = Daemon()
    half = number(MAX_CALL_BYTES) + bytes(MAX_CALL_BYTES - 1)
    sessions = [daemon.session(transport=Transport.TCP) for _ in range(MAX_HELD_OF_CLIENT // (len(half) - 4096) + 3)]
    for session in sessions:
        session.receive(CLIENT, half)
    assert [session.violations() for session in sessions].count(["pmap.held_too_much"]) >= 2
    assert sessions[0].violations() == []
    assert sessions[-1].effects[-1] == Abort("held_too_much")
    for session in sessions:
        session.close()
    assert held(sessions[0]) == 0


def test_half_a_record_goes_with_its_sender_though_a_service_stands() -> None:
    session = streaming()
    ask(session, record(getport()), record(port(2049)))
    session.receive(CLIENT, number(MAX_CALL_BYTES) + bytes(MAX_CALL_BYTES - 1))
    assert held(session) > 0
    session.eof(CLIENT)
    assert held(session) == 0 and session.engine.is_needed()


def held(session: Session) -> int:
    """How many bytes count against the budget of all sessions."""
    assert isinstance(session.engine, PmapEngine)
    return session.engine._shared.held.total


# -- NAT ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hint", [b"", b"nowhere", b"203.0.113.99.0.111", b"203.0.113.7.0.0"])
def test_a_hint_that_is_not_the_servers_public_address_stays(hint: bytes) -> None:
    """PM34, X8."""
    session = asking("dnat")
    session.receive(CLIENT, getaddr(hint=hint))
    assert session.sent(SERVER) == getaddr(hint=hint)


def test_a_hint_at_another_port_keeps_that() -> None:
    session = asking("dnat")
    session.receive(CLIENT, getaddr(hint=b"203.0.113.7.8.1"))
    assert session.sent(SERVER) == getaddr(hint=b"10.0.0.5.8.1")
