"""The sessions of each client, and which of them ends when the client may have no more."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from proxy.sessions.clients import MOST_LOOKS_OF_CLIENT, Clients


@dataclass(eq=False)
class ASession:
    """A session that notes how often it was looked at, and how it was ended."""

    clients: Clients
    charged_to: str = "10.1.0.2"
    is_done: bool = False
    looks: int = 0
    ended_by: list[str] = field(default_factory=list)

    @property
    def is_spare(self) -> bool:
        self.looks += 1
        return self.is_done

    def cut(self, reason: str) -> None:
        self.ended_by.append(reason)
        self.clients.give(self)


@pytest.fixture
def clients() -> Clients:
    return Clients()


def sessions(clients: Clients, count: int, charged_to: str = "10.1.0.2") -> list[ASession]:
    begun = [ASession(clients, charged_to) for _ in range(count)]
    for session in begun:
        clients.take(session)
    return begun


def test_each_client_has_its_own_count(clients: Clients) -> None:
    first, *_ = sessions(clients, 3)
    (other,) = sessions(clients, 1, "10.1.0.3")
    assert (clients.count("10.1.0.2"), clients.count("10.1.0.3"), clients.count("10.1.0.4")) == (3, 1, 0)
    assert clients.busiest() == (3, "10.1.0.2")
    clients.give(first)
    clients.give(other)
    assert (clients.count("10.1.0.2"), clients.count("10.1.0.3")) == (2, 0)


def test_without_sessions_no_client_is_busiest(clients: Clients) -> None:
    clients.give(*sessions(clients, 1))
    assert clients.busiest() == (0, None)
    assert not clients.spare("10.1.0.2")


def test_of_those_that_are_done_one_ends(clients: Clients) -> None:
    waiting, done, also_done = sessions(clients, 3)
    done.is_done = also_done.is_done = True
    assert clients.spare("10.1.0.2")
    assert (waiting.ended_by, done.ended_by, also_done.ended_by) == ([], ["gave_way"], [])
    assert clients.count("10.1.0.2") == 2


def test_those_of_another_client_stay(clients: Clients) -> None:
    sessions(clients, 1)
    (other,) = sessions(clients, 1, "10.1.0.3")
    other.is_done = True
    assert not clients.spare("10.1.0.2")
    assert not other.ended_by


def test_few_are_looked_at_each_time_and_others_the_next_time(clients: Clients) -> None:
    every = sessions(clients, MOST_LOOKS_OF_CLIENT * 2)
    every[-1].is_done = True
    assert not clients.spare("10.1.0.2")
    assert sum(session.looks for session in every) == MOST_LOOKS_OF_CLIENT
    assert clients.spare("10.1.0.2")
    assert {session.looks for session in every} == {1}
