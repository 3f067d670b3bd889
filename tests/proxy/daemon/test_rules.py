"""What the daemon says of firewall rules that are not those of its configuration. Who follows its advice sets up the
rules of the file that is served."""

from __future__ import annotations

import asyncio

import pytest

from proxy.config import files, reading, whereabouts
from proxy.config.schema import Config
from proxy.daemon.rules import NOBODY_MAY, OLD_POLICIES, Outcome, Rules
from proxy.record.metrics import Metrics
from tests.harness.shell import Memory


def config(source: str, policies: str) -> Config:
    return reading.judge([files.Source(source, f"policies: [{policies}]".encode())]).settings or reading.default()


def outcome(before: Config, fresh: Config) -> Outcome:
    async def reload() -> Outcome:
        rules = Rules(asyncio.get_running_loop(), None, fresh.source, Memory(), Metrics(), lambda text: None)
        return await rules.bring_in_force(fresh, before)

    return asyncio.run(reload())


ALL, LAN, RENAMED = (
    "{name: all, action: accept}",
    "{name: lan, from: lan0, action: accept}",
    "{name: a, action: accept}",
)


def test_advice_of_a_reload_names_the_file_that_is_served() -> None:
    source = "/srv/a site/pinhole.yaml"
    problem = outcome(config(source, ALL), config(source, LAN)).problem
    assert "`pinhole net up -c '/srv/a site/pinhole.yaml'` does" in problem
    assert "`pinhole net guard -c '/srv/a site/pinhole.yaml'` (systemd" in problem
    remark = outcome(config(source, ALL), config(source, RENAMED)).remark
    assert remark == OLD_POLICIES.replace("net up", "net up -c '/srv/a site/pinhole.yaml'")


@pytest.mark.parametrize("source", [str(whereabouts.SYSTEM_PATH), "built-in default"])
def test_what_commands_read_anyway_is_not_named(source: str) -> None:
    assert outcome(config(source, ALL), config(source, LAN)) == Outcome(problem=NOBODY_MAY)
    assert outcome(config(source, ALL), config(source, RENAMED)) == Outcome(remark=OLD_POLICIES)
