"""Phones on bad lines for some seconds: whatever is lost, repeated or overtaken, nothing is left when they are gone.

`python -m tools.soak` is the same for half an hour, and looks at memory, too.
"""

from __future__ import annotations

import pytest

from tests.netns.namespaces import needs_root
from tools import soak

pytestmark = [pytest.mark.netns, pytest.mark.slow, needs_root]

EFFORT = soak.Effort(seconds=12, idle_seconds=3, says_goodbye=True)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("seed", [7])
def test_nothing_is_left_of_calls_registrations_and_transfers_over_bad_lines(seed: int) -> None:
    report = soak.run(EFFORT, seed)
    assert not report.failures
    assert not report.left
    for what in ("registered", "hung up", "held", "transferred", "cancelled", "vanished in a call", "audio heard"):
        assert report.did.get(what), what
    for counts in report.links.values():
        assert counts.lost and counts.doubled and counts.delayed
