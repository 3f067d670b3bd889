"""The kernel path of a shell that a test has built: its holder is a child of the test's process."""

from __future__ import annotations

import os
from unittest.mock import patch

from proxy.config.schema import NetworkSettings
from proxy.daemon import fastpath
from proxy.daemon.fastpath import FastPath
from proxy.holder import holding, process
from proxy.holder.process import Child
from tests.harness.shell import Shell
from tools.lab import daemon

ROWS = 64


class KernelPath:
    """Media of the shell passes in the kernel, if the test at hand has that."""

    def __init__(self, shell: Shell) -> None:
        self._settings = NetworkSettings(fastpath="off" if daemon.KERNEL_PATH == "off" else "require")
        self.fastpath = FastPath(shell.loop, self._settings, shell.pinholes.kernel, shell.log)
        self._holder: Child | None = None

    async def start(self) -> None:
        """The loop runs in the gateway's namespace."""
        if daemon.KERNEL_PATH != "off":
            with patch.dict(os.environ, {process.WAY: daemon.KERNEL_PATH}):
                self._holder = process.fork(holding.Settings(os.geteuid(), ROWS))
        # On a busy machine the holder, which has just been begun, may have its first turn after seconds.
        with patch.object(fastpath, "FIRST_WORD_SECONDS", daemon.LONGEST_WAIT_SECONDS):
            await self.fastpath.start()

    def stop(self) -> None:
        """After the last pinhole."""
        self.fastpath.stop()
        if self._holder is not None:
            self._holder.end()
