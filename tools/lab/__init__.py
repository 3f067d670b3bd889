"""Throw-away hosts in network namespaces: for the tests, the demo, the benchmark, and whoever wants to play.

    client ----+                                              +---- server
               +-- lan0  gateway  wan0 -----------------------+
    client_stranger                                           +---- server_stranger

A wide lab has two more: `neighbour` on `lan1`, a second network inside, and `elsewhere`, on the server's link but in a
network of its own. Addresses outside, or all of them, can be global ones: see `Lab`.

Every host has an IPv4 and an IPv6 address, static and without duplicate address detection, so that a lab is ready when
it is made. Names hold the pid of the creator and a number, so several labs stand beside each other. Whatever happens
to the creator, a janitor process takes the lab down.

    with Lab() as lab:
        lab.server.popen(["vsftpd", ...])
        lab.client.run(["curl", f"ftp://{lab.server.v4}/"])
"""

from __future__ import annotations

from tools.lab.capture import Capture, Conversation, Datagram, conversations, datagrams
from tools.lab.daemon import Daemon, pinhole
from tools.lab.host import Host
from tools.lab.lab import Lab

__all__ = ["Capture", "Conversation", "Daemon", "Datagram", "Host", "Lab", "conversations", "datagrams", "pinhole"]
