"""How a case becomes another one: by its structure, so that most of what comes of it gets past the first parser.

One of the changes is the attack that has worked before: what one side has said is put into the mouth of the other.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from ipaddress import ip_address

from protocols.contract.addresses import Side
from protocols.contract.engine import Helper
from tests.harness.scripts import WORDS, Arrival, End, Step, Visit, Wait, crossed, spoken
from tools.fuzz.cases import (
    CLIENT_PORTS,
    CUTS,
    MAX_SESSIONS,
    MAX_STEPS,
    WAITS,
    Case,
    Said,
    Setting,
    choices,
    networks,
    server_ports,
    transports,
)
from tools.fuzz.seeds import seeds, with_further

Bytes = Callable[[bytes, int], bytes]
"""Changes bytes without knowing what they mean: of so many at most."""

MAX_DATA = 4000
_ADDRESSES = (
    b"10.1.0.2", b"10.1.0.3", b"203.0.113.7", b"198.51.100.1", b"198.51.100.2", b"198.51.100.9", b"fd01::2",
    b"2001:db8:2::7",
)  # fmt: skip
_HOSTS = tuple(ip_address(text.decode()).packed for text in _ADDRESSES if b"." in text)
"""As messages of octets have them."""
_IN_OCTETS = b"|".join(map(re.escape, _HOSTS))
_PORTS = (b"5060", b"5062", b"8443", b"40000", b"61000", b"21", b"1", b"65535")
_HEADER_LENGTH = re.compile(rb"((?:\A|\n)(?:Content-Length|l)[ \t]*:[ \t]*)\d+", re.IGNORECASE)


def mended_sip(data: bytes) -> bytes:
    """Content-Length says how long the body is."""
    head, empty, body = data.partition(b"\r\n\r\n")
    return _HEADER_LENGTH.sub(rb"\g<1>%d" % len(body), head, count=1) + empty + body


def mended_tns(data: bytes) -> bytes:
    """The packet says how long it is, as messages of PPTP do."""
    return len(data).to_bytes(2, "big") + data[2:] if 8 <= len(data) < 65536 else data


def mended_tpkt(data: bytes) -> bytes:
    """So does a TPKT packet of H.323."""
    return data[:2] + len(data).to_bytes(2, "big") + data[4:] if 4 <= len(data) < 65536 else data


def mended_pdu(data: bytes) -> bytes:
    """So does a PDU of DCE-RPC, in the byte order that it names."""
    if not 16 <= len(data) < 65536:
        return data
    return data[:8] + len(data).to_bytes(2, "little" if data[4] >> 4 else "big") + data[10:]


MENDED: dict[str, Callable[[bytes], bytes]] = {
    "dcerpc": mended_pdu,
    "h323": mended_tpkt,
    "pptp": mended_tns,
    "rtsp": mended_sip,
    "sip": mended_sip,
    "tns": mended_tns,
}
"""Of each helper whose messages count their bytes."""


@cache
def _known(helper: Helper) -> tuple[list[Case], list[Arrival]]:
    known = list(seeds(helper))
    further = [said.step for case in with_further(helper) for said in case.said if said.session]
    return known, [*spoken(helper.name), *(step for step in further if isinstance(step, Arrival))]


class Mutator:
    def __init__(self, helper: Helper, of_bytes: Bytes) -> None:
        self._helper = helper
        self._of_bytes = of_bytes
        self._cases, self._spoken = _known(helper)
        self._mend: Callable[[bytes], bytes] = MENDED.get(helper.name, bytes)

    def changed(self, case: Case, seed: int) -> Case:
        chance = random.Random(seed)
        case = Case(list(case.settings), list(case.said))
        for _ in range(chance.choice((1, 1, 1, 2, 3, 5))):
            change = chance.choice(_CHANGES)
            change(self, case, chance)
        if not case.said:
            self._insert(case, chance)
        del case.said[MAX_STEPS:]
        return case

    def crossed(self, one: Case, other: Case, seed: int) -> Case:
        """The beginning of one, and the end of the other, said in the first session or in one of its own."""
        chance = random.Random(seed)
        said = one.said[: chance.randrange(len(one.said) + 1)]
        rest = other.said[chance.randrange(len(other.said) + 1) :]
        settings = list(one.settings)
        if len(settings) < MAX_SESSIONS and chance.random() < 0.4:
            settings.append(other.settings[0])
        at = len(settings) - 1
        said += (Said(min(step.session, at) if at == 0 else at, step.step) for step in rest)
        return Case(settings, said[:MAX_STEPS])

    # -- changes of what arrives ---------------------------------------------------------------------------------------

    def _arrival(self, case: Case, chance: random.Random) -> int | None:
        found = [number for number, said in enumerate(case.said) if isinstance(said.step, Arrival)]
        return chance.choice(found) if found else None

    def _put(self, case: Case, number: int, arrival: Arrival, chance: random.Random) -> None:
        data = arrival.data[:MAX_DATA]
        if chance.random() < 0.7:
            data = self._mend(data)
        if data:
            case.said[number] = replace(case.said[number], step=Arrival(arrival.side, data))

    def _any_bytes(self, case: Case, chance: random.Random) -> None:
        if (number := self._arrival(case, chance)) is not None:
            arrival = case.said[number].step
            assert isinstance(arrival, Arrival)
            self._put(case, number, replace(arrival, data=self._of_bytes(arrival.data, MAX_DATA)), chance)

    def _word(self, case: Case, chance: random.Random) -> None:
        if (number := self._arrival(case, chance)) is not None:
            arrival = case.said[number].step
            assert isinstance(arrival, Arrival)
            at, data = chance.randrange(len(arrival.data) + 1), arrival.data
            new = data[:at] + chance.choice(WORDS) + data[at + chance.choice((0, 0, 1, 3)) :]
            self._put(case, number, replace(arrival, data=new), chance)

    def _address(self, case: Case, chance: random.Random) -> None:
        """Somebody else's, or another port."""
        if (number := self._arrival(case, chance)) is not None:
            arrival = case.said[number].step
            assert isinstance(arrival, Arrival)
            kinds = (rb"\d+\.\d+\.\d+\.\d+", _ADDRESSES), (rb"\b\d{4,5}\b", _PORTS), (_IN_OCTETS, _HOSTS)
            pattern, words = chance.choice(kinds)
            places = [match.span() for match in re.finditer(pattern, arrival.data)]
            if places:
                start, stop = chance.choice(places)
                new = arrival.data[:start] + chance.choice(words) + arrival.data[stop:]
                self._put(case, number, replace(arrival, data=new), chance)

    def _lines(self, case: Case, chance: random.Random) -> None:
        """Lines of another message, of this case (also of the other side: an echo) or of any."""
        if (number := self._arrival(case, chance)) is not None:
            arrival = case.said[number].step
            assert isinstance(arrival, Arrival)
            here = [said.step for said in case.said if isinstance(said.step, Arrival)]
            other = chance.choice(here if chance.random() < 0.5 else self._spoken)
            new = crossed(arrival, other, chance.randrange(30), chance.randrange(30), chance.choice((0, 0, 1, 2)))
            self._put(case, number, new, chance)

    def _echo(self, case: Case, chance: random.Random) -> None:
        """One line that names an address is said by both sides, first by the one that has no right to."""
        requests = [
            number
            for number, said in enumerate(case.said)
            if isinstance(said.step, Arrival) and said.step.data.count(b"\n") > 3
        ]
        if len(requests) < 2:
            return
        first, second = sorted(chance.sample(requests, 2))
        at = chance.choice(_ADDRESSES) + b":" + chance.choice(_PORTS)
        name = chance.choice((b"Record-Route", b"Contact", b"Via", b"Path", b"Route", b"Service-Route", b"Refer-To"))
        if name == b"Via":
            line = b"Via: SIP/2.0/UDP %b;branch=z9hG4bKecho\r\n" % at
        else:
            line = b"%b: <sip:%b;%blr>\r\n" % (name, at, chance.choice((b"", b"transport=tcp;")))
        for number in (first, second):
            arrival = case.said[number].step
            assert isinstance(arrival, Arrival)
            lines = arrival.data.splitlines(True)
            new = b"".join((lines[0], line, *lines[1:]))
            self._put(case, number, replace(arrival, data=new), chance)

    def _other_side(self, case: Case, chance: random.Random) -> None:
        if (number := self._arrival(case, chance)) is not None:
            arrival = case.said[number].step
            assert isinstance(arrival, Arrival)
            case.said[number] = replace(case.said[number], step=replace(arrival, side=arrival.side.other))

    # -- changes of the order ------------------------------------------------------------------------------------------

    def _insert(self, case: Case, chance: random.Random) -> None:
        step: Step
        match chance.randrange(8):
            case 0:
                step = Wait(chance.choice(WAITS))
            case 1:
                step = Visit(chance.randrange(4), chance.random() < 0.5)
            case 2:
                step = End(chance.choice((Side.CLIENT, Side.SERVER)))
            case 3:
                step = Arrival(chance.choice((Side.CLIENT, Side.SERVER)), chance.randbytes(chance.randrange(1, 40)))
            case _:
                step = chance.choice(self._spoken)
        at = chance.randrange(len(case.said) + 1)
        case.said.insert(at, Said(chance.randrange(len(case.settings)), step))

    def _remove(self, case: Case, chance: random.Random) -> None:
        if case.said:
            at = chance.randrange(len(case.said))
            del case.said[at : at + chance.choice((1, 1, 2, 5))]

    def _again(self, case: Case, chance: random.Random) -> None:
        if case.said:
            case.said.insert(chance.randrange(len(case.said) + 1), chance.choice(case.said))

    def _swap(self, case: Case, chance: random.Random) -> None:
        if len(case.said) > 1:
            one, other = chance.sample(range(len(case.said)), 2)
            case.said[one], case.said[other] = case.said[other], case.said[one]

    # -- changes of who speaks -----------------------------------------------------------------------------------------

    def _setting(self, case: Case, chance: random.Random) -> None:
        number = chance.randrange(len(case.settings))
        before = case.settings[number]
        after: Setting
        match chance.randrange(6):
            case 0:
                after = replace(before, network=chance.choice(networks(self._helper)))
            case 1:
                after = replace(before, transport=chance.choice(transports(self._helper)))
            case 2:
                after = replace(before, is_expected=not before.is_expected)
            case 3:
                after = replace(before, tells_late=not before.tells_late, cut=chance.choice(CUTS))
            case 4:
                dialled = chance.choice((None, *server_ports(self._helper)))
                after = replace(before, client_port=chance.choice((None, *CLIENT_PORTS)), server_port=dialled)
            case _:
                known = choices(self._helper)
                name = chance.choice(sorted(known)) if known else ""
                chosen = dict(before.options)
                if name in chosen or not name:
                    chosen.pop(name, None)
                else:
                    chosen[name] = chance.choice(list(known[name]))
                after = replace(before, options=tuple(sorted(chosen.items())))
        case.settings[number] = after

    def _session(self, case: Case, chance: random.Random) -> None:
        """A second one of the same daemon, or what is said in it."""
        if len(case.settings) < MAX_SESSIONS and chance.random() < 0.5:
            other = chance.choice(self._cases)
            case.settings.append(other.settings[0])
            case.said += (replace(said, session=len(case.settings) - 1) for said in other.said[:8])
        elif case.said:
            at = chance.randrange(len(case.said))
            case.said[at] = replace(case.said[at], session=chance.randrange(len(case.settings)))


Change = Callable[[Mutator, Case, random.Random], None]
_WEIGHTS: dict[Change, int] = {
    Mutator._any_bytes: 4,
    Mutator._word: 2,
    Mutator._address: 2,
    Mutator._lines: 2,
    Mutator._echo: 1,
    Mutator._other_side: 1,
    Mutator._insert: 2,
    Mutator._remove: 1,
    Mutator._again: 1,
    Mutator._swap: 1,
    Mutator._setting: 2,
    Mutator._session: 1,
}
_CHANGES = [change for change, weight in _WEIGHTS.items() for _ in range(weight)]
