"""A helper that nobody here knows, added as CONTRIBUTING says: its file, its transcripts, and one line in the registry.

The rest of the tree stays as it is, and yet the helper is configured, fuzzed, watched, shown and served.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.namespaces import needs_root
from tools.lab import Host, Lab, pinhole

ROOT = Path(__file__).parents[1]
COPIED = ("configs", "protocols", "proxy", "tests", "tools", "pyproject.toml")
SECONDS = 300
WAIT = 30
"""Seconds for anything that comes by a lab, whatever else the machine has to do."""

HELPER = '''
"""TOY: a server says `OPEN port`, and its client connects to that port."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from protocols.contract.addresses import LEAST_PORT, Endpoint, Malformed, Peers, Side, Transport, only
from protocols.contract.effects import Abort, Effect, Note, Send
from protocols.contract.engine import Engine, Helper, Options
from protocols.contract.pinholes import Expect, Pinholes, Refusal
from protocols.toolbox.lines import LineBuffer


@dataclass(frozen=True)
class ToyOptions(Options):
    """What a policy may set under `options: toy:`."""

    doors: int = 2
    """How many ports a server may name."""


class ToyEngine(Engine):
    __slots__ = ("_left", "_lines", "_peers", "_pinholes")

    def __init__(self, peers: Peers, options: ToyOptions, pinholes: Pinholes, now: float) -> None:
        self._peers, self._pinholes, self._left = peers, pinholes, options.doors
        self._lines = {side: LineBuffer(100) for side in Side}

    def receive(self, side: Side, data: bytes, now: float) -> Sequence[Effect]:
        lines, effects = self._lines[side], list[Effect]()
        lines.push(data)
        try:
            while (line := lines.pop()) is not None:
                is_open = side is Side.SERVER and line[:5] == b"OPEN " and line[5:].strip().isdigit()
                effects += self._open(line) if is_open else [Send(side.other, line)]
        except Malformed:
            effects.append(Abort("malformed"))
        return effects

    def _open(self, line: bytes) -> list[Effect]:
        port, peers = int(line[5:10]), self._peers
        if not self._left or not LEAST_PORT <= port <= 65535:
            return [Send(Side.CLIENT, b"NO\\r\\n")]
        listen = Endpoint(peers.server_as_seen.host, 0 if peers.is_mapped(Side.SERVER) else port)
        source = Endpoint(peers.client_as_seen.host, 0)
        target, allow = Endpoint(peers.server.host, port), only(peers.client.host)
        grant = self._pinholes.open(Expect(Transport.TCP, "toy", "OPEN", listen, allow, target, source, 60.0))
        if isinstance(grant, Refusal):
            return [Send(Side.CLIENT, b"NO\\r\\n")]
        self._left -= 1
        return [Note("toy.opened", {"port": port}), Send(Side.CLIENT, b"OPEN %d\\r\\n" % grant.listen.port)]


HELPER = Helper(
    name="toy",
    summary="TOY: a port that a server names",
    ports=((Transport.UDP, 7007), (Transport.TCP, 7007), (Transport.TCP, 7008)),
    options=ToyOptions,
    start=lambda: ToyEngine,
)
'''

TRANSCRIPTS = {
    "open": """
# A published server: the port that is announced is one of ours.
with dnat
client: hello
    -> server: hello
server: OPEN 9000
    open tcp for 10.0.0.5:9000 from 198.51.100.2 as 198.51.100.2 uses 1 = 203.0.113.7:61000
    note toy.opened port=9000
    -> client: OPEN 61000
""",
    "datagram": """
# Without NAT the port stays, and a low one is none.
transport udp
server: OPEN 9000
    open tcp for 203.0.113.7:9000 from 198.51.100.2 as 198.51.100.2 uses 1 = 203.0.113.7:9000
    note toy.opened port=9000
    -> client: as it came
server: OPEN 22
    -> client: NO
""",
}

CONFIGURATION = """
version: 1
policies:
  - name: lan-out
    from: [lan0]
    action: accept
    snat: interface
    options: {toy: {doors: 1}}
"""


@pytest.fixture(scope="module")
def tree() -> Iterator[Path]:
    """A copy of this checkout with one helper more."""
    # Not in pytest's own directory, which only root may enter: the daemon gives root up.
    with tempfile.TemporaryDirectory(prefix="pinhole-tree-") as made:
        tree = Path(made)
        tree.chmod(0o755)
        for name in COPIED:
            source, target = ROOT / name, tree / name
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "captures"))
            else:
                shutil.copy(source, target)
        (tree / "protocols" / "toy.py").write_text(HELPER)
        registry = tree / "protocols" / "__init__.py"
        text = registry.read_text()
        assert "        tns.HELPER,\n" in text
        text = text.replace("        tns.HELPER,\n", "        tns.HELPER,\n        toy.HELPER,\n")
        registry.write_text(text.replace("from protocols.tns", "from protocols import toy\nfrom protocols.tns", 1))
        transcripts = tree / "tests" / "transcripts" / "toy"
        transcripts.mkdir()
        for name, text in TRANSCRIPTS.items():
            (transcripts / f"{name}.txt").write_text(text)
        (tree / "pinhole.yaml").write_text(CONFIGURATION)
        yield tree


def run(tree: Path, *words: str) -> str:
    done = subprocess.run([sys.executable, "-m", *words], cwd=tree, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.timeout(SECONDS)
def test_it_is_fuzzed_watched_and_its_transcripts_are_played(tree: Path) -> None:
    files = ["tests/protocols/test_every_engine.py", "tests/protocols/test_every_transcript.py"]
    files += ["tests/protocols/test_observe.py", "tests/test_fuzz.py"]
    said = run(tree, "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", "-k", "toy", *files)
    assert "passed" in said and "skipped" not in said


def test_its_rows_and_options_are_in_the_table(tree: Path) -> None:
    table = json.loads(run(tree, "proxy", "show", "session-helper", "--json"))
    rows = [(row["protocol"], row["port"]) for row in table["session_helpers"] if row["name"] == "toy"]
    assert rows == [("udp", ["7007"]), ("tcp", ["7007"]), ("tcp", ["7008"])]


def test_a_configuration_may_set_its_options(tree: Path) -> None:
    run(tree, "proxy", "check", "pinhole.yaml")
    (tree / "wrong.yaml").write_text(CONFIGURATION.replace("doors: 1", "doors: many"))
    with pytest.raises(AssertionError, match="doors"):
        run(tree, "proxy", "check", "wrong.yaml")


@pytest.mark.netns
@needs_root
@pytest.mark.parametrize("port", [7007, 7008])
def test_the_daemon_serves_it(tree: Path, port: int) -> None:
    with Lab("nat") as lab, pinhole(lab, CONFIGURATION, unprivileged=True, tree=tree) as daemon:
        lab.lock_down("meta mark and 0x1000000 == 0x1000000 accept")
        at = str(lab.server.v4)
        with lab.server.inside():
            control, data = socket.create_server((at, port)), socket.create_server((at, 9000))
        with control, data, lab.client.inside(), socket.create_connection((at, port), WAIT) as client:
            serving = accepted(control)
            serving.sendall(b"OPEN 9000\r\n")
            assert client.recv(100) == b"OPEN 9000\r\n"
            with socket.create_connection((at, 9000), WAIT) as through, accepted(data) as there:
                through.sendall(b"through")
                assert there.recv(100) == b"through"
            serving.sendall(b"OPEN 9001\r\n")  # one more than its option has
            assert client.recv(100) == b"NO\r\n"
            serving.close()
        assert daemon.wait_for("toy.opened")["port"] == 9000


@pytest.mark.netns
@needs_root
def test_the_daemon_serves_its_datagrams(tree: Path) -> None:
    with Lab("nat") as lab, pinhole(lab, CONFIGURATION, unprivileged=True, tree=tree):
        lab.lock_down("meta mark and 0x1000000 == 0x1000000 accept")
        server, client = bound(lab.server, 7007), bound(lab.client, 5000)
        with server, client:
            client.sendto(b"hello\n", (str(lab.server.v4), 7007))
            data, seen_as = server.recvfrom(100)
            assert (data, seen_as[0]) == (b"hello\n", str(lab.gateway.address(4, "wan0")))
            server.sendto(b"OPEN 9000\n", seen_as)
            assert client.recv(100) == b"OPEN 9000\r\n"


def accepted(listener: socket.socket) -> socket.socket:
    listener.settimeout(WAIT)
    return listener.accept()[0]


def bound(host: Host, port: int) -> socket.socket:
    with host.inside():
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.settimeout(WAIT)
    sock.bind((str(host.v4), port))
    return sock
