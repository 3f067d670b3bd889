"""Samba with real clients of DCE-RPC, through a gateway in each role that drops all that pinhole does not carry."""

from __future__ import annotations

import contextlib
import socket
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from tests.netns.namespaces import needs_root
from tools.lab import Host, Lab, gateways
from tools.lab.gateways import PUBLISHING, ROUTING, Gateway, Role
from tools.peers import samba
from tools.peers.ftp import SECONDS
from tools.peers.samba import CallFailed

pytestmark = [pytest.mark.interop, pytest.mark.netns, pytest.mark.slow, pytest.mark.timeout(180), needs_root]

SRVSVC, NETLOGON, DRSUAPI = (
    "4b324fc8-1670-01d3-1278-5a47bf6ee188",
    "12345678-1234-abcd-ef00-01234567cffb",
    "e3514235-4b06-11d1-ab04-00c04fc2dcd2",
)
IMPATIENT_SECONDS = 1.5
CLIENTS = 6
"""So many connections to one endpoint at once."""


def _hiding(lab: Lab) -> str:
    """The second client finds and binds what it may, and nothing else."""
    chosen = f"source: [{lab.client_stranger.v4}], options: {{dcerpc: {{interfaces: [srvsvc], check_bind: true}}}}"
    return f"""
  - {{name: chosen, from: [lan0], action: accept, snat: interface, {chosen}}}
  - {{name: lan-out, from: [lan0], action: accept, snat: interface}}
"""


HIDING = Role("snat_interface", _hiding, hides_client=True)


@pytest.fixture(scope="module", params=(ROUTING, HIDING, PUBLISHING), ids=lambda role: role.name)
def gateway(request: pytest.FixtureRequest) -> Iterator[Gateway]:
    with serving(request.param) as gateway, samba.member(gateway.server):
        yield gateway


def serving(role: Role) -> contextlib.AbstractContextManager[Gateway]:
    return gateways.serving(role, "nft", drain_seconds=0.1)


def nothing_went_wrong(gateway: Gateway) -> None:
    wrong = ("violation", "pinhole.refused", "session.denied", "session.failed", "engine.failed")
    assert [line for line in gateway.daemon.audit() if line["event"] in wrong] == []


@pytest.mark.parametrize("version", [4, 6])
def test_an_interface_is_found_and_called(gateway: Gateway, version: int) -> None:
    """Over IPv6, towers have no address (DC18)."""
    assert "platform_id" in samba.rpcclient(gateway.client, gateway.dialled(version), "srvinfo")
    line = gateway.daemon.wait_for("dcerpc.map", name="srvsvc")
    assert line["interface"] == SRVSVC and line["known_as"].startswith(("198.51.100.", "[2001:db8:"))
    nothing_went_wrong(gateway)


_CALL = """
import sys
from impacket.dcerpc.v5 import epm, srvs, transport
found = epm.hept_map(sys.argv[1], srvs.MSRPC_UUID_SRVS, protocol="ncacn_ip_tcp")
for _ in range(2):  # the connection to the endpoint mapper is over by then (DC34)
    dce = transport.DCERPCTransportFactory(found).get_dce_rpc()
    dce.connect()
    dce.bind(srvs.MSRPC_UUID_SRVS)
    print(srvs.hNetrServerGetInfo(dce, 101)["InfoStruct"]["ServerInfo101"]["sv101_name"])
    dce.disconnect()
try:
    epm.hept_lookup(sys.argv[1])
except Exception as error:  # impacket takes the status that ends the list for one
    print(error.get_error_code() == 0x16C9A0D6)
"""


def test_impacket_finds_an_interface_and_comes_twice(gateway: Gateway) -> None:
    """DC6, DC19: it also asks for the whole list, which comes in two fragments."""
    assert samba.impacket(gateway.client, _CALL, gateway.dialled(4)).replace("\0", "").split() == [
        "FILES",
        "FILES",
        "True",
    ]
    assert gateway.daemon.wait_for("dcerpc.lookup")["entries"] > 30
    nothing_went_wrong(gateway)


_BIG_ENDIAN = """
import sys
from scapy.layers.dcerpc import find_dcerpc_interface
from scapy.layers.msrpce.all import *
from scapy.layers.msrpce.rpcclient import get_endpoint
print(get_endpoint(sys.argv[1], find_dcerpc_interface("srvsvc"), ndrendian="big", verb=False))
"""


@pytest.mark.parametrize("gateway", [PUBLISHING], indirect=True, ids=[PUBLISHING.name])
def test_a_client_in_the_other_byte_order(gateway: Gateway) -> None:
    """DC2: scapy asks in big-endian order, and is answered in little-endian order."""
    said = gateway.client.run([sys.executable, "-c", _BIG_ENDIAN, str(gateway.dialled(4))]).stdout
    known_as = gateway.daemon.audit("dcerpc.map", name="srvsvc")[-1]["known_as"]
    assert known_as.partition(":")[2] in said and str(gateway.dialled(4)) in said
    nothing_went_wrong(gateway)


_BIND = bytes.fromhex(
    "05000b03100000004800000001000000d016d016000000000100000000000100c84f324b7016d30112785a47bf6ee188"
    "03000000045d888aeb1cc9119fe808002b10486002000000"
)


@pytest.mark.parametrize("gateway", [ROUTING], indirect=True, ids=[ROUTING.name])
def test_a_bystander_at_the_same_port_goes_on_undisturbed(gateway: Gateway) -> None:
    """DC37: it reaches the server by rights of its own, before and while the port is open for somebody else."""
    client, bystander = gateway.clients
    for way in ("saddr", "daddr"):
        gateway.lab.firewall(f"insert rule inet lock_down forward ip {way} {bystander.v4} accept\n")
    at = str(gateway.dialled(4)), samba.maps(client, gateway.dialled(4), SRVSVC, "3.0")
    used = len(gateway.daemon.audit("pinhole.used"))
    with bystander.inside(), socket.create_connection(at, SECONDS) as before:
        before.sendall(_BIND[:20])
        with client.inside(), socket.create_connection(at, SECONDS) as own:
            own.sendall(_BIND)
            assert own.recv(1000)[2] == 12
        with socket.create_connection(at, SECONDS) as later:
            later.sendall(_BIND)
            assert later.recv(1000)[2] == 12
        before.sendall(_BIND[20:])
        assert before.recv(1000)[2] == 12
    gateway.daemon.wait_for("pinhole.used", count=used + 1)
    assert [line["peer"].split(":")[0] for line in gateway.daemon.audit("pinhole.used")[used:]] == [str(client.v4)]


def test_many_clients_at_one_endpoint_at_once(gateway: Gateway) -> None:
    """DC33, DC35: from two hosts, several connections each."""
    ports = [samba.maps(client, gateway.dialled(4), SRVSVC, "3.0") for client in gateway.clients]
    with contextlib.ExitStack() as stack:
        for client, port in zip(gateway.clients, ports, strict=True):
            for _ in range(CLIENTS):
                with client.inside():
                    stack.enter_context(socket.create_connection((str(gateway.dialled(4)), port), SECONDS))
        with ThreadPoolExecutor(2) as pool:
            said = list(pool.map(lambda host: samba.rpcclient(host, gateway.dialled(4), "srvinfo"), gateway.clients))
        assert all("platform_id" in each for each in said)
    nothing_went_wrong(gateway)


def test_without_its_helper_no_endpoint_is_reached() -> None:
    """The firewall lets the questions through, and nothing else."""
    with Lab("routed") as lab:
        lab.firewall(
            """
            table inet strict { chain forward { type filter hook forward priority filter; policy drop;
                ct state established,related accept
                iifname lan0 tcp dport 135 accept
                meta l4proto icmpv6 accept
            }
            }
            """
        )
        with samba.member(lab.server):
            assert samba.maps(lab.client, lab.server.v4, SRVSVC, "3.0") >= 49152
            with pytest.raises(CallFailed, match="no end"):
                samba.rpcclient(lab.client, lab.server.v4, "srvinfo", seconds=IMPATIENT_SECONDS)


@pytest.mark.parametrize("gateway", [HIDING], indirect=True, ids=[HIDING.name])
def test_what_may_not_be_found_is_not_registered_and_not_bound_elsewhere(gateway: Gateway) -> None:
    """DC36: winreg is answered at once as not registered; and at the port of srvsvc, which Samba serves it at as well,
    it is not bound either."""
    _, chosen = gateway.clients
    at = gateway.dialled(4)
    assert "platform_id" in samba.rpcclient(chosen, at, "srvinfo")
    with pytest.raises(CallFailed, match="NT_STATUS"):
        samba.rpcclient(chosen, at, "winreg_enumkey HKLM")
    with pytest.raises(CallFailed, match="ept_s_not_registered"):
        samba.maps(chosen, at, "338cd001-2244-31f1-aaaa-900038001003")
    script = """
import sys
from impacket.dcerpc.v5 import lsat, transport
dce = transport.DCERPCTransportFactory(f"ncacn_ip_tcp:{sys.argv[1]}[{sys.argv[2]}]").get_dce_rpc()
dce.connect()
dce.bind(lsat.MSRPC_UUID_LSAT)
"""
    with pytest.raises(CallFailed, match=r"(?i)bind_nak|rejected|reason"):
        samba.impacket(chosen, script, at, samba.maps(chosen, at, SRVSVC, "3.0"))
    rules = [line["rule"] for line in gateway.daemon.audit("violation")]
    assert set(rules) == {"dcerpc.interface_denied"} and len(rules) >= 3


# -- a domain ----------------------------------------------------------------------------------------------------------


def _publishing_and_hiding(lab: Lab) -> str:
    """The second client, too, is known to the controller by an address of the gateway: a second controller would take
    half a minute to be made."""
    hidden = "".join(
        f"""
  - name: hidden-ipv{version}
    from: [wan0]
    source: ["{lab.server_stranger.address(version)}"]
    destination: ["{lab.gateway.address(version, "wan0")}"]
    action: accept
    dnat: "{lab.client.address(version)}"
    snat: interface
"""
        for version in (4, 6)
    )
    return hidden + PUBLISHING.policies(lab)


@pytest.fixture(scope="module")
def domain() -> Iterator[Gateway]:
    with serving(replace(PUBLISHING, policies=_publishing_and_hiding)) as gateway, samba.controller(gateway.server):
        samba.wait_for(gateway.client, gateway.dialled(4), "enumdomusers", samba.ADMINISTRATOR)
        yield gateway


def users(gateway: Gateway, host: Host, protection: str, version: int = 4) -> str:
    return samba.rpcclient(host, gateway.dialled(version), "enumdomusers", samba.ADMINISTRATOR, protection)


@pytest.mark.parametrize("version", [4, 6], ids=["ipv4", "ipv6"])
@pytest.mark.parametrize("protection", ["sign", "seal"])
def test_a_controller_is_asked_with_signatures_and_encrypted(domain: Gateway, protection: str, version: int) -> None:
    """The question to the endpoint mapper goes in clear, and its answer is rewritten (DC38, DC39); over IPv6, it has no
    address to rewrite (DC18)."""
    before = len(domain.daemon.audit("dcerpc.map"))
    assert "krbtgt" in users(domain, domain.client, protection, version)
    domain.daemon.wait_for("dcerpc.map", count=before + 1)
    (line,) = domain.daemon.audit("dcerpc.map", name="samr")[-1:]
    assert line["known_as"].rpartition(":")[2] == line["at"].rpartition(":")[2]
    assert line["known_as"].startswith("[" if version == 6 else "198.51.100.")
    nothing_went_wrong(domain)


@pytest.mark.parametrize("version", [4, 6], ids=["ipv4", "ipv6"])
def test_a_controller_is_asked_encrypted_by_a_client_whose_address_it_never_sees(domain: Gateway, version: int) -> None:
    """DC38: with source NAT beside that of the server."""
    _, hidden = domain.clients
    sessions, used = (len(domain.daemon.audit(event)) for event in ("session.opened", "pinhole.used"))
    assert "krbtgt" in users(domain, hidden, "seal", version)
    lines = domain.daemon.audit("session.opened")[sessions:] + domain.daemon.audit("pinhole.used")[used:]
    assert {line["policy"] for line in lines} == {f"hidden-ipv{version}"} and len(lines) == 2
    known_as = {line["dialled_from"].rpartition(":")[0].strip("[]") for line in lines}
    assert known_as == {str(domain.lab.gateway.address(version, "lan0"))}
    nothing_went_wrong(domain)


_REPLICA = r"""
import sys
from impacket.dcerpc.v5 import drsuapi, epm, nrpc, transport, rpcrt
_, at, user, password, domain = sys.argv
print(epm.hept_map(at, nrpc.MSRPC_UUID_NRPC, protocol="ncacn_ip_tcp"))
rpc = transport.DCERPCTransportFactory(epm.hept_map(at, drsuapi.MSRPC_UUID_DRSUAPI, protocol="ncacn_ip_tcp"))
rpc.set_credentials(user, password, domain)
dce = rpc.get_dce_rpc()
dce.set_auth_level(rpcrt.RPC_C_AUTHN_LEVEL_PKT_PRIVACY)
dce.connect()
dce.bind(drsuapi.MSRPC_UUID_DRSUAPI)
wanted = drsuapi.DRSBind()
wanted["puuidClientDsa"] = drsuapi.NTDSAPI_CLIENT_GUID
wanted["pextClient"]["cb"] = 4
wanted["pextClient"]["rgb"] = list(b"\0\0\0\0")
print(dce.request(wanted)["ErrorCode"])
"""


def test_a_replica_binds_to_its_controller(domain: Gateway) -> None:
    said = samba.impacket(
        domain.client, _REPLICA, domain.dialled(4), "Administrator", samba.PASSWORD, samba.DOMAIN
    )  # fmt: skip
    assert said.splitlines()[-1] == "0"
    assert {"netlogon", "drsuapi"} <= {line["name"] for line in domain.daemon.audit("dcerpc.map")}


def test_all_interfaces_of_a_controller_share_few_endpoints(domain: Gateway) -> None:
    """DC35."""
    for interface, version in ((NETLOGON, "1.0"), (DRSUAPI, "4.0"), ("12345778-1234-abcd-ef00-0123456789ab", "0.0")):
        samba.maps(domain.client, domain.dialled(4), interface, version)
    own = f"{domain.client.v4}:"
    opened = [line for line in domain.daemon.audit("pinhole.opened", purpose="rpc") if line["client"].startswith(own)]
    assert len({line["listen"] for line in opened}) == len(opened) <= 3
    nothing_went_wrong(domain)
