"""Sessions that others recorded, through the engine: what it tells, what it opens, what it changes."""

from __future__ import annotations

import pytest

from protocols.contract.addresses import Peers, Side
from protocols.rsh.engine import HELPER
from tests.harness.pcap import Connection, connections
from tests.harness.playbook import Session
from tests.harness.recordings import found

EXPECTED = [
    ("1022", b"lns", b"root", b"Password incorrect."),
    ("1020", b"lns", b"someuser", b"Login incorrect."),
]
"""Of each session: the port for errors, both users, and what its server says."""


def through(connection: Connection, cut: int) -> Session:
    client, server = connection.client, connection.server
    session = Session.of(HELPER, Peers(client, client, server, server))
    for side, data in connection.said:
        if not data:
            session.eof(side)
        for at in range(0, len(data), cut):
            session.receive(side, data[at : at + cut])
        if 1 in session.pinholes.standing and side is Side.CLIENT and data:
            session.use(1)  # the recording is without the second connection
    return session


@pytest.mark.parametrize("cut", [1, 5, 1000])
def test_a_recorded_session_passes_as_it_was(cut: int) -> None:
    recorded = connections(found("rsh", "ndpi-rsh.pcap"), 514)
    assert len(recorded) == len(EXPECTED)
    for connection, (port, local, remote, text) in zip(recorded, EXPECTED, strict=True):
        session = through(connection, cut)
        for side in Side:
            assert session.sent(side.other) == b"".join(data for who, data in connection.said if who is side)
        (command,) = session.notes("rsh.command")
        assert (command["local_user"], command["remote_user"], command["stderr_port"]) == (local, remote, int(port))
        assert session.notes("rsh.refused") == [{"text": text}]
        (line,) = [line for line in session.pinholes.log if line.startswith("open ")]
        assert f"for 127.0.0.1:{port} from 127.0.0.1" in line
        assert session.violations() == []
