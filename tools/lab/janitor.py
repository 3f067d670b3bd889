"""Takes a lab down when it is no longer wanted, or when its creator is gone, however that ended.

Run as a program beside each lab: `janitor.py CREATOR NAMESPACE...`, with a pipe as standard input. It waits until the
pipe is closed or the creator dies (SIGKILL included). Imports little, so that it starts in no time.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
from collections.abc import Collection, Iterator, Sequence

NAMESPACES = "/run/netns"
SECONDS_TO_DIE = 5.0
ROUNDS = 20
"""How often to look for processes that were started while others were ended."""


def existing(names: Collection[str]) -> Iterator[str]:
    return (name for name in names if os.path.exists(f"{NAMESPACES}/{name}"))


def processes_in(names: Collection[str]) -> set[int]:
    """Processes in these network namespaces. Dead ones that nobody has waited for are in none any more."""
    inodes = set()
    for name in existing(names):
        with contextlib.suppress(OSError):
            inodes.add(os.stat(f"{NAMESPACES}/{name}").st_ino)
    found = set()
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                if os.stat(f"/proc/{entry}/ns/net").st_ino in inodes:
                    found.add(int(entry))
    return found


def _end(pids: Collection[int]) -> None:
    """Kill, and wait until they are dead."""
    waiting = select.poll()
    handles = []
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            handle = os.pidfd_open(pid)
            handles.append(handle)
            waiting.register(handle, select.POLLIN)
            signal.pidfd_send_signal(handle, signal.SIGKILL)
    left = len(handles)
    while left:
        dead = waiting.poll(SECONDS_TO_DIE * 1000)
        if not dead:
            break
        for handle, _ in dead:
            waiting.unregister(handle)
        left -= len(dead)
    for handle in handles:
        os.close(handle)


def tear_down(names: Sequence[str], spare: Collection[int] = ()) -> list[str]:
    """End every process in these namespaces but those to spare, and remove the namespaces. Returns those that stay."""
    for _ in range(ROUNDS):
        pids = processes_in(names) - {os.getpid(), *spare}
        if not pids:
            break
        _end(pids)
    text = "".join(f"netns delete {name}\n" for name in existing(names))
    if text:
        subprocess.run(("ip", "-force", "-batch", "-"), input=text, text=True, check=False)
    return list(existing(names))


def _wait_for_the_end(creator: int) -> None:
    waiting = select.poll()
    waiting.register(0, select.POLLIN | select.POLLHUP)
    try:
        handle = os.pidfd_open(creator)
    except ProcessLookupError:
        return
    waiting.register(handle, select.POLLIN)
    waiting.poll()


def main() -> int:
    creator, names = int(sys.argv[1]), sys.argv[2:]
    # The terminal's ^C and hang-up are the creator's affair; what follows from them is ours.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    _wait_for_the_end(creator)
    left = tear_down(names, spare=(creator,))
    if left:
        print(f"lab: could not remove {', '.join(left)}", file=sys.stderr)
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main())
