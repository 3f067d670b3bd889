"""Processes beside the serving one, which keep rights that it gives up."""

from __future__ import annotations

import os
import signal
import traceback
from collections.abc import Callable

from proxy.host import privileges


def start(needed: frozenset[int], work: Callable[[], int]) -> int:
    """Start a process that keeps these capabilities, does this work and ends with its exit status. This must be called
    before there is a second thread. Returns the number of the process."""
    if pid := os.fork():
        return pid
    status = 1
    try:
        # Signals that end the daemon are for the serving process alone, but a terminal, or systemd, sends them to all
        # processes.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
            signal.signal(number, signal.SIG_IGN)
        privileges.keep(needed)
        status = work()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)
