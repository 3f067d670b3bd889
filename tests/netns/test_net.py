"""The rules on a real kernel: what they let through, and what they leave alone."""

from __future__ import annotations

import re
from ipaddress import ip_address, ip_network

import pytest

from protocols.contract.addresses import Endpoint
from proxy.config.schema import Policy
from proxy.config.values import Dnat, Mark
from proxy.host import net, rules_iptables, rules_routing
from proxy.host.rules import Backend
from proxy.sockets import transparent
from tests.netns.namespaces import Hosts, needs_root, run
from tests.netns.rules_site import (
    SECONDS,
    both_backends,
    both_versions,
    configuration,
    connect,
    drop_by_default,
    echo,
    listen,
    listen_main,
    listen_transparent,
    refused,
    serves,
    session_passes,
)

pytestmark = [pytest.mark.netns, pytest.mark.slow, needs_root]

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
        hosts.gateway.run(f"{rules_iptables.command(version)}-restore", stdin=text)
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
            hosts.gateway.run(f"{rules_iptables.command(version)}-restore", "--noflush", stdin=text)

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
        run("ip", f"-{version}", "rule", "flush", "protocol", str(rules_routing.ROUTE_PROTOCOL))
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
