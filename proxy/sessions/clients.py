"""The sessions of each client, and which of them ends when the client may have no more."""

from __future__ import annotations

from itertools import islice
from typing import Protocol

MOST_LOOKS_OF_CLIENT = 16
"""How many sessions of a client are looked at, at most, to find one that can be spared. So many cost less than the line
of log for a session that is denied."""


class Charged(Protocol):
    """A session, as far as must be known to count it and to spare it."""

    charged_to: str

    @property
    def is_spare(self) -> bool:
        """Whether all that the session stood for is done, and it only waits to see whether more comes."""

    def cut(self, reason: str) -> None:
        """End the session now, in order."""


class Clients:
    """The sessions that count, by the client that they count against."""

    def __init__(self) -> None:
        self._of: dict[str, dict[Charged, None]] = {}
        """client -> its sessions, those looked at longest ago first."""

    def take(self, session: Charged) -> None:
        """A session counts from now on."""
        sessions = self._of.get(session.charged_to)
        if sessions is None:
            sessions = self._of[session.charged_to] = {}
        sessions[session] = None

    def give(self, session: Charged) -> None:
        """A session counts no longer."""
        sessions = self._of[session.charged_to]
        del sessions[session]
        if not sessions:
            del self._of[session.charged_to]

    def count(self, client: str) -> int:
        """How many sessions the client has."""
        return len(self._of.get(client, ()))

    def busiest(self) -> tuple[int, str | None]:
        """How many sessions the client has that has most, and which one that is."""
        return max(((len(sessions), client) for client, sessions in self._of.items()), default=(0, None))

    def spare(self, client: str) -> bool:
        """End one session of this client that can be spared. Few are looked at each time, and other ones the next time:
        a client that floods costs no search. Returns whether one has ended."""
        sessions = self._of.get(client, {})
        for session in tuple(islice(sessions, MOST_LOOKS_OF_CLIENT)):
            if session.is_spare:
                session.cut("gave_way")
                return True
            del sessions[session]
            sessions[session] = None
        return False
