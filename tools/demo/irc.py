"""IRC: a user behind the gateway sends a file to one who needs no gateway to reach the server, and chats."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from tools.demo.job import MEBIBYTE, Demonstration, Job, checksum
from tools.lab.gateways import Gateway
from tools.peers import irc as peers


def jobs(gateway: Gateway, directory: Path) -> Iterator[Job]:
    with (
        peers.ngircd(gateway.server),
        peers.users(gateway.dialled(4), (peers.PythonIrc, gateway.client, "alice")) as (alice,),
        peers.users(gateway.server.v4, (peers.PythonIrc, gateway.neighbour, "bob")) as (bob,),
    ):
        source = alice.home / "a file"
        source.write_bytes(os.urandom(MEBIBYTE))

        def send() -> Mapping[str, str]:
            alice.send(bob.nick, source)
            bob.wait_to_receive(source.name, source.read_bytes())
            return {"moved": "1 MiB", "checksums": f"equal ({checksum(source)[:8]}…)"}

        def chat() -> Mapping[str, str]:
            alice.chat(bob)
            return {"said": "a line of each, heard by the other"}

        yield Job("ngircd", "python-irc", "send-ipv4", send)
        yield Job("ngircd", "python-irc", "chat-ipv4", chat)


DEMONSTRATION = Demonstration("irc", "Offered", 2, jobs, peers.missing)
