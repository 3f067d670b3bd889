"""What all SIP engines of a daemon know together: calls, registrations, and the two names of each address.

A call's requests may come by another flow than its INVITE did, and a phone is called by whoever its registrar sends. So
these are kept beside the engines, which find them here; each belongs to the engine that began it, which also keeps its
time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count

from protocols.sip.calls import CallBook
from protocols.sip.contacts import ContactBook
from protocols.sip.echoes import EchoBook
from protocols.sip.rates import Rates
from protocols.sip.registrations import RegistrationBook
from protocols.sip.seen import Seen
from protocols.sip.spellings import Spellings
from protocols.toolbox.memory import Held, Memory, Repeats


@dataclass(slots=True)
class SipTable:
    """The books of all SIP engines of a daemon, and the budget of bytes that they share."""

    memory: Memory = field(default_factory=Memory)
    """The budget for all that is remembered."""
    calls: CallBook = field(init=False)
    contacts: ContactBook = field(default_factory=ContactBook)
    registrations: RegistrationBook = field(init=False)
    texts: Spellings = field(init=False)
    echoes: EchoBook = field(init=False)
    repeats: Repeats = field(init=False)
    held: Held = field(default_factory=Held)
    rates: Rates = field(default_factory=Rates)
    seen: Seen = field(default_factory=Seen)
    numbers: Iterator[int] = field(default_factory=count)
    """Numbers by which engines are told apart."""

    def __post_init__(self) -> None:
        memory = self.memory
        self.calls, self.registrations = CallBook(memory), RegistrationBook(memory)
        self.texts, self.echoes, self.repeats = Spellings(memory), EchoBook(memory), Repeats(memory)
