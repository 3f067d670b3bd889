"""Real tunnels of WireGuard and OpenVPN go on while session descriptions name their servers (C2). Those of
test_sip_borders.py are sockets that speak alike; these are the programs."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.harness.waiting import until
from tests.netns.namespaces import needs_root
from tests.netns.test_sip_borders import OPENVPN, RTP, WIREGUARD, Site, Talker, site
from tools.lab import Host
from tools.peers.programs import UNPACKED

PATH = f"{UNPACKED}/usr/bin:{UNPACKED}/usr/sbin:{os.environ['PATH']}"
PROGRAMS = ("wireguard-go", "wg", "openvpn")
MISSING = [program for program in PROGRAMS if shutil.which(program, path=PATH) is None]
ENVIRONMENT = os.environ | {"PATH": PATH}
REPEAT_SECONDS = 0.3

pytestmark = [pytest.mark.netns, pytest.mark.slow, pytest.mark.interop, needs_root]
pytestmark += [pytest.mark.skipif(bool(MISSING), reason=f"not installed (tools/setup --test): {MISSING}")]


class Tunnel:
    """Between two hosts: a client that begins it, and a server that waits. Its addresses end in 1 and 2."""

    def __init__(self, here: Site, network: str, client: Host, server: Host) -> None:
        self._here = here
        self.hosts = client, server
        self.addresses = f"{network}.1", f"{network}.2"
        self._ends: list[Talker] = []

    def is_up(self) -> None:
        """Its interfaces have their addresses, so that there can be sockets on them."""
        for host, address in zip(self.hosts, self.addresses, strict=True):
            until(partial(_has, host, address))
            self._ends.append(self._here.talker(host, 9000, address))
            self._ends[-1].socket.settimeout(REPEAT_SECONDS)

    def goes_on(self) -> None:
        """What is said into it comes out, both ways. By UDP: it is said until it is heard."""
        for speaker, hearer in (self._ends, self._ends[::-1]):
            until(partial(_is_heard, speaker, hearer, secrets.token_bytes(100)))


def _has(host: Host, address: str) -> bool:
    return f" {address}" in host.run(("ip", "address")).stdout


def _is_heard(speaker: Talker, hearer: Talker, word: bytes) -> bool:
    speaker.say(word, hearer.at, 9000)
    try:
        return hearer.hear() == word
    except TimeoutError:
        return False


def wireguard(here: Site, client: Host, server: Host, directory: Path) -> Tunnel:
    tunnel = Tunnel(here, "10.77.0", client, server)
    names = [f"wg{secrets.token_hex(4)}" for _ in range(2)]  # its control sockets are of all namespaces together
    keys = [client.run(("wg", "genkey"), env=ENVIRONMENT).stdout for _ in names]
    for number, (host, name) in enumerate(zip(tunnel.hosts, names, strict=True)):
        host.popen(("wireguard-go", "-f", name), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=ENVIRONMENT)
        until(Path(f"/var/run/wireguard/{name}.sock").exists)
        key = directory / name
        key.write_text(keys[number])
        peer = host.run(("wg", "pubkey"), stdin=keys[1 - number], env=ENVIRONMENT).stdout.strip()
        words = ["wg", "set", name, "private-key", str(key), "peer", peer, "allowed-ips", "10.77.0.0/24"]
        if number:
            words[3:3] = ["listen-port", str(WIREGUARD)]
        else:
            at = here.address(server)
            words += ["endpoint", f"[{at}]:{WIREGUARD}" if ":" in at else f"{at}:{WIREGUARD}"]
        host.run(words, env=ENVIRONMENT)
        host.run(("ip", "address", "add", f"{tunnel.addresses[number]}/24", "dev", name))
        host.run(("ip", "link", "set", name, "up"))
    tunnel.is_up()
    return tunnel


def openvpn(here: Site, client: Host, server: Host, directory: Path) -> Tunnel:
    tunnel = Tunnel(here, "10.78.0", client, server)
    key = directory / "key"
    client.run(("openvpn", "--genkey", "secret", str(key)), env=ENVIRONMENT)
    for number, host in enumerate(tunnel.hosts):
        own, other = tunnel.addresses[number], tunnel.addresses[1 - number]
        words = ["openvpn", "--dev", "tun", "--proto", "udp6" if here.version == 6 else "udp4", "--secret", str(key)]
        words += ["--cipher", "AES-256-CBC", "--ifconfig", own, other]
        words += ["--port", str(OPENVPN), "--float"] if number else ["--nobind"]
        words += [] if number else ["--remote", here.address(server), str(OPENVPN)]
        host.popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=ENVIRONMENT)
    tunnel.is_up()
    return tunnel


@pytest.fixture(params=[(6, False), (4, True)], ids=["ipv6", "ipv4_nat"])
def here(request: pytest.FixtureRequest) -> Iterator[Site]:
    with site(*request.param) as made:
        yield made


def test_tunnels_whose_servers_are_named_as_places_for_media_go_on(here: Site, tmp_path: Path) -> None:
    """By a stranger's INVITE that nobody answers, by a hostile server's answers, and by a host inside."""
    lab = here.lab
    tunnels = (
        wireguard(here, lab.neighbour, lab.elsewhere, tmp_path),
        openvpn(here, lab.server, lab.neighbour, tmp_path),
    )
    named = (here.address(lab.elsewhere), WIREGUARD), (here.address(lab.neighbour), OPENVPN)

    def all_go_on() -> None:
        for tunnel in tunnels:
            tunnel.goes_on()

    all_go_on()
    stranger = here.talker(lab.server_stranger, 5060)
    stranger.say(here.asks(stranger.at, here.description(*named)), here.seen_at, 5060)
    assert here.phone.hear().startswith(b"INVITE ")
    all_go_on()
    for status in (183, 200):
        here.calls(call=f"call{status}")
        here.is_answered(*named, status=status, call=f"call{status}")
        all_go_on()
    here.calls(*named, call="inside")
    here.is_answered((here.provider.at, 8000), call="inside")
    media = here.talker(lab.client, 7000)
    media.say(RTP, *named[0])
    all_go_on()
