"""What in a configuration is allowed and yet unwise."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from proxy.config import files, reading
from tests.harness.configurations import POLICY, Load, policy

CONFIGS = Path(__file__).parents[3] / "configs"
OF_A_HOST = ("this host has no ", "there is no directory ")


def warnings(load: Load, text: str, of_the_host: bool = False) -> list[str]:
    """The warnings about a text, without the name of its file."""
    found = load(text).warnings
    assert all(": warning: " in line for line in found)
    short = [line.partition("pinhole.yaml:")[2] for line in found]
    return [line for line in short if of_the_host or not any(words in line for words in OF_A_HOST)]


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        ("timeouts: {pinhole_open: 1}", "timeouts.pinhole_open: 1 s is less than 30: FTP needs at least 30 s"),
        ("timeouts: {udp_idle: 1}", "timeouts.udp_idle: 1 s is less than 32: SIP phones send a datagram every 30 s"),
        ("timeouts: {connect: 0.01}", "timeouts.connect: 0.01 s is less than 1: a lost SYN is repeated only after 1 s"),
        ("timeouts: {half_closed: 500ms}", "timeouts.half_closed: 0.5 s is less than 5"),
        ("timeouts: {silent: 1m}", "timeouts.silent: 60 s is less than 600"),
        ("limits: {sessions_per_client: 30000}", "limits.sessions_per_client: 30000 is never reached: `sessions` is "),
        ("limits: {pinholes_per_session: 2000}", "limits.pinholes_per_session: 2000 is never reached"),
        ("limits: {pinholes: 900}", "limits.pinholes_per_client: 1000 is never reached: `pinholes` is 900"),
    ],
)
def test_values_that_are_too_small_or_never_reached(load: Load, text: str, warning: str) -> None:
    (found,) = warnings(load, f"{POLICY}{text}\n")
    assert found.split(": warning: ")[1].startswith(warning)


@pytest.mark.parametrize(
    ("options", "warning"),
    [
        ("tns: {hops: 0}", "tns.hops: 0 is less than 1: no redirect is followed, but clusters redirect each client"),
        ("tns: {handshake_seconds: 5}", "tns.handshake_seconds: 5 s is less than 60: Oracle's own limit is 60 s"),
        ("sip: {ring_seconds: 20}", "sip.ring_seconds: 20 s is less than 180"),
        ("sip: {call_idle: 1m}", "sip.call_idle: 60 s is less than 1800"),
        ("ftp: {login_seconds: 1}", "ftp.login_seconds: 1 s is less than 10"),
        ("tftp: {open_seconds: 1}", "tftp.open_seconds: 1 s is less than 5"),
        ("dns: {unanswered_seconds: 1}", "dns.unanswered_seconds: 1 s is less than 5"),
        ("dns: {stream_idle: 1}", "dns.stream_idle: 1 s is less than 10"),
        ("rsh: {idle: 10m}", "rsh.idle: 600 s is less than 3600: a command may say nothing for hours"),
    ],
)
def test_options_that_leave_a_helper_no_time(load: Load, options: str, warning: str) -> None:
    (found,) = warnings(load, policy(f"options: {{{options}}}"))
    assert found.split(": warning: policies[0].options.")[1].startswith(warning)


def test_a_helper_that_is_off_by_default_is_turned_on_for_a_reason(load: Load) -> None:
    """DN23. SANE needs no option to be of use (SA13)."""
    entry = (
        "session-helpers: [{id: 1, name: dns, protocol: udp, port: 53}, {id: 2, name: ftp, protocol: tcp, port: 21}]\n"
    )
    (found,) = warnings(load, f"{entry}{POLICY}")
    assert "session-helpers[0]: dns is on, and no policy sets an option of it: DNS passes without a helper" in found
    assert warnings(load, f"{entry}{policy('options: {dns: {rebinding: refuse}}')}") == []
    assert warnings(load, f"{entry.replace('port: 53', 'port: 53, enabled: false')}{POLICY}") == []
    sane = "session-helpers: [{id: 1, name: sane, protocol: tcp, port: 6566}]\n"
    assert warnings(load, f"{sane}{POLICY}") == []


def test_too_few_ports_for_one_client(load: Load) -> None:
    (found,) = warnings(load, f"{policy('snat: interface')}ports: 40000-40001\n")
    assert found == (
        "3:8: warning: ports: only 2 ports, but one client alone may have 1000 pinholes (limits: pinholes_per_client), "
        "and each one of media takes two ports"
    )
    assert warnings(load, f"{POLICY}ports: 40000-40001\n") == []  # without NAT no port is taken


def test_clients_that_servers_trust_for_an_address_that_is_none_of_theirs(load: Load) -> None:
    (found,) = warnings(load, policy("helpers: rsh, snat: interface"))
    assert "policies[0].snat: servers of rsh will know all clients by the same address" in found
    assert warnings(load, policy("helpers: rsh")) == warnings(load, policy("helpers: ftp, snat: interface")) == []


def test_a_policy_that_several_above_leave_nothing(load: Load) -> None:
    text = (
        "policies:\n"
        "  - {name: low, source: 10.0.0.0/9, action: accept}\n"
        "  - {name: high, source: 10.128.0.0/9, action: accept}\n"
        "  - {name: never, source: 10.0.0.0/8, helpers: ftp, action: deny}\n"
    )
    assert warnings(load, text) == [
        "4:5: warning: policies[2]: can never match: the policies 'low', 'high' above take all of its sessions together"
    ]


@pytest.mark.parametrize("key", ["source", "destination"])
def test_a_policy_for_addresses_that_nobody_routes(load: Load, key: str) -> None:
    (found,) = warnings(load, policy(f"{key}: [127.0.0.0/8, 224.0.0.5]"))
    assert f"policies[0].{key}: can never match: no session that this host routes has such an address" in found


def test_an_interface_that_this_host_does_not_have(load: Load) -> None:
    assert warnings(load, policy("from: [lo, lan00]"), of_the_host=True) == [
        "2:42: warning: policies[0].from[1]: this host has no interface 'lan00' now; the policy matches nothing that "
        "comes by it"
    ]


def test_a_log_where_no_directory_is_and_a_user_that_is_none(load: Load) -> None:
    text = f"{POLICY}audit: {{to: /nonexistent/audit.log}}\nuser: nobody-of-that-name\n"
    assert [line.split("warning: ")[1] for line in warnings(load, text, of_the_host=True)] == [
        "audit.to: there is no directory /nonexistent on this host",
        "user: this host has no user 'nobody-of-that-name'",
    ]


def test_a_wrong_file_has_its_warnings_too(tmp_path: Path) -> None:
    (tmp_path / "pinhole.yaml").write_text(f"{POLICY}timeouts: {{connect: 0.01}}\nports: x\n")
    judged = reading.judge(files.gather(tmp_path / "pinhole.yaml"))
    assert [len(judged.problems), len(judged.warnings), judged.settings] == [1, 1, None]


@pytest.mark.parametrize("file", sorted(os.listdir(CONFIGS)))
def test_no_example_is_unwise(file: str) -> None:
    if file.endswith(".yaml"):
        found = reading.load(CONFIGS / file).warnings
        assert [line for line in found if not any(words in line for words in OF_A_HOST)] == []
