"""Tests run on the event loop that the daemon runs on: another one differs where it matters, in what a reset does.

When a test fails while a daemon serves, what that said is told with the failure. With `--none-skipped` a test that
cannot run is one that fails: `tools/test` has installed all that they need, but captures that a licence keeps out.
"""

from __future__ import annotations

import gc
import re
import signal
from collections.abc import Generator, Iterator, Mapping
from functools import partialmethod
from inspect import signature
from typing import Any
from zlib import crc32

import pytest
import uvloop
from click.testing import CliRunner
from hypothesis import settings

from tests.harness import events
from tests.harness.recordings import NOT_BESIDE
from tools.lab import daemon

# A shell without job control has its background jobs ignore the interrupt, and so would every program that tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

if "mix_stderr" in signature(CliRunner).parameters:
    # click before 8.2, with which a test cannot tell the streams apart unless it asks for it. mypy holds that a
    # method is not to be replaced.
    CliRunner.__init__ = partialmethod(CliRunner.__init__, mix_stderr=False)  # type: ignore[method-assign,assignment]

# How long an example takes tells of the machine, not of the code.
settings.register_profile("pinhole", deadline=None)
# What lands is told from its change, not from its luck; a campaign (CONTRIBUTING.md) looks for what nobody knows yet.
settings.register_profile("landing", settings.get_profile("pinhole"), derandomize=True, database=None, print_blob=True)
settings.load_profile("pinhole")


ABOUT_MEDIA = re.compile(
    "media|sip|rtsp|mgcp|h323|fastpath|soak|operating|explain|faults|reload_under_load|neighbours|firewalld|path_mtu"
)
"""The files of tests whose daemons carry media."""
PATHS: tuple[daemon.KernelPath, ...] = ("tcx", "off", "clsact")


def pytest_addoption(parser: pytest.Parser) -> None:
    text = "what carries media in all tests; otherwise each test has one of the three, and always the same"
    parser.addoption("--fastpath", choices=PATHS, help=text)
    parser.addoption("--none-skipped", action="store_true", help="a test that is skipped fails")


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> Mapping[str, type]:
    return {"uvloop": uvloop.Loop}


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is collected stays, so that nobody need look for garbage in it."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files of tests that wait come first: the many quick ones fill up the time beside the last of these."""
    waiting = {item.path for item in items if any(map(item.get_closest_marker, ("interop", "netns", "slow")))}
    items.sort(key=lambda item: item.path not in waiting)


def choose_path(config: pytest.Config, name: str) -> None:
    """What carries the media of a daemon that is begun by the fixture or the test of that name."""
    file = name.partition("::")[0]
    wanted: daemon.KernelPath | None = config.getoption("fastpath")
    if wanted is None:
        # A packet that waits while its stream goes over to the kernel is overtaken by the next one. Phones do not hear
        # that; tests of real ones, which compare sample by sample, do now and then.
        wanted = "off" if "/interop/" in file else PATHS[crc32(name.encode()) % len(PATHS)]
    daemon.KERNEL_PATH = wanted if ABOUT_MEDIA.search(file.rpartition("/")[2]) else "off"


def choose_start(node: Any) -> None:
    """Daemons are forks, but those that are begun as an administrator begins them."""
    daemon.IS_FORKED = node.get_closest_marker("executed") is None


@pytest.hookimpl(tryfirst=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest) -> None:
    # The parameter itself may be an object whose text is another one in each run.
    number = getattr(request, "param_index", 0)
    choose_path(request.config, f"{request.node.nodeid}::{fixturedef.argname}-{number}")
    choose_start(request.node)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> None:
    choose_path(item.config, item.nodeid)
    choose_start(item)
    if (marker := item.get_closest_marker("fastpath")) is not None:
        (daemon.KERNEL_PATH,) = marker.args


@pytest.fixture(scope="module", autouse=True)
def what_stands_is_no_garbage() -> None:
    """Neither the thousands of collected tests nor the results of those before: a collection that looks at all of them
    takes half a second, and every test that counts descriptors asks for one."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def every_line_is_in_the_catalogue() -> Iterator[None]:
    """Whatever the audit log of a shell was told in a test."""
    yield
    wrong = tuple(events.FAULTS)
    events.FAULTS.clear()
    assert not wrong


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """A file may be skipped as a whole, before there is a test of it (`importorskip`)."""
    report = yield
    if must_not_be_skipped(report, collector.config):
        report.outcome = "failed"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[Any]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if must_not_be_skipped(report, item.config):
        report.outcome = "failed"
    if report.failed:
        report.sections += [("pinhole", running.report()) for running in daemon.RUNNING]
    return report


def must_not_be_skipped(report: pytest.CollectReport | pytest.TestReport, config: pytest.Config) -> bool:
    return report.skipped and config.getoption("none_skipped") and NOT_BESIDE not in str(report.longrepr)
