"""Calls of two Asterisk through the engines, before and after as pycrate reads them: with NAT the addresses of the
hosts that are hidden are others, each time the same, and nothing else; without NAT no octet is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import Any

import pytest

from protocols.contract.addresses import Side
from protocols.contract.effects import Send
from protocols.contract.pinholes import Grant
from protocols.h323 import wire
from protocols.h323.options import H323Options
from tests.harness import h323_oracle as oracle
from tests.harness.h323_oracle import decoded, encoded, hosts, mapped
from tests.harness.pcap import Connection, connections
from tests.harness.playbook import Session
from tests.harness.recordings import found
from tests.protocols.h323 import messages as m
from tests.protocols.h323.calls import Calls
from tests.protocols.h323.recorded import (
    CALLEE,
    CALLER,
    OTHERS,
    OUTSIDE,
    PUBLISHED,
    as_it_is_said,
    packets,
    peers_of,
    recorded,
    user_information,
)
from tests.protocols.h323.test_oracle import feature, nested

pytestmark = pytest.mark.skipif(
    bool(oracle.missing()), reason=f"not installed (tools/setup --test): {oracle.missing()}"
)

At = tuple[bytes, int]
CUTS: dict[str, Callable[[bytes], Sequence[bytes]]] = {
    "whole": lambda packet: [packet],
    "header alone": lambda packet: [packet[: wire.HEADER_BYTES], packet[wire.HEADER_BYTES :]],
    "octet by octet": lambda packet: [packet[at : at + 1] for at in range(len(packet))],
}
"""HF3."""


@dataclass
class Seen:
    """What was said, and what came of it."""

    nat: str
    pairs: list[tuple[Side, bytes, bytes]] = field(default_factory=list)
    cut: Callable[[bytes], Sequence[bytes]] = lambda packet: [packet]
    """How a packet comes in pieces."""
    turn: Callable[[bytes], bytes] = lambda packet: packet
    """What becomes of a packet before it comes."""
    asked: list[str] = field(default_factory=list)
    """What was opened."""

    def play(self, session: Session, connection: Connection, side_of: dict[Side, Side]) -> Iterator[None]:
        """Have each packet pass, one by one. side_of: the side of the call that each end of the connection is."""
        for side, packet in packets(connection):
            said = self.turn(as_it_is_said(side_of[side], packet, self.nat))
            before = len(session.effects)
            for piece in self.cut(said):
                session.receive(side, piece)
            (sent,) = (effect for effect in session.effects[before:] if isinstance(effect, Send))
            assert sent.to is side.other
            self.pairs.append((side_of[side], said, sent.data))
            yield


def played(
    call: Connection,
    controls: list[Connection],
    nat: str,
    cut: str = "whole",
    turn: Callable[[bytes], bytes] = lambda packet: packet,
) -> Seen:
    """A call, with its H.245 on a connection of its own if it has one."""
    calls = Calls("none", H323Options())
    calls.peers = peers_of(call, nat)
    pinholes = calls.signalling.pinholes
    calls.signalling = Session(calls.engines(calls.peers, calls.options, pinholes, 0.0), pinholes, calls.engines)
    seen, same = Seen(nat, cut=CUTS[cut], turn=turn), {side: side for side in Side}
    for _ in seen.play(calls.signalling, call, same):
        if controls and any(isinstance(grant, Grant) for grant in pinholes.standing.values()):
            number = next(at for at, grant in enumerate(pinholes.opened, 1) if isinstance(grant, Grant))
            dialler = Side.CLIENT if controls[0].client.host == call.client.host else Side.SERVER
            turned = {Side.CLIENT: dialler, Side.SERVER: dialler.other}
            for _ in seen.play(calls.control(number), controls.pop(), turned):
                pass
    assert not controls and not calls.rules()
    seen.asked = calls.log
    return seen


def value_of(packet: bytes) -> Any:
    if packet[wire.HEADER_BYTES] == 8:
        return decoded("UserInformation", user_information(packet))
    return decoded("Control", packet[wire.HEADER_BYTES :])


@pytest.mark.parametrize("form", range(4), ids=["slow", "tunnelled", "fast", "fast_tunnelled"])
@pytest.mark.parametrize("nat", ["none", "snat", "dnat"])
def test_nothing_but_addresses_of_a_hidden_host_is_replaced(form: int, nat: str) -> None:
    """HF17, HF19, HF25: the four forms."""
    call, controls = recorded()[form]
    seen = played(call, controls, nat)
    assert len(seen.pairs) > 10
    if nat == "none":
        assert [said for _, said, _ in seen.pairs] == [sent for _, _, sent in seen.pairs]
        return
    hidden = {"snat": (Side.CLIENT, CALLER, OUTSIDE), "dnat": (Side.SERVER, CALLEE, PUBLISHED)}[nat]
    replaced: dict[tuple[Side, At], At] = {}
    for side, said, sent in seen.pairs:
        before, after = value_of(said), value_of(sent)
        olds, news = hosts(before), hosts(after)
        for old, new in zip(olds, news, strict=True):
            assert replaced.setdefault((side, old), new) == new or old[1] == 1720
            inside, outside = hidden[1].packed, hidden[2].packed
            own, other = (inside, outside) if side is hidden[0] else (outside, inside)
            assert new[0] == (other if old[0] == own else old[0])
        assert mapped(before, dict(zip(olds, news, strict=True))) == after
    assert any(old != new for (_, old), new in replaced.items())


@pytest.mark.parametrize("form", range(4), ids=["slow", "tunnelled", "fast", "fast_tunnelled"])
@pytest.mark.parametrize("cut", [name for name in CUTS if name != "whole"])
def test_however_it_is_cut_the_same_comes_of_it(form: int, cut: str) -> None:
    calls = recorded()
    whole, pieces = (played(calls[form][0], list(calls[form][1]), "snat", how) for how in ("whole", cut))
    assert (pieces.pairs, pieces.asked) == (whole.pairs, whole.asked)


# -- messages of later versions ----------------------------------------------------------------------------------------


def reworded(packet: bytes, change: Callable[[str, Any], Any]) -> bytes:
    """The packet with another value of its message."""
    if packet[wire.HEADER_BYTES] != 8:
        value = decoded("Control", packet[wire.HEADER_BYTES :])
        return m.tpkt(encoded("Control", change("Control", value)))
    user = wire.read_signal(packet).user
    assert user is not None
    new = encoded(
        "UserInformation", change("UserInformation", decoded("UserInformation", packet[user.start : user.end]))
    )
    element = b"\x7e" + (len(new) + 1).to_bytes(2, "big") + b"\x05" + new
    return m.tpkt(packet[wire.HEADER_BYTES : user.start - 4] + element + packet[user.end :])


def features(value: Any) -> Any:
    """Those of a message of signalling, which are taken out of its value. None: it has none."""
    return value["h323-uu-pdu"].pop("genericData", None) if isinstance(value, dict) else None


def mapping(seen: Seen) -> list[tuple[Side, list[At], list[At]]]:
    """The addresses of each message, before and after, but for those of features, which stay."""
    found = []
    for side, said, sent in seen.pairs:
        before, after = value_of(said), value_of(sent)
        assert features(before) == features(after)
        found.append((side, hosts(before), hosts(after)))
    return found


@pytest.mark.parametrize("form", range(4), ids=["slow", "tunnelled", "fast", "fast_tunnelled"])
@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("number", [40, oracle.FURTHEST])
def test_a_call_of_a_later_version_is_followed_as_one_of_this(form: int, cut: str, number: int) -> None:
    """HF12: each sequence of each message has an addition that nobody knows."""

    def longer(name: str, value: Any) -> Any:
        return oracle.lengthened(name, value, number)

    call, controls = recorded()[form]
    now = played(call, list(controls), "snat")
    later = played(call, list(controls), "snat", cut, lambda packet: reworded(packet, longer))
    assert sum(len(said) for _, said, _ in later.pairs) > 2 * sum(len(said) for _, said, _ in now.pairs)
    assert (later.asked, mapping(later)) == (now.asked, mapping(now))


@pytest.mark.parametrize("form", range(4), ids=["slow", "tunnelled", "fast", "fast_tunnelled"])
@pytest.mark.parametrize("cut", CUTS)
def test_a_bomb_in_a_message_leaves_the_call_what_it_is(form: int, cut: str) -> None:
    """HF16: in each message of signalling."""

    def with_bomb(name: str, value: Any) -> Any:
        if name == "UserInformation":
            value["h323-uu-pdu"]["genericData"] = [feature(nested(30))]
        return value

    call, controls = recorded()[form]
    now = played(call, list(controls), "snat")
    later = played(call, list(controls), "snat", cut, lambda packet: reworded(packet, with_bomb))
    assert all(features(value_of(sent)) for _, _, sent in later.pairs if sent[wire.HEADER_BYTES] == 8)
    assert (later.asked, mapping(later)) == (now.asked, mapping(now))


# -- calls that others have recorded ----------------------------------------------------------------------------------


def test_a_recorded_call_has_its_h245_and_its_media_and_passes_as_it_came() -> None:
    """Its H.245 is on a connection that the callee waits for, and its media at the ports that both have named."""
    name, (port,), (control_port,), _ = OTHERS
    path = found("h323", name)
    call = next(one for one in connections(path, port) if str(one.client.host) == "10.1.3.143")
    (control,) = connections(path, control_port)
    seen = played(call, [control], "none")
    assert [said for _, said, _ in seen.pairs] == [sent for _, _, sent in seen.pairs]
    assert [line.partition(" = ")[2] for line in seen.asked] == ["10.1.6.18:1232", "10.1.3.143:5000", "10.1.6.18:2006"]
    said = {at for _, packet, _ in seen.pairs for at in hosts(value_of(packet)) if packet[wire.HEADER_BYTES] != 8}
    ports = {(IPv4Address(host), port) for host, port in said}
    assert ports == {(one.host, at) for one, low in ((call.client, 5000), (call.server, 2006)) for at in (low, low + 1)}
