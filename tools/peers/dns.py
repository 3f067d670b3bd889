"""Real name servers and clients, each told in its own words to do the same.

Servers have the zone `example` and listen on port 53 of a host, by UDP and TCP, IPv4 and IPv6. BIND and Knot have it as
a master would, Unbound and dnsmasq as a resolver of a site that knows its own names.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from tools.lab import Host
from tools.peers import programs
from tools.peers.ftp import SECONDS
from tools.peers.programs import program

Address = IPv4Address | IPv6Address
PORT = 53
TRANSPORTS = ("udp", "tcp")
Question = tuple[str, str]
"""A name and a type."""

RECORDS = (
    "www A 203.0.113.5",
    "www AAAA 2001:db8:7::5",
    "alias CNAME www.example.",
    "inside A 10.1.0.2",
    "inside AAAA fd01::2",
    "_sip._udp SRV 1 1 5060 www.example.",
    "bound HTTPS 1 . alpn=h2 ipv4hint=203.0.113.5 ipv6hint=2001:db8:7::5",
)
"""What each server knows; dnsmasq knows nothing of HTTPS."""
LONG = 15
"""Texts of 250 bytes below `long`: an answer of 4,000 bytes."""
MANY = 10_000
"""Addresses below `many`, for a zone transfer; only BIND and Knot have them."""


def missing() -> str:
    """What the demo needs of all this and is not installed; empty when nothing is."""
    return programs.missing("dig", "unbound")


# -- servers -----------------------------------------------------------------------------------------------------------


Serve = Callable[[Host], contextlib.AbstractContextManager[None]]
ServeMore = Callable[[Host, Sequence[str]], contextlib.AbstractContextManager[None]]
"""With further records of the zone."""


def _texts() -> list[str]:
    return [chr(ord("a") + number) * 250 for number in range(LONG)]


def _zone(*more: str) -> str:
    """The zone as a master has it."""
    lines = [
        "$ORIGIN example.",
        "$TTL 3600",
        "@ SOA ns hostmaster 1 3600 600 86400 60",
        "@ NS ns",
        "ns A 192.0.2.53",
        *RECORDS,
        *(f'long TXT "{text}"' for text in _texts()),
        *more,
    ]
    return "\n".join(lines) + "\n"


_FIRST: Question = ("www.example", "A")
"""What each server knows the address of."""


@contextlib.contextmanager
def _serving(
    host: Host, files: dict[str, str], command: Callable[[Path], Sequence[str]], known: Sequence[Question] = (_FIRST,)
) -> Iterator[None]:
    """known: what it answers when it has begun; BIND has a question for each of its zones."""
    with tempfile.TemporaryDirectory(prefix="dns-") as made:
        home = Path(made)
        home.chmod(0o777)
        for name, text in files.items():
            (home / name).write_text(text.replace("HOME", made))
        with (home / "log").open("wb") as output:
            process = host.popen(command(home), stdout=output, stderr=output, cwd=made)
        try:
            for address in (host.v4, host.v6):
                for question in known:
                    for transport in ("+notcp", "+tcp"):
                        _wait_until_it_answers(host, address, question, transport, process)
            yield
        except TimeoutError as late:
            raise RuntimeError((home / "log").read_text()) from late
        finally:
            host.end(process, SECONDS)


def _wait_until_it_answers(
    host: Host, address: Address, question: Question, transport: str, process: subprocess.Popen[bytes]
) -> None:
    """Servers listen at one address after the other, and BIND before it has read its zones. TimeoutError when it has
    ended before, or time has passed."""

    def answers() -> bool:
        said = dig(host, address, *question, "+short", transport, seconds=1)
        return any(not line.startswith(";") for line in said.splitlines())  # what dig itself says begins so

    host.wait_until(answers, process, f"{address} does not answer for {question[0]} ({transport})")


@contextlib.contextmanager
def bind(host: Host, more: Sequence[str] = ()) -> Iterator[None]:
    """more: further records of the zone."""
    files = {
        "named.conf": """
            options { directory "HOME"; pid-file none; recursion no; listen-on { any; }; listen-on-v6 { any; };
                      allow-transfer { any; }; dnssec-validation no; max-udp-size 4096; session-keyfile none;
                      lock-file none; };
            controls { };
            zone "example" { type master; file "HOME/zone"; };
            zone "113.0.203.in-addr.arpa" { type master; file "HOME/reverse"; };
            """,
        "zone": _zone(*more),
        "reverse": "$TTL 3600\n@ SOA ns.example. hostmaster.example. 1 3600 600 86400 60\n@ NS ns.example.\n"
        "5 PTR www.example.\n",
    }
    known = _FIRST, ("5.113.0.203.in-addr.arpa", "PTR")
    with _serving(host, files, lambda home: [program("named"), "-g", "-n", "1", "-c", str(home / "named.conf")], known):
        yield


@contextlib.contextmanager
def knot(host: Host, more: Sequence[str] = (), is_signed: bool = False) -> Iterator[None]:
    """more: further records of the zone. is_signed: Knot signs it itself."""
    signing = "dnssec-signing: on" if is_signed else ""
    files = {
        "knot.conf": f"""
server:
    rundir: HOME
    listen: [ 0.0.0.0@53, "::@53" ]
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
database:
    storage: HOME
acl:
  - id: all
    action: transfer
zone:
  - domain: example
    file: HOME/zone
    acl: all
    zonefile-sync: -1
    zonefile-load: whole
    journal-content: none
    {signing}
""",
        "zone": _zone(*more),
    }
    with _serving(host, files, lambda home: [program("knotd"), "-c", str(home / "knot.conf")]):
        yield


@contextlib.contextmanager
def unbound(host: Host) -> Iterator[None]:
    local = [f"{name}.example. 3600 IN {rest}" for name, rest in (line.split(" ", 1) for line in RECORDS)]
    local += [f'long.example. 3600 IN TXT "{text}"' for text in _texts()]
    lines = [
        "server:",
        "interface: 0.0.0.0",
        "interface: ::0",
        "access-control: 0.0.0.0/0 allow",
        "access-control: ::/0 allow",
        'module-config: "iterator"',
        'directory: "HOME"',
        *(f'{name}: ""' for name in ("chroot", "username", "pidfile")),
        "use-syslog: no",
        "do-daemonize: no",
        "local-zone: example. static",
        *(f"local-data: '{record}'" for record in local),
        "local-data-ptr: '203.0.113.5 www.example.'",
        "remote-control:",
        "control-enable: no",
    ]
    files = {"unbound.conf": "\n".join(lines) + "\n"}
    with _serving(host, files, lambda home: [program("unbound"), "-d", "-c", str(home / "unbound.conf")]):
        yield


@contextlib.contextmanager
def dnsmasq(host: Host) -> Iterator[None]:
    options = [
        "--conf-file=/dev/null", "--no-daemon", "--no-resolv", "--no-hosts", "--user=root", "--pid-file=",
        "--local=/example/", "--edns-packet-max=4096", "--host-record=www.example,203.0.113.5,2001:db8:7::5,3600",
        "--host-record=inside.example,10.1.0.2,fd01::2,3600", "--cname=alias.example,www.example,3600",
        "--srv-host=_sip._udp.example,www.example,5060,1,1",
        *(f"--txt-record=long.example,{text}" for text in _texts()),
    ]  # fmt: skip
    with _serving(host, {}, lambda _: [program("dnsmasq"), *options]):
        yield


SERVERS: dict[str, Serve] = {"bind": bind, "unbound": unbound, "knot": knot, "dnsmasq": dnsmasq}


# -- clients -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Client:
    """Asks a server for the records of a name, one a line, as in a zone but for their names."""

    name: str
    transports: tuple[str, ...]
    ask: Callable[[Host, Address, str, str, str], list[str]]
    """Called with a host, the server's address, a name, a type and a transport."""


def dig(host: Host, at: Address, name: str, kind: str, *options: str, seconds: int = SECONDS) -> str:
    """What dig says."""
    command = [program("dig"), f"@{at}", *options, f"+timeout={seconds}", "+tries=1", name, kind]
    return host.run(command, check=False).stdout


def _by_dig(host: Host, at: Address, name: str, kind: str, transport: str) -> list[str]:
    return sorted(dig(host, at, name, kind, "+short", "+tcp" if transport == "tcp" else "+notcp").splitlines())


def kdig(host: Host, at: Address, name: str, kind: str, *options: str) -> str:
    """What kdig says."""
    return host.run(
        [program("kdig"), f"@{at}", *options, f"+timeout={SECONDS}", "+retry=0", name, kind], check=False
    ).stdout


def _by_kdig(host: Host, at: Address, name: str, kind: str, transport: str) -> list[str]:
    return sorted(kdig(host, at, name, kind, "+short", "+tcp" if transport == "tcp" else "+notcp").splitlines())


_RESOLVE = """
import ctypes, json, os, sys, tempfile
libc = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNS, MS_REC, MS_PRIVATE, MS_BIND = 0x20000, 0x4000, 1 << 18, 4096
at, name, options = sys.argv[1:]
with tempfile.NamedTemporaryFile("w") as file:
    file.write(f"nameserver {at}\\noptions timeout:30 attempts:1 {options}\\n")
    file.flush()
    os.chmod(file.name, 0o644)
    assert libc.unshare(CLONE_NEWNS) == 0
    assert libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None) == 0
    assert libc.mount(file.name.encode(), os.path.realpath("/etc/resolv.conf").encode(), None, MS_BIND, None) == 0
    import socket, time
    began = time.monotonic()
    try:
        found = sorted({one[4][0] for one in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)})
    except socket.gaierror as error:
        found = [str(error)]
    print(json.dumps([found, time.monotonic() - began]))
"""


def resolve(host: Host, at: Address, name: str, transport: str = "udp") -> tuple[list[str], float]:
    """What getaddrinfo() of glibc finds, which asks for A and AAAA at once and from one port, and how long it takes."""
    options = "use-vc" if transport == "tcp" else "edns0"
    said = host.run([sys.executable, "-I", "-c", _RESOLVE, str(at), f"{name}.", options]).stdout
    found, seconds = json.loads(said)
    return found, seconds


def _by_glibc(host: Host, at: Address, name: str, kind: str, transport: str) -> list[str]:
    found, _ = resolve(host, at, name, transport)
    return [address for address in found if (":" in address) == (kind == "AAAA")]


CLIENTS = (
    Client("dig", TRANSPORTS, _by_dig),
    Client("kdig", TRANSPORTS, _by_kdig),
    Client("glibc", TRANSPORTS, _by_glibc),
)


@dataclass(frozen=True, slots=True)
class Performed:
    """What dnsperf has found."""

    sent: int
    lost: int
    seconds: float


def perform(host: Host, at: Address, questions: Sequence[str], rounds: int, *options: str) -> Performed:
    """Ask all questions so many times, as fast as the answers come. Raises RuntimeError."""
    with tempfile.NamedTemporaryFile("w") as file:
        file.write("".join(f"{question}\n" for question in questions))
        file.flush()
        command = [program("dnsperf"), "-s", str(at), "-d", file.name, "-n", str(rounds), *options]
        process = host.popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        said = process.communicate(timeout=120)[0].decode()
    words = {name.strip(): value.split() for name, _, value in (line.partition(":") for line in said.splitlines())}
    try:
        return Performed(int(words["Queries sent"][0]), int(words["Queries lost"][0]), float(words["Run time (s)"][0]))
    except KeyError:
        raise RuntimeError(said) from None
