"""Sessions of SANE (protocols/sane/engine.py): what the transcripts do not say."""

from __future__ import annotations

from typing import Any

import pytest

from protocols.contract.addresses import Endpoint, Side, Transport, only
from protocols.contract.effects import Abort, Send, Splice
from protocols.contract.pinholes import Grant
from protocols.sane.engine import HELPER, SaneEngine
from protocols.sane.wire import Code
from tests.harness.playbook import NETWORKS, Session, on
from tests.harness.sane_messages import descriptor, init, initialized, start, started, string, words

CLIENT, SERVER = Side.CLIENT, Side.SERVER


def begun(network: str = "none", **options: Any) -> Session:
    session = Session.of(HELPER, on(NETWORKS[network], HELPER, Transport.TCP), HELPER.options(**options))
    session.receive(CLIENT, init())
    session.receive(SERVER, initialized())
    return session


@pytest.mark.parametrize("network", ["none", "snat", "dnat", "none6", "snat6", "dnat6", "4to6", "6to4"])
def test_the_way_is_for_the_client_alone_once_and_to_the_port_in_the_answer(network: str) -> None:
    """SA10."""
    session = begun(network)
    peers = on(NETWORKS[network], HELPER, Transport.TCP)
    session.receive(CLIENT, start())
    session.receive(SERVER, started(40001))
    (grant,) = session.pinholes.standing.values()
    assert isinstance(grant, Grant)
    expect = grant.expect
    assert (expect.transport, expect.uses, expect.open_seconds, expect.idle_seconds) == (Transport.TCP, 1, 30, 7200)
    assert (expect.confirmed, expect.reader, expect.allow) == (True, None, only(peers.client.host))
    assert expect.target == Endpoint(peers.server.host, 40001)
    assert expect.listen == Endpoint(peers.server_as_seen.host, 0 if peers.is_mapped(SERVER) else 40001)
    assert expect.source == Endpoint(peers.client_as_seen.host, 0)
    assert session.sent(CLIENT) == initialized() + started(grant.listen.port)
    assert (grant.listen.port == 40001) is not peers.is_mapped(SERVER)


def test_it_stands_before_the_client_hears_of_it() -> None:
    """SA9: the engine asks in the step in which it passes the port on, or passes an error on."""
    session = begun("dnat")
    session.receive(CLIENT, start())
    session.pinholes.refuse_next.append("limit_per_client")
    session.receive(SERVER, started(40001))
    assert session.effects[-2:] == [Send(CLIENT, words(11, 0, 0x1234, 0)), Abort("refused")]


@pytest.mark.parametrize("size", [*range(16)])
def test_nothing_of_the_answer_goes_on_before_it_is_known_what_it_is(size: int) -> None:
    """SA4."""
    session = begun("dnat")
    session.receive(CLIENT, start())
    session.receive(SERVER, started(40001)[:size])
    assert session.pinholes.opened == [] and session.sent(CLIENT) == initialized()


def test_words_that_look_like_an_answer_to_start_open_nothing_within_another_answer() -> None:
    """X1: in a list of words that an option may have, in its name, in a value."""
    session, looks = begun(), start() + started(40001)
    session.receive(CLIENT, words(Code.GET_OPTION_DESCRIPTORS, 0))
    session.receive(SERVER, words(2) + descriptor(words(2, len(looks) // 4) + looks, title=looks) + words(1))
    session.receive(CLIENT, words(Code.CONTROL_OPTION, 0, 1, 1, 3, len(looks)) + words(len(looks)) + looks)
    session.receive(SERVER, words(0, 0, 3, len(looks), len(looks)) + looks + string(None))
    assert session.pinholes.opened == [] and session.violations() == []
    session.receive(CLIENT, start())
    session.receive(SERVER, started(40001))
    assert len(session.pinholes.opened) == 1


def test_a_password_is_neither_told_nor_kept() -> None:
    session = begun()
    session.receive(CLIENT, words(Code.OPEN) + string(b"test:0"))
    session.receive(SERVER, words(0, 0) + string(b"test"))
    said = words(Code.AUTHORIZE) + string(b"test") + string(b"operator") + string(b"correct-horse")
    for at in range(len(said)):
        session.receive(CLIENT, said[at : at + 1])
        engine = session.engine
        assert isinstance(engine, SaneEngine)
        assert all(len(stream.held) < 4 for stream in engine._streams.values())
    assert session.sent(SERVER).endswith(said)
    assert session.notes("sane.opened") == session.notes("violation") == []


def test_behind_exit_nothing_is_followed() -> None:
    """SA3: a server in the midst of a scan throws away what came along with EXIT, and reads on somewhere behind it."""
    session = begun()
    session.receive(CLIENT, start())
    session.receive(SERVER, started(40001))
    session.receive(CLIENT, words(Code.EXIT))
    assert session.violations() == []
    session.receive(CLIENT, start(1))
    session.receive(SERVER, started(7777))
    assert session.violations() == ["sane.out_of_turn"]
    assert len(session.pinholes.opened) == 1
    assert session.sent(SERVER).endswith(words(Code.EXIT) + start(1))


@pytest.mark.parametrize("code", [Code.CLOSE, Code.CANCEL, Code.AUTHORIZE])
def test_what_is_no_acknowledgement_ends_what_is_followed(code: Code) -> None:
    """SA5: a server that could not read the names of a user answers the request before instead."""
    session = begun()
    if code is Code.AUTHORIZE:
        session.receive(CLIENT, words(Code.OPEN) + string(b"test:0"))
        session.receive(SERVER, words(0, 0) + string(b"test"))
        session.receive(CLIENT, words(code) + string(b"test") + string(b"operator") + string(b"secret"))
    else:
        session.receive(CLIENT, words(code, 0))
    session.receive(SERVER, words(11, 0, 0) + words(0))
    assert session.violations() == ["sane.out_of_turn"]
    session.receive(CLIENT, start())
    session.receive(SERVER, started(40001))
    assert session.pinholes.opened == []


def test_a_large_answer_passes_without_being_kept() -> None:
    session = begun()
    session.receive(CLIENT, words(Code.GET_OPTION_DESCRIPTORS, 0))
    engine, count = session.engine, 200_000
    assert isinstance(engine, SaneEngine)
    session.receive(SERVER, words(1) + descriptor(words(2, count)))
    for _ in range(count // 1000):
        session.receive(SERVER, bytes(4000))
        assert not engine._streams[SERVER].held
    session.receive(CLIENT, start())
    session.receive(SERVER, started(40001))
    assert len(session.pinholes.opened) == 1
    assert len(session.sent(CLIENT)) == 8 + 4 + len(descriptor(words(2, count))) + 4 * count + 16


def test_a_message_has_a_longest_one() -> None:
    """SA12: each of its arrays may be short enough."""
    session = begun()
    session.receive(CLIENT, words(Code.GET_DEVICES))
    session.receive(SERVER, words(0, 5))
    for _ in range(3):
        session.receive(SERVER, words(0, 1 << 20) + bytes(1 << 20) + words(0, 0, 0))
        assert session.violations() == []
    session.receive(SERVER, words(0, 1 << 20))
    assert session.violations() == ["sane.malformed"]


def test_where_it_cannot_be_followed_any_more_all_that_came_goes_on() -> None:
    """SA8: what is held of the other side, too."""
    session = begun()
    session.receive(CLIENT, start())
    session.receive(SERVER, started(40001)[:9])
    session.receive(CLIENT, words(Code.GET_DEVICES))
    assert session.violations() == ["sane.out_of_turn"]
    assert session.effects[-3:] == [
        Send(SERVER, words(Code.GET_DEVICES)), Send(CLIENT, started(40001)[:9]), Splice(7200),
    ]  # fmt: skip


def test_a_picture_that_is_on_its_way_keeps_the_session() -> None:
    """X14: also when nobody has said anything for long."""
    session = begun()
    session.receive(CLIENT, start())
    session.receive(SERVER, started(40001))
    session.use(1)
    assert session.engine.deadline() is None
    session.end(1, 0, 5)
    assert session.engine.deadline() == 7200


def test_a_clock_that_runs_out_too_early_ends_nothing() -> None:
    session = begun()
    assert session.engine.tick(7199.0) == []


@pytest.mark.parametrize("code", [Code.CANCEL, Code.CLOSE])
def test_only_the_way_of_the_same_device_is_closed(code: Code) -> None:
    session = begun()
    for handle in (1, 2):
        session.receive(CLIENT, start(handle))
        session.receive(SERVER, started(40000 + handle))
    session.receive(CLIENT, words(code, 2))
    assert [*session.pinholes.standing] == [1]


def test_the_name_of_a_device_is_cut_for_the_log_and_passes_whole() -> None:
    session, name = begun(), b"d" * 300
    session.receive(CLIENT, words(Code.OPEN) + string(name))
    session.receive(SERVER, words(0, 1) + string(None))
    assert session.notes("sane.opened") == [{"device": name[:128], "handle": 1}]
    assert session.sent(SERVER).endswith(string(name))


def test_a_device_may_have_no_name() -> None:
    session = begun()
    session.receive(CLIENT, words(Code.OPEN) + string(None))
    session.receive(SERVER, words(4, 0) + string(None))
    assert session.notes("sane.refused") == [{"request": "OPEN", "status": "inval"}]
