"""The rules on a real kernel: what they let through, what they leave alone, and that nothing of them stays behind."""

from __future__ import annotations

import os
import re
import shutil
import socket
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from protocols.contract.addresses import Endpoint, Host, Transport
from proxy.config.schema import Config, HelperEntry, NetworkSettings, Policy
from proxy.config.values import Dnat, Mark, PortRange
from proxy.errors import NetError
from proxy.host import net, rules
from proxy.host.rules import Backend
from proxy.sockets import transparent
from tests.netns.namespaces import Hosts, Namespace, needs_root, run, three_hosts

pytestmark = [pytest.mark.netns, pytest.mark.slow, needs_root]

SECONDS = 5.0
"""For what should happen. What should not is given less, see `refused`."""

FTP = HelperEntry(id=1, name="ftp", protocol=Transport.TCP, ports=(PortRange(21, 21),))
LAN_OUT = Policy(name="lan-out", interfaces=("lan0",), accept=True)

both_backends = pytest.mark.parametrize("backend", list(Backend), ids=lambda backend: backend.value)
both_versions = pytest.mark.parametrize("version", [4, 6], ids=["ipv4", "ipv6"])


def configuration(*policies: Policy, **network: object) -> Config:
    settings = NetworkSettings.model_validate(network)
    return Config(helpers=(FTP,), policies=policies or (LAN_OUT,), network=settings)


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    with three_hosts() as made:
        yield made


def drop_by_default(gateway: Namespace, config: Config, backend: Backend) -> None:
    """An administrator's ruleset: nothing comes in or through, but by our line and for IPv6 neighbours."""
    if backend is Backend.NFT:
        text = f"""
            table inet filter {{
                chain input {{
                    type filter hook input priority filter; policy drop;
                    {rules.input_line(config, backend)}
                    ct state invalid drop
                    icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert }} accept
                }}
                chain forward {{ type filter hook forward priority filter; policy drop; }}
            }}"""
        gateway.run("nft", "-f", "-", stdin=text)
        return
    for version, icmp in ((4, ""), (6, "-A INPUT -p icmpv6 -j ACCEPT\n")):
        text = (
            "*filter\n:INPUT DROP\n:FORWARD DROP\n"
            f"-A INPUT {rules.input_line(config, backend)}\n"
            f"-A INPUT -m conntrack --ctstate INVALID -j DROP\n{icmp}COMMIT\n"
        )
        gateway.run(f"{rules.iptables(version)}-restore", stdin=text)


def listen(namespace: Namespace, host: Host, port: int) -> socket.socket:
    """An ordinary server."""
    with namespace.inside():
        sock = socket.create_server((str(host), port), family=socket.AF_INET if host.version == 4 else socket.AF_INET6)
    sock.settimeout(SECONDS)
    return sock


def listen_transparent(namespace: Namespace, at: Endpoint) -> socket.socket:
    with namespace.inside():
        sock = transparent.listen(at, 5)
    sock.settimeout(SECONDS)
    return sock


def listen_main(namespace: Namespace, config: Config, version: int) -> socket.socket:
    host = ip_address("127.0.0.1" if version == 4 else "::1")
    return listen_transparent(namespace, Endpoint(host, config.network.listen_port))


def connect(namespace: Namespace, to: Endpoint, seconds: float = SECONDS) -> socket.socket:
    with namespace.inside():
        return socket.create_connection((str(to.host), to.port), timeout=seconds)


def refused(namespace: Namespace, to: Endpoint) -> bool:
    """Whether a connection is reset, or not answered for as long as a first retransmission takes."""
    try:
        connect(namespace, to, seconds=1.5).close()
    except (ConnectionRefusedError, ConnectionResetError, TimeoutError):
        return True
    return False


def echo(here: socket.socket, there: socket.socket) -> bool:
    """Whether bytes go both ways."""
    here.sendall(b"there")
    there.settimeout(SECONDS)
    if there.recv(16) != b"there":
        return False
    there.sendall(b"back")
    return here.recv(16) == b"back"


def serves(listener: socket.socket, client: socket.socket) -> bool:
    """Whether it is this listener that the client is connected to."""
    with listener.accept()[0] as accepted:
        return echo(client, accepted)


# -- what passes ------------------------------------------------------------------------------------------------------


@both_backends
@both_versions
@pytest.mark.parametrize("rp_filter", [0, 1], ids=["loose", "strict"])
def test_session_goes_through_both_legs_with_only_the_named_line(
    hosts: Hosts, backend: Backend, version: int, rp_filter: int
) -> None:
    config = configuration()
    for interface in ("all", "lan0", "wan0"):
        hosts.gateway.sysctl(f"ipv4.conf.{interface}.rp_filter", rp_filter)
    drop_by_default(hosts.gateway, config, backend)
    with hosts.gateway.inside():
        net.up(config, backend)
    target = Endpoint(hosts.server_address(version), 21)
    with (
        listen_main(hosts.gateway, config, version) as main,
        listen(hosts.server, target.host, target.port) as server,
        connect(hosts.client, target) as client,
        main.accept()[0] as near,
    ):
        assert transparent.local(near) == target
        # The second leg, with the client's own address as its source.
        with hosts.gateway.inside():
            far = transparent.dial(target, Endpoint(hosts.client_address(version), 0))
        with far, server.accept()[0] as inside:
            far.settimeout(SECONDS)
            assert ip_address(inside.getpeername()[0]) == hosts.client_address(version)
            assert echo(client, near)
            assert echo(far, inside)


@both_backends
@both_versions
def test_pinhole_on_a_foreign_address_is_reached_and_other_ports_of_that_host_are_not(
    hosts: Hosts, backend: Backend, version: int
) -> None:
    config = configuration()
    drop_by_default(hosts.gateway, config, backend)
    with hosts.gateway.inside():
        net.up(config, backend)
    at = Endpoint(hosts.server_address(version), 40123)
    with (
        listen(hosts.server, at.host, at.port),
        listen(hosts.server, at.host, at.port + 1),
        listen_transparent(hosts.gateway, at) as pinhole,
        connect(hosts.client, at) as client,
        pinhole.accept()[0] as admitted,
    ):
        assert echo(client, admitted)
        assert refused(hosts.client, Endpoint(at.host, at.port + 1))


@both_backends
@both_versions
def test_closed_pinhole_is_gone_and_the_forward_policy_decides(hosts: Hosts, backend: Backend, version: int) -> None:
    config = configuration()
    with hosts.gateway.inside():
        net.up(config, backend)
    at = Endpoint(hosts.server_address(version), 40123)
    listen_transparent(hosts.gateway, at).close()
    with listen(hosts.server, at.host, at.port) as server, connect(hosts.client, at) as client:
        assert serves(server, client)


@both_backends
def test_wildcard_socket_of_another_program_takes_nothing(hosts: Hosts, backend: Backend) -> None:
    config = configuration()
    with hosts.gateway.inside():
        net.up(config, backend)
    at = Endpoint(hosts.server_address(4), 3129)
    with (
        listen_transparent(hosts.gateway, Endpoint(ip_address("0.0.0.0"), 3129)),
        listen(hosts.server, at.host, at.port) as server,
        connect(hosts.client, at) as client,
    ):
        assert serves(server, client)


# -- rules and routes of others ---------------------------------------------------------------------------------------


def session_passes(hosts: Hosts, config: Config, version: int) -> bool:
    """Whether a session and its second leg, with the client's own address as its source, carry bytes both ways."""
    target = Endpoint(hosts.server_address(version), 21)
    with (
        listen_main(hosts.gateway, config, version) as main,
        listen(hosts.server, target.host, target.port) as server,
    ):
        try:
            client = connect(hosts.client, target, seconds=1.5)
        except OSError:
            return False
        main.settimeout(1.5)
        server.settimeout(1.5)
        with client:
            try:
                near = main.accept()[0]
                with hosts.gateway.inside():
                    far = transparent.dial(target, Endpoint(hosts.client_address(version), 0))
                inside = server.accept()[0]
            except TimeoutError:
                return False
            with near, far, inside:
                far.settimeout(SECONDS)
                return echo(client, near) and echo(far, inside)


WAYS_BACK_BY_MARK = {
    "early": "table inet guard { chain pre { type filter hook prerouting priority mangle + 10; %s; }; }",
    "firewalld": "table inet guard { chain pre { type filter hook prerouting priority filter + 10; %s; }; }",
    "last": "table inet guard { chain pre { type filter hook prerouting priority 210; %s; }; }",
}


@both_backends
@pytest.mark.parametrize("place", WAYS_BACK_BY_MARK)
def test_who_asks_for_the_way_back_by_the_mark_finds_the_one_to_the_source(
    hosts: Hosts, backend: Backend, place: str
) -> None:
    hosts.gateway.run("nft", "-f", "-", stdin=WAYS_BACK_BY_MARK[place] % "fib saddr . mark . iif oif missing drop")
    for version in (4, 6):
        text = "*mangle\n-A PREROUTING -m rpfilter --validmark --invert -j DROP\nCOMMIT\n"
        hosts.gateway.run(f"{rules.iptables(version)}-restore", stdin=text)
    for interface in ("all", "lan0", "wan0"):
        hosts.gateway.sysctl(f"ipv4.conf.{interface}.src_valid_mark", 1)
        hosts.gateway.sysctl(f"ipv4.conf.{interface}.rp_filter", 1)
    config = configuration()
    with hosts.gateway.inside():
        net.up(config, backend)
    assert session_passes(hosts, config, 4)
    assert session_passes(hosts, config, 6)


WHOLE_MARKS = {
    "from the connection": "meta mark set ct mark; meta mark != 0 accept; meta mark set 0x1; ct mark set meta mark",
    "of one host": "ip saddr 10.1.0.2 meta mark set 0x2; ip6 saddr fd01::2 meta mark set 0x2",
    "none": "meta mark set 0",
}


@pytest.mark.parametrize("marks", WHOLE_MARKS)
@pytest.mark.parametrize("priority", ["mangle", "filter + 10"])
@pytest.mark.parametrize("is_first", [True, False], ids=["before", "after"])
def test_nft_whoever_writes_whole_marks_does_not_wipe_ours(
    hosts: Hosts, marks: str, priority: str, is_first: bool
) -> None:
    config = configuration()
    text = f"""
        table inet uplinks {{
            chain pre {{ type filter hook prerouting priority {priority}; {WHOLE_MARKS[marks]}; }}
            chain in {{ type filter hook input priority mangle; ct mark set meta mark; }}
            chain out {{ type route hook output priority mangle; meta mark set ct mark; }}
        }}
    """
    if is_first:
        hosts.gateway.run("nft", "-f", "-", stdin=text)
    with hosts.gateway.inside():
        net.up(config, Backend.NFT)
    if not is_first:
        hosts.gateway.run("nft", "-f", "-", stdin=text)
    assert session_passes(hosts, config, 4)
    assert session_passes(hosts, config, 6)


IPTABLES_MARKS = (
    "-A PREROUTING -j CONNMARK --restore-mark\n"
    "-A PREROUTING -m mark ! --mark 0 -j ACCEPT\n"
    "-A PREROUTING -j MARK --set-mark 1\n"
    "-A PREROUTING -j CONNMARK --save-mark\n"
)


@both_backends
@pytest.mark.parametrize("is_first", [True, False], ids=["before", "after"])
def test_rules_of_iptables_that_accept_what_is_marked_do_not_keep_it_from_us(
    hosts: Hosts, backend: Backend, is_first: bool
) -> None:
    config = configuration()

    def others() -> None:
        for version in (4, 6):
            text = f"*mangle\n{IPTABLES_MARKS}COMMIT\n"
            hosts.gateway.run(f"{rules.iptables(version)}-restore", "--noflush", stdin=text)

    if is_first:
        others()
    with hosts.gateway.inside():
        net.up(config, backend)
    if not is_first:
        others()
    assert session_passes(hosts, config, 4)
    assert session_passes(hosts, config, 6)


def test_iptables_rules_that_came_before_ours_are_told_and_up_is_the_remedy(hosts: Hosts) -> None:
    config = configuration()
    with hosts.gateway.inside():
        net.up(config, Backend.IPTABLES)
        mangle = ("-t", "mangle", "-I", "PREROUTING")
        run("iptables", *mangle, "-m", "conntrack", "--ctstate", "ESTABLISHED", "-j", "ACCEPT")
        run("ip6tables", *mangle, "-j", "MARK", "--set-mark", "1")  # takes nothing
        wrong = [item for item in net.status(config, Backend.IPTABLES) if not item.present]
        assert [item.what for item in wrong] == ["iptables chain PINHOLE"]
        assert "ESTABLISHED" in wrong[0].detail
        assert not session_passes(hosts, config, 4)
        net.up(config, Backend.IPTABLES)
        assert all(item.present for item in net.status(config, Backend.IPTABLES))
    assert session_passes(hosts, config, 4)


@both_backends
def test_answers_to_what_the_kernel_masquerades_come_to_our_sockets(hosts: Hosts, backend: Backend) -> None:
    """The kernel's `socket` match knows the addresses from before it."""
    masquerade = (
        'table inet nat { chain post { type nat hook postrouting priority srcnat; oifname "wan0" masquerade; }; }'
    )
    hosts.gateway.run("nft", "-f", "-", stdin=masquerade)
    config = configuration()
    with hosts.gateway.inside():
        net.up(config, backend)
    assert session_passes(hosts, config, 4)
    assert session_passes(hosts, config, 6)


@both_versions
def test_nft_session_that_the_kernel_maps_is_taken_as_where_it_leads(hosts: Hosts, version: int) -> None:
    """What coming after the kernel's `dnat` means."""
    published = f"tcp dport 21 dnat ip{'' if version == 4 else '6'} to {hosts.client_address(version)}"
    text = (
        f'table inet nat {{ chain pre {{ type nat hook prerouting priority dstnat; iifname "wan0" {published}; }}; }}'
    )
    hosts.gateway.run("nft", "-f", "-", stdin=text)
    config = configuration(Policy(name="in", interfaces=("wan0",), accept=True))
    with hosts.gateway.inside():
        net.up(config, Backend.NFT)
    own = Endpoint(hosts.gateway_address(version), 21)
    with (
        listen_main(hosts.gateway, config, version) as main,
        connect(hosts.server, own) as client,
        main.accept()[0] as near,
    ):
        assert transparent.local(near) == Endpoint(hosts.client_address(version), 21)
        assert echo(client, near)


@both_versions
def test_routing_rules_without_a_priority_overtake_ours_until_up_and_stay_in_their_order(
    hosts: Hosts, version: int
) -> None:
    """As wg-quick adds them. The kernel numbers the second one before the first, as long as there is room."""
    config = configuration()
    with hosts.gateway.inside():
        net.up(config, Backend.NFT)
        assert all(item.present for item in net.overtaking(config))
        run("ip", f"-{version}", "route", "add", "default", "dev", "lan0", "table", "51820")
        for _ in range(2):
            for rule in (("not", "fwmark", "51820", "table", "51820"), ("table", "main", "suppress_prefixlength", "0")):
                run("ip", f"-{version}", "rule", "add", *rule)
            (wrong,) = (item for item in net.overtaking(config) if not item.present)
            assert wrong.what == f"IPv{version} rules of others before ours"
            net.up(config, Backend.NFT)
            assert all(item.present for item in (*net.status(config, Backend.NFT), *net.overtaking(config)))
        kinds = ["suppress" if "suppress" in line else "not" for line in rules_of_others(version)]
    assert kinds == ["suppress", "not", "suppress", "not"]
    assert session_passes(hosts, config, version)


def rules_of_others(version: int) -> list[str]:
    lines = run("ip", f"-{version}", "rule").splitlines()
    return [line for line in lines if re.search(r"suppress|not", line) and "proto 213" not in line]


@pytest.mark.parametrize("priority", ["0", "1", "2", "3"])
def test_routing_rule_at_the_lowest_number_is_told_even_after_up(hosts: Hosts, priority: str) -> None:
    """`net up`, which could not put ours before it, is not named as the remedy."""
    config = configuration()
    with hosts.gateway.inside():
        run("ip", "-4", "rule", "add", "priority", priority, "from", "10.1.0.0/24", "lookup", "main")
        net.up(config, Backend.NFT)
        four, six = net.overtaking(config)
        assert (four.present, six.present) == (False, True)
        assert four.detail.endswith("`pinhole doctor` says how to move it")


@both_versions
def test_status_misses_the_rule_for_what_comes_by_lo(hosts: Hosts, version: int) -> None:
    config = configuration()
    with hosts.gateway.inside():
        net.up(config, Backend.NFT)
        run("ip", f"-{version}", "rule", "del", "priority", "100")
        (wrong,) = (item for item in net.status(config, Backend.NFT) if not item.present)
    assert (wrong.what[:9], wrong.detail) == (f"IPv{version} rule", "the rule before it, for `lo`, is missing")


# -- the daemon is down -----------------------------------------------------------------------------------------------


@both_backends
@both_versions
def test_block_keeps_the_client_from_the_server_and_from_the_gateways_own_service(
    hosts: Hosts, backend: Backend, version: int
) -> None:
    config = configuration()
    with hosts.gateway.inside():
        net.up(config, backend)
    target = Endpoint(hosts.server_address(version), 21)
    anywhere = ip_address("0.0.0.0" if version == 4 else "::")
    with listen(hosts.server, target.host, target.port), listen(hosts.gateway, anywhere, target.port):
        assert refused(hosts.client, target)


def test_block_with_nft_answers_at_once(hosts: Hosts) -> None:
    with hosts.gateway.inside():
        net.up(configuration(), Backend.NFT)
    with pytest.raises(ConnectionRefusedError):
        connect(hosts.client, Endpoint(hosts.server_address(4), 21))


@both_versions
def test_bypass_lets_the_client_reach_the_server(hosts: Hosts, version: int) -> None:
    config = configuration(on_daemon_down="bypass")
    with hosts.gateway.inside():
        net.up(config, Backend.NFT)
    target = Endpoint(hosts.server_address(version), 21)
    with listen(hosts.server, target.host, target.port) as server, connect(hosts.client, target) as client:
        assert serves(server, client)


@both_versions
def test_bypass_hands_over_while_the_daemon_listens(hosts: Hosts, version: int) -> None:
    config = configuration(on_daemon_down="bypass")
    with hosts.gateway.inside():
        net.up(config, Backend.NFT)
    target = Endpoint(hosts.server_address(version), 21)
    with listen_main(hosts.gateway, config, version) as main, connect(hosts.client, target) as client:
        assert serves(main, client)


@both_backends
@both_versions
def test_killed_session_is_not_forwarded(hosts: Hosts, backend: Backend, version: int) -> None:
    config = configuration()
    with hosts.gateway.inside():
        net.up(config, backend)
    target = Endpoint(hosts.server_address(version), 21)
    with listen(hosts.server, target.host, target.port) as server:
        with listen_main(hosts.gateway, config, version) as main, connect(hosts.client, target) as client:
            main.accept()[0].close()
            main.close()
            # The peer's end is gone; what the client still sends must find neither the server nor another socket.
            assert client.recv(1) == b""
            client.sendall(b"USER nobody\r\n")
        server.settimeout(0.2)
        with pytest.raises(TimeoutError):
            server.accept()


@both_backends
@both_versions
def test_without_the_routing_rule_nothing_slips_through(hosts: Hosts, backend: Backend, version: int) -> None:
    config = configuration()
    with hosts.gateway.inside():
        net.up(config, backend)
        run("ip", f"-{version}", "rule", "flush", "protocol", str(rules.ROUTE_PROTOCOL))
    target = Endpoint(hosts.server_address(version), 21)
    with listen_main(hosts.gateway, config, version), listen(hosts.server, target.host, target.port):
        assert refused(hosts.client, target)


# -- what is taken and what is not ------------------------------------------------------------------------------------


@both_backends
@both_versions
def test_gateways_own_service_is_left_alone(hosts: Hosts, backend: Backend, version: int) -> None:
    config = configuration()
    with hosts.gateway.inside():
        net.up(config, backend)
    own = Endpoint(hosts.gateway_address(version), 21)
    with listen(hosts.gateway, own.host, own.port) as service, connect(hosts.client, own) as client:
        assert serves(service, client)


@both_backends
@both_versions
def test_address_of_the_gateway_that_publishes_a_server_is_taken(hosts: Hosts, backend: Backend, version: int) -> None:
    own = Endpoint(hosts.gateway_address(version), 21)
    publish = Policy(
        name="publish",
        interfaces=("wan0",),
        destinations=(ip_network(str(own.host)),),
        accept=True,
        dnat=Dnat(hosts.client_address(version), None),
    )
    config = configuration(publish)
    with hosts.gateway.inside():
        net.up(config, backend)
    with listen_main(hosts.gateway, config, version) as main, connect(hosts.server, own) as client:
        assert serves(main, client)


@both_backends
@both_versions
def test_sessions_outside_every_policy_go_on_as_before(hosts: Hosts, backend: Backend, version: int) -> None:
    elsewhere = Policy(
        name="elsewhere", destinations=(ip_network("198.51.100.0/24"), ip_network("2001:db8:9::/48")), accept=True
    )
    config = configuration(elsewhere)
    with hosts.gateway.inside():
        net.up(config, backend)
    target = Endpoint(hosts.server_address(version), 21)
    with (
        listen_main(hosts.gateway, config, version),
        listen(hosts.server, target.host, target.port) as server,
        connect(hosts.client, target) as client,
    ):
        assert serves(server, client)


@both_backends
@both_versions
def test_sessions_of_a_denying_policy_are_taken_so_that_they_are_audited(
    hosts: Hosts, backend: Backend, version: int
) -> None:
    config = configuration(
        Policy(name="no", sources=(ip_network("10.1.0.0/24"), ip_network("fd01::/64")), accept=False)
    )
    with hosts.gateway.inside():
        net.up(config, backend)
    target = Endpoint(hosts.server_address(version), 21)
    with listen_main(hosts.gateway, config, version) as main, connect(hosts.client, target) as client:
        assert serves(main, client)


@both_backends
def test_what_the_gateway_itself_dials_is_left_alone(hosts: Hosts, backend: Backend) -> None:
    config = configuration(Policy(name="any", accept=True))
    with hosts.gateway.inside():
        net.up(config, backend)
    target = Endpoint(hosts.server_address(4), 21)
    with (
        listen_main(hosts.gateway, config, 4),
        listen(hosts.server, target.host, target.port) as server,
        connect(hosts.gateway, target) as client,
    ):
        assert serves(server, client)


def test_bits_of_the_mark_that_are_not_ours_are_kept(hosts: Hosts) -> None:
    config = configuration(mark=Mark(0x20, 0xF0))
    with hosts.gateway.inside():
        net.up(config, Backend.NFT)
        run(
            *("nft", "-f", "-"),
            stdin="""table inet other {
                chain before { type filter hook prerouting priority -160; meta mark set 0x00000f0f; }
                chain after { type filter hook input priority filter; tcp dport 21 meta mark 0x00000f2f counter; }
            }""",
        )
    target = Endpoint(hosts.server_address(4), 21)
    with listen_main(hosts.gateway, config, 4) as main, connect(hosts.client, target) as client:
        assert serves(main, client)
    counted = re.search(r"counter packets (\d+)", hosts.gateway.run("nft", "list", "table", "inet", "other"))
    assert counted is not None
    assert int(counted[1]) > 0


# -- what is left alone, and what is left behind ----------------------------------------------------------------------

ADMINISTRATORS_NFT = """
    table inet filter {
        set blocked { type ipv4_addr; flags interval; elements = { 198.51.100.0/24 } }
        chain input {
            type filter hook input priority filter; policy drop;
            ct state established accept
        }
        chain forward {
            type filter hook forward priority filter; policy drop;
            ip saddr @blocked drop
        }
    }
    table ip nat {
        chain postrouting {
            type nat hook postrouting priority srcnat;
            oifname "wan0" masquerade
        }
    }
"""
ADMINISTRATORS_IPTABLES = """
*mangle
:PREROUTING ACCEPT
:OWN -
-A PREROUTING -i lan0 -j OWN
-A OWN -j MARK --set-xmark 0x7/0xff
COMMIT
*raw
:PREROUTING ACCEPT
-A PREROUTING -p udp --dport 53 -j NOTRACK
COMMIT
"""


def administrators(gateway: Namespace) -> None:
    gateway.run("nft", "-f", "-", stdin=ADMINISTRATORS_NFT)
    for version in (4, 6):
        gateway.run(f"{rules.iptables(version)}-restore", stdin=ADMINISTRATORS_IPTABLES)
        gateway.run("ip", f"-{version}", "rule", "add", "fwmark", "0x7", "lookup", "700")
        gateway.run("ip", f"-{version}", "route", "add", "unreachable", "default", "table", "700")


def everything(gateway: Namespace) -> str:
    """All rules and routes, without counters and times.

    iptables lists its chains in the order of their making, so they are sorted here; rules keep their order. Its tables
    are left out of nft's listing, where its built-in chains stay once they were used, empty and accepting.
    """
    nft = gateway.run("nft", "-s", "list", "ruleset")
    found = [re.sub(r"^table ip6? (mangle|raw) \{\n(?:[\t ].*\n|\n)*\}\n", "", nft, flags=re.MULTILINE)]
    for version in (4, 6):
        saved = gateway.run(f"{rules.iptables(version)}-save")
        saved = re.sub(r"^#.*\n| \[\d+:\d+\]", "", saved, flags=re.MULTILINE)
        for table in saved.split("COMMIT\n"):
            found += sorted(table.splitlines(), key=lambda line: line.split()[:2])
        found.append(gateway.run("ip", f"-{version}", "rule"))
        routes = gateway.run("ip", f"-{version}", "route", "show", "table", "all")
        # Routes of link-local addresses appear a moment after their links.
        found += [line for line in routes.splitlines() if "fe80:" not in line]
    return "\n".join(found)


def without_ours(text: str) -> str:
    """`everything`, less what carries one of our names or numbers."""
    text = re.sub(r"^table inet pinhole \{\n(?:[\t ].*\n|\n)*\}\n", "", text, flags=re.MULTILINE)
    ours = rf"PINHOLE|proto {rules.ROUTE_PROTOCOL}\b"
    return "".join(line for line in text.splitlines(keepends=True) if not re.search(ours, line))


@both_backends
def test_down_leaves_no_table_where_none_was(hosts: Hosts, backend: Backend) -> None:
    """To the letter, also in nft's own listing: with a filter table alone, and with nothing at all."""
    for rules_before in ("", "*filter\n:INPUT DROP\n-A INPUT -i lo -j ACCEPT\nCOMMIT\n"):
        for version in (4, 6):
            hosts.gateway.run(f"{rules.iptables(version)}-restore", stdin=rules_before)
        before = hosts.gateway.run("nft", "-s", "list", "ruleset")
        with hosts.gateway.inside():
            net.up(configuration(), backend)
            net.up(configuration(), backend)
            net.down(configuration(), backend)
        assert hosts.gateway.run("nft", "-s", "list", "ruleset") == before


@both_backends
def test_other_rules_stay_as_they_are_and_down_leaves_no_trace(hosts: Hosts, backend: Backend) -> None:
    administrators(hosts.gateway)
    before = everything(hosts.gateway)
    with hosts.gateway.inside():
        net.up(configuration(), backend)
    during = everything(hosts.gateway)
    with hosts.gateway.inside():
        net.down(configuration(), backend)
    assert during != before
    assert without_ours(during) == before
    assert everything(hosts.gateway) == before


@both_backends
def test_up_twice_is_as_up_once(hosts: Hosts, backend: Backend) -> None:
    administrators(hosts.gateway)
    with hosts.gateway.inside():
        net.up(configuration(), backend)
        once = everything(hosts.gateway)
        net.up(configuration(), backend)
    assert everything(hosts.gateway) == once


@both_backends
def test_pasted_plan_is_up(hosts: Hosts, backend: Backend) -> None:
    config = configuration()
    with hosts.gateway.inside():
        net.up(config, backend)
        by_up = everything(hosts.gateway)
        net.down(config, backend)
        for _ in range(2):
            run("sh", stdin=rules.plan(config, backend))
        assert all(item.present for item in net.status(config, backend))
    assert everything(hosts.gateway) == by_up


@both_backends
def test_up_replaces_another_configuration_and_down_needs_not_know_it(hosts: Hosts, backend: Backend) -> None:
    administrators(hosts.gateway)
    config = configuration()
    other = configuration(Policy(name="any", accept=True), mark=Mark(0x80, 0x80), table=77, listen_port=50001)
    with hosts.gateway.inside():
        net.up(config, backend)
        alone = everything(hosts.gateway)
        net.up(other, backend)
        assert not all(item.present for item in net.status(config, backend))
        assert all(item.present for item in net.status(other, backend))
        net.up(config, backend)
    assert everything(hosts.gateway) == alone
    with hosts.gateway.inside():
        net.down(other, backend)
        assert not any(item.present for item in net.status(config, backend))
    assert everything(hosts.gateway) == without_ours(alone)


@both_backends
def test_down_with_nothing_set_up_is_no_error(hosts: Hosts, backend: Backend) -> None:
    before = everything(hosts.gateway)
    with hosts.gateway.inside():
        net.down(configuration(), backend)
    assert everything(hosts.gateway) == before


@pytest.fixture
def legacy_iptables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`iptables` is the one that does not keep its tables in nftables."""
    for command in ("iptables", "ip6tables"):
        for form in ("", "-save", "-restore"):
            there = shutil.which(f"{command}-legacy{form}")
            assert there
            (tmp_path / f"{command}{form}").symlink_to(there)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")


@pytest.mark.usefixtures("legacy_iptables")
def test_legacy_iptables_carries_sessions_and_is_taken_down_without_an_error(hosts: Hosts) -> None:
    """Its mangle table stays, empty, for as long as its kernel module."""
    config = configuration()
    before = everything(hosts.gateway)
    with hosts.gateway.inside():
        net.up(config, Backend.IPTABLES)
        assert all(item.present for item in net.status(config, Backend.IPTABLES))
    assert session_passes(hosts, config, 4)
    assert session_passes(hosts, config, 6)
    with hosts.gateway.inside():
        net.down(config, Backend.IPTABLES)
        net.down(config, Backend.IPTABLES)
    assert [line for line in everything(hosts.gateway).splitlines() if ":" not in line[:1] and line != "*mangle"] == [
        line for line in before.splitlines() if ":" not in line[:1] and line != "*mangle"
    ]


def test_down_without_nft_leaves_an_empty_table(hosts: Hosts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """iptables over nftables is there, the package nftables is not: all that is ours goes even so."""
    config = configuration()
    for command in ("iptables", "ip6tables"):
        for form in ("", "-save", "-restore"):
            (tmp_path / f"{command}{form}").symlink_to(shutil.which(f"{command}{form}") or "")
    for command in ("ip", "sh", "grep"):
        (tmp_path / command).symlink_to(shutil.which(command) or "")
    with hosts.gateway.inside():
        net.up(config, Backend.IPTABLES)
        with monkeypatch.context() as patched:
            patched.setattr(net, "_SYSTEM_PATH", "")
            patched.setenv("PATH", str(tmp_path))
            net.down(config, Backend.IPTABLES)
    assert "PINHOLE" not in everything(hosts.gateway)


def test_status_tells_a_second_jump_and_down_removes_both(hosts: Hosts) -> None:
    administrators(hosts.gateway)
    config = configuration()
    with hosts.gateway.inside():
        net.up(config, Backend.IPTABLES)
        run("iptables", "-t", "mangle", "-A", "PREROUTING", "-j", rules.CHAIN)
        wrong = [item.detail for item in net.status(config, Backend.IPTABLES) if not item.present]
        net.down(config, Backend.IPTABLES)
    assert wrong == ["2 jumps from PREROUTING instead of one"]
    assert "PINHOLE" not in everything(hosts.gateway)


@both_backends
def test_host_without_ipv6_is_set_up_for_ipv4(hosts: Hosts, backend: Backend) -> None:
    config = configuration()
    hosts.gateway.sysctl("ipv6.conf.all.disable_ipv6", 1)
    said: list[str] = []
    with hosts.gateway.inside():
        net.up(config, backend, said.append)
        by_up = everything(hosts.gateway)
        assert all(item.present for item in net.status(config, backend))
        net.down(config, backend)
        run("sh", stdin=rules.plan(config, backend))
    assert everything(hosts.gateway) == by_up
    assert said[0] == "no interface has an IPv6 address: set up for IPv4 alone"


@both_backends
def test_the_other_backend_is_named_at_up_and_keeps_its_routes_at_down(hosts: Hosts, backend: Backend) -> None:
    config = configuration()
    (other,) = set(Backend) - {backend}
    said: list[str] = []
    before = everything(hosts.gateway)
    with hosts.gateway.inside():
        net.up(config, other)
        assert (net.standing(), net.all_standing()) == (other, [other])
        net.up(config, backend, said.append)
        assert said[0].endswith(f"`pinhole net down --backend {other.value}`")
        net.down(config, backend)
        assert [part for part in net.status(config, other) if not part.present] == []
        assert net.standing() is other
        net.down(config, other)
    assert everything(hosts.gateway) == before


def test_missing_command_names_the_package() -> None:
    with pytest.raises(NetError, match="apt install iptables"):
        net.run(("iptables-that-is-not-there",))


def test_a_command_that_cannot_be_started_is_no_traceback(tmp_path: Path) -> None:
    program = tmp_path / "nft"
    program.touch(0o644)
    with pytest.raises(NetError, match="nft cannot be started: Permission denied"):
        net.run((str(program),))


def test_refused_rules_are_reported_with_the_command(hosts: Hosts, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = rules.Step(("nft", "-f", "-"), "table inet pinhole { nonsense }\n")
    monkeypatch.setattr(rules, "steps", lambda config, backend: (broken,))
    with hosts.gateway.inside(), pytest.raises(NetError, match=r"nft -f -: .*syntax error"):
        net.up(configuration(), Backend.NFT)
