"""Messages that tests begin with, and PER written by hand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import ip_address

from protocols.h323 import h225_types, h245_types, schema
from protocols.h323.schema import Fields, Schema

FAST_SETUP = bytes.fromhex(
    "030000f90802004a0504038090a3280261007e00e40520b8060008914a00040240030061007300740061010043a22cb8000027056f6f6833"
    "32330676302e382e336d000140030074006f006e0065000a02000206b8007f808182838485868788898a8b8c8d8e00d51d980007000a0100"
    "022efe11006f6f68333233632d7d2acce6cd3f002e63041d4003e806040100 4c60138011140001000a010002272e000a010002272f120003"
    "e90c6013800a040001000a010002272f1d4003ea060401004c20138011140001000a010002272e000a010002272f120003eb0c2013800a04"
    "0001000a010002272f01000100010001000100010010800100"
)
"""A Setup with fast start of Asterisk's chan_ooh323, TPKT included (HF67): 10.1.0.2 seven times, 10.2.0.2 once."""


class Bits:
    """Writes aligned PER."""

    def __init__(self) -> None:
        self._text = ""

    def bits(self, text: str) -> Bits:
        self._text += text.replace(" ", "")
        return self

    def octets(self, data: bytes) -> Bits:
        """From an octet's border on."""
        self._text += "0" * (-len(self._text) % 8) + "".join(f"{octet:08b}" for octet in data)
        return self

    def counted(self, data: bytes) -> Bits:
        """With their length before them."""
        size = len(data)
        return self.octets((bytes((size,)) if size < 128 else (0x8000 | size).to_bytes(2, "big")) + data)

    def done(self) -> bytes:
        text = self._text + "0" * (-len(self._text) % 8)
        return int(text or "0", 2).to_bytes(len(text) // 8, "big")


# -- parts of messages -------------------------------------------------------------------------------------------------

H225, H245 = schema.read(h225_types.TYPES), schema.read(h245_types.TYPES)
CALL_ID = bytes(range(1, 17))


def choice(types: Schema, kind: str, alternative: str) -> str:
    """The bits that choose an alternative of the root, as text."""
    found = types[kind]
    assert isinstance(found, Fields)
    number = [field.name for field in found.root].index(alternative)
    width = (len(found.root) - 1).bit_length()
    return ("0" if found.is_extensible else "") + (f"{number:0{width}b}" if width else "")


def added(types: Schema, kind: str, alternative: str) -> str:
    """The bits that choose an alternative behind the extension marker; an open type follows."""
    found = types[kind]
    assert isinstance(found, Fields)
    return "10" + f"{next(number for number, field in found.added.items() if field.name == alternative):06b}"


def addition(kind: str, name: str, types: Schema = H225) -> int:
    """The number of an extension addition."""
    found = types[kind]
    assert isinstance(found, Fields)
    return next(number for number, field in found.added.items() if field.name == name)


def with_additions(bits: Bits, values: dict[int, bytes], count: int) -> Bits:
    """Behind a sequence that says it has some: so many flags, and what is there."""
    bits.bits("0" + f"{count - 1:06b}" + "".join("1" if number in values else "0" for number in range(count)))
    for _, value in sorted(values.items()):
        bits.counted(value)
    return bits


def octets(at: str) -> bytes:
    host, _, port = at.rpartition(":")
    return ip_address(host.strip("[]")).packed + int(port).to_bytes(2, "big")


def h225_address(bits: Bits, at: str) -> Bits:
    """A TransportAddress of H.225.0."""
    coded = octets(at)
    return bits.bits("0000" if len(coded) == 6 else "0011 0").octets(coded)


def h245_address(bits: Bits, at: str) -> Bits:
    """A TransportAddress of H.245."""
    coded = octets(at)
    kind = "iPAddress" if len(coded) == 6 else "iP6Address"
    way = choice(H245, "TransportAddress", "unicastAddress") + choice(H245, "UnicastAddress", kind)
    return bits.bits(way + "0").octets(coded)


def many(bits: Bits, values: Iterable[bytes]) -> Bits:
    """A SEQUENCE OF OCTET STRING."""
    values = list(values)
    bits.octets(bytes((len(values),)))
    for value in values:
        bits.counted(value)
    return bits


def tpkt(message: bytes) -> bytes:
    return b"\x03\0" + (len(message) + 4).to_bytes(2, "big") + message


def q931(kind: int, user: bytes, *, from_callee: bool = False, reference: int = 1) -> bytes:
    """A packet of the call signalling channel."""
    value = reference | (0x8000 if from_callee else 0)
    element = b"\x7e" + (len(user) + 1).to_bytes(2, "big") + b"\x05" + user
    return tpkt(b"\x08\x02" + value.to_bytes(2, "big") + bytes((kind,)) + element)


def _user(body: Bits, control: Sequence[bytes], tunnelled: bool | None) -> bytes:
    """H323-UserInformation: what stands in front of the body is put there by `_begin`."""
    values: dict[int, bytes] = {}
    if tunnelled is not None:
        values[addition("H323-UU-PDU", "h245Tunnelling")] = Bits().bits("1" if tunnelled else "0").done()
    if control:
        values[addition("H323-UU-PDU", "h245Control")] = many(Bits(), control).done()
    return (with_additions(body, values, 3) if values else body).done()


def _begin(has_additions: bool, body: str) -> Bits:
    return Bits().bits("00" + ("10" if has_additions else "00") + body)


_PROTOCOL = bytes.fromhex("06 00 08 91 4a 00 04")
_TERMINAL = "0 000001 00 0 0"
"""An EndpointType that is a terminal."""


def setup(
    *,
    source: str | None = None,
    dest: str | None = None,
    h245: str | None = None,
    fast: Sequence[bytes] = (),
    control: Sequence[bytes] = (),
    parallel: Sequence[bytes] = (),
    tunnelled: bool | None = None,
    caller: str = "alice",
    alias: str | None = None,
    reference: int = 1,
    call_id: bytes = CALL_ID,
    more: dict[int, bytes] | None = None,
) -> bytes:
    """A Setup. `alias`: an address as a further name of the callee."""
    body = _begin(tunnelled is not None or bool(control), choice(H225, "H323-UU-PDU.h323-message-body", "setup"))
    body.bits("1" + "01"[h245 is not None] + "1" + "01"[alias is not None] + "01"[dest is not None] + "000")
    body.octets(_PROTOCOL)
    if h245 is not None:
        h225_address(body, h245)
    body.octets(b"\x01").bits("01").octets(bytes((len(caller) - 1,)) + caller.encode("utf-16-be"))
    body.bits(_TERMINAL)
    if alias is not None:
        body.octets(b"\x01").bits("1 0 000001").counted(h225_address(Bits(), alias).done())
    if dest is not None:
        h225_address(body, dest)
    body.bits("0").octets(bytes(16)).bits("000 000")
    values = {addition("Setup-UUIE", "callIdentifier"): Bits().bits("0").octets(call_id).done(), **(more or {})}
    if source is not None:
        values[addition("Setup-UUIE", "sourceCallSignalAddress")] = h225_address(Bits(), source).done()
    if fast:
        values[addition("Setup-UUIE", "fastStart")] = many(Bits(), fast).done()
    if parallel:
        values[addition("Setup-UUIE", "parallelH245Control")] = many(Bits(), parallel).done()
    return q931(5, _user(with_additions(body, values, max(values) + 1), control, tunnelled), reference=reference)


_KINDS = {"callProceeding": 2, "alerting": 1, "connect": 7, "facility": 0x62, "progress": 3, "releaseComplete": 0x5A}


def answer(
    kind: str,
    *,
    h245: str | None = None,
    fast: Sequence[bytes] = (),
    control: Sequence[bytes] = (),
    tunnelled: bool | None = None,
    from_callee: bool = True,
    reference: int = 1,
    call_id: bytes = CALL_ID,
) -> bytes:
    """CallProceeding, Alerting or Connect, which callees send."""
    body = _begin(tunnelled is not None or bool(control), choice(H225, "H323-UU-PDU.h323-message-body", kind))
    body.bits("1" + "01"[h245 is not None]).octets(_PROTOCOL)
    if kind == "connect":
        if h245 is not None:
            h225_address(body, h245)
        body.bits(_TERMINAL).octets(bytes(16))
    else:
        body.bits(_TERMINAL)
        if h245 is not None:
            h225_address(body, h245)
    name = {"connect": "Connect-UUIE", "alerting": "Alerting-UUIE", "callProceeding": "CallProceeding-UUIE"}[kind]
    values = {addition(name, "callIdentifier"): Bits().bits("0").octets(call_id).done()}
    if fast:
        values[addition(name, "fastStart")] = many(Bits(), fast).done()
    user = _user(with_additions(body, values, max(values) + 1), control, tunnelled)
    return q931(_KINDS[kind], user, from_callee=from_callee, reference=reference)


def facility(
    reason: str = "undefinedReason",
    *,
    h245: str | None = None,
    alternative: str | None = None,
    control: Sequence[bytes] = (),
    from_callee: bool = True,
    reference: int = 1,
) -> bytes:
    """A Facility of either party."""
    body = _begin(bool(control), choice(H225, "H323-UU-PDU.h323-message-body", "facility"))
    body.bits("1" + "01"[alternative is not None] + "00").octets(_PROTOCOL)
    if alternative is not None:
        h225_address(body, alternative)
    if reason == "startH245":
        body.bits(added(H225, "FacilityReason", reason)).counted(b"\0")
    else:
        body.bits(choice(H225, "FacilityReason", reason))
    values = {addition("Facility-UUIE", "callIdentifier"): Bits().bits("0").octets(CALL_ID).done()}
    if h245 is not None:
        values[addition("Facility-UUIE", "h245Address")] = h225_address(Bits(), h245).done()
    user = _user(with_additions(body, values, max(values) + 1), control, None)
    return q931(0x62, user, from_callee=from_callee, reference=reference)


def carrier(*control: bytes, from_callee: bool = False) -> bytes:
    """A Facility whose body is `empty`, which carries H.245 (HF24)."""
    body = _begin(True, added(H225, "H323-UU-PDU.h323-message-body", "empty")).counted(b"\0")
    return q931(0x62, _user(body, control, None), from_callee=from_callee)


def release_complete(*, from_callee: bool = False, reference: int = 1) -> bytes:
    body = _begin(False, choice(H225, "H323-UU-PDU.h323-message-body", "releaseComplete"))
    return q931(0x5A, body.bits("0 0").octets(_PROTOCOL).done(), from_callee=from_callee, reference=reference)


# -- H.245 -------------------------------------------------------------------------------------------------------------


def _h2250(session: int, media: str | None, control: str | None) -> bytes:
    """H2250LogicalChannelParameters."""
    bits = Bits().bits("0 00" + "01"[media is not None] + "0" + "01"[control is not None] + "00000")
    bits.octets(bytes((session,)))
    for at in (media, control):
        if at is not None:
            h245_address(bits, at)
    return bits.done()


AUDIO, NULL, FAX, T120 = "audioData", "nullData", "t38fax", "t120"
_FORWARD = "OpenLogicalChannel.forwardLogicalChannelParameters.multiplexParameters"
_REVERSE = "OpenLogicalChannel.reverseLogicalChannelParameters.multiplexParameters"
_H2250 = "h2250LogicalChannelParameters"


def _data(bits: Bits, kind: str) -> Bits:
    """A DataType."""
    application = "DataApplicationCapability.application"
    if kind == AUDIO:
        way = choice(H245, "DataType", "audioData") + choice(H245, "AudioCapability", "g711Ulaw64k")
        return bits.bits(way).octets(b"\x13")
    if kind == FAX:
        fax = Bits().bits(added(H245, "DataProtocolCapability", "udp")).counted(b"\0").bits("0000")
        bits.bits(choice(H245, "DataType", "data") + "0" + added(H245, application, "t38fax")).counted(fax.done())
        return bits.bits("00").octets(b"\x90")
    if kind == T120:
        bits.bits(choice(H245, "DataType", "data") + "0" + choice(H245, application, "t120"))
        return bits.bits(choice(H245, "DataProtocolCapability", "transparent") + "00").octets(b"\x90")
    return bits.bits(choice(H245, "DataType", "nullData"))


def _channel(
    bits: Bits, number: int, session: int, media: str | None, control: str | None, is_reverse: bool, data: str
) -> Bits:
    """An OpenLogicalChannel behind its preamble."""
    bits.octets((number - 1).to_bytes(2, "big")).bits("00")
    _data(bits, NULL if is_reverse else data).bits(added(H245, _FORWARD, _H2250))
    if not is_reverse:
        return bits.counted(_h2250(session, media, control))
    bits.counted(_h2250(session, None, None)).bits("01")
    return _data(bits, data).bits(added(H245, _REVERSE, _H2250)).counted(_h2250(session, media, control))


def channel(
    number: int,
    *,
    session: int = 1,
    media: str | None = None,
    control: str | None = None,
    is_reverse: bool = False,
    data: str = AUDIO,
) -> bytes:
    """An OpenLogicalChannel, as fastStart has it alone."""
    return _channel(Bits().bits("0" + "01"[is_reverse]), number, session, media, control, is_reverse, data).done()


def _message(kind: str, name: str) -> Bits:
    way = choice(H245, "MultimediaSystemControlMessage", kind)
    return Bits().bits(way + choice(H245, f"{kind.capitalize()}Message", name))


def open_channel(
    number: int,
    *,
    session: int = 1,
    media: str | None = None,
    control: str | None = None,
    data: str = AUDIO,
    is_reverse: bool = False,
) -> bytes:
    """A request to open one."""
    bits = _message("request", "openLogicalChannel").bits("0" + "01"[is_reverse])
    return _channel(bits, number, session, media, control, is_reverse, data).done()


def open_t120(number: int, stack: str) -> bytes:
    """A channel for T.120 whose sender waits at `stack`."""
    bits = _channel(_message("request", "openLogicalChannel").bits("10"), number, 3, None, None, False, T120)
    way = choice(H245, "NetworkAccessParameters.networkAddress", "localAreaAddress")
    inner = h245_address(Bits().bits("000" + way), stack).bits("0")
    return with_additions(bits, {0: inner.done()}, 1).done()


def acknowledge(number: int, media: str | None, control: str | None, session: int | None = None) -> bytes:
    bits = _message("response", "openLogicalChannelAck").bits("10").octets((number - 1).to_bytes(2, "big"))
    there = ("01"[one is not None] for one in (session, media, control))
    inner = Bits().bits("000" + "".join(there) + "0" + (f"{session - 1:08b}" if session is not None else ""))
    for at in (media, control):
        if at is not None:
            h245_address(inner, at)
    return with_additions(bits, {1: inner.done()}, 2).done()


def close_channel(number: int) -> bytes:
    bits = _message("request", "closeLogicalChannel").bits("0").octets((number - 1).to_bytes(2, "big"))
    return bits.bits("0").done()


def closed_channel(number: int) -> bytes:
    return _message("response", "closeLogicalChannelAck").bits("0").octets((number - 1).to_bytes(2, "big")).done()


def refused_channel(number: int) -> bytes:
    bits = _message("response", "openLogicalChannelReject").bits("0").octets((number - 1).to_bytes(2, "big"))
    return bits.bits("0000").done()


def signed_token() -> bytes:
    """cryptoTokens with one nestedcryptoToken that is a cryptoHashedToken: H.235.1."""
    bits = Bits().octets(b"\x01").bits(choice(H225, "CryptoH323Token", "nestedcryptoToken"))
    bits.bits(choice(H225, "H235.CryptoToken", "cryptoHashedToken")).counted(b"\0\x08\x81\x6b\0\2\1")
    bits.bits("0" + "0" * 8).counted(b"\0\x08\x81\x6b\0\2\1")  # hashedVals: a ClearToken without anything
    bits.counted(b"\0\x08\x81\x6b\0\2\6").bits("000")  # token: its algorithm, no parameters
    return bits.octets(b"\x60" + bytes(12)).done()


# -- RAS ---------------------------------------------------------------------------------------------------------------

_IDENTIFIER = "ep1"


def _ras(kind: str) -> Bits:
    return Bits().bits(choice(H225, "RasMessage", kind))


def _bmp(bits: Bits, text: str) -> Bits:
    """A BMPString of up to 128 characters: seven bits of its length."""
    return bits.bits(f"{len(text) - 1:07b}").octets(text.encode("utf-16-be"))


def _number(bits: Bits, number: int) -> Bits:
    return bits.octets((number - 1).to_bytes(2, "big"))


def _addresses(bits: Bits, addresses: Sequence[str]) -> Bits:
    bits.octets(bytes((len(addresses),)))
    for at in addresses:
        h225_address(bits, at)
    return bits


def grq(number: int, ras: str) -> bytes:
    bits = _number(_ras("gatekeeperRequest").bits("0 0000"), number).octets(_PROTOCOL)
    return h225_address(bits, ras).bits(_TERMINAL).done()


def gcf(number: int, ras: str, alternates: Sequence[str] = ()) -> bytes:
    bits = _number(_ras("gatekeeperConfirm").bits("01"[bool(alternates)] + "00"), number).octets(_PROTOCOL)
    h225_address(bits, ras)
    return (with_additions(bits, {0: _alternates(alternates)}, 1) if alternates else bits).done()


def _alternates(alternates: Sequence[str]) -> bytes:
    bits = Bits().octets(bytes((len(alternates),)))
    for at in alternates:
        h225_address(bits.bits("0 0"), at).bits("0 0000001")
    return bits.done()


def _seconds(seconds: int) -> bytes:
    """A TimeToLive."""
    data = (seconds - 1).to_bytes(((seconds - 1).bit_length() + 7) // 8 or 1, "big")
    return Bits().bits(f"{len(data) - 1:02b}").octets(data).done()


def rrq(
    number: int,
    signal: Sequence[str],
    ras: str,
    *,
    alias: str | None = "alice",
    seconds: int | None = None,
    keep_alive: bool | None = None,
    features: Sequence[int] = (),
) -> bytes:
    bits = _ras("registrationRequest").bits("1 0" + "01"[alias is not None] + "0")
    _number(bits, number).octets(_PROTOCOL).bits("0")
    _addresses(_addresses(bits, signal), [ras]).bits(_TERMINAL)
    if alias is not None:
        bits.octets(b"\x01").bits("01").octets(bytes((len(alias) - 1,)) + alias.encode("utf-16-be"))
    bits.bits("0 00").bits("0").octets(b"\xb5\x00\x00\x12")
    values: dict[int, bytes] = {}
    if seconds is not None:
        values[addition("RegistrationRequest", "timeToLive")] = _seconds(seconds)
    if keep_alive is not None:
        values[addition("RegistrationRequest", "keepAlive")] = Bits().bits("01"[keep_alive]).done()
    if features:
        one = Bits().bits("0 001 0").octets(bytes((len(features),)))
        for feature in features:
            one.bits("00 00 0").octets(feature.to_bytes(2, "big"))
        values[addition("RegistrationRequest", "featureSet")] = one.done()
    return with_additions(bits, values or {30: b"\0"}, max(values, default=30) + 1).done()


def rcf(number: int, signal: Sequence[str], *, seconds: int | None = None, alternates: Sequence[str] = ()) -> bytes:
    bits = _number(_ras("registrationConfirm").bits("1 000"), number).octets(_PROTOCOL)
    _bmp(_addresses(bits, signal), _IDENTIFIER)
    values: dict[int, bytes] = {9: b"\0"}
    if alternates:
        values[addition("RegistrationConfirm", "alternateGatekeeper")] = _alternates(alternates)
    if seconds is not None:
        values[addition("RegistrationConfirm", "timeToLive")] = _seconds(seconds)
    return with_additions(bits, values, 10).done()


def rrj(number: int) -> bytes:
    bits = _number(_ras("registrationReject").bits("0 00"), number).octets(_PROTOCOL)
    return bits.bits(choice(H225, "RegistrationRejectReason", "discoveryRequired")).done()


def urq(number: int, signal: Sequence[str]) -> bytes:
    return _addresses(_number(_ras("unregistrationRequest").bits("0 000"), number), signal).done()


def ucf(number: int) -> bytes:
    return _number(_ras("unregistrationConfirm").bits("0 0"), number).done()


def arq(number: int, source: str | None = None, *, is_answering: bool = False, dest: str | None = None) -> bytes:
    head = "0 00" + "01"[dest is not None] + "0" + "01"[source is not None] + "00"
    bits = _number(_ras("admissionRequest").bits(head), number).bits("000")
    _bmp(bits, _IDENTIFIER)
    if dest is not None:
        h225_address(bits, dest)
    bits.octets(b"\x01").bits("01").octets(b"\x04" + "alice".encode("utf-16-be"))
    if source is not None:
        h225_address(bits, source)
    bits.bits("00").octets(b"\x0a").octets(b"\0\1" + bytes(16))
    return bits.bits("0" + "01"[is_answering]).done()


def acf(number: int, dest: str) -> bytes:
    bits = _number(_ras("admissionConfirm").bits("0 00"), number).bits("00").octets(b"\x0a").bits("00")
    return h225_address(bits, dest).done()


def lrq(number: int, reply: str) -> bytes:
    bits = _number(_ras("locationRequest").bits("0 00"), number)
    bits.octets(b"\x01").bits("01").octets(b"\x02" + "bob".encode("utf-16-be"))
    return h225_address(bits, reply).done()


def lcf(number: int, signal: str, ras: str) -> bytes:
    bits = _number(_ras("locationConfirm").bits("0 0"), number)
    return h225_address(h225_address(bits, signal), ras).done()


def irq(number: int, reply: str | None = None) -> bytes:
    bits = _number(_ras("infoRequest").bits("0 0" + "01"[reply is not None]), number).octets(b"\0\1")
    return (h225_address(bits, reply) if reply is not None else bits).done()
