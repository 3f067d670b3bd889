"""Copies of messages for who traces a session, and what is hidden in them."""

from __future__ import annotations

import pytest

from protocols.contract.addresses import Side
from protocols.contract.effects import Copy
from protocols.rtsp.helper import HELPER
from tests.protocols.rtsp.test_engine import asks, connected, interleaved, message


def test_messages_are_copied_as_they_come_and_as_they_go_and_frames_are_not() -> None:
    session = connected()
    asks(session, b"OPTIONS", 9)
    session.engine.copy(True)
    interleaved(session)
    session.receive(Side.SERVER, b"$\0\0\x01x")
    refused = message(
        b"SETUP rtsp://a/b RTSP/1.0", b"CSeq: 7", b"Transport: RTP/AVP;destination=192.0.2.9;client_port=9000"
    )
    session.receive(Side.CLIENT, refused)
    session.engine.copy(False)
    asks(session, b"OPTIONS", 8)
    copies = [effect for effect in session.effects if isinstance(effect, Copy)]
    assert [(copy.side, copy.has_come) for copy in copies] == [
        (Side.CLIENT, True),
        (Side.SERVER, False),
        (Side.SERVER, True),
        (Side.CLIENT, False),
        (Side.CLIENT, True),
        (Side.CLIENT, False),
    ]
    assert copies[4].data == refused
    assert copies[5].data == b"RTSP/1.0 461 Unsupported Transport\r\nCSeq: 7\r\n\r\n"


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (b"Authorization: Basic dTpw\r\nX: y\r\n", b"Authorization:#\r\nX: y\r\n"),
        (b'proxy-authorization :Digest a="b",\r\n response="c"\r\n', b"proxy-authorization :#\r\n"),
        (b"x-sessioncookie: abc\r\n", b"x-sessioncookie:#\r\n"),
        (b"Location: rtsp://u:p@h/a\r\n", b"Location: rtsp://#\r\n"),
        (b"PLAY rtsp://h/a?user=u&password=p RTSP/1.0\r\n", b"PLAY rtsp://h/a?user=u&password=#\r\n"),
        (b"PLAY rtsp://h/user=u&pwd=p RTSP/1.0\r\n", b"PLAY rtsp://h/user=u&pwd=#\r\n"),
        (b"PLAY rtsp://h/a;token=p RTSP/1.0\r\n", b"PLAY rtsp://h/a;token=#\r\n"),
        (b'KeyMgmt: prot=mikey; data="AQ"\r\nX: y\r\n', b"KeyMgmt:#\r\nX: y\r\n"),
        (b"a=key-mgmt:mikey AQ\r\na=b\r\n", b"a=key-mgmt:#\r\na=b\r\n"),
        (b"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:AQ\r\n", b"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:#\r\n"),
        (b"k=clear:AQ\r\n", b"k=clear:#\r\n"),
        (b"PLAY rtsp://h/a RTSP/1.0\r\nX: u@v\r\n", b"PLAY rtsp://h/a RTSP/1.0\r\nX: u@v\r\n"),
    ],
)
def test_secrets_are_hidden_in_copies(line: bytes, shown: bytes) -> None:
    assert HELPER.secret is not None
    assert HELPER.secret.sub(lambda found: found[1] + b"#", line) == shown
