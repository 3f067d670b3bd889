"""What the two ends of a connection have agreed on: which context is which interface, and in which transfer syntax
(DC9)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from protocols.contract.addresses import Malformed
from protocols.dcerpc.wire import IS_WIDE, MAX_CONTEXTS, Kind, Offer, Pdu, Syntax, read_offers, read_results

MAX_UNANSWERED = 8
"""How many binds and alter_contexts of a connection may wait for their answers."""


class Context(NamedTuple):
    """A presentation context that was accepted."""

    interface: Syntax
    is_wide: bool | None
    """Whether its stubs are in NDR64. None: in a syntax that is not read here."""


class Association:
    """The contexts of one connection."""

    __slots__ = ("_contexts", "_offered")

    def __init__(self) -> None:
        self._contexts: dict[int, Context] = {}
        self._offered: dict[int, list[Offer]] = {}
        """call -> what its bind or alter_context asks for, while that has no answer."""

    @property
    def contexts(self) -> Mapping[int, Context]:
        return self._contexts

    def is_asked_for(self, context: int) -> bool:
        """Whether an answer is awaited that decides about this context."""
        return any(offer.context == context for offers in self._offered.values() for offer in offers)

    def ask(self, pdu: Pdu) -> list[Offer]:
        """A bind or an alter_context. Raises Malformed."""
        offers = read_offers(pdu)
        if pdu.call in self._offered or len(self._offered) >= MAX_UNANSWERED:
            raise Malformed("a bind while others are unanswered")
        self._offered[pdu.call] = offers
        return offers

    def answer(self, pdu: Pdu) -> None:
        """The answer to one of them, or a fault instead. Results and contexts pair by their order (DC8). Raises
        Malformed."""
        offers = self._offered.pop(pdu.call, None)
        if pdu.kind in (Kind.BIND_NAK, Kind.FAULT):
            return
        if offers is None:
            raise Malformed("an answer to no bind")
        results = read_results(pdu)
        if len(results) != len(offers):
            raise Malformed(f"{len(results)} results for {len(offers)} contexts")
        for offer, transfer in zip(offers, results, strict=True):
            if transfer is not None:
                context = Context(offer.interface, IS_WIDE.get(transfer.uuid))
                # Servers differ in what a context is that was agreed on twice.
                if self._contexts.setdefault(offer.context, context) != context:
                    raise Malformed(f"context {offer.context} agreed on as something else")
        if len(self._contexts) > MAX_CONTEXTS:
            raise Malformed(f"more than {MAX_CONTEXTS} contexts")
