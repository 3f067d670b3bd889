"""What people see, as recorded at 80 and at 120 columns (`recorded/NAME-WIDTH.txt`).

`RECORD=1 pytest` of this file records anew; what has changed is then read in the diff.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from proxy.command.cli import main
from proxy.command.doctor import report
from proxy.config import whereabouts
from proxy.doctor import examine
from proxy.doctor.findings import Finding, Level
from proxy.host import net
from tests.harness.control_socket import daemon

ROOT = Path(__file__).parents[3]
RECORDED = Path(__file__).parent / "recorded"
WIDTHS = (80, 120)
CONFIG = """\
session-helpers:
  - {id: 13, name: sip, protocol: udp, port: 5060}
  - {id: 21, name: ftp, protocol: tcp, port: [21, 2121, 3000-3001]}
  - {id: 22, name: tns, protocol: tcp, port: 1521, enabled: false}
policies:
  - {name: lan-out, action: accept, options: {ftp: {tls: deny}, sip: {max_calls: 5, block_methods: [MESSAGE]}}}
"""
V6_CLIENT, V6_SERVER = "[2001:db8:1111:2222:3333:4444:5555:6666]:40001", "[2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff]:5060"

SESSIONS = [
    {
        "id": f"1cce2aa5-{number}",
        "helper": helper,
        "policy": "lan-out",
        "transport": "tcp",
        "interface": "lan0",
        "client": client,
        "server": server,
        "snat": "203.0.113.7:40001",
        "dnat": None,
        "state": state,
        "age_seconds": age,
        "idle_seconds": 1.5,
        "bytes_from_client": 512,
        "bytes_from_server": 5_000_000,
        "pinholes": pinholes,
        "parent": None,
        "via_pinhole": None,
    }
    for number, helper, client, server, state, age, pinholes in (
        (4, "ftp", "192.168.1.10:40001", "203.0.113.50:21", "serving", 187.2, 1),
        (5, "sip", V6_CLIENT, V6_SERVER, "serving", 7505.0, 4),
        (12048, "sip", "192.168.100.200:55060", "203.0.113.150:5060", "lingering", 273600.5, 2),
        (12049, "tns", "[fd01::5]:1521", V6_SERVER, "dialling", 0.3, 0),
    )
]
PINHOLES = [
    {
        "id": number,
        "session": session,
        "call_id": call_id,
        "purpose": purpose,
        "trigger": trigger,
        "state": state,
        "listen": listen,
        "allow": allow,
        "peer": peer,
        "target": target,
        "age_seconds": 65.0,
        "expires_seconds": expires,
        "bytes_in": 512,
        "bytes_out": 5_000_000,
        "packets_in": packets,
    }
    for number, session, call_id, purpose, trigger, state, listen, allow, peer, target, expires, packets in (
        (1, "1cce2aa5-4", None, "ftp-data", "PASV", "waiting", "203.0.113.7:40000", ["203.0.113.50/32"],
         None, None, 58.5, None),
        (2, "1cce2aa5-5", "a84b4c76e66710", "rtp", "INVITE", "relaying", V6_SERVER, ["2001:db8::/32", "fd00::/8"],
         "[2001:db8::9]:9000", V6_CLIENT, None, 3),
        (31234, "1cce2aa5-12048", "1j9FpLxk3uxtm8tn@biloxi.example.com", "rtp", "200", "relaying", "203.0.113.7:40002",
         [], "203.0.113.150:20000", "192.168.100.200:12000", 89.0, 3),
    )
]  # fmt: skip
CALLS = [
    {
        "id": "0f1e2d3c4b",
        "call_id": "a84b4c76e66710",
        "from": "sip:1001@192.168.1.10",
        "to": "sip:2002@pbx.example.com",
        "direction": "out",
        "state": "established",
        "session": "1cce2aa5-5",
        "helper": "sip",
        "policy": "lan-out",
        "client": V6_CLIENT,
        "server": V6_SERVER,
        "age_seconds": 70.0,
        "duration_seconds": 65.0,
        "expires_seconds": 1735.0,
        "pinholes": [2, 3],
    },
    {
        "id": "1a2b3c4d5e",
        "call_id": "1j9FpLxk3uxtm8tn@biloxi.example.com",
        "from": "sip:+4930123456789@provider.example.net;user=phone",
        "to": "sip:1001@203.0.113.7",
        "direction": "in",
        "state": "ringing",
        "session": "1cce2aa5-12048",
        "helper": "sip",
        "policy": "pbx-in",
        "client": "203.0.113.150:5060",
        "server": "203.0.113.7:5060",
        "age_seconds": 4.0,
        "duration_seconds": None,
        "expires_seconds": 176.0,
        "pinholes": [],
    },
]
REGISTRATIONS = [
    {"aor": "sip:1001@example.com", "contact": "192.168.1.10:5060", "known_as": "203.0.113.7:40010",
     "expires_seconds": 3200.0},
    {"aor": "sip:1002@example.com", "contact": V6_CLIENT, "known_as": V6_SERVER, "expires_seconds": 59.0},
]  # fmt: skip
LIMITS = [
    {"limit": "sessions", "used": 190, "most": 20000, "used_percent": 0.9, "by": None},
    {"limit": "pinholes_per_client", "used": 960, "most": 1000, "used_percent": 96.0, "by": "192.168.1.10"},
]
REFUSALS = [
    {"last": "2026-11-29T20:20:00Z", "count": 3, "age_seconds": 61.0, "helper": "ftp", "event": "session.denied",
     "client": "10.9.9.9:40001", "server": "203.0.113.50:21", "reason": "no_policy",
     "says": "no policy matches 10.9.9.9:40001 to 203.0.113.50:21 by lan0"},
    {"last": "2026-11-29T20:19:00Z", "count": 12048, "age_seconds": 121.0, "helper": "sip", "event": "pinhole.refused",
     "client": V6_CLIENT, "server": V6_SERVER, "reason": "limit_per_client",
     "says": "the client holds as many pinholes as `limits: pinholes_per_client` allows"},
]  # fmt: skip
VIOLATIONS = [
    {"count": 1, "age_seconds": 5.0, "rule": "ftp.bounce", "client": "192.168.1.10:40001",
     "detail": "PORT names 10.1.2.3, which is not the client", "action": "answered 500"},
    {"count": 700, "age_seconds": 9.0, "rule": "pinhole.stranger", "client": V6_CLIENT,
     "detail": "198.51.100.9:3333 came", "action": "reset"},
]  # fmt: skip
ANSWERS = [
    {"verdict": "open", "since": "2026-11-29T20:15:00.123456Z", "until": None, "count": 1, "source": "live",
     "says": ["pinhole 5bfe7190-p3 is open (ftp-data, waiting): tcp, whoever comes to 203.0.113.50:33000 is led to "
              "203.0.113.50:33000", "it admits 192.168.1.10/32; nobody has come"], "remedy": None, "line": None},
    {"verdict": "refused", "since": "2026-11-29T20:15:00Z", "until": "2026-11-29T20:20:00Z", "count": 3,
     "source": "memory", "says": ["no policy matches 10.9.9.9:40001 to 203.0.113.50:21 by lan0"],
     "remedy": "add a policy to `policies`, before one that denies the same sessions to everybody else",
     "line": "- {name: for-10.9.9.9, from: lan0, source: 10.9.9.9, destination: 203.0.113.50, action: accept}"},
]  # fmt: skip
HELPERS = [
    {"helper": "sip", "state": "on", "sessions": 12048, "pinholes": 4, "ports": ["udp/5060", "tcp/5060", "udp/5080"]},
    {"helper": "tns", "state": "off", "sessions": 0, "pinholes": 0, "ports": []},
]
SWITCHES = [
    {"helper": "sip", "mode": "observe", "client": "2001:db8:1111:2222::/64", "expires_seconds": 540.0},
    {"helper": "ftp", "mode": "off", "client": "all", "expires_seconds": None},
]
CLOSED = [f"1cce2aa5-{number}" for number in range(4, 16)]
STATUS = {
    "version": "1.2.3",
    "config": "/etc/pinhole/pinhole.yaml",
    "uptime_seconds": 90000.5,
    "state": "serving",
    "rules_missing": [],
    "rules_watched": "all",
    "rules_kept": True,
    "rules_in_doubt": False,
    "sessions": 4,
    "sessions_opened": 12049,
    "pinholes": 3,
    "transfers": 1,
    "udp_endpoints": 7,
    "ports_leased": 3,
    "descriptors": 41,
    "audit_lines_lost": 0,
    "audit_lines_waiting": 0,
    "helpers": {"sip": {"calls": 1, "media": 2, "contacts": 1}},
}
DEGRADED = STATUS | {
    "state": "degraded",
    "rules_missing": ["nft table inet pinhole", "IPv4 rule fwmark 0x1000000/0x1000000 lookup 5353"],
    "rules_kept": False,
    "rules_in_doubt": True,
    "switches": ["ftp off, clients: 192.168.1.10, for 540 s", "sip observe, clients: all, until a restart"],
    "audit_failing": ["syslog tcp://192.0.2.1:601"],
    "audit_lines_lost": 17,
}
PARTS = [
    net.Status("nft table inet pinhole", True, "as configured"),
    net.Status("IPv4 rule fwmark 0x1000000/0x1000000 lookup 5353", False, "missing"),
    net.Status("IPv6 rules of others before ours", False, "100: from all fwmark 0x1 lookup 99 may match our mark"),
]
FINDINGS = [
    Finding(Level.OK, "CAP_NET_RAW", "held"),
    Finding(Level.OK, "kernel", "has nft tproxy and socket"),
    Finding(Level.WARN, "policy lan-out, from", "there is no interface lan0 now, so no session comes in by it",
            "# see `ip link` for the names there are, and write the one that leads to the clients into the policy"),
    Finding(Level.FAIL, "rules", "nothing is set up", "pinhole net up"),
    Finding(Level.WARN, "input policy", "inet filter input: 'policy drop' drops TCP that was taken over (IPv4, IPv6)",
            "nft insert rule inet filter input meta mark and 0x1000000 == 0x1000000 accept comment 'what pinhole took'"
            "  # to last: echo 'meta mark and 0x1000000 == 0x1000000 accept' >>/etc/nftables.d/pinhole.nft"),
]  # fmt: skip

SHOWN: dict[str, tuple[Sequence[str], Mapping[str, Any]]] = {
    "status": (["status"], {"/status": STATUS}),
    "status-degraded": (["status"], {"/status": DEGRADED, "/v1/limits": {"limits": LIMITS}}),
    "sessions": (["sessions"], {"/v1/sessions": {"sessions": SESSIONS}}),
    "sessions-wide": (["sessions", "-o", "wide"], {"/v1/sessions": {"sessions": SESSIONS}}),
    "session": (["sessions", "1cce2aa5-5"], {"/v1/sessions/1cce2aa5-5": SESSIONS[1] | {"open": PINHOLES[1:2]}}),
    "pinholes": (["pinholes"], {"/v1/pinholes": {"pinholes": PINHOLES}}),
    "pinholes-wide": (["pinholes", "-o", "wide"], {"/v1/pinholes": {"pinholes": PINHOLES}}),
    "pinhole": (["pinholes", "2"], {"/v1/pinholes/2": PINHOLES[1]}),
    "calls": (["calls"], {"/v1/calls": {"calls": CALLS}}),
    "call": (["calls", "1a2b3c4d5e"], {"/v1/calls/1a2b3c4d5e": CALLS[1] | {"open": []}}),
    "registrations": (["registrations"], {"/v1/registrations": {"registrations": REGISTRATIONS}}),
    "limits": (["limits"], {"/v1/limits": {"limits": LIMITS}}),
    "explain": (["explain", "203.0.113.50:21"], {"/v1/explain?address=203.0.113.50%3A21": {"answers": ANSWERS}}),
    "helper-list": (
        ["helper", "list"],
        {"/v1/helpers": {"helpers": HELPERS}, "/v1/switches": {"switches": SWITCHES}},
    ),
    "close": (["close", "--helper", "ftp"], {"/v1/close?helper=ftp": {"closed": CLOSED, "of": "sessions"}}),
    "refusals": (["refusals"], {"/v1/refusals": {"refusals": REFUSALS}}),
    "violations": (["violations"], {"/v1/violations": {"violations": VIOLATIONS}}),
    "session-helper": (["show", "session-helper"], {}),
    "net-status": (["net", "status"], {}),
    "doctor": (["doctor"], {}),
}


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(examine, "examine", lambda *_: FINDINGS)
    monkeypatch.setattr(net, "standing", lambda: None)
    monkeypatch.setattr(net, "status", lambda *_: PARTS)
    monkeypatch.setattr(net, "overtaking", lambda _: [])
    file = tmp_path / "pinhole.yaml"
    file.write_text(f"{CONFIG}control: {tmp_path}/c.sock\n")
    monkeypatch.setattr(whereabouts, "SYSTEM_PATH", file)
    return file


def shown(file: Path, name: str, width: int) -> str:
    words, answers = SHOWN[name]
    with daemon(file.parent / "c.sock", answers):
        result = CliRunner(env={"COLUMNS": str(width)}).invoke(main, [*words, "-c", str(file)])
    assert not result.exception or isinstance(result.exception, SystemExit), result.exception
    assert result.stderr == ""
    return result.stdout


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", SHOWN)
def test_people_see_what_was_recorded(file: Path, name: str, width: int) -> None:
    recorded = RECORDED / f"{name}-{width}.txt"
    text = shown(file, name, width)
    if os.environ.get("RECORD"):
        recorded.write_text(text)
    assert text == recorded.read_text()


COMMAND = re.compile(r"[;'\\]|^ *#|^ *- \{")


@pytest.mark.parametrize("width", [40, *WIDTHS])
@pytest.mark.parametrize("name", [name for name in SHOWN if not name.endswith("wide")])
def test_a_line_is_longer_than_the_width_only_for_a_word_that_is(file: Path, name: str, width: int) -> None:
    for line in shown(file, name, width).splitlines():
        assert len(line) <= width or " " not in line.strip() or COMMAND.search(line), line


@pytest.mark.parametrize("width", [40, *WIDTHS])
@pytest.mark.parametrize(
    ("name", "rows"),
    [("sessions", SESSIONS), ("pinholes", PINHOLES), ("calls", CALLS), ("registrations", REGISTRATIONS)],
)
def test_no_id_and_no_address_is_ever_cut(file: Path, name: str, rows: list[dict[str, Any]], width: int) -> None:
    words = shown(file, name, width).split()
    headings = words[: words.index(str(rows[0].get("id", "53m20s")))]
    headings += ["known_as"] if "known" in headings else []
    for row in rows:
        for key in ("session", "client", "server", "listen", "peer", "contact", "known_as", "from", "to"):
            assert row.get(key) is None or key not in headings or row[key] in words


def test_wide_has_one_line_for_each_row_and_all_that_is_known(file: Path) -> None:
    headings, *lines = shown(file, "sessions-wide", 80).splitlines()
    assert len(lines) == len(SESSIONS)
    assert headings.split() == " ".join(SESSIONS[0]).replace("_seconds", "").replace("_", " ").split()


# -- a terminal --------------------------------------------------------------------------------------------------------


def on_a_terminal(file: Path, name: str, width: int, **environment: str) -> str:
    """What a terminal of this width is told."""
    words, answers = SHOWN[name]
    program = (
        f"import sys; sys.argv[0] = 'pinhole'; from proxy.command.cli import main; main({[*words, '-c', str(file)]})"
    )
    script = f"""
import fcntl, os, pty, struct, sys, termios
pid, end = pty.fork()
if not pid:
    os.read(0, 1)
    os.execv(sys.executable, [sys.executable, "-c", {program!r}])
fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", 50, {width}, 0, 0))
os.write(end, b"\\n")
try:
    while data := os.read(end, 65536):
        os.write(1, data)
except OSError:
    pass
"""
    inherited = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "NO_COLOR")}
    with daemon(file.parent / "c.sock", answers):
        done = subprocess.run(
            [sys.executable, "-c", script],
            cwd=ROOT, capture_output=True, check=True, env=inherited | {"TERM": "xterm"} | environment,
        )  # fmt: skip
    return done.stdout.decode().replace("\r\n", "\n").removeprefix("\n")


RED = "\x1b[31m"


def test_a_terminal_is_told_the_same_as_a_pipe(file: Path) -> None:
    for width in WIDTHS:
        assert on_a_terminal(file, "sessions", width) == (RECORDED / f"sessions-{width}.txt").read_text()


def test_only_what_is_wrong_has_a_colour(file: Path) -> None:
    assert "\x1b" not in on_a_terminal(file, "status", 80)
    coloured = on_a_terminal(file, "status-degraded", 80).splitlines()
    assert all(line.startswith(RED) for line in coloured[:9])
    assert not any("\x1b" in line for line in coloured[9:])


def test_no_color_is_obeyed(file: Path) -> None:
    assert "\x1b" not in on_a_terminal(file, "status-degraded", 80, NO_COLOR="1")


# -- doctor ------------------------------------------------------------------------------------------------------------


def test_doctor_says_first_what_fails_and_at_last_how_much_there_is() -> None:
    lines = [text for text, _ in report(FINDINGS, 80)]
    assert [line.split()[0] for line in lines if line and line[0] != " "] == ["fail", "warn", "warn", "ok", "ok", "1"]
    assert lines[-1] == "1 failed, 2 to look at, 2 fine"


def test_of_a_sound_host_doctor_says_that_all_is_fine() -> None:
    assert [text for text, _ in report(FINDINGS[:2], 80)][-1] == "2 fine"


def test_a_remedy_can_still_be_pasted(tmp_path: Path) -> None:
    (finding,) = [one for one in FINDINGS if one.check == "input policy"]
    command = finding.remedy.partition("#")[0].replace("nft", "printf '%s\\n'", 1)
    lines = [text for text, _ in report([finding], 40) if text.startswith("      ")]
    pasted = "\n".join(lines[lines.index(next(text for text in lines if "nft insert" in text)) :]).replace(
        "nft", "printf '%s\\n'", 1
    )
    said = [subprocess.run(["sh", "-c", text], capture_output=True, check=True).stdout for text in (command, pasted)]
    assert said[0] == said[1]
