"""The program as the kernel takes it."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from proxy.ebpf import program
from proxy.ebpf.tables import Tables
from tests.proxy.ebpf.conftest import BPF, NET_ADMIN, with_capabilities


@pytest.mark.parametrize("is_leased", (False, True))
@pytest.mark.parametrize("has_mac", (False, True))
def test_the_verifier_accepts_the_program_of_a_holder_with_two_capabilities(
    made: Tables, has_mac: bool, is_leased: bool
) -> None:
    with with_capabilities(BPF, NET_ADMIN):
        os.close(program.load(made, has_mac, is_leased))


def test_a_program_that_is_refused_tells_what_the_verifier_said(made: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "_LICENCE", "Apache-2.0")
    with pytest.raises(OSError, match="GPL"):
        program.load(made, has_mac=True)


def test_a_signal_in_the_middle_of_it_refuses_no_program(made: Tables) -> None:
    """The verifier gives up then (EAGAIN). A holder that is a child of the daemon hears of ends of others, too."""
    heard: list[int] = []
    before = signal.signal(signal.SIGUSR2, lambda number, _: heard.append(number))
    try:
        began = time.monotonic()
        os.close(program.load(made, has_mac=True))
        took = time.monotonic() - began
        for part in range(50):
            told = (threading.main_thread().ident, signal.SIGUSR2)
            timer = threading.Timer(part / 50 * took, signal.pthread_kill, told)
            timer.start()
            os.close(program.load(made, has_mac=True))
            timer.join()
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert len(heard) == 50
