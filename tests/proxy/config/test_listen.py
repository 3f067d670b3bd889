"""Where the pages for those who watch are served: nowhere but on loopback, unless somebody says so."""

from __future__ import annotations

import pytest

from tests.harness.configurations import POLICY, Load, Problems


def test_pages_are_served_by_tcp_only_if_an_address_is_named(load: Load) -> None:
    assert load(POLICY).metrics.listen is None


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("9467", "127.0.0.1:9467"),
        ("127.0.0.1:9467", "127.0.0.1:9467"),
        ('"[::1]:9467"', "[::1]:9467"),
        ("0.0.0.0:9467", "0.0.0.0:9467"),
    ],
)
def test_a_port_alone_is_one_of_loopback(load: Load, written: str, meant: str) -> None:
    assert str(load(f"{POLICY}metrics: {{listen: {written}}}\n").metrics.listen) == meant


FORMS = "expected ADDRESS:PORT, with IPv6 as [ADDRESS]:PORT, or a port of loopback; 0.0.0.0 is all of IPv4"


@pytest.mark.parametrize(
    ("written", "why"),
    [
        ('":9467"', FORMS),
        ("true", FORMS),
        ("router.lan:9467", FORMS),
        ("127.0.0.300:9467", "'127.0.0.300' is not an IP address"),
        ("80", "a port from 1024 to 65535, since those below belong to services"),
    ],
)
def test_what_is_no_address_is_explained(problems: Problems, written: str, why: str) -> None:
    (problem,) = problems(f"{POLICY}metrics: {{listen: {written}}}\n")
    assert problem.endswith(f"metrics.listen: {why}")
