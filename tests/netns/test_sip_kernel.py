"""What the kernel's own helper does with the table of odd but real values: tests/sip_values/README.md."""

from __future__ import annotations

import pytest

from tests.harness.sip_odd_values import Way, rows
from tests.netns.namespaces import needs_root
from tests.netns.sip_kernel import at_the_kernel, kernels

pytestmark = needs_root


@pytest.mark.parametrize("is_nat", [True, False])
def test_the_kernels_helper_does_what_the_table_says(is_nat: bool) -> None:
    with at_the_kernel(is_nat) as helper:
        done = {(row.name, way): kernels(helper, row, way) for row in rows() for way in Way if way.is_nat is is_nat}
    assert done == {(row.name, way): row.kernel[way] for row in rows() for way in Way if way.is_nat is is_nat}
