"""H.323 and RAS as helpers: the engines of a daemon, what they have together, and what the registry knows of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from protocols.contract import live
from protocols.contract.addresses import Peers, Transport
from protocols.contract.engine import Begun, Engine, Helper
from protocols.contract.pinholes import Pinholes
from protocols.h323.answers import Answers, AnswersEngine
from protocols.h323.calls import CallBook
from protocols.h323.engine import ControlEngine, H323Engine
from protocols.h323.options import PERMITS, RAS_PERMITS, H323Options, RasOptions
from protocols.h323.ras import RasEngine
from protocols.h323.ras_messages import is_answer, is_request
from protocols.h323.session import Called
from protocols.h323.ways import FORWARDED, H245, T120, Control


class H323Engines:
    """Makes the engines of one daemon, of both helpers. They share calls, since H.245 has a connection of its own, and
    registrations, since whoever has registered by RAS is called by H.323."""

    def __init__(self) -> None:
        self._book = CallBook()

    def __call__(self, peers: Peers, options: Any, pinholes: Pinholes, now: float) -> Engine:
        if isinstance(peers.role, Control):
            return ControlEngine(peers.role, self._book.calls.get(peers.role.call), now)
        if isinstance(peers.role, Answers):
            return AnswersEngine(peers, peers.role, self._book)
        if isinstance(options, RasOptions):
            return RasEngine(peers, options, pinholes, now, self._book)
        return H323Engine(peers, options, pinholes, now, self._book)

    def counts(self) -> Mapping[str, int]:
        """What is under way, for the daemon's status."""
        return {"calls": len(self._book.calls), "registrations": len(self._book.registrations)}

    def calls(self) -> Iterator[live.Call]:
        """The calls that are not over."""
        yield from (call.live() for call in tuple(self._book.calls.values()))

    def registrations(self) -> Iterator[live.Registration]:
        """The endpoints that can be called."""
        yield from (found.live() for found in tuple(self._book.registrations.values()))

    def call_of(self, grant: int) -> live.Call | None:
        """The call whose media has this grant."""
        call = self._book.media.get(grant)
        return None if call is None else call.live()

    def standing(self) -> Mapping[str, int]:
        book = self._book
        return {
            **self.counts(),
            "media": len(book.media),
            "registered": len(book.registered),
            "asking": len(book.asking),
            "hearing": sum(map(len, book.hearing.values())),
        }


HELPER = Helper(
    name="h323",
    summary="H.323: calls by H.225.0 and H.245, and their media",
    ports=((Transport.TCP, 1720),),
    options=H323Options,
    permits=PERMITS,
    servers_begin=(Begun(Transport.UDP), Begun(Transport.TCP)),
    start=H323Engines,
    purposes=("rtp", "udptl", H245, T120, FORWARDED),
    roles=(Control, Called),
    family="h323",
)

RAS = Helper(
    name="ras",
    summary="RAS: how H.323 endpoints register with a gatekeeper, and are called",
    ports=((Transport.UDP, 1719),),
    options=RasOptions,
    permits=RAS_PERMITS,
    servers_begin=(Begun(Transport.UDP), Begun(Transport.TCP)),
    start=H323Engines,
    purposes=("ras", FORWARDED),
    roles=(Answers,),
    begins=lambda data, options, role: is_request(data) or (isinstance(role, Answers) and is_answer(data)),
    answers=is_answer,
    family="h323",
)
