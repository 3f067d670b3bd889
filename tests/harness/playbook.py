"""Conversations as files: what arrives stands at the margin, what the engine does is indented, in order.

    as Redirected((at("192.0.2.1:1521"),))   a pinhole let the session in: a value of the helper's `roles`, in Python
    with snat                          who has which address: a name of NETWORKS below; without it, `none`
    port 512 from 40000                the client dials this port, and not the first one of the helper, and from where
    transport udp                      what arrives are messages, as datagrams or (`tcp`) on a stream; see below
    option tls = deny                  a field of the helper's options, as a Python literal
    client: PASV                       a line with CR LF; `server:` likewise
    client eof                         that side has no more to say
    time 30                            seconds go by; a clock that has run out is told
    resolved NAME HOST ...             the addresses of a name that was asked for
    used 1                             the expected peer came to the first pinhole
    closed 1 in 10 out 20              it is gone, with its relay, and the bytes of each direction
    closed 1 idle in 0 out 0           for that reason
    refuse no_free_port                the next open is refused
    published HOST ADDRESS ...         policies have the client reach that host by these addresses
        -> server: PASV
        open tcp for TARGET from ALLOW as SOURCE uses 1 = LISTEN
        confirm 1 / renew 1 from ALLOW for 60 s / close 1 / refused no_free_port
        offer rtp for PARTY rtcp PORT from ALLOW = ANNOUNCED / answer 1 rtp ... / change 1 rtp ...
        finish client / abort REASON / over REASON / splice 3600 / resolve NAME
        note EVENT field=value ...

`open` ends in `unconfirmed` before the `=` when nobody is admitted yet, in `read` when an engine reads what comes, in
`reserved` when a port of ours is to be one below 1024, and in `privileged` when the peer has to come from one.
Media that is on hold or whose party is learned says so. In what is expected `*` stands for anything.
In text `\\xff`, `\\r`, `\\0`, `\\\\` are bytes, `\\n` at the end is a bare LF, `\\c` no line end at all, `{A*5000}`
repeats. A blank at the end of a line is written `\\x20`.

With a `transport`, what arrives are messages of many lines. Of one that is sent on, what has changed is told:

    client: REGISTER sip:example.org SIP/2.0
    | {alice 1 REGISTER}               lines that were given a name: `let alice` here or in the directory's file `words`
    | Contact: <sip:alice@10.1.0.2>    and so on; the empty line at the end is added where there is none
        note *                         first what is logged,
        -> server: with                then what is sent, then how it ends
        + Contact: <...>               a line that is new, or stands in the place of another one; `-`: one that is gone
        -> server: as it came
        -> client: SIP/2.0 400 No      an answer is told as a whole
        | Via: ...

`{length}` is the number of bytes behind the empty line. `$1` and so on are words that stand behind a name.
"""

from __future__ import annotations

import ast
import random
import re
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from difflib import SequenceMatcher
from functools import cache
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

from protocols import HELPERS
from protocols.contract.addresses import Endpoint, Host, Peers, Side, Transport
from protocols.contract.effects import Abort, Close, Effect, Finish, Note, Resolve, Send, Splice
from protocols.contract.engine import Engine, EngineFactory, Helper
from protocols.contract.pinholes import AnyGrant, Grant, PinholeEvent, Used
from protocols.observe import Engines
from tests.harness.events import noted
from tests.harness.fake_pinholes import ASKED, FakePinholes

TRANSCRIPTS = Path(__file__).parents[1] / "transcripts"


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


def on(
    network: Peers,
    helper: Helper,
    transport: Transport,
    client_port: int | None = None,
    server_port: int | None = None,
) -> Peers:
    """The same hosts with another helper, at this port or the first of its own for this transport. Over UDP the client
    sends from the helper's port, if nothing else is said, and keeps it; where servers trust reserved ports, it has
    one."""
    port = server_port or next(port for kind, port in helper.ports if kind is transport)
    server, server_as = replace(network.server, port=port), replace(network.server_as_seen, port=port)
    client, client_as = network.client, network.client_as_seen
    if transport is Transport.UDP:
        client, client_as = (replace(end, port=client_port or port) for end in (client, client_as))
    elif helper.reserved_source:
        client, client_as = replace(client, port=client_port or 1022), replace(client_as, port=client_port or 1023)
    return Peers(client, client_as, server, server_as, transport)


def roles(helper: Helper) -> list[object]:
    """What a session of this helper can be: let in by a policy, or by a pinhole in a role that transcripts have."""
    known = [transcript.network.role for transcript in transcripts(helper.name)]
    return [None, *dict.fromkeys(role for role in (helper.beside, *known) if role is not None)]


def _role(text: str, helper: Helper) -> object:
    """A role as Python writes it; the names in it are those of the modules that have the helper's roles."""
    names: dict[str, Any] = {"at": endpoint, "host": ip_address}
    for kind in helper.roles:
        names.update(vars(sys.modules[kind.__module__]))
    role: object = eval(text, names)  # of a file of ours
    assert isinstance(role, helper.roles), f"{role} is no role of {helper.name}"
    return role


@dataclass
class Session:
    """An engine with everything around it that a test needs; what it did is in `effects` and `pinholes.log`."""

    engine: Engine
    pinholes: FakePinholes
    engines: EngineFactory
    """Where it comes from, with what those of a daemon share."""
    now: float = 0.0
    effects: list[Effect] = field(default_factory=list)
    is_over: bool = False
    """Nothing arrives any more; what the engine looks after may go on."""
    is_dissolved: bool = False
    """Nor does it look after anything."""
    ended: set[Side] = field(default_factory=set)
    """Sides that have nothing more to say."""
    daemon: list[Session] = field(default_factory=list)
    """All that share what the engines of a daemon share, and the time."""
    tells_late: bool = False
    """What the engine closes is reported to it when it is done with what it is at, not before close() returns."""
    _late: list[tuple[AnyGrant, PinholeEvent]] = field(default_factory=list)
    _is_at_work: bool = False

    def __post_init__(self) -> None:
        self.pinholes.report = self._report
        self.daemon.append(self)

    @classmethod
    def of(cls, helper: Helper, network: Peers, options: Any = None) -> Session:
        pinholes = FakePinholes()
        engines = Engines(helper)
        engine = engines(network, helper.options() if options is None else options, pinholes, 0.0)
        return cls(engine, pinholes, engines)

    def _report(self, grant: AnyGrant, event: PinholeEvent) -> None:
        if self.is_dissolved:
            return
        if self.tells_late and self._is_at_work:
            self._late.append((grant, event))
        else:
            self._done(self.engine.pinhole(grant, event, self.now))
            if not self._is_at_work:
                self._settle()

    def _step(self, call: Callable[..., Sequence[Effect]], *arguments: Any) -> None:
        self._is_at_work = True
        effects = call(*arguments, self.now)
        self._is_at_work = False
        self._done(effects)
        while self._late:
            self._done(self.engine.pinhole(*self._late.pop(0), self.now))
        self._settle()

    def _settle(self) -> None:
        """When nothing needs the engine any more, what it has opened goes with it, and nobody is told."""
        if self.is_over and not self.engine.is_needed():
            self._stop()

    def dissolve(self) -> None:
        """All ends that it has begun; of what is open the engine hears that it is closed."""
        for number in tuple(self.pinholes.standing):
            self.pinholes.drop(number, "session_closed")
        self._stop()

    def _stop(self) -> None:
        if self.is_dissolved:
            return
        self.is_dissolved = True
        effects = self.engine.stop(self.now)
        noted(effects)
        self.effects += (effect for effect in effects if isinstance(effect, Note))
        for number in tuple(self.pinholes.standing):
            self.pinholes.drop(number, "session_closed")

    def _done(self, effects: Sequence[Effect]) -> None:
        noted(effects)
        self.effects += effects
        self.is_over = self.is_over or any(isinstance(effect, Abort | Close | Splice) for effect in effects)

    def close(self) -> None:
        """The connection is gone, from both sides or as a flow that was silent for too long."""
        if not self.is_over:
            for side in Side:
                if side not in self.ended:
                    self._step(self.engine.eof, side)
            self.is_over = True
        self._settle()

    def receive(self, side: Side, data: bytes) -> None:
        if not self.is_over:
            self._step(self.engine.receive, side, data)

    def eof(self, side: Side) -> None:
        self.ended.add(side)
        if not self.is_over:
            self._step(self.engine.eof, side)

    def resolved(self, name: str, *hosts: Host) -> None:
        if not self.is_over:
            self._step(self.engine.resolved, name, hosts)

    def client(self, *lines: bytes) -> None:
        self.receive(Side.CLIENT, b"".join(line + b"\r\n" for line in lines))

    def server(self, *lines: bytes) -> None:
        self.receive(Side.SERVER, b"".join(line + b"\r\n" for line in lines))

    def wait(self, seconds: float) -> None:
        """Let time go by, and tell every clock that runs out when it does; those of the same daemon's sessions too."""
        until = self.now + seconds
        while (next_one := min(self.daemon, key=Session._deadline))._deadline() <= until:
            for session in self.daemon:
                session.now = max(session.now, next_one._deadline())
            before = next_one._deadline()
            next_one._step(next_one.engine.tick)
            assert next_one._deadline() > before, "a clock that does not move on"
        for session in self.daemon:
            session.now = until
            session._settle()

    def _deadline(self) -> float:
        deadline = self.engine.deadline() if not self.is_dissolved else None
        return float("inf") if deadline is None else deadline

    def use(self, number: int) -> None:
        grant = self.pinholes.standing[number]
        assert grant in self.pinholes.admitting(), f"pinhole {number} is not confirmed"
        allow = self.pinholes.callers(grant) if isinstance(grant, Grant) else grant.media.party.allow
        self._done(self.engine.pinhole(grant, Used(Endpoint(allow[0].network_address, 50123)), self.now))
        self._settle()

    def end(self, number: int, bytes_in: int, bytes_out: int, reason: str = "finished") -> None:
        assert number in self.pinholes.standing, f"pinhole {number} is closed"
        self.pinholes.drop(number, reason, bytes_in, bytes_out)

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
        return "; ".join(",".join(map(_fact, one.values())) if isinstance(one, dict) else _fact(one) for one in value)
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
            case Close(reason=reason):
                lines.append(f"over {reason}")
            case Splice(idle_seconds=seconds, carries_urgent=carries):
                lines.append(f"splice {seconds:g}" + (" urgent" if carries else ""))
            case Resolve(name=name):
                lines.append(f"resolve {name}")
            case Note(event=event, facts=facts):
                lines.append(" ".join([f"note {event}", *(f"{name}={_fact(value)}" for name, value in facts.items())]))
    flush()
    return lines


def render_messages(effects: Iterable[Effect], came: bytes, side: Side | None) -> list[str]:
    """The same for what one message has brought about, or several that came together: what is logged, what is sent, how
    it ends. Of what is sent on, only what is new in it."""
    sent: dict[Side, bytes] = {}
    logged: list[Effect] = []
    ended: list[Effect] = []
    for effect in effects:
        match effect:
            case Send(to=to, data=data):
                sent[to] = sent.get(to, b"") + data
            case Note():
                logged.append(effect)
            case _:
                ended.append(effect)
    lines = render(logged)
    for to, data in sent.items():
        lines += _changes(to, came, data) if side is to.other else _message(to, data)
    return lines + render(ended)


def _changes(to: Side, came: bytes, went: bytes) -> list[str]:
    if went == came:
        return [f"-> {to.value}: as it came"]
    before, after = _LINES.findall(came), _LINES.findall(went)
    lines = [f"-> {to.value}: with"]
    for tag, i1, i2, j1, j2 in SequenceMatcher(None, before, after, False).get_opcodes():
        if tag == "equal":
            continue
        if i2 - i1 != j2 - j1:
            lines += (f"- {to_text(line)}".rstrip() for line in before[i1:i2])
        lines += (f"+ {to_text(line)}".rstrip() for line in after[j1:j2])
    return lines if len(lines) <= len(after) else _message(to, went)


def _message(to: Side, data: bytes) -> list[str]:
    first, *rest = _LINES.findall(data)
    return [f"-> {to.value}: {to_text(first)}".rstrip(), *(f"| {to_text(line)}".rstrip() for line in rest)]


_LINES = re.compile(rb"[^\n]*\n|[^\n]+")


# -- transcripts ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Step:
    """What arrives, and what the engine is expected to do."""

    line: int
    what: str
    side: Side | None
    data: bytes
    """What arrives from that side."""
    expected: tuple[str, ...]


@dataclass(frozen=True)
class Transcript:
    path: Path
    network: Peers
    options: dict[str, Any]
    steps: tuple[Step, ...]
    has_messages: bool

    @property
    def name(self) -> str:
        return f"{self.path.parent.name}/{self.path.stem}"

    @property
    def is_stream(self) -> bool:
        return self.network.transport is Transport.TCP


Words = dict[str, list[str]]
"""Lines that were given a name."""


def load(path: Path) -> Transcript:
    network, transport, role = "none", "", ""
    dialled: list[int | None] = [None, None]
    options: dict[str, Any] = {}
    words = _read_words(path.parent / "words")
    steps: list[tuple[int, str, list[str], list[str]]] = []
    named: list[str] | None = None
    for number, raw in enumerate(path.read_text().splitlines(), 1):
        line = raw.rstrip()
        if not line or line.startswith("#"):
            continue
        if line[0] == " ":
            steps[-1][3].append(line.strip())
        elif line[0] == "|":
            (steps[-1][2] if named is None else named).append(line.removeprefix("|").removeprefix(" "))
        elif line.startswith("with "):
            network = line.split()[1]
        elif line.startswith("port "):
            dialled = [*map(int, line.removeprefix("port ").split(" from ")), None]
        elif line.startswith("as "):
            role = line.removeprefix("as ")
        elif line.startswith("transport "):
            transport = line.removeprefix("transport ")
        elif line.startswith("option "):
            name, _, value = line.removeprefix("option ").partition("=")
            options[name.strip()] = _option(value.strip())
        elif line.startswith("let "):
            named = words[line.split()[1]] = []
        else:
            named = None
            steps.append((number, line, [], []))
    hosts = NETWORKS[network]
    if path.parent.name in HELPERS and not transport:
        hosts = on(hosts, HELPERS[path.parent.name], Transport.TCP, client_port=dialled[1], server_port=dialled[0])
    elif transport:
        kind, *port = transport.split(" from ")
        hosts = on(hosts, HELPERS[path.parent.name], Transport(kind), int(port[0]) if port else None)
    if role:
        hosts = replace(hosts, role=_role(role, HELPERS[path.parent.name]))
    made = tuple(_step(*step, words) for step in steps)
    return Transcript(path, hosts, options, made, bool(transport))


def _read_words(path: Path) -> Words:
    words: Words = {}
    lines: list[str] = []
    for line in path.read_text().splitlines() if path.exists() else ():
        if line.startswith("let "):
            lines = words[line.split()[1]] = []
        elif line.startswith("|"):
            lines.append(line.removeprefix("|").removeprefix(" ").rstrip())
    return words


def _step(number: int, what: str, more: list[str], expected: list[str], words: Words) -> Step:
    speaker, colon, first = what.partition(":")
    side = Side(speaker) if colon and speaker in ("client", "server") else None
    data = _arrival([first.removeprefix(" "), *more], words) if side is not None else b""
    return Step(number, what, side, data, tuple(expected))


def _arrival(lines: Sequence[str], words: Words) -> bytes:
    text = list(_spelled_out(lines, words))
    data = b"".join(map(to_bytes, text))
    if len(text) > 1:  # a message
        if not _EMPTY_LINE.search(data) and data.endswith(b"\n"):
            data += b"\r\n"
        head = _EMPTY_LINE.search(data)
        data = data.replace(b"{length}", b"%d" % (len(data) - head.end() if head else 0))
    return data


_EMPTY_LINE = re.compile(rb"\n\r?\n")
_NAMED = re.compile(r"\{([a-z][a-z0-9-]*)( [^{}]*)?\}")


def _spelled_out(lines: Sequence[str], words: Words, arguments: Sequence[str] = ()) -> Iterator[str]:
    for line in lines:
        line = re.sub(r"\$([1-9])", lambda match: arguments[int(match[1]) - 1], line)
        match = _NAMED.fullmatch(line)
        if match is None or match[1] == "length":
            yield line
        else:
            yield from _spelled_out(words[match[1]], words, shlex.split(match[2] or ""))


def _option(text: str) -> Any:
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
    if isinstance(value, tuple) and all(isinstance(part, str) and re.search(r"[.:]", part) for part in value):
        return tuple(ip_network(part) for part in value)
    if isinstance(value, dict) and all(isinstance(part, str) and "/" in part for part in value):
        return {ip_network(one): ip_network(other) for one, other in value.items()}
    return value


@cache
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


def _groups(transcript: Transcript) -> Iterator[list[Step]]:
    """Lines of one side that follow each other may arrive in one read: they are one group."""
    group: list[Step] = []
    for step in transcript.steps:
        if group and (transcript.has_messages or step.side is None or step.side is not group[0].side):
            yield group
            group = []
        group.append(step)
    if group:
        yield group


def play(transcript: Transcript, helper: Helper, cut: Cut, *, twice: bool = False) -> Session:
    """Run a transcript and compare. `twice`: each datagram comes again, and must get the same again and nothing new.

    Raises AssertionError that names the line.
    """
    session = Session.of(helper, transcript.network, helper.options(**transcript.options))
    for group in _groups(transcript):
        effects_before, log_before = len(session.effects), len(session.pinholes.log)
        side, stream = group[0].side, b"".join(step.data for step in group)
        if side is not None:
            for part in cut(stream):
                session.receive(side, part)
        else:
            for step in group:
                _do(session, step.what)
        expected = [line for step in group for line in step.expected]
        asked = [line for line in expected if line.startswith(ASKED)]
        done = [line for line in expected if line not in asked]
        effects = session.effects[effects_before:]
        where = f"{transcript.path.name}:{group[0].line}"
        _compare(f"{where}: pinholes", asked, session.pinholes.log[log_before:])
        got = render_messages(effects, stream, side) if transcript.has_messages else render(effects)
        _compare(f"{where}: effects", done, got)
        if twice and side is not None:
            session.receive(side, stream)
            sends = [effect for effect in effects if isinstance(effect, Send)]
            assert session.effects[effects_before + len(effects) :] == sends, where
            assert len(session.pinholes.log) == log_before + len(asked), where
    return session


def _do(session: Session, what: str) -> None:
    match what.split():
        case [("client" | "server") as side, "eof"]:
            session.eof(Side(side))
        case ["time", seconds]:
            session.wait(float(seconds))
        case ["used", number]:
            session.use(int(number))
        case ["closed", number, *reason, "in", bytes_in, "out", bytes_out]:
            session.end(int(number), int(bytes_in), int(bytes_out), *reason)
        case ["resolved", name, *hosts]:
            session.resolved(name, *map(ip_address, hosts))
        case ["published", host, *addresses]:
            session.pinholes.published[ip_address(host)] = tuple(map(ip_address, addresses))
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
