"""H.245: logical channels, wherever they are spoken of (HF32 to HF39).

    openLogicalChannel        where its sender has RTCP, and for both ways where it receives
    openLogicalChannelAck     where the receiver waits
    fastStart                 openLogicalChannel alone, as a proposal in Setup and as the answer to it (HF26)
    closeLogicalChannel       the channel is over with its answer, or in five seconds

In a proposal the caller's own address stands in the parameters of the reverse direction; the callee sends forward
proposals back with its own address. All other messages pass unread, and so does what cannot be read (HF7).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from protocols.contract.addresses import Endpoint, Side
from protocols.h323 import names
from protocols.h323.media import RTP, UDPTL, CallMedia, Stream, Whereabouts
from protocols.h323.names import Draft
from protocols.h323.per import Found
from protocols.h323.session import Session
from protocols.h323.walker import Other
from protocols.h323.wanted import ADDRESS
from protocols.h323.ways import Ways

CLOSING_SECONDS = 5.0
"""How long the answer to a closeLogicalChannel may take (HF39)."""
MAX_MESSAGES = 16
"""How many messages of H.245 may follow each other in one packet."""
MAX_PROPOSALS = 128
"""How many channels a fast start may propose."""


NOWHERE = Whereabouts(None, None)


class TooMany(Exception):
    """The channel would be one too many. The message does not go on."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Message(NamedTuple):
    """What was found in a message of H.245."""

    values: Mapping[str, object]
    addresses: Mapping[str, tuple[int, Endpoint]]
    """Label -> where it stands, and what it is."""
    others: list[tuple[str, int, Endpoint]]
    """Further ones under the same label, as a table has them, and those that nothing is looked for in."""
    unread: list[tuple[str, Other]]
    """Addresses of other kinds."""

    @property
    def number(self) -> int:
        """Of the channel."""
        value = self.values.get("number", 0)
        return value if isinstance(value, int) else 0

    @property
    def session(self) -> int:
        """The session of the channel."""
        value = self.values.get("sessionID", 0)
        return value if isinstance(value, int) else 0


class Channels:
    """The logical channels of one call."""

    __slots__ = ("_closing", "_media", "_proposals", "_session", "_ways")

    def __init__(self, session: Session, media: CallMedia[Any], ways: Ways) -> None:
        self._session = session
        self._media = media
        self._ways = ways
        self._proposals: dict[tuple[int, bool], Stream] = {}
        """Number of a proposed channel, and whether it is for the reverse direction -> its stream."""
        self._closing: dict[tuple[Side, int], float] = {}
        """A channel that is to be closed -> when it is, if nobody answers."""

    # -- messages ------------------------------------------------------------------------------------------------------

    def messages(self, side: Side, data: bytes, draft: Draft, base: int, now: float) -> None:
        """Read the messages that stand one after the other in `data`, which begins at `base` of the draft. Raises
        TooMany, Malformed."""
        at = 0
        for _ in range(MAX_MESSAGES):
            if at >= len(data):
                return
            part = data[at:] if at else data
            walked = self._session.walkers.control.walk(part)
            self._message(side, _sorted(part, walked.found), draft, base + at, now)
            at += walked.end

    def _message(self, side: Side, message: Message, draft: Draft, base: int, now: float) -> None:
        news: dict[str, Endpoint] = {}
        draft.trigger = kind = str(message.values.get("message"))
        match kind:
            case "openLogicalChannel" | "openLogicalChannelAck" if "separateStack" in message.addresses:
                news = self._t120(side, message, draft, now)
            case "openLogicalChannel":
                self._open(side, message, draft)
            case "openLogicalChannelAck":
                self._acknowledged(side, message, draft)
            case "openLogicalChannelReject" | "closeLogicalChannelAck":
                self._closed((side.other, message.number))
            case "closeLogicalChannel" if (side, message.number) in self._media.channels:
                self._closing[side, message.number] = now + CLOSING_SECONDS
        self._write(side, message, news, draft, base)

    def proposals(self, side: Side, data: bytes, draft: Draft, base: int, is_answer: bool) -> None:
        """Read one channel of a fastStart. Raises TooMany, Malformed."""
        walked = self._session.walkers.channel.walk(data)
        message = _sorted(data, walked.found)
        is_reverse = message.values.get("dataType") == "nullData"
        kind = _kind(message)
        if kind is None:
            draft.keep("fastStart", None, "not_followed")
        elif is_answer:
            self._answer(side, message, draft, is_reverse)
        else:
            self._propose(side, message, kind, draft, is_reverse)
        self._write(side, message, {}, draft, base)

    # -- channels ------------------------------------------------------------------------------------------------------

    def _open(self, side: Side, message: Message, draft: Draft) -> None:
        kind = _kind(message)
        if kind is None:
            draft.keep("openLogicalChannel", None, "not_followed")
            return
        channel = side, message.number
        self._check_room(channel)
        said = self._said(side, message, draft, "reverse.mediaChannel")
        if said is not None:
            self._closing.pop(channel, None)
            self._place(side, self._media.opened(channel, message.session, kind), said, draft)

    def _acknowledged(self, side: Side, message: Message, draft: Draft) -> None:
        stream = self._media.channels.get((side.other, message.number))
        if stream is not None:
            self._media.numbered(stream, message.session)
            said = self._said(side, message, draft, "forward.mediaChannel")
            if said is not None:
                self._place(side, stream, said, draft)

    def _propose(self, side: Side, message: Message, kind: str, draft: Draft, is_reverse: bool) -> None:
        said = self._said(side, message, draft, "reverse.mediaChannel")
        if said is None or said == NOWHERE:
            return
        key = message.number, is_reverse
        stream = self._media.proposed(message.session, kind, side, said, self._session.options.max_channels)
        if stream is None or (key not in self._proposals and len(self._proposals) >= MAX_PROPOSALS):
            raise TooMany(message.number)
        self._proposals[key] = stream
        self._place(side, stream, said, draft)

    def _answer(self, side: Side, message: Message, draft: Draft, is_reverse: bool) -> None:
        stream = self._proposals.get((message.number, is_reverse))
        if stream is None or stream.session != message.session or stream not in self._media.streams:
            stream = self._media.sessions.get(message.session)
        said = self._said(side, message, draft, "" if is_reverse else "forward.mediaChannel")
        if stream is None or said is None:
            return
        channel = (side if is_reverse else side.other), message.number
        self._check_room(channel)
        if channel not in self._media.channels:
            stream.channels.add(channel)
            self._media.channels[channel] = stream
        self._place(side, stream, said, draft)

    def _check_room(self, channel: tuple[Side, int]) -> None:
        """Raises TooMany if the call can have no such channel besides those that it has."""
        if channel not in self._media.channels and len(self._media.channels) >= self._session.options.max_channels:
            raise TooMany(channel[1])

    def _said(self, side: Side, message: Message, draft: Draft, data: str) -> Whereabouts | None:
        """Where this side waits, as the message says. None: it names a place where it may not wait. `data`: under which
        label it says where it receives."""
        found: list[Endpoint | None] = []
        for labels in ((data,), ("forward.mediaControlChannel", "reverse.mediaControlChannel")):
            label = next((one for one in labels if one in message.addresses), None)
            at = message.addresses[label][1] if label is not None else None
            if at is None or self._media.meant(side, at) is not None:
                found.append(None)  # it says nothing, or again what it was told of the other side
                continue
            waits = self._session.waits_at(side, at, str(label), draft)
            if waits is None:
                return None
            found.append(waits)
        return Whereabouts(*found)

    def _place(self, side: Side, stream: Stream, said: Whereabouts, draft: Draft) -> None:
        """Give this side its place."""
        if self._media.says(stream, side, said, draft.trigger) is None:
            draft.keep(draft.trigger, said.data or said.control, "not_opened")

    def _t120(self, side: Side, message: Message, draft: Draft, now: float) -> dict[str, Endpoint]:
        """This side waits for T.120 data. Returns where the other one is to dial."""
        _, at = message.addresses["separateStack"]
        if self._session.options.t120 == "deny":
            self._session.violates("h323.t120", f"{draft.trigger}: {at}", "not opened")
            return {}
        waits = self._session.waits_at(side, at, "separateStack", draft, is_media=False)
        listen = self._ways.t120(side, waits, draft.trigger, now) if waits is not None else None
        return {"separateStack": listen} if listen is not None else {}

    # -- ends ----------------------------------------------------------------------------------------------------------

    def _closed(self, channel: tuple[Side, int]) -> None:
        self._closing.pop(channel, None)
        self._media.closed(channel)

    def next(self) -> float | None:
        """When the next channel is closed without an answer."""
        return min(self._closing.values(), default=None)

    def due(self, now: float) -> None:
        """Close those that nobody has answered for."""
        for channel, at in tuple(self._closing.items()):
            if at <= now:
                self._closed(channel)

    # -- writing -------------------------------------------------------------------------------------------------------

    def _write(self, side: Side, message: Message, news: Mapping[str, Endpoint], draft: Draft, base: int) -> None:
        """Put the addresses into the draft that the other side is to read. What has no place stays what it is: our
        address is announced where something of ours stands, and nowhere else."""
        first = [(label, start, at) for label, (start, at) in message.addresses.items()]
        for label, start, at in (*first, *message.others):
            draft.put(base + start, at, news.get(label) or self._known_as(side, label, at), label)
        for label, what in message.unread:
            draft.keep(label, None, str(what))

    def _known_as(self, side: Side, label: str, at: Endpoint) -> Endpoint:
        """What the other side is to read for an address that nothing is opened for."""
        if label == "signalAddress":  # of call signalling, which is no media
            return self._session.names.signals_at(side, at)
        return self._media.meant(side, at) or self._media.known_as(side, self._session.own_at(side, at)) or at


def _kind(message: Message) -> str | None:
    """What a channel carries. None: nothing that is followed."""
    if message.values.get("application") == "t38fax":
        return UDPTL if message.values.get("t38") == "udp" else None
    if message.values.get("application") == "t120":
        return None  # nothing is named; who answers may do so
    return RTP


def _sorted(data: bytes, found: list[Found]) -> Message:
    values: dict[str, object] = {}
    addresses: dict[str, tuple[int, Endpoint]] = {}
    others: list[tuple[str, int, Endpoint]] = []
    unread: list[tuple[str, Other]] = []
    for label, start, end, value in found:
        if isinstance(value, Other):
            unread.append((label, value))
        elif value is not None:
            values.setdefault(label, value)
        elif label in addresses or label == ADDRESS:
            others.append((label, start, names.endpoint(data[start:end])))
        else:
            addresses[label] = start, names.endpoint(data[start:end])
    return Message(values, addresses, others, unread)
