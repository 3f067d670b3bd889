"""What most tests on the kernel's side need."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.netns.namespaces import Hosts, three_hosts


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    """A client, a gateway and a server; the test runs at the gateway."""
    with three_hosts() as hosts, hosts.gateway.inside():
        yield hosts
