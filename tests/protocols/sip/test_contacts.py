"""One address of a phone, needed for several reasons: who may come to it, and for how long."""

from __future__ import annotations

from protocols.contract.addresses import Peers, Side, Transport
from protocols.contract.effects import Note
from protocols.contract.pinholes import Closed, Grant
from tests.harness.sip_flow import (
    CLIENT,
    OURS,
    PHONE,
    PROXY,
    SERVER,
    Flow,
    at,
    established,
    invite,
    register,
    registered,
    response,
    sdp,
)


def lines(data: bytes, aor: str) -> bytes:
    """Of another line of the same phone."""
    return data.replace(b"sip:alice@example.org", f"sip:{aor}@example.org".encode()).replace(
        b"one@", aor.encode() + b"@"
    )


def test_two_lines_of_a_phone_are_two_registrations_at_one_pinhole() -> None:
    flow = Flow()
    for aor, number in (("alice", 1), ("desk", 2)):
        flow.hear(CLIENT, lines(register(number), aor))
        flow.hear(SERVER, lines(registered(number), aor))
    assert [line for line in flow.places.log if line.startswith("open")] == [
        "open 203.0.113.1:5060 for 10.1.0.2:5060 from 198.51.100.2"
    ]
    flow.hear(CLIENT, lines(register(3, expires=0), "desk"))
    flow.hear(SERVER, lines(registered(3, contacts="<sip:alice@203.0.113.1>;expires=0"), "desk"))
    assert flow.events().count("registration.removed") == 1
    assert len(flow.places.standing) == 1
    flow.tick(400.0)
    assert flow.events()[-1] == "registration.expired"
    assert not flow.places.standing


def test_a_registration_over_a_connection_has_an_address_to_call_back() -> None:
    flow = Flow(peers=Peers(at("10.1.0.2:41000"), at("203.0.113.1:41001"), PROXY, PROXY, Transport.TCP))
    flow.hear(CLIENT, register())
    outside = flow.places.log[0].split()[1]
    assert outside.startswith("203.0.113.1:5")
    flow.hear(SERVER, registered(contacts=f"<sip:alice@{outside}>;expires=300"))
    assert "registration.added" in flow.events()
    # It was named before, and now the registrar has it: one pinhole, whose time is the longer one, that of before.
    assert flow.places.log[1:] == [f"renew {outside} 600 for 198.51.100.2", f"confirm {outside}"]
    flow.tick(3700.0)
    assert flow.events()[-1] == "registration.expired"
    assert not flow.engine.is_needed()


def test_it_outlives_the_connection() -> None:
    flow = Flow(peers=Peers(at("10.1.0.2:41000"), at("203.0.113.1:41001"), PROXY, PROXY, Transport.TCP))
    flow.hear(CLIENT, register())
    outside = flow.places.log[0].split()[1]
    flow.hear(SERVER, registered(contacts=f"<sip:alice@{outside}>;expires=300"))
    for side in Side:
        flow.engine.eof(side, 1.0)
    assert flow.engine.is_needed()


def over_tcp() -> Flow:
    return Flow(peers=Peers(at("10.1.0.2:41000"), at("203.0.113.1:41001"), PROXY, PROXY, Transport.TCP))


def test_all_is_removed_that_the_phone_had_registered_by_whatever_connection() -> None:
    """RFC 3261 s.10.2.2: it has started anew, and forgotten which one it was."""
    first = over_tcp()
    first.hear(CLIENT, register())
    outside = first.places.log[0].split()[1]
    first.hear(SERVER, registered(contacts=f"<sip:alice@{outside}>;expires=300"))
    for side in Side:
        first.engine.eof(side, 1.0)
    second = Flow(peers=Peers(at("10.1.0.2:42000"), at("203.0.113.1:42001"), PROXY, PROXY, Transport.TCP), beside=first)
    second.hear(CLIENT, register(2, "*", expires=0))
    second.hear(SERVER, registered(2, f"<sip:alice@{outside}>;expires=0"))
    assert "registration.removed" in second.events()
    for side in Side:
        second.engine.eof(side, 2.0)
    assert not first.places.standing
    assert not first.engine.is_needed()
    assert not first.table.registrations.bindings


def test_what_was_registered_elsewhere_stays() -> None:
    """At a second registrar, for the same address of record."""
    first, backup = Flow(), at("198.51.100.3:5060")
    second = Flow(peers=Peers(PHONE, OURS, backup, backup, Transport.UDP), beside=first)
    for flow in (first, second):
        flow.hear(CLIENT, register())
        flow.hear(SERVER, registered())
    assert first.places.log[-1].endswith(" for 198.51.100.2 198.51.100.3")
    first.hear(CLIENT, register(2, "*", expires=0))
    first.hear(SERVER, registered(2, "<sip:x@198.51.100.50>;expires=0"))
    assert first.events()[-1] == "registration.removed"
    assert len(first.places.standing) == 1
    assert first.places.log[-1].endswith(" for 198.51.100.3")
    assert len(second.inner._registrations) == 1


def test_a_session_that_ends_leaves_nothing_of_its_registrations_and_those_that_relied_on_it() -> None:
    first = over_tcp()
    second = Flow(peers=Peers(at("10.1.0.2:42000"), at("203.0.113.1:42001"), PROXY, PROXY, Transport.TCP), beside=first)
    first.hear(CLIENT, register())
    outside = first.places.log[0].split()[1]
    for number, flow in ((1, first), (2, second)):
        flow.hear(CLIENT, register(number))
        flow.hear(SERVER, registered(number, f"<sip:alice@{outside}>;expires=300"))
    first.engine.stop(1.0)
    assert not first.table.registrations.bindings and not first.table.contacts.standing
    assert not second.engine.is_needed()
    third = Flow()
    third.hear(CLIENT, register())
    third.hear(SERVER, registered())
    third.engine.stop(1.0)
    assert not third.table.registrations.bindings


def test_an_address_that_was_only_named_goes_with_the_connection() -> None:
    first = over_tcp()
    second = Flow(peers=Peers(at("10.1.0.2:42000"), at("203.0.113.1:42001"), PROXY, PROXY, Transport.TCP), beside=first)
    for flow in (first, second):
        flow.hear(CLIENT, register())
    assert not second.engine.is_needed()
    for side in Side:
        first.engine.eof(side, 1.0)
    assert first.engine.is_needed()  # the other connection has named it, too
    for side in Side:
        second.engine.eof(side, 2.0)
    assert not first.engine.is_needed()
    assert not first.places.standing
    assert not first.table.contacts.standing and not first.table.contacts.inside


def test_in_a_call_it_stays_until_that_is_over() -> None:
    flow = established(over_tcp())
    for side in Side:
        flow.engine.eof(side, 1.0)
    flow.tick(100.0)
    assert flow.table.contacts.standing
    flow.tick(8 * 86400.0)
    flow.tick(8 * 86400.0 + 100.0)
    assert not flow.places.standing


def test_a_pinhole_that_is_gone_by_itself_ends_the_registration() -> None:
    flow = Flow()
    flow.hear(CLIENT, register())
    flow.hear(SERVER, registered())
    (grant,) = flow.places.standing.values()
    assert isinstance(grant, Grant)
    (note,) = flow.engine.pinhole(grant, Closed("expired", 0, 0, 1.0), 5.0)
    assert isinstance(note, Note) and note.event == "registration.expired"
    assert not flow.engine.is_needed()
    assert not flow.table.contacts.standing and not flow.table.contacts.inside


def test_another_connection_of_the_phone_renews_what_the_first_has_opened() -> None:
    first = Flow(peers=Peers(at("10.1.0.2:41000"), at("203.0.113.1:41001"), PROXY, PROXY, Transport.TCP))
    first.hear(CLIENT, register())
    outside = first.places.log[0].split()[1]
    second = Flow(peers=Peers(at("10.1.0.2:42000"), at("203.0.113.1:42001"), PROXY, PROXY, Transport.TCP), beside=first)
    assert f"<sip:alice@{outside}>".encode() in second.passes(CLIENT, register(2))
    assert len(first.places.standing) == 1


def test_a_call_adds_its_callers_to_the_address_of_a_registered_phone_and_takes_them_away() -> None:
    flow = Flow()
    flow.hear(CLIENT, register())
    flow.hear(SERVER, registered())
    flow.places.log.clear()
    flow.hear(CLIENT, invite())
    answer = response(200, body=sdp("198.51.100.9", 8000)).replace(b"bob@198.51.100.2:5060", b"bob@198.51.100.9")
    flow.hear(SERVER, answer)
    assert flow.places.log[-1].endswith(" for 198.51.100.2 198.51.100.9")
    flow.tick(8 * 86400.0)
    assert not flow.places.standing


def test_calls_of_an_established_call_need_no_contact_beside_its_own_server() -> None:
    flow = established(Flow())
    assert not flow.table.contacts.standing


def test_a_caller_of_many_calls_may_come_until_the_last_of_them_is_over() -> None:
    """A trunk: what a call costs does not grow with those that stand."""
    flow = Flow()
    for number in (1, 2):
        for side, data in ((CLIENT, invite(1)), (SERVER, response(200, body=sdp("198.51.100.9", 8000)))):
            data = data.replace(b"one@10.1.0.2", b"call%d" % number).replace(b"b@198.51.100.2:5060", b"b@192.0.2.77")
            flow.hear(side, data)
    opened = [line for line in flow.places.log if not line.startswith(("offer", "answer"))]
    assert opened == ["open 203.0.113.1:5060 for 10.1.0.2:5060 from 192.0.2.77"]
    for number in (1, 2):
        ends = invite(2, body="", to="<sip:bob@example.org>;tag=b").replace(b"INVITE", b"BYE")
        for side, data in ((CLIENT, ends), (SERVER, response(200, 2, "BYE"))):
            assert sum(isinstance(grant, Grant) for grant in flow.places.standing.values()) == 1
            flow.hear(side, data.replace(b"one@10.1.0.2", b"call%d" % number))
    assert not flow.places.standing
