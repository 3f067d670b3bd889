"""Sessions that others recorded (VLC's server, a client by live555), through the engine."""

from __future__ import annotations

from protocols.contract.addresses import Peers, Side
from protocols.contract.effects import Send
from protocols.contract.pinholes import MediaGrant
from protocols.rtsp.helper import HELPER
from tests.harness.pcap import Connection, connections
from tests.harness.playbook import Session
from tests.harness.recordings import found


def replayed(connection: Connection) -> Session:
    network = Peers(connection.client, connection.client, connection.server, connection.server)
    session = Session.of(HELPER, network)
    for side, data in connection.said:
        if data:
            session.receive(side, data)
    return session


def test_each_byte_passes_and_two_streams_of_a_session_have_their_places() -> None:
    rest, *whole = connections(found("rtsp", "ndpi-vlc-udp-setup-1.pcap"), 8554)
    assert replayed(rest).effects == [Send(Side.SERVER, rest.stream(Side.CLIENT))]  # it begins at the end of a session
    ports = []
    for connection in whole:
        session = replayed(connection)
        for side in Side:
            assert session.sent(side.other) == connection.stream(side)
        assert session.violations() == []
        (begun,), (played,) = session.notes("rtsp.session"), session.notes("rtsp.play")
        assert (begun["server_agent"], [one["transport"] for one in played["streams"]]) == (b"VLC/3.0.12", ["udp"] * 2)
        media = [grant.media for grant in session.pinholes.opened if isinstance(grant, MediaGrant)]
        ports.append(
            [(one.party.data.port, one.party.control.port) for one in media if one.party.data and one.party.control]
        )
        codecs = [one.codecs.of(96) for one in media if one.codecs is not None]
        assert [codec.name for codec in codecs if codec] == ["H264", "H264", "mpeg4-generic", "mpeg4-generic"]
        # The answer has no TEARDOWN behind it: the session goes on when the connection is cut, and then it is over.
        session.close()
        session.wait(59)
        assert len(session.pinholes.standing) == 4
        session.wait(1)
        assert session.pinholes.standing == {}
        (ended,) = session.notes("rtsp.ended")
        assert ended["cause"] == "lost"
    assert ports == [
        [(55664, 55665), (58547, 58548), (55666, 55667), (57431, 57432)],
        [(55668, 55669), (36631, 36632), (55670, 55671), (59551, 59552)],
    ]
