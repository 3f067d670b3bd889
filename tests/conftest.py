"""Tests run on the event loop that the daemon runs on: another one differs where it matters, in what a reset does."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import uvloop


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> Mapping[str, type]:
    return {"uvloop": uvloop.Loop}
