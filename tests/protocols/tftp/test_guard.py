"""Who is taken for a victim of forged requests (protocols/tftp/guard.py, TF22)."""

from __future__ import annotations

from ipaddress import ip_address

from protocols.tftp.guard import MAX_HOSTS, WINDOW_SECONDS, Guard

SERVER, OTHER_SERVER = ip_address("192.0.2.1"), ip_address("192.0.2.2")
VICTIM, CLIENT = ip_address("10.0.0.1"), ip_address("10.0.0.2")
MOST = 3


def misused(times: int = MOST, now: float = 0.0) -> Guard:
    found = Guard()
    for _ in range(times):
        found.unheard(VICTIM, SERVER, now)
    return found


def test_a_client_that_leaves_too_many_answers_is_not_asked_for_any_more_whatever_the_server() -> None:
    assert misused(MOST - 1).refuses(VICTIM, SERVER, MOST, 1.0) is None
    assert misused().refuses(VICTIM, SERVER, MOST, 1.0) == VICTIM
    assert misused().refuses(VICTIM, OTHER_SERVER, MOST, 1.0) == VICTIM


def test_a_server_whose_answers_nobody_takes_up_serves_those_alone_that_have_taken_one_up() -> None:
    found = misused()
    assert found.refuses(CLIENT, SERVER, MOST, 1.0) == SERVER
    assert found.refuses(CLIENT, OTHER_SERVER, MOST, 1.0) is None
    found.heard(CLIENT)
    assert found.refuses(CLIENT, SERVER, MOST, 1.0) is None


def test_a_client_that_is_known_is_protected_as_well() -> None:
    found = misused()
    found.heard(VICTIM)
    assert found.refuses(VICTIM, SERVER, MOST, 1.0) == VICTIM


def test_after_a_minute_counting_begins_anew() -> None:
    found = misused()
    assert found.refuses(VICTIM, SERVER, MOST, WINDOW_SECONDS - 0.1) == VICTIM
    assert found.refuses(VICTIM, SERVER, MOST, WINDOW_SECONDS) is None
    found.unheard(VICTIM, SERVER, WINDOW_SECONDS)
    assert found.refuses(VICTIM, SERVER, 1, 2 * WINDOW_SECONDS - 0.1) == VICTIM


def test_what_is_remembered_is_bounded_and_the_server_that_is_misused_stays() -> None:
    found = Guard()
    for number in range(MAX_HOSTS + 10):
        forged = ip_address(0x0A000000 + number)
        found.unheard(forged, SERVER, 0.0)
        found.heard(forged)
    assert len(found._unheard) == len(found._known) == MAX_HOSTS
    assert found.refuses(ip_address("10.9.9.9"), SERVER, MOST, 0.0) == SERVER
