"""What most tests on the kernel's side need, and those of media."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.netns.media_site import SITES, Phone, Site, site, site_id
from tests.netns.namespaces import Hosts, three_hosts


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    """A client, a gateway and a server; the test runs at the gateway."""
    with three_hosts() as hosts, hosts.gateway.inside():
        yield hosts


@pytest.fixture(scope="module", params=SITES, ids=site_id)
def place(request: pytest.FixtureRequest) -> Iterator[Site]:
    """Two phones with media and a gateway between, one for all tests of a module."""
    mode, version = request.param
    with site(mode, version=version) as found:
        yield found


@pytest.fixture(params=["near", "far"])
def mover(place: Site, request: pytest.FixtureRequest) -> Phone:
    return place.near if request.param == "near" else place.far
