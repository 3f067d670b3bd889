"""Conversations as files: what arrives stands at the margin, what the engine does is indented, in order.

    with snat                          who has which address: a name of NETWORKS below; without it, `none`
    option tls = deny                  a field of the helper's options, as a Python literal
    client: PASV                       a line with CR LF; `server:` likewise
    client eof                         that side has no more to say
    time 30                            seconds go by; a clock that has run out is told
    used 1                             the expected peer came to the first pinhole
    closed 1 in 10 out 20              it is gone, with its relay, and the bytes of each direction
    refuse no_free_port                the next open is refused
        -> server: PASV
        open tcp for TARGET from ALLOW as SOURCE uses 1 = LISTEN
        confirm 1 / close 1 / refused no_free_port
        finish client / abort REASON / splice 3600
        note EVENT field=value ...

`open` ends in `unconfirmed` before the `=` when nobody is admitted yet. In what is expected `*` stands for anything.
In text `\\xff`, `\\r`, `\\0`, `\\\\` are bytes, `\\n` at the end is a bare LF, `\\c` no line end at all, `{A*5000}`
repeats. A blank at the end of a line is written `\\x20`.
"""

from __future__ import annotations

import ast
import random
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

from protocols.engine import (
    Abort,
    Closed,
    Effect,
    Endpoint,
    Engine,
    Expect,
    Finish,
    Grant,
    Helper,
    Note,
    Peers,
    PinholeEvent,
    Refusal,
    Send,
    Side,
    Splice,
    Used,
)

TRANSCRIPTS = Path(__file__).parent / "transcripts"


def endpoint(text: str) -> Endpoint:
    host, _, port = text.rpartition(":")
    return Endpoint(ip_address(host.strip("[]")), int(port))


def peers(client: str, server: str, *, client_as: str | None = None, server_as: str | None = None) -> Peers:
    return Peers(endpoint(client), endpoint(client_as or client), endpoint(server), endpoint(server_as or server))


# The client's port differs on the server's leg also without NAT: the kernel chooses it.
NETWORKS = {
    "none": peers("198.51.100.2:40000", "203.0.113.7:21", client_as="198.51.100.2:45000"),
    "snat": peers("10.1.0.2:40000", "203.0.113.7:21", client_as="198.51.100.1:45000"),
    "dnat": peers("198.51.100.2:40000", "10.0.0.5:21", client_as="198.51.100.2:45000", server_as="203.0.113.7:21"),
    "none6": peers("[2001:db8:1::2]:40000", "[2001:db8:2::7]:21", client_as="[2001:db8:1::2]:45000"),
    "snat6": peers("[fd01::2]:40000", "[2001:db8:2::7]:21", client_as="[2001:db8:1::1]:45000"),
    "dnat6": peers(
        "[2001:db8:1::2]:40000", "[fd02::5]:21", client_as="[2001:db8:1::2]:45000", server_as="[2001:db8:2::7]:21"
    ),
    "4to6": peers("10.1.0.2:40000", "[2001:db8:2::7]:21", client_as="[2001:db8:1::1]:45000", server_as="192.0.2.7:21"),
    "6to4": peers("[fd01::2]:40000", "203.0.113.7:21", client_as="198.51.100.1:45000", server_as="[64:ff9b::7]:21"),
}


class FakePinholes:
    """A table without sockets. What is asked of it is written down; ends are reported before close() returns."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.opened: list[Grant] = []
        self.standing: dict[int, Grant] = {}
        self.confirmed: set[int] = set()
        self.refuse_next: list[str] = []
        self.report: Callable[[Grant, PinholeEvent], None] = lambda grant, event: None

    def open(self, expect: Expect) -> Grant | Refusal:
        if self.refuse_next:
            reason = self.refuse_next.pop(0)
            self.log.append(f"refused {reason}")
            return Refusal(reason)
        number = len(self.opened) + 1
        listen = expect.listen if expect.listen.port else Endpoint(expect.listen.host, 60999 + number)
        grant = Grant(number, expect, listen)
        if any(listen == other.listen for other in self.standing.values()):
            self.log.append("refused address_in_use")
            return Refusal("address_in_use")
        self.opened.append(grant)
        self.standing[number] = grant
        allow = ", ".join(str(net.network_address) if net.num_addresses == 1 else str(net) for net in expect.allow)
        source = str(expect.source if expect.source is None or expect.source.port else expect.source.host)
        uses = f"uses {expect.uses}" + ("" if expect.confirmed else " unconfirmed")
        self.log.append(f"open {expect.transport.value} for {expect.target} from {allow} as {source} {uses} = {listen}")
        return grant

    def confirm(self, grant: Grant) -> None:
        self.log.append(f"confirm {grant.id}")
        self.confirmed.add(grant.id)

    def close(self, grant: Grant) -> None:
        self.log.append(f"close {grant.id}")
        if self.standing.pop(grant.id, None) is not None:
            self.report(grant, Closed("closed_by_session", 0, 0, 0.0))


@dataclass
class Session:
    """An engine with everything around it that a test needs; what it did is in `effects` and `pinholes.log`."""

    engine: Engine
    pinholes: FakePinholes
    now: float = 0.0
    effects: list[Effect] = field(default_factory=list)

    @classmethod
    def of(cls, helper: Helper, network: Peers, options: Any = None) -> Session:
        pinholes = FakePinholes()
        engine = helper.start()(network, helper.options() if options is None else options, pinholes, 0.0)
        session = cls(engine, pinholes)
        pinholes.report = session._report
        return session

    @property
    def is_over(self) -> bool:
        return bool(self.effects) and isinstance(self.effects[-1], Abort | Splice)

    def _report(self, grant: Grant, event: PinholeEvent) -> None:
        self.effects += self.engine.pinhole(grant, event, self.now)

    def receive(self, side: Side, data: bytes) -> None:
        if not self.is_over:
            self.effects += self.engine.receive(side, data, self.now)

    def eof(self, side: Side) -> None:
        if not self.is_over:
            self.effects += self.engine.eof(side, self.now)

    def client(self, *lines: bytes) -> None:
        self.receive(Side.CLIENT, b"".join(line + b"\r\n" for line in lines))

    def server(self, *lines: bytes) -> None:
        self.receive(Side.SERVER, b"".join(line + b"\r\n" for line in lines))

    def wait(self, seconds: float) -> None:
        """Let time go by, and tell every clock that runs out when it does."""
        until = self.now + seconds
        while not self.is_over and (deadline := self.engine.deadline()) is not None and deadline <= until:
            self.now = max(self.now, deadline)
            self.effects += self.engine.tick(self.now)
            after = self.engine.deadline()
            assert after is None or after > deadline or self.is_over, "a clock that does not move on"
        self.now = until

    def use(self, number: int) -> None:
        grant = self.pinholes.opened[number - 1]
        assert grant.id in self.pinholes.standing, f"pinhole {number} is closed"
        assert grant.expect.confirmed or grant.id in self.pinholes.confirmed, f"pinhole {number} is not confirmed"
        visitor = Endpoint(grant.expect.allow[0].network_address, 50123)
        self.effects += self.engine.pinhole(grant, Used(visitor), self.now)

    def end(self, number: int, bytes_in: int, bytes_out: int) -> None:
        grant = self.pinholes.opened[number - 1]
        del self.pinholes.standing[grant.id]
        self._report(grant, Closed("finished", bytes_in, bytes_out, 1.0))

    # -- reading what was done -------------------------------------------------------------------------------------

    def sent(self, to: Side) -> bytes:
        return b"".join(effect.data for effect in self.effects if isinstance(effect, Send) and effect.to is to)

    def notes(self, event: str) -> list[dict[str, Any]]:
        return [dict(effect.facts) for effect in self.effects if isinstance(effect, Note) and effect.event == event]

    def violations(self) -> list[str]:
        return [note["rule"] for note in self.notes("violation")]


# -- text ----------------------------------------------------------------------------------------------------------


def to_bytes(text: str) -> bytes:
    """The bytes of a line of a transcript, its end included."""
    text = re.sub(r"\{(.)\*(\d+)\}", lambda match: match[1] * int(match[2]), text)
    ending = b"\r\n"
    if text.endswith("\\c"):
        text, ending = text[:-2], b""
    elif text.endswith("\\n"):
        text, ending = text[:-2], b"\n"
    escapes = {"\\\\": b"\\", "\\0": b"\0", "\\r": b"\r"}
    parts = re.split(r"(\\x[0-9a-f]{2}|\\\\|\\0|\\r)", text)
    body = b"".join(
        escapes.get(part) or (bytes.fromhex(part[2:]) if part.startswith("\\x") else part.encode()) for part in parts
    )
    return body + ending


def to_text(line: bytes) -> str:
    """The other way round."""
    if line.endswith(b"\r\n"):
        body, ending = line[:-2], ""
    elif line.endswith(b"\n"):
        body, ending = line[:-1], "\\n"
    else:
        body, ending = line, "\\c"
    if body.endswith(b" "):
        body, ending = body[:-1], "\\x20" + ending
    names = {0x5C: "\\\\", 0: "\\0", 0x0D: "\\r"}
    return "".join(names.get(byte) or (chr(byte) if 32 <= byte < 127 else f"\\x{byte:02x}") for byte in body) + ending


def _fact(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if isinstance(value, list):
        return "; ".join(",".join(_fact(part) for part in change.values()) for change in value)
    return str(value)


def render(effects: Iterable[Effect]) -> list[str]:
    """Effects as lines of a transcript; neighbouring sends are one stream."""
    lines: list[str] = []
    to, stream = Side.CLIENT, b""

    def flush() -> None:
        nonlocal stream
        lines.extend(f"-> {to.value}: {to_text(line)}".rstrip() for line in re.findall(rb"[^\n]*\n|[^\n]+", stream))
        stream = b""

    for effect in effects:
        if isinstance(effect, Send):
            if effect.to is not to:
                flush()
                to = effect.to
            stream += effect.data
            continue
        flush()
        match effect:
            case Finish(to=side):
                lines.append(f"finish {side.value}")
            case Abort(reason=reason):
                lines.append(f"abort {reason}")
            case Splice(idle_seconds=seconds):
                lines.append(f"splice {seconds:g}")
            case Note(event=event, facts=facts):
                lines.append(" ".join([f"note {event}", *(f"{name}={_fact(value)}" for name, value in facts.items())]))
    flush()
    return lines


# -- transcripts ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Step:
    """What arrives, and what the engine is expected to do."""

    line: int
    what: str
    expected: tuple[str, ...]


@dataclass(frozen=True)
class Transcript:
    path: Path
    network: Peers
    options: dict[str, Any]
    steps: tuple[Step, ...]

    @property
    def name(self) -> str:
        return f"{self.path.parent.name}/{self.path.stem}"


def load(path: Path) -> Transcript:
    network, options = "none", {}
    steps: list[tuple[int, str, list[str]]] = []
    for number, raw in enumerate(path.read_text().splitlines(), 1):
        line = raw.rstrip()
        if not line or line.startswith("#"):
            continue
        if line[0] == " ":
            steps[-1][2].append(line.strip())
        elif line.startswith("with "):
            network = line.split()[1]
        elif line.startswith("option "):
            name, _, value = line.removeprefix("option ").partition("=")
            options[name.strip()] = _option(value.strip())
        else:
            steps.append((number, line, []))
    return Transcript(path, NETWORKS[network], options, tuple(Step(n, what, tuple(e)) for n, what, e in steps))


def _option(text: str) -> Any:
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
    if isinstance(value, tuple) and all(isinstance(part, str) and re.search(r"[.:]", part) for part in value):
        return tuple(ip_network(part) for part in value)
    return value


def transcripts(helper: str) -> list[Transcript]:
    return [load(path) for path in sorted((TRANSCRIPTS / helper).glob("*.txt"))]


Cut = Callable[[bytes], Iterator[bytes]]


def whole(data: bytes) -> Iterator[bytes]:
    yield data


def bytewise(data: bytes) -> Iterator[bytes]:
    for at in range(len(data)):
        yield data[at : at + 1]


def randomly(seed: int) -> Cut:
    chance = random.Random(seed)

    def cut(data: bytes) -> Iterator[bytes]:
        at = 0
        while at < len(data):
            length = chance.choice((1, 2, 3, 7, 20, 100, 3000))
            yield data[at : at + length]
            at += length

    return cut


def _groups(steps: Sequence[Step]) -> Iterator[tuple[list[Step], Side | None]]:
    """Lines of one side that follow each other may arrive in one read: they are one group."""
    group: list[Step] = []
    side: Side | None = None
    for step in steps:
        speaker = next((s for s in Side if step.what.startswith(f"{s.value}:")), None)
        if group and (speaker is None or speaker is not side):
            yield group, side
            group = []
        group.append(step)
        side = speaker
    if group:
        yield group, side


def play(transcript: Transcript, helper: Helper, cut: Cut) -> None:
    """Run a transcript and compare. Raises AssertionError that names the line."""
    session = Session.of(helper, transcript.network, helper.options(**transcript.options))
    for group, side in _groups(transcript.steps):
        effects_before, log_before = len(session.effects), len(session.pinholes.log)
        if side is not None:
            stream = b"".join(to_bytes(step.what.partition(":")[2].removeprefix(" ")) for step in group)
            for part in cut(stream):
                session.receive(side, part)
        else:
            for step in group:
                _do(session, step.what)
        expected = [line for step in group for line in step.expected]
        asked = [line for line in expected if line.startswith(("open ", "confirm ", "close ", "refused "))]
        done = [line for line in expected if line not in asked]
        where = f"{transcript.path.name}:{group[0].line}"
        _compare(f"{where}: pinholes", asked, session.pinholes.log[log_before:])
        _compare(f"{where}: effects", done, render(session.effects[effects_before:]))


def _do(session: Session, what: str) -> None:
    match what.split():
        case [("client" | "server") as side, "eof"]:
            session.eof(Side(side))
        case ["time", seconds]:
            session.wait(float(seconds))
        case ["used", number]:
            session.use(int(number))
        case ["closed", number, "in", bytes_in, "out", bytes_out]:
            session.end(int(number), int(bytes_in), int(bytes_out))
        case ["refuse", reason]:
            session.pinholes.refuse_next.append(reason)
        case _:
            raise ValueError(f"no such step: {what}")


def _compare(where: str, expected: list[str], got: list[str]) -> None:
    fits = len(expected) == len(got) and all(
        re.fullmatch(re.escape(pattern).replace(r"\*", ".*"), line, re.DOTALL)
        for pattern, line in zip(expected, got, strict=True)
    )
    assert fits, f"{where}\nexpected:\n  " + "\n  ".join(expected) + "\ngot:\n  " + "\n  ".join(got)
