"""An input of the fuzzer: sessions of one daemon, their addresses and options, and what arrives, step by step.

As bytes, so that it can be saved, and read by people where the protocol can be: a line for each session, and for each
step a mark and what it brings.

    snat udp expected late cut=7 tls='deny'     whose addresses, how it came, how it is told, how it is cut, options
    through=0 cut=1                             through a pinhole of that session, as the H.245 of a call
    <mark>C...    <mark>S...                    from the client, from the server
    <mark>c       <mark>s                       that side has no more to say
    <mark>W2      <mark>V1      <mark>X1        time passes; the pinhole is used; it is closed
    <mark>N...                                  another session, with its line
    <mark>P0                                    what follows is said in that one
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
from functools import cache, lru_cache
from typing import Any, Literal, get_args, get_origin, get_type_hints

from protocols.contract.addresses import Peers, Side, Transport
from protocols.contract.engine import Helper
from tests.harness.playbook import NETWORKS, on, roles, transcripts
from tests.harness.scripts import Arrival, End, Step, Visit, Wait
from tools.fuzz.captured import captured

MARK = b"\xfe\xfd"
"""Stands in no text, and in little else."""
MAX_SESSIONS = 3
MAX_STEPS = 40
WAITS = (1.0, 10.0, 40.0, 200.0, 4000.0)
CUTS = (0, 1, 2, 7, 50)
"""How many bytes arrive at once; 0: all that were said at once."""
CLIENT_PORTS = (40000, 5062)


@dataclass(frozen=True)
class Setting:
    """Of a session."""

    network: str = "snat"
    transport: Transport = Transport.TCP
    is_expected: bool = False
    tells_late: bool = False
    cut: int = 0
    client_port: int | None = None
    """From where a client speaks by UDP, or to servers that trust reserved ports, if not from the usual port."""
    server_port: int | None = None
    """Which port it dials by TCP, if not the first one of the helper."""
    options: tuple[tuple[str, str], ...] = ()
    """Name and value, as `choices` has them."""
    through: int | None = None
    """Of which session before it a pinhole lets it in, when something is said in it: its addresses and options are as
    that one's are. None: it is there from the beginning."""

    def peers(self, helper: Helper) -> Peers:
        if self.network in NETWORKS:
            hosts = on(NETWORKS[self.network], helper, self.transport, self.client_port, self.server_port)
        else:
            hosts = replace(captured(helper)[self.network], transport=self.transport)
        return replace(hosts, role=roles(helper)[-1] if self.is_expected else None)

    def chosen(self, helper: Helper) -> Any:
        known = choices(helper)
        try:
            return helper.options(**{name: known[name][value] for name, value in self.options})
        except ValueError:  # options that exclude each other
            return helper.options()


@dataclass(frozen=True)
class Said:
    """A step in one of the sessions."""

    session: int
    step: Step


@dataclass
class Case:
    settings: list[Setting] = field(default_factory=list)
    said: list[Said] = field(default_factory=list)


@cache
def choices(helper: Helper) -> dict[str, dict[str, Any]]:
    """What options may be: words that they may take, and what transcripts have for them."""
    found: dict[str, dict[str, Any]] = {}
    hints = get_type_hints(helper.options)
    for one in fields(helper.options):
        kind = hints[one.name]
        values: list[Any] = [False, True] if kind is bool else []
        for part in (kind, *get_args(kind)):
            values += get_args(part) if get_origin(part) is Literal else ()
        values += (known.options[one.name] for known in transcripts(helper.name) if one.name in known.options)
        found[one.name] = {repr(value).replace(" ", ""): value for value in values}
    return {name: values for name, values in found.items() if values}


def networks(helper: Helper) -> list[str]:
    return [*NETWORKS, *captured(helper)]


@cache
def server_ports(helper: Helper) -> list[int]:
    """Ports besides the first one that a client may dial by TCP, where transcripts tell of them."""
    known = {known.network.server_as_seen.port for known in transcripts(helper.name) if known.is_stream}
    first = next((port for kind, port in helper.ports if kind is Transport.TCP), None)
    return sorted(known - {first})


def transports(helper: Helper) -> list[Transport]:
    return [kind for kind, _ in helper.ports]


# -- as bytes ----------------------------------------------------------------------------------------------------------


def encoded(case: Case) -> bytes:
    parts = [_line(case.settings[0])]
    parts += (MARK + b"N" + _line(setting) for setting in case.settings[1:])
    at = 0 if len(case.settings) == 1 else None
    for said in case.said:
        if said.session != at:
            parts.append(MARK + b"P%d" % said.session)
            at = said.session
        parts.append(MARK + _step(said.step))
    return b"".join(parts)


def _line(setting: Setting) -> bytes:
    words = [setting.network, setting.transport.value]
    words += ["expected"] * setting.is_expected + ["late"] * setting.tells_late
    words += [f"cut={setting.cut}"] if setting.cut else []
    words += [f"from={setting.client_port}"] if setting.client_port else []
    words += [f"to={setting.server_port}"] if setting.server_port else []
    words += [f"through={setting.through}"] if setting.through is not None else []
    words += (f"{name}={value}" for name, value in setting.options)
    return " ".join(words).encode()


def _step(step: Step) -> bytes:
    match step:
        case Arrival(side, data):
            return (b"C" if side is Side.CLIENT else b"S") + data
        case End(side):
            return b"c" if side is Side.CLIENT else b"s"
        case Wait(seconds):
            return b"W%d" % min(range(len(WAITS)), key=lambda number: abs(WAITS[number] - seconds))
        case Visit(number, ends):
            return (b"X%d" if ends else b"V%d") % number


@lru_cache(maxsize=64)
def decoded(data: bytes, helper: Helper) -> Case:
    """Whatever the bytes are, they are some case. Nobody is to change it: who asks again gets the same one."""
    first, *parts = data.split(MARK)
    case, at = Case([_setting(first, helper)]), 0
    for part in parts[: MAX_STEPS + 2 * MAX_SESSIONS]:
        kind, rest = part[:1], part[1:]
        number = rest[0] & 15 if rest else 0
        if kind == b"N":
            if len(case.settings) < MAX_SESSIONS:
                at = len(case.settings)
                case.settings.append(_setting(rest, helper, at))
        elif kind == b"P":
            at = number % len(case.settings)
        else:
            case.said += (Said(at, step) for step in _read_step(kind, rest, number))
    return case


def _read_step(kind: bytes, rest: bytes, number: int) -> Iterator[Step]:
    match kind:
        case b"C" | b"S" if rest:
            yield Arrival(Side.CLIENT if kind == b"C" else Side.SERVER, rest)
        case b"c" | b"s":
            yield End(Side.CLIENT if kind == b"c" else Side.SERVER)
        case b"W":
            yield Wait(WAITS[number % len(WAITS)])
        case b"V" | b"X":
            yield Visit(number % 4, kind == b"X")


def _setting(line: bytes, helper: Helper, before: int = 0) -> Setting:
    """before: how many sessions stand before this one."""
    words = line.decode("latin-1").split()
    kinds = {kind.value: kind for kind in transports(helper)}
    known = choices(helper)
    pairs = dict(word.partition("=")[::2] for word in words if "=" in word)
    return Setting(
        next((word for word in words if word in NETWORKS or word in captured(helper)), "snat"),
        next((kinds[word] for word in words if word in kinds), transports(helper)[0]),
        "expected" in words,
        "late" in words,
        next((cut for cut in CUTS if str(cut) == pairs.get("cut")), 0),
        next((port for port in CLIENT_PORTS if str(port) == pairs.get("from")), None),
        next((port for port in server_ports(helper) if str(port) == pairs.get("to")), None),
        tuple(sorted((name, value) for name, value in pairs.items() if value in known.get(name, ()))),
        next((number for number in range(before) if str(number) == pairs.get("through")), None),
    )
