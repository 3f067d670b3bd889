"""When new links carry packets."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterable


def wait_until_up(netns: Iterable[str], seconds: float = 10) -> None:
    """Wait until all links in these network namespaces carry packets.

    The kernel takes a new link into use a moment after its other end is up. What is sent before is lost, and with IPv6
    the next neighbour solicitation comes a second later.
    Raises RuntimeError when a link stays down.
    """
    end = time.monotonic() + seconds
    for name in netns:
        command = ("ip", "-n", name, "-brief", "link", "show", "up")
        while any(line.split()[1] not in ("UP", "UNKNOWN") for line in _output(command).splitlines()):
            if time.monotonic() > end:
                raise RuntimeError(f"a link in {name} stays down: {_output(command)}")
            time.sleep(0.005)


def _output(command: tuple[str, ...]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout
