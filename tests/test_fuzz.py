"""The search for inputs that an engine does not stand (tools/fuzz), but for the search itself: that needs atheris."""

from __future__ import annotations

import random
import sys
from contextlib import nullcontext
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from types import ModuleType
from unittest.mock import Mock

import pytest
from click.testing import CliRunner

from protocols import HELPERS
from protocols.contract.addresses import Endpoint, Peers, Side, Transport
from protocols.contract.effects import Send
from protocols.contract.engine import Helper
from protocols.h323.engine import ControlEngine
from protocols.sip.contacts import Called
from protocols.sip.options import SipOptions
from protocols.tftp.engine import RequestEngine
from tests.harness.playbook import NETWORKS, on
from tests.harness.recordings import found
from tests.harness.scripts import Arrival, End, Step, Visit, Wait, begin, take
from tests.harness.sip_mended import rest_behind
from tests.harness.sip_rights import SipPinholes
from tests.harness.sip_sayings import Sayings
from tools.fuzz.__main__ import main
from tools.fuzz.blind import changed_bytes
from tools.fuzz.captured import captured
from tools.fuzz.cases import Case, Said, Setting, decoded, encoded
from tools.fuzz.drive import Run
from tools.fuzz.mutations import Mutator, mended_pdu, mended_sip, mended_tns, mended_tpkt
from tools.fuzz.seeds import seeds, with_further

STEPS: list[Step] = [
    Arrival(Side.CLIENT, b"USER a\r\n"),
    Arrival(Side.SERVER, b"\x00\xfe\xff"),
    Wait(200.0),
    Visit(1, False),
    Visit(2, True),
    End(Side.SERVER),
    End(Side.CLIENT),
]


@pytest.fixture(params=HELPERS.values(), ids=lambda helper: helper.name)
def helper(request: pytest.FixtureRequest) -> Helper:
    chosen: Helper = request.param
    return chosen


def test_a_case_is_the_same_after_it_was_saved() -> None:
    helper = HELPERS["sip"]
    options = (("mode", "'observe'"), ("strict_register", "False"))
    settings = [
        Setting("dnat6", Transport.UDP, is_expected=True, tells_late=True, cut=7, client_port=40000, options=options),
        Setting("none", Transport.TCP),
    ]
    case = Case(settings, [Said(number % 2, step) for number, step in enumerate(STEPS)])
    assert decoded(encoded(case), helper) == case
    assert settings[0].chosen(helper) == SipOptions(mode="observe", strict_register=False)
    assert settings[0].peers(helper).role == Called()


def test_anything_is_some_case(helper: Helper) -> None:
    chance = random.Random(1)
    for length in range(200):
        Run(helper, decoded(chance.randbytes(length), helper)).to_the_end()


def test_who_is_let_in_by_a_pinhole_is_known_by_the_session_that_has_opened_it() -> None:
    """What is said before anybody is let in is lost."""
    known = next(with_further(HELPERS["h323"]))
    first = next(number for number, said in enumerate(known.said) if said.session)
    early = Case(known.settings, [known.said[first], *known.said])
    for case in (known, early):
        saved = encoded(case)
        assert decoded(saved, HELPERS["h323"]) == case
        run = Run(HELPERS["h323"], case)
        run.to_the_end()
        assert isinstance(run.sessions[1].engine, ControlEngine)
        assert run.sessions[1].sent(Side.SERVER) and run.sessions[1].sent(Side.CLIENT)
    assert Run(HELPERS["h323"], Case(known.settings, known.said[first : first + 1])).sessions.keys() == {0}


def test_captures_are_those_of_a_family() -> None:
    """RAS has those of H.323."""
    found("h323", "ndpi-h225-h245.pcap")
    assert any(case.settings[0].network.startswith("ndpi") for case in seeds(HELPERS["ras"]))


@pytest.mark.parametrize("early", [b"", b"2", b"230", b"230 in", b"220 ready\r\x08"])
def test_a_login_is_one_however_much_of_its_reply_has_come_before_the_command(early: bytes) -> None:
    """Found by a search: whose login it is says the server, and rights are those that it gives."""
    steps = [(Side.SERVER, b"220 hi\r\n" + early), (Side.CLIENT, b"USER u\r\n")]
    steps += [(Side.SERVER, b"230 in\r\n"[len(early) :] if b"230".startswith(early[:3]) else b"230 in\r\n")]
    steps += [(Side.CLIENT, b"PORT 198,51,100,2,195,80\r\n")]
    run = Run(HELPERS["ftp"], Case([Setting("none")], [Said(0, Arrival(*step)) for step in steps]))
    run.to_the_end()
    assert len(run.sessions[0].pinholes.log) == 2


def test_searches_begin_with_sessions_that_are_hidden_let_in_observed_and_captured(helper: Helper) -> None:
    known = list(seeds(helper))
    assert any(case.settings[0].is_expected for case in known)
    if captured(helper):
        assert any("#" in case.settings[0].network for case in known)
        assert any(case.settings[0].network.endswith("+snat") for case in known)
    if helper.name == "sip":
        assert any(("mode", "'observe'") in case.settings[0].options for case in known)
        assert {case.settings[0].transport for case in known} == {Transport.UDP, Transport.TCP}
    for case in known:
        Run(helper, decoded(encoded(case), helper)).to_the_end(is_thorough=False)


@pytest.mark.slow
def test_what_seeds_become_is_stood(helper: Helper) -> None:
    """A few, always the same ones; the search tries a million."""
    mutator, known = Mutator(helper, lambda data, most: data[::-1][:most]), list(seeds(helper))
    for seed in range(300):
        case = mutator.changed(known[seed % len(known)], seed)
        case = mutator.crossed(case, known[seed * 7 % len(known)], seed)
        Run(helper, decoded(encoded(case), helper)).to_the_end(is_thorough=False)


@pytest.mark.slow
def test_what_becomes_of_the_h245_of_a_call_is_stood() -> None:
    """It comes through a pinhole that a call has opened; no role of a transcript leads to one."""
    helper, chance = HELPERS["h323"], random.Random(1)
    mutator = Mutator(helper, lambda data, most: changed_bytes(data, most, chance))
    known = list(with_further(helper))
    read = offered = 0
    for seed in range(2000):
        case = mutator.changed(known[seed % len(known)], seed)
        run = Run(helper, decoded(encoded(case), helper))
        run.to_the_end(is_thorough=seed % 200 == 0)
        controls = [session for session in run.sessions.values() if isinstance(session.engine, ControlEngine)]
        read += any(len(session.effects) > 5 for session in controls)
        offered += any(line.startswith("answer") for line in run.sessions[0].pinholes.log)
    assert (read > 1500, offered > 1000) == (True, True), (read, offered)


def test_what_is_changed_is_mended() -> None:
    assert mended_sip(b"A b SIP/2.0\r\nl: 99\r\n\r\nbody") == b"A b SIP/2.0\r\nl: 4\r\n\r\nbody"
    assert mended_tns(b"\x00\x00\x00\x00\x01\x00\x00\x00more") == b"\x00\x0c\x00\x00\x01\x00\x00\x00more"
    assert mended_tpkt(b"\x03\x00\x00\x00more") == b"\x03\x00\x00\x08more"
    little, big = b"\x05\x00\x00\x03\x10\x00\x00\x00", b"\x05\x00\x00\x03\x00\x00\x00\x00"
    assert mended_pdu(little + bytes(8) + b"more") == little + b"\x14" + bytes(7) + b"more"
    assert mended_pdu(big + bytes(8) + b"more") == big + b"\x00\x14" + bytes(6) + b"more"


def test_a_saved_input_is_run_again_step_by_step(tmp_path_factory: pytest.TempPathFactory) -> None:
    saved = tmp_path_factory.mktemp("saved") / "input"
    saved.write_bytes(encoded(Case([Setting("snat")], [Said(0, Arrival(Side.CLIENT, b"USER anna\r\n"))])))
    done = CliRunner().invoke(main, ["ftp", str(saved)])
    assert done.exit_code == 0
    assert "-> server: USER anna" in done.output
    assert "nothing is wrong with it" in done.output


def test_a_blind_search_saves_what_is_not_stood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tools.fuzz.__main__.CACHE", tmp_path)
    (tmp_path / "tftp").mkdir()
    (tmp_path / "tftp" / "kept").write_bytes(encoded(Case([Setting("snat", Transport.UDP)], [])))
    words = ["tftp", "--blind", "--inputs", "50", "--seed", "1"]
    done = CliRunner().invoke(main, words, catch_exceptions=False)
    assert done.output.startswith("tftp: 50 inputs, ")
    monkeypatch.setattr(RequestEngine, "receive", Mock(side_effect=ValueError("a fault")))
    with pytest.raises(ValueError, match="a fault"):
        CliRunner().invoke(main, words, catch_exceptions=False)
    (found,) = tmp_path.glob("tftp-crash-*")
    assert decoded(found.read_bytes(), HELPERS["tftp"]).said


def test_a_search_may_begin_with_announced_connections_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tools.fuzz.__main__.CACHE", tmp_path)
    done = CliRunner().invoke(main, ["h323", "--blind", "--further", "--inputs", "20"], catch_exceptions=False)
    assert done.output.startswith("h323: 20 inputs, ")
    for words in (["tftp", "--blind", "--further"], ["h323", "--further"]):
        assert CliRunner().invoke(main, words).exit_code == 2


def test_a_saved_input_tells_what_another_session_does_for_it(tmp_path: Path) -> None:
    (tmp_path / "input").write_bytes(encoded(next(with_further(HELPERS["h323"]))))
    done = CliRunner().invoke(main, ["h323", str(tmp_path / "input")], catch_exceptions=False)
    assert "session 1: through a pinhole of session 0" in done.output
    assert "    session 0: offer rtp for " in done.output


def test_bytes_are_changed_within_their_limit() -> None:
    chance = random.Random(1)
    changed = {changed_bytes(b"0123456789", 12, chance) for _ in range(1000)}
    assert len(changed) > 800
    assert max(map(len, changed)) == 12
    assert changed_bytes(b"", 12, chance) is not None


def test_the_directory_for_what_is_found_is_there_before_the_search_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """libFuzzer itself is not needed for that: what it is told is enough."""
    told: list[str] = []
    fuzzer = ModuleType("atheris")
    vars(fuzzer).update(
        instrument_imports=lambda include: nullcontext(),
        Setup=lambda words, tried, **options: told.extend(words),
        Fuzz=lambda: None,
    )
    monkeypatch.setitem(sys.modules, "atheris", fuzzer)
    monkeypatch.setattr("tools.fuzz.seeds.seeds", lambda helper: iter(()))
    monkeypatch.setattr("tools.fuzz.__main__.CACHE", tmp_path / "cache" / "fuzz")
    done = CliRunner().invoke(main, ["ftp", "--corpus", str(tmp_path / "corpus")], catch_exceptions=False)
    del sys.modules["tools.fuzz.search"]
    assert done.exit_code == 0
    (prefix,) = (word.removeprefix("-artifact_prefix=") for word in told if word.startswith("-artifact_prefix="))
    assert Path(prefix).parent == tmp_path / "cache" / "fuzz"
    assert Path(prefix).parent.is_dir()


# -- what a party has said of itself: the model that searches judge by -------------------------------------------------


def said(*lines: str) -> bytes:
    return "\r\n".join((*lines, "", "")).encode()


PHONE = on(NETWORKS["snat"], HELPERS["sip"], Transport.UDP)
CALL = ("Call-ID: c", "CSeq: 1  REGISTER")


@pytest.mark.parametrize(
    ("line", "counts"),
    [
        ("Contact: <sip:a@10.1.0.2:8443>", True),
        ("m: <sip:a@10.1.0.2:8443>", True),
        ("Contact:\r\n <sip:a@10.1.0.2:8443>", True),
        ("Record-Route: <sip:10.1.0.2:8443;lr>", False),
        ("Route: <sip:10.1.0.2:8443;lr>", False),
        ("Path: <sip:10.1.0.2:8443;lr>", False),
        ("Refer-To: <sip:10.1.0.2:8443>", False),
        ("Via: SIP/2.0/UDP 10.1.0.2:8443", False),
    ],
)
def test_an_address_is_a_partys_own_in_its_contact_and_its_top_via_alone(line: str, counts: bool) -> None:
    sayings, at = Sayings(PHONE), Endpoint(ip_address("10.1.0.2"), 8443)
    sayings.hear(Side.CLIENT, said("REGISTER sip:b SIP/2.0", "Via: SIP/2.0/UDP 10.1.0.2", line, *CALL))
    sayings.read()
    assert sayings.has_said(Side.CLIENT, at) is counts
    assert not sayings.has_said(Side.CLIENT, at, is_agreed=True)
    sayings.hear(Side.SERVER, said("SIP/2.0 200 OK", "Call-ID: c", "CSeq: 1 REGISTER"))
    sayings.read()
    assert sayings.has_said(Side.CLIENT, at, is_agreed=True) is counts
    assert not sayings.has_said(Side.SERVER, at)


def test_a_start_line_among_the_fields_begins_no_message() -> None:
    """Found by a search: the names of the call stand behind it."""
    sayings, at = Sayings(PHONE), Endpoint(ip_address("10.1.0.2"), 8443)
    for data in (
        said("REGISTER sip:b SIP/2.0", "Contact: <sip:a@10.1.0.2:8443>", "SIP/2.0 481 Gone", *CALL),
        said("SIP/2.0 200 OK", *CALL),
    ):
        sayings.hear(Side.CLIENT if data[:1] == b"R" else Side.SERVER, data)
    sayings.read()
    assert sayings.has_said(Side.CLIENT, at, is_agreed=True)


@pytest.mark.parametrize("body", ["", "body\r\n", "body", "\r\n\r\n", "A b SIP/2.0\r\n\r\n"])
@pytest.mark.parametrize("filling", ["", "\r\n", "\0 ", "\r\n\r\n"])
def test_a_message_on_a_stream_begins_where_the_one_before_ends(body: str, filling: str) -> None:
    """Found by a search: a body need have no line end."""
    sayings, at = Sayings(replace(PHONE, transport=Transport.TCP)), Endpoint(ip_address("10.1.0.2"), 8443)
    ping = said("OPTIONS sip:b SIP/2.0", "Call-ID: p", "CSeq: 1 OPTIONS", f"l: {len(body)}") + body.encode()
    call = said("REGISTER sip:b SIP/2.0", "Contact: <sip:a@10.1.0.2:8443>", *CALL, "Content-Length:  0")
    sayings.hear(Side.CLIENT, ping + filling.encode() + call)
    sayings.hear(Side.SERVER, ping + filling.encode() + said("SIP/2.0 200 OK", *CALL, "l: 0"))
    sayings.read()
    assert sayings.has_said(Side.CLIENT, at, is_agreed=True)


@pytest.mark.parametrize("is_hidden", [True, False])
def test_a_hidden_call_id_is_the_same_on_both_sides(is_hidden: bool) -> None:
    """Found by a search. Without hiding they are two: what was agreed to is another one's request."""
    sayings, at = Sayings(PHONE, None, is_hidden), Endpoint(ip_address("10.1.0.2"), 8443)
    contact, number = "Contact: <sip:a@10.1.0.2:8443>", "CSeq: 1 REGISTER"
    sayings.hear(Side.CLIENT, said("REGISTER sip:b SIP/2.0", contact, number, "Call-ID: 1@10.1.0.2"))
    sayings.hear(Side.SERVER, said("SIP/2.0 200 OK", number, "Call-ID: 1@198.51.100.1"))
    sayings.read()
    assert sayings.has_said(Side.CLIENT, at, is_agreed=True) is is_hidden


@pytest.mark.parametrize(("contact", "counts"), [("192.168.9.9", True), ("192.168.9.8", False)])
def test_by_an_alias_a_party_names_where_it_signals_from(contact: str, counts: bool) -> None:
    """Found by a search. What it calls itself in Via as well is an alias."""
    sayings = Sayings(on(NETWORKS["snat"], HELPERS["sip"], Transport.UDP, 40000))
    via = "Via: SIP/2.0/UDP 192.168.9.9;rport"
    sayings.hear(Side.CLIENT, said("INVITE sip:b SIP/2.0", via, f"Contact: <sip:a@{contact}>", *CALL))
    sayings.read()
    assert sayings.has_said(Side.CLIENT, Endpoint(ip_address("10.1.0.2"), 40000)) is counts
    assert not sayings.has_said(Side.CLIENT, Endpoint(ip_address("10.1.0.2"), 40001))


@pytest.mark.parametrize("number", ["1", "01", "  0001", "0"])
def test_a_number_is_the_same_with_zeros_before_it(number: str) -> None:
    """Found by a search."""
    sayings, at = Sayings(PHONE), Endpoint(ip_address("10.1.0.2"), 8443)
    call = ("Call-ID: c", f"CSeq:{number} REGISTER")
    sayings.hear(Side.CLIENT, said("REGISTER sip:b SIP/2.0", "Contact: <sip:a@10.1.0.2:8443>", *call))
    sayings.hear(Side.SERVER, said("SIP/2.0 200 OK", *CALL))
    sayings.read()
    assert sayings.has_said(Side.CLIENT, at, is_agreed=True) is (number != "0")


def test_what_a_response_says_is_nobodys_own_word() -> None:
    sayings, at = Sayings(PHONE), Endpoint(ip_address("10.1.0.2"), 8443)
    sayings.hear(Side.CLIENT, said("SIP/2.0 200 OK", "Via: SIP/2.0/TCP 10.1.0.2:8443", "Contact: <sip:10.1.0.2:8443>"))
    sayings.read()
    assert not sayings.has_said(Side.CLIENT, at)


@pytest.mark.parametrize("transport", [Transport.UDP, Transport.TCP])
def test_who_is_refused_has_shown_all_the_same_that_it_speaks_sip(transport: Transport) -> None:
    """Found by a search: line ends by a pinhole go on then, though no message has."""
    peers = replace(on(NETWORKS["none"], HELPERS["sip"], transport), role=Called())
    session = begin(HELPERS["sip"], peers, SipOptions(block_methods=("OPTIONS",)))
    call = ("From: <a>;tag=a", "To: <b>", "Call-ID: c", "CSeq: 1 OPTIONS", "Content-Length: 0")
    ping = said("OPTIONS sip:b SIP/2.0", "Via: SIP/2.0/UDP a", *call)
    for side in Side:
        take(session, Arrival(side, ping))
        assert [effect.to for effect in session.effects if isinstance(effect, Send)][-1] is side
    take(session, Arrival(Side.CLIENT, b"\r\n\r\n"))
    assert session.effects[-1] == Send(Side.SERVER, b"\r\n\r\n")


@pytest.mark.parametrize("first", [b"", b"PING", b"PING\r\n\r\nOPTIONS sip:b SIP/2.0\r\n\r\n"])
@pytest.mark.parametrize("transport", [Transport.UDP, Transport.TCP])
def test_who_has_said_no_message_has_not(transport: Transport, first: bytes) -> None:
    peers = replace(on(NETWORKS["none"], HELPERS["sip"], transport), role=Called())
    pinholes = SipPinholes(peers, HELPERS["sip"].options())
    pinholes.judge(Side.CLIENT, b"OPTIONS sip:b SIP/2.0\r\n\r\n", [])
    pinholes.judge(Side.SERVER, first, [])
    with pytest.raises(AssertionError, match="what is not SIP"):
        pinholes.judge(Side.CLIENT, b"\r\n\r\n", [Send(Side.SERVER, b"\r\n\r\n")])


@pytest.mark.parametrize(
    ("came", "sent", "rest"),
    [
        (b"A b SIP/2.0\r\nFrom: a\r\nFrom: c", b"A b SIP/2.0\r\nFrom: a\r\n", b""),
        (b"A b SIP/2.0\r\nFrom: a", b"A b SIP/2.0\r\n", None),
        (b"A b SIP/2.0\r\nFrom: a\r\nX: c", b"A b SIP/2.0\r\nFrom: a\r\n", b"X: c"),
    ],
)
def test_of_a_datagram_that_was_cut_the_last_line_may_be_gone_if_it_contradicts(
    came: bytes, sent: bytes, rest: bytes | None
) -> None:
    assert rest_behind(came, sent) == rest


@pytest.mark.parametrize(("host", "may"), [("127.0.0.1", True), ("127.0.0.2", False), ("169.254.0.1", False)])
def test_a_party_on_the_machine_itself_may_name_its_own_address_and_no_other_local_one(host: str, may: bool) -> None:
    party = Endpoint(ip_address("127.0.0.1"), 5060)
    peers = Peers(party, PHONE.client_as_seen, PHONE.server, PHONE.server, Transport.UDP)
    pinholes = SipPinholes(peers, HELPERS["sip"].options())
    pinholes.hear(Side.CLIENT, host.encode())
    assert pinholes._may_wait(Endpoint(ip_address(host), 7000), peers.client_as_seen.host) is may


def test_a_line_that_begins_with_a_blank_behind_the_head_is_the_rest() -> None:
    """Found by a search: nothing continues an empty line, so the head has ended there."""
    head = b"A b SIP/2.0\r\nTo: a\r\n"
    assert rest_behind(head + b"To: c\r\n\r\n :x", head + b"\r\n") == b" :x"
