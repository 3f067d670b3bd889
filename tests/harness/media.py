"""What tests of several rooms ask about media."""

from __future__ import annotations

from protocols.contract.addresses import Endpoint


def said(at: Endpoint | None) -> Endpoint:
    """Where a party or its place is, which in this test everybody knows."""
    assert at is not None
    return at
