"""Shares of a limit: no group takes what is kept for another, and one client is counted as one."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from proxy.pinholes.shares import Group, Shares, account_of

OUT, PUBLISHED, FTP = Group("sip", False), Group("sip", True), Group("ftp", False)


def shares(limit: int, *groups: Group) -> Shares:
    made = Shares(limit)
    made.use(limit, groups)
    return made


def fill(made: Shares, group: Group) -> int:
    count = 0
    while made.has_room(group):
        made.take(group)
        count += 1
    return count


def test_a_group_alone_may_have_all() -> None:
    assert fill(shares(10, OUT), OUT) == 10


def test_what_is_kept_for_others_stays_free() -> None:
    made = shares(60, OUT, PUBLISHED, FTP)
    assert fill(made, PUBLISHED) == 40
    assert fill(made, OUT) == 10
    assert fill(made, FTP) == 10
    assert len(made) == 60


def test_what_is_given_back_can_be_taken_again() -> None:
    made = shares(20, OUT, PUBLISHED)
    fill(made, PUBLISHED)
    made.give(PUBLISHED)
    assert fill(made, OUT) == 6
    assert not made.has_room(PUBLISHED)


def test_a_limit_too_small_to_be_shared_is_everybodys() -> None:
    made = shares(1, OUT, PUBLISHED, FTP)
    assert fill(made, FTP) == 1
    assert not made.has_room(OUT)


def test_another_limit_counts_what_is_held_already() -> None:
    made = shares(20, OUT, PUBLISHED)
    fill(made, PUBLISHED)
    made.use(40, (OUT, PUBLISHED))
    assert fill(made, PUBLISHED) == 15
    assert fill(made, OUT) == 10


def test_a_group_that_no_policy_knows_any_more_uses_what_is_common() -> None:
    made = shares(20, OUT, PUBLISHED)
    fill(made, PUBLISHED)
    made.use(20, (OUT,))
    assert fill(made, OUT) == 10
    made.give(PUBLISHED)
    assert len(made) == 24


@pytest.mark.parametrize(
    ("one", "other", "prefix", "are_one"),
    [
        ("2001:db8::1", "2001:db8::ffff:1", 64, True),
        ("2001:db8::1", "2001:db8:0:1::1", 64, False),
        ("2001:db8::1", "2001:db8::2", 128, False),
        ("2001:db8::1", "2001:db8:0:ff::1", 56, True),
        ("192.0.2.1", "192.0.2.2", 64, False),
    ],
)
def test_all_addresses_of_a_network_are_one_client(one: str, other: str, prefix: int, are_one: bool) -> None:
    assert (account_of(ip_address(one), prefix) == account_of(ip_address(other), prefix)) is are_one
