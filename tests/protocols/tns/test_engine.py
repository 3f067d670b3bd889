"""The TNS engine: redirects followed and rewritten in every form, and nothing read after the handshake."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from ipaddress import IPv4Address, ip_address, ip_network
from typing import Any, cast

import pytest
from pydantic import TypeAdapter, ValidationError

from protocols.contract import pinholes
from protocols.contract.addresses import Endpoint, Peers, Side, only
from protocols.contract.effects import Abort, Effect, Finish, Note, Resolve, Send, Splice
from protocols.contract.pinholes import Closed, Expect, Grant, Reader, Refusal
from protocols.tns import engine as tns
from protocols.tns.options import TnsOptions
from protocols.tns.redirect import Redirected
from tools.peers import tns_packets
from tools.peers.tns_packets import FORMS, accept, address, connect, data, in_packet, in_two, packet

CLIENT, SERVER = Side.CLIENT, Side.SERVER
Form = Callable[[bytes], bytes]
every_form = pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)


def at(text: str) -> Endpoint:
    host, _, port = text.rpartition(":")
    return Endpoint(ip_address(host.strip("[]")), int(port))


ROUTED = Peers(at("198.51.100.2:40000"), at("198.51.100.2:45000"), at("203.0.113.7:1521"), at("203.0.113.7:1521"))
PUBLISHED = Peers(at("198.51.100.2:40000"), at("198.51.100.2:45000"), at("10.0.0.5:1521"), at("203.0.113.7:1521"))
PUBLISHED6 = Peers(
    at("[2001:db8:1::2]:4000"), at("[2001:db8:1::2]:4500"), at("[fd02::5]:1521"), at("[2001:db8:2::7]:1521")
)


class Pinholes:
    """What a session of TNS asks of a table of pinholes."""

    def __init__(self) -> None:
        self.opened: list[Expect] = []
        self.closed: list[int] = []
        self.refuses: str | None = None

    def open(self, expect: Expect) -> Grant | Refusal:
        if self.refuses:
            return Refusal(self.refuses)
        self.opened.append(expect)
        port = expect.listen.port or 61000 + len(self.opened) - 1
        return Grant(len(self.opened), expect, Endpoint(expect.listen.host, port))

    def close(self, grant: Any, reason: str = "") -> None:
        self.closed.append(grant.id)


class Session:
    def __init__(self, peers: Peers = ROUTED, now: float = 0.0, **options: Any) -> None:
        self.pinholes = Pinholes()
        self.engine = tns.TnsEngine(peers, TnsOptions(**options), cast(pinholes.Pinholes, self.pinholes), now)
        self.effects: list[Effect] = []

    def hear(self, side: Side, stream: bytes, cut: int = 0, now: float = 1.0) -> Session:
        for start in range(0, len(stream), cut or len(stream)):
            if not self.is_over:
                self.effects += self.engine.receive(side, stream[start : start + (cut or len(stream))], now)
        return self

    def hear_slowly(self, side: Side, stream: bytes, now: float) -> float:
        """A byte a second; when it was over, or all had come."""
        for byte in stream:
            if self.is_over:
                break
            now += 1
            self.effects += self.engine.tick(now)
            self.hear(side, bytes((byte,)), now=now)
        return now

    @property
    def is_over(self) -> bool:
        return any(isinstance(effect, Abort | Splice) for effect in self.effects)

    def sent(self, to: Side) -> bytes:
        return b"".join(effect.data for effect in self.effects if isinstance(effect, Send) and effect.to is to)

    def notes(self, event: str) -> list[dict[str, Any]]:
        return [dict(effect.facts) for effect in self.effects if isinstance(effect, Note) and effect.event == event]

    def last(self) -> Effect:
        return self.effects[-1]


def asked(peers: Peers = ROUTED, cut: int = 0, **options: Any) -> Session:
    return Session(peers, **options).hear(CLIENT, connect(), cut)


# -- the handshake -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "offset"), [(308, 34), (310, 58), (312, 58), (314, 58), (315, 70), (317, 70), (319, 74)]
)
@pytest.mark.parametrize("cut", [0, 1, 13])
def test_connect_of_every_layout_passes_as_it_came_when_urgent_data_is_carried(
    version: int, offset: int, cut: int
) -> None:
    message = connect(version=version, offset=offset)
    session = Session(oob="carry").hear(CLIENT, message, cut)
    assert session.sent(SERVER) == message
    (told,) = session.notes("tns.connect")
    assert told == {"version": version, "service": "svc", "program": "sqlplus", "host": "pc7", "user": "scott"}


@pytest.mark.parametrize("cut", [0, 1, 50])
def test_long_connect_data_comes_in_a_packet_of_its_own(cut: int) -> None:
    text = tns_packets.CONNECT_DATA.replace(b"svc", b"s" * 200)
    session = Session(oob="carry").hear(CLIENT, connect(text), cut)
    assert session.sent(SERVER) == connect(text)
    assert session.notes("tns.connect")[0]["service"] == "s" * 200


def test_connect_data_may_have_no_description_around_it_or_be_nothing_known() -> None:
    assert Session().hear(CLIENT, connect(b"(CONNECT_DATA=(COMMAND=version)(SID=x))")).notes("tns.connect") == [
        {"version": 319, "sid": "x"}
    ]
    assert Session().hear(CLIENT, connect(b"((((")).notes("tns.connect") == [{"version": 319}]


def test_secrets_in_connect_data_stay_out_of_the_log() -> None:
    text = tns_packets.CONNECT_DATA.replace(b"(CID=", b"(PASSWORD=tiger)(CID=")
    assert "tiger" not in str(Session().hear(CLIENT, connect(text)).effects[0])


def test_without_urgent_data_its_bits_are_cleared_and_nothing_else() -> None:
    sent = asked().sent(SERVER)
    changed = [i for i, (old, new) in enumerate(zip(connect(), sent, strict=True)) if old != new]
    assert changed == [12, 73]
    assert sent[12:14] == b"\x08\x41"
    session = asked().hear(SERVER, accept())
    answered = session.sent(CLIENT)
    assert [i for i, (old, new) in enumerate(zip(accept(), answered, strict=True)) if old != new] == [10, 44]


def test_an_accept_of_an_older_version_has_no_such_byte() -> None:
    answered = asked().hear(SERVER, accept(version=315)).sent(CLIENT)
    assert [i for i, (old, new) in enumerate(zip(accept(version=315), answered, strict=True)) if old != new] == [10]


@pytest.mark.parametrize("cut", [0, 1, 7])
def test_after_accept_nothing_is_read_and_what_is_here_goes_first(cut: int) -> None:
    session = asked(oob="carry").hear(SERVER, accept() + b"\0\0\0\x0b more", cut)
    assert session.sent(CLIENT)[: len(accept())] == accept()
    if not cut:
        assert session.sent(CLIENT) == accept() + b"\0\0\0\x0b more"
    assert session.last() == Splice(86400.0, carries_urgent=True)
    assert session.notes("tns.accepted") == [{"version": 319}]


def test_after_refuse_neither_and_the_log_has_its_number() -> None:
    session = asked().hear(SERVER, tns_packets.refuse(12514))
    assert session.sent(CLIENT) == tns_packets.refuse(12514)
    assert session.notes("tns.refused") == [{"error": 12514}]
    assert isinstance(session.last(), Splice)


def test_a_checksum_goes_with_the_bytes_that_it_was_of() -> None:
    summed = bytearray(connect())
    summed[2:4] = b"\xab\xcd"
    kept = Session(oob="carry").hear(CLIENT, bytes(summed)).sent(SERVER)
    changed = Session(oob="disable").hear(CLIENT, bytes(summed)).sent(SERVER)
    assert kept == summed
    assert changed[2:4] == b"\0\0"


def test_a_refuse_without_text_is_one() -> None:
    assert asked().hear(SERVER, packet(4, b"\x22\0\0\0")).notes("tns.refused") == [{"error": None}]


def test_resend_asks_for_the_same_again_on_the_same_connection() -> None:
    session = asked(oob="carry").hear(SERVER, tns_packets.RESEND).hear(CLIENT, connect()).hear(SERVER, accept())
    assert session.sent(SERVER) == connect() * 2
    assert session.sent(CLIENT) == tns_packets.RESEND + accept()
    assert len(session.notes("tns.connect")) == 1


@pytest.mark.parametrize("cut", [0, 1, 50])
def test_resend_may_overtake_the_rest_of_long_connect_data(cut: int) -> None:
    text = tns_packets.CONNECT_DATA.replace(b"svc", b"s" * 200)
    whole = connect(text)
    head = int.from_bytes(whole[:2], "big")
    session = Session(oob="carry").hear(CLIENT, whole[:head], cut).hear(SERVER, tns_packets.RESEND)
    session.hear(CLIENT, whole[head:], cut).hear(CLIENT, whole, cut).hear(SERVER, accept())
    assert session.sent(SERVER) == whole * 2
    assert session.sent(CLIENT) == tns_packets.RESEND + accept()
    assert [note["service"] for note in session.notes("tns.connect")] == ["s" * 200]


def test_resend_without_end_is_ended() -> None:
    session = asked()
    for _ in range(tns.MAX_RESENDS + 1):
        session.hear(SERVER, tns_packets.RESEND).hear(CLIENT, connect())
    assert session.last() == Abort("malformed")


def test_another_answer_is_left_unread() -> None:
    session = asked().hear(SERVER, packet(12, b"\1\0\2"))
    assert session.notes("tns.unread") == [{"type": 12}]
    assert isinstance(session.last(), Splice)


# -- redirects ---------------------------------------------------------------------------------------------------------


@every_form
@pytest.mark.parametrize("cut", [0, 1, 9])
def test_where_nothing_is_mapped_a_redirect_passes_as_it_came_and_the_pinhole_stands_where_it_says(
    form: Form, cut: int
) -> None:
    message = form(address("203.0.113.9", 1522))
    session = asked().hear(SERVER, message, cut)
    assert session.sent(CLIENT) == message
    (expect,) = session.pinholes.opened
    assert (expect.listen, expect.target) == (at("203.0.113.9:1522"), at("203.0.113.9:1522"))
    assert (expect.allow, expect.source) == (only(ROUTED.client.host), at("198.51.100.2:0"))
    assert (expect.uses, expect.reader) == (1, Reader("tns", Redirected((ROUTED.server,))))
    assert session.notes("tns.redirected") == [
        {"from": ROUTED.server, "to": at("203.0.113.9:1522"), "known_as": at("203.0.113.9:1522"), "hop": 1}
    ]
    assert not session.notes("address.rewritten")


@every_form
@pytest.mark.parametrize("cut", [0, 1, 9])
@pytest.mark.parametrize("host", ["10.0.0.5", "10.0.0.123"])
def test_of_a_published_listener_address_and_all_lengths_become_others(form: Form, cut: int, host: str) -> None:
    session = asked(PUBLISHED, redirect_to=(ip_network("10.0.0.0/24"),)).hear(SERVER, form(address(host, 1522)), cut)
    # Cut over packets or not, it goes on in one: some clients read no further.
    wanted = in_two if form is tns_packets.in_three else form
    expected = wanted(address("203.0.113.7", 61000))
    if form is tns_packets.with_length_zero_and_redirect:
        expected = tns_packets.packet(5, b"\0\0") + in_packet(address("203.0.113.7", 61000))
    assert session.sent(CLIENT) == expected
    (expect,) = session.pinholes.opened
    assert (expect.listen, expect.target) == (at("203.0.113.7:0"), at(f"{host}:1522"))
    assert session.notes("address.rewritten")[0]["changes"][0]["after"] == at("203.0.113.7:61000")


def test_what_the_client_is_to_say_there_is_left_alone() -> None:
    where = b"(DESCRIPTION=(CONNECT_DATA=(SERVICE_NAME=))(ADDRESS=(HOST=10.0.0.5)(PORT=1600)(PROTOCOL=tcp)))"
    session = asked(PUBLISHED).hear(SERVER, in_two(where))
    assert session.sent(CLIENT) == in_two(where.replace(b"10.0.0.5", b"203.0.113.7").replace(b"1600", b"61000"))


def test_checksums_and_the_id_of_the_connection_stay_what_they_are() -> None:
    where = address("10.0.0.5", 1600)
    message = bytearray(packet(5, len(where).to_bytes(2, "big") + where + bytes(range(16)), flags=1))
    message[2:4], message[6:8] = b"\xab\xcd", b"\x12\x34"
    sent = asked(PUBLISHED).hear(SERVER, bytes(message)).sent(CLIENT)
    new = address("203.0.113.7", 61000)
    expected = bytearray(packet(5, len(new).to_bytes(2, "big") + new + bytes(range(16)), flags=1))
    expected[6:8] = b"\x12\x34"
    assert sent == bytes(expected)


def with_ids(stream: bytes) -> bytes:
    """The same packets, each with an id of the connection."""
    message = b""
    while stream:
        length = int.from_bytes(stream[:2], "big")
        message += packet(stream[4], stream[8:length] + bytes(range(16)), flags=stream[5] | 1)
        stream = stream[length:]
    return message


@every_form
def test_in_every_form_each_packet_keeps_its_id_of_the_connection(form: Form) -> None:
    session = asked(PUBLISHED).hear(SERVER, with_ids(form(address("10.0.0.5", 1600))))
    wanted = in_two if form is tns_packets.in_three else form
    assert session.sent(CLIENT) == with_ids(wanted(address("203.0.113.7", 61000)))
    same = with_ids(form(address("203.0.113.9", 1522)))
    assert asked().hear(SERVER, same).sent(CLIENT) == same


def test_with_ipv6_the_address_stands_bare() -> None:
    session = asked(PUBLISHED6).hear(SERVER, in_packet(b"(ADDRESS=(PROTOCOL=tcp)(HOST=fd02::5)(PORT=1600))"))
    assert session.sent(CLIENT) == in_packet(b"(ADDRESS=(PROTOCOL=tcp)(HOST=2001:db8:2::7)(PORT=61000))")


def test_of_several_addresses_each_gets_its_own_pinhole() -> None:
    where = b"(ADDRESS_LIST=" + address("10.0.0.5", 1600) + address("10.0.0.5", 1601) + b")"
    session = asked(PUBLISHED).hear(SERVER, in_packet(where))
    new = b"(ADDRESS_LIST=" + address("203.0.113.7", 61000) + address("203.0.113.7", 61001) + b")"
    assert session.sent(CLIENT) == in_packet(new)
    assert [expect.target.port for expect in session.pinholes.opened] == [1600, 1601]


def test_one_that_is_not_allowed_is_taken_out_of_the_list() -> None:
    where = b"(ADDRESS_LIST=" + address("192.0.2.66", 1600) + address("10.0.0.5", 1601) + b")"
    session = asked(PUBLISHED).hear(SERVER, in_packet(where))
    assert session.sent(CLIENT) == in_packet(b"(ADDRESS_LIST=" + address("203.0.113.7", 61000) + b")")
    assert session.notes("violation")[0]["rule"] == "tns.redirect_elsewhere"


def test_a_missing_port_is_1521_and_is_written_if_it_becomes_another() -> None:
    peers = Peers(PUBLISHED.client, PUBLISHED.client_as_seen, at("10.0.0.5:1600"), PUBLISHED.server_as_seen)
    session = asked(peers).hear(SERVER, in_packet(b"(ADDRESS=(PROTOCOL=tcp)(HOST=10.0.0.5))"))
    assert session.pinholes.opened[0].target.port == 1521
    assert session.sent(CLIENT) == in_packet(b"(ADDRESS=(PROTOCOL=tcp)(HOST=203.0.113.7)(PORT=61000))")


@pytest.mark.parametrize(
    ("where", "becomes"),
    [
        (b'(ADDRESS=(HOST="10.0.0.5")(PORT=1600))', b'(ADDRESS=(HOST="203.0.113.7")(PORT=61000))'),
        (b"(ADDRESS=(HOST='10.0.0.5')(PORT='1600'))", b"(ADDRESS=(HOST='203.0.113.7')(PORT='61000'))"),
        (
            b" ( address = (protocol = tcp)\r\n\t( port = 1600 ) ( host = 10.0.0.5 ) ) ",
            b" ( address = (protocol = tcp)\r\n\t( port = 61000 ) ( host = 203.0.113.7 ) ) ",
        ),
        (
            b"(ADDRESS=(DEV=6)(PORT=1600)(COMMUNITY=x)(HOST=10.0.0.5))",
            b"(ADDRESS=(DEV=6)(PORT=61000)(COMMUNITY=x)(HOST=203.0.113.7))",
        ),
        (
            b"(DESCRIPTION_LIST=(DESCRIPTION=(ADDRESS_LIST=(ADDRESS=(HOST=10.0.0.5)(PORT=1600)))))",
            b"(DESCRIPTION_LIST=(DESCRIPTION=(ADDRESS_LIST=(ADDRESS=(HOST=203.0.113.7)(PORT=61000)))))",
        ),
        (
            b"(DESCRIPTION=(CONNECT_DATA=(CID=(HOST=10.0.0.5)))(ADDRESS=(HOST=10.0.0.5)(PORT=1600)))",
            b"(DESCRIPTION=(CONNECT_DATA=(CID=(HOST=10.0.0.5)))(ADDRESS=(HOST=203.0.113.7)(PORT=61000)))",
        ),
        (
            b"(ADDRESS=(PROTOCOL=TCPS)(HOST=10.0.0.5)(PORT=1600))",
            b"(ADDRESS=(PROTOCOL=TCPS)(HOST=203.0.113.7)(PORT=61000))",
        ),
        (b"(ADDRESS=(HOST=10.0.0.5)(PORT=1600)(X=a\\)b))", b"(ADDRESS=(HOST=203.0.113.7)(PORT=61000)(X=a\\)b))"),
        (b"10.0.0.5:1600/svc", b"203.0.113.7:61000/svc"),
        (b"(ADDRESS=(HOST=10.0.0.5)(PORT=1600)(X=))", b"(ADDRESS=(HOST=203.0.113.7)(PORT=61000)(X=))"),
    ],
)  # fmt: skip
def test_every_spelling_of_an_address_is_understood_and_kept(where: bytes, becomes: bytes) -> None:
    assert asked(PUBLISHED).hear(SERVER, in_two(where)).sent(CLIENT) == in_two(becomes)


# -- names -------------------------------------------------------------------------------------------------------------


def test_a_name_of_the_options_needs_no_resolver() -> None:
    session = asked(PUBLISHED, hosts={"RAC1": IPv4Address("10.0.0.5")}).hear(SERVER, in_packet(address("rac1", 1600)))
    assert session.sent(CLIENT) == in_packet(address("203.0.113.7", 61000))


def test_while_a_name_is_resolved_the_redirect_is_held() -> None:
    session = asked(PUBLISHED).hear(SERVER, in_two(address("Rac1.Example", 1600)))
    assert session.last() == Resolve("rac1.example")
    assert session.sent(CLIENT) == b""
    assert session.engine.eof(SERVER, 2.0) == ()
    effects = session.engine.resolved("rac1.example", (ip_address("2001:db8::1"), ip_address("10.0.0.5")), 3.0)
    assert [effect for effect in effects if not isinstance(effect, Note)] == [
        Send(CLIENT, in_two(address("203.0.113.7", 61000))),
        Finish(CLIENT),
    ]


@pytest.mark.parametrize("behind", [data(b"bye"), packet(12, b"\1\0\2"), b"no packet at all", packet(6, b"\0\x40")])
def test_what_comes_behind_a_redirect_waits_for_the_name_and_goes_on_as_it_came(behind: bytes) -> None:
    session = asked(PUBLISHED).hear(SERVER, in_two(address("rac1", 1600)) + behind).hear(SERVER, behind)
    session.effects += session.engine.resolved("rac1", (ip_address("10.0.0.5"),), 3.0)
    assert session.sent(CLIENT) == in_two(address("203.0.113.7", 61000)) + behind * 2


def test_what_comes_behind_a_redirect_is_not_kept_without_end() -> None:
    session = asked(PUBLISHED).hear(SERVER, in_two(address("rac1", 1600))).hear(SERVER, bytes(tns.MAX_HELD + 1))
    assert b"(ERR=12564)" in session.sent(CLIENT)
    assert session.last() == Abort("malformed")


def test_a_name_that_nobody_knows_is_refused() -> None:
    session = asked(PUBLISHED).hear(SERVER, in_two(address("nowhere", 1600)))
    session.effects += session.engine.resolved("nowhere", (), 3.0)
    assert b"(ERR=12564)" in session.sent(CLIENT)
    assert b"the name has no address" in session.sent(CLIENT)
    assert session.last() == Abort("redirect_refused")


def test_where_nothing_is_mapped_a_name_stays_and_all_its_addresses_are_open() -> None:
    message = in_two(address("rac1", 1600))
    session = asked().hear(SERVER, message)
    found = tuple(ip_address(f"203.0.113.{number}") for number in (8, 9))
    session.effects += session.engine.resolved("rac1", found, 3.0)
    assert session.sent(CLIENT) == message
    assert [expect.listen.host for expect in session.pinholes.opened] == list(found)


def test_names_may_be_allowed_by_pattern() -> None:
    session = asked(PUBLISHED, redirect_to=("*.db.example",)).hear(SERVER, in_two(address("Node1.db.example", 1600)))
    session.effects += session.engine.resolved("node1.db.example", (ip_address("10.9.9.9"),), 3.0)
    assert session.pinholes.opened[0].target == at("10.9.9.9:1600")


@pytest.mark.parametrize("name", ["rac1.db.example.org", "rac1.db.example.org.", "RAC1.DB.Example.Org."])
@pytest.mark.parametrize(
    "pattern", ["*.db.example.org", "*.DB.example.ORG.", "rac1.db.example.org", "Rac1.db.example.org."]
)
def test_names_are_the_same_in_any_case_and_with_a_dot_at_their_end(name: str, pattern: str) -> None:
    session = asked(PUBLISHED, redirect_to=(pattern,)).hear(SERVER, in_two(address(name, 1600)))
    session.effects += session.engine.resolved(name.lower(), (ip_address("10.9.9.9"),), 3.0)
    assert session.pinholes.opened[0].target == at("10.9.9.9:1600")
    known = asked(PUBLISHED, redirect_to=(pattern,), hosts={pattern.replace("*", "rac1"): ip_address("10.9.9.9")})
    known.hear(SERVER, in_two(address(name, 1600)))
    assert known.pinholes.opened[0].target == at("10.9.9.9:1600")


@pytest.mark.parametrize("name", ["db.example.org.", "xdb.example.org.", "rac1.db.example.org.evil.test.", "org."])
def test_a_dot_at_the_end_admits_no_other_name(name: str) -> None:
    session = asked(PUBLISHED, redirect_to=("*.db.example.org",)).hear(SERVER, in_two(address(name, 1600)))
    session.effects += session.engine.resolved(name, (ip_address("10.9.9.9"),), 3.0)
    assert session.pinholes.opened == []


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("where", "why"),
    [
        (address("192.0.2.66", 1600), "redirect_to"),
        (address("127.0.0.1", 1600), "no address of a server"),
        (address("169.254.1.1", 1600), "no address of a server"),
        (address("0.0.0.0", 1600), "no address of a server"),
        (address("203.0.113.7", 22), "below 1024"),
        (address("203.0.113.7", 1521), "it has been there"),
        (b"(ADDRESS=(PROTOCOL=ipc)(HOST=203.0.113.7)(PORT=1600))", "protocol ipc"),
        (b"(ADDRESS=(PROTOCOL=ipc)(KEY=EXTPROC))", "protocol ipc"),
        (address("2001:db8::1", 1600), "family"),
    ],
)
def test_a_client_is_led_to_no_place_that_is_not_its_servers(where: bytes, why: str) -> None:
    session = asked().hear(SERVER, in_two(where))
    assert session.pinholes.opened == []
    assert why.encode() in session.sent(CLIENT)
    assert session.sent(CLIENT)[4] == 4
    assert int.from_bytes(session.sent(CLIENT)[:2], "big") == len(session.sent(CLIENT))
    assert why in session.notes("violation")[0]["detail"]
    assert session.last() == Abort("redirect_refused")


SENSELESS = (
    b"", b"(", b"()", b"a b", b"(A" * 50, b"(ADDRESS=)", b"(ADDRESS=(PORT=1600))", b"(ADDRESS=(HOST=a b)(PORT=1))",
    b"(ADDRESS=(HOST=2001:db8::1%eth0)(PORT=1600))", b"(ADDRESS=(HOST=10.0.0.5)(PORT=0))",
    b"(ADDRESS=(HOST=10.0.0.5)(PORT=99999))",
    b"(ADDRESS=(HOST=10.0.0.5)(PORT=1600)(HOST=10.0.0.9))", b"(ADDRESS=(HOST=10.0.0.5)(PORT=1600)(Port=22))",
    b"(ADDRESS=(PROTOCOL=ipc)(PROTOCOL=tcp)(HOST=10.0.0.5)(PORT=1600))",
)  # fmt: skip


@pytest.mark.parametrize("where", SENSELESS)
def test_a_redirect_that_says_nothing_is_refused(where: bytes) -> None:
    session = asked().hear(SERVER, in_two(where))
    assert [note["rule"] for note in session.notes("violation")] == ["tns.bad_redirect"]
    assert session.last() == Abort("redirect_refused")


def test_the_way_is_at_most_so_long_and_never_leads_back() -> None:
    via = (at("203.0.113.4:1521"), at("203.0.113.5:1521"))
    peers = replace(ROUTED, role=Redirected(via))
    assert (
        "it has been there"
        in asked(peers).hear(SERVER, in_two(address("203.0.113.4", 1521))).notes("violation")[0]["detail"]
    )
    session = asked(peers).hear(SERVER, in_two(address("203.0.113.9", 1521)))
    assert session.pinholes.opened[0].reader == Reader("tns", Redirected((*via, ROUTED.server)))
    peers = replace(ROUTED, role=Redirected((*via, via[0])))
    assert (
        asked(peers).hear(SERVER, in_two(address("203.0.113.9", 1521))).notes("violation")[0]["rule"]
        == "tns.too_many_hops"
    )


def test_a_pinhole_that_cannot_be_had_is_told_to_the_client() -> None:
    session = asked(PUBLISHED)
    session.pinholes.refuses = "no_free_port"
    session.hear(SERVER, in_two(address("10.0.0.5", 1600)))
    assert b"no_free_port" in session.sent(CLIENT)


@pytest.mark.parametrize(
    "answer",
    [
        packet(5, b"\xff\xff"),
        packet(5, b"\0\0") + data(b"(" * 20000),
        packet(5, b"\1\0") + data(b"x" * 300),
        packet(5, b"\1\0") + packet(12, b"\1\0\2"),
        b"\0\3\0\0\5\0\0\0",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
    ],
)
def test_an_answer_that_cannot_be_read_becomes_a_refusal(answer: bytes) -> None:
    session = asked().hear(SERVER, answer)
    assert session.sent(CLIENT)[4] == 4
    assert b"(ERR=12564)" in session.sent(CLIENT)
    assert session.notes("violation")[0]["action"] == "refused"
    assert session.last() == Abort("malformed")


@pytest.mark.parametrize(
    "first",
    [b"GET / HTTP/1.1\r\n\r\n", b"(DESCRIPTION=(ADDRESS=", b"\0\0\0\0\1\0\0\0", packet(6, b"\0\0x"), packet(1, b"x")],
)
def test_what_is_no_tns_is_closed_with_nothing_passed(first: bytes) -> None:
    session = Session().hear(CLIENT, first)
    assert session.last() == Abort("not_tns")
    assert session.sent(SERVER) == b""
    assert session.notes("violation")[0]["rule"] == "tns.malformed"


def test_a_listener_does_not_speak_first() -> None:
    assert Session().hear(SERVER, accept()).last() == Abort("not_tns")


def test_tls_passes_unread_or_is_denied() -> None:
    hello = b"\x16\x03\x01\x02\0"
    assert Session().hear(CLIENT, hello).effects[1:] == [Send(SERVER, hello), Splice(86400.0)]
    denied = Session(tls="deny").hear(CLIENT, hello)
    assert (denied.sent(SERVER), denied.last()) == (b"", Abort("tls_denied"))


# -- ends --------------------------------------------------------------------------------------------------------------


def test_a_handshake_has_its_time() -> None:
    session = asked(now=0.0, handshake_seconds=10)
    assert session.engine.deadline() == 11.0
    session.effects += session.engine.tick(11.0)
    assert b"(ERR=12535)" in session.sent(CLIENT)
    assert session.last() == Abort("handshake_timeout")
    silent = Session(now=5.0, handshake_seconds=10)
    assert silent.engine.tick(15.0) == (Abort("handshake_timeout"),)


@pytest.mark.parametrize("seconds", [35, 61, 89])
@pytest.mark.parametrize(
    "answer", [accept(), tns_packets.refuse(), tns_packets.RESEND, in_two(address("203.0.113.9", 1522))]
)
def test_a_slow_listener_is_not_given_up_before_oracle_would(answer: bytes, seconds: float) -> None:
    """Oracle's own limits are 60 seconds, at both ends."""
    session = asked()
    assert session.engine.tick(1.0 + seconds) == ()
    assert session.hear(SERVER, answer, now=1.0 + seconds).sent(CLIENT) != b""
    assert session.notes("tns.refused") in ([], [{"error": 12514}])


def test_the_listeners_time_begins_when_it_is_asked() -> None:
    session = Session(handshake_seconds=10).hear(CLIENT, connect(), now=9.0)
    assert session.engine.deadline() == 19.0
    session.hear(SERVER, tns_packets.RESEND, now=12.0).hear(CLIENT, connect(), now=13.0)
    assert session.engine.deadline() == 19.0  # once


LONG_CONNECT = connect(tns_packets.CONNECT_DATA.replace(b"svc", b"s" * 2000))


@pytest.mark.parametrize(
    ("side", "before", "slowly"),
    [
        (CLIENT, b"", LONG_CONNECT),
        (CLIENT, LONG_CONNECT[:300], LONG_CONNECT[300:]),
        (SERVER, connect(), packet(2, bytes(2000))),
        (SERVER, connect(), in_two(address("203.0.113.9", 1522) + b" " * 4000)),
        (SERVER, connect(), packet(5, (8000).to_bytes(2, "big") + b"(" * 7000)),
    ],
)
def test_a_byte_a_second_does_not_stop_the_clock(side: Side, before: bytes, slowly: bytes) -> None:
    session = Session(handshake_seconds=90)
    if before:
        session.hear(CLIENT, before)
    assert session.hear_slowly(side, slowly, 1.0) <= 182
    assert session.last() == Abort("handshake_timeout")


@pytest.mark.parametrize(
    "said",
    [
        [],
        [(CLIENT, connect()[:20])],
        [(CLIENT, connect())],
        [(CLIENT, connect()), (SERVER, tns_packets.RESEND)],
        [(CLIENT, connect()), (SERVER, accept()[:20])],
        [(CLIENT, connect()), (SERVER, in_two(address("203.0.113.9", 1522))[:30])],
        [(CLIENT, connect()), (SERVER, in_two(address("db1", 1522)))],
    ],
)
@pytest.mark.parametrize("ends", [None, CLIENT, SERVER])
def test_every_state_of_the_handshake_has_a_clock(said: list[tuple[Side, bytes]], ends: Side | None) -> None:
    session = Session()
    for side, stream in said:
        session.hear(side, stream)
    if ends is not None:
        session.effects += session.engine.eof(ends, 2.0)
    if not session.is_over:
        deadline = session.engine.deadline()
        assert deadline is not None and deadline <= 92
        session.effects += session.engine.tick(deadline)
    assert session.is_over


def test_who_is_told_that_nothing_more_comes_hears_nothing_more() -> None:
    session = asked(handshake_seconds=10)
    session.engine.eof(SERVER, 1.0)
    assert list(session.engine.tick(60.0)) == [Abort("handshake_timeout")]


def test_a_client_that_stays_where_it_was_redirected_has_the_time_of_a_session() -> None:
    session = asked(idle=100).hear(SERVER, in_two(address("203.0.113.9", 1522)))
    begun = session.engine.deadline()
    assert begun is not None
    session.engine.receive(CLIENT, b"x", begun - 1)
    assert session.engine.tick(begun) == ()
    assert session.engine.tick(begun + 99) == (Abort("idle"),)


def test_after_a_redirect_the_session_is_needed_until_the_client_has_come() -> None:
    session = asked().hear(SERVER, in_two(address("203.0.113.9", 1522)))
    for side in Side:
        assert session.engine.eof(side, 2.0) == (Finish(side.other),)
    assert session.engine.is_needed()
    grant = Grant(1, session.pinholes.opened[0], at("203.0.113.9:1522"))
    session.engine.pinhole(grant, Closed("used_up", 0, 0, 1.0), 3.0)
    assert not session.engine.is_needed()


def test_bytes_after_a_redirect_pass() -> None:
    session = asked().hear(SERVER, in_two(address("203.0.113.9", 1522)) + b"tail")
    assert session.sent(CLIENT).endswith(b"tail")
    assert session.engine.receive(CLIENT, b"bye", 2.0) == (Send(SERVER, b"bye"),)


def test_a_session_that_a_redirect_has_brought_about_has_an_idle_time_of_its_own() -> None:
    peers = replace(ROUTED, role=Redirected((at("203.0.113.4:1521"),)))
    assert asked(peers, redirect_idle=5.0).hear(SERVER, accept()).last() == Splice(5.0)
    assert asked(peers, idle=7.0).hear(SERVER, accept()).last() == Splice(7.0)
    assert asked(redirect_idle=5.0, idle=7.0).hear(SERVER, accept()).last() == Splice(7.0)


def test_an_address_of_another_protocol_is_left_out_and_the_one_beside_it_is_followed() -> None:
    local, remote = b"(ADDRESS=(PROTOCOL=ipc)(KEY=EXTPROC))", address("10.0.0.5", 1600)
    session = asked(PUBLISHED).hear(SERVER, in_two(b"(ADDRESS_LIST=%b%b)" % (local, remote)))
    assert session.sent(CLIENT) == in_two(b"(ADDRESS_LIST=%b)" % address("203.0.113.7", 61000))


@every_form
def test_half_a_redirect_is_refused_when_the_listener_ends(form: Callable[[bytes], bytes]) -> None:
    whole = form(address("10.0.0.5", 1600))
    for cut in range(5, len(whole)):
        session = asked(PUBLISHED).hear(SERVER, whole[:cut])
        session.effects += session.engine.eof(SERVER, 2.0)
        if session.pinholes.opened:
            continue  # it says all without its last bytes
        assert session.sent(CLIENT)[4] == 4
        assert b"10.0.0.5" not in session.sent(CLIENT)
        assert session.last() == Abort("redirect_refused")


def test_half_a_packet_is_passed_on_when_its_sender_ends() -> None:
    session = asked().hear(SERVER, accept()[:20])
    effects: Sequence[Effect] = session.engine.eof(SERVER, 2.0)
    assert effects == (Send(CLIENT, accept()[:20]), Finish(CLIENT))
    assert session.engine.eof(SERVER, 2.0) == ()


@pytest.mark.parametrize("options", [{"idle": 0}, {"hops": 9}, {"handshake_seconds": -1}, {"redirect_idle": 0}])
def test_options_that_mean_nothing_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(options))):
        TypeAdapter(TnsOptions).validate_python(options)
