"""The system's own commands (nft, iptables, ip): how they are run, one after the other, and what they print. What goes
wrong is a NetError whose text names the command and, where there is one, the remedy."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import subprocess
import time
from collections.abc import Iterator
from typing import Any

from proxy.errors import NetError

COMMAND_SECONDS = 30
"""How long a command may take: iptables waits for its lock without a limit of its own. A command that takes longer
hangs."""

TURN_SECONDS = 10
"""How long to wait for another process that changes rules. It may hang, and anybody may hold the lock."""

_PACKAGES = {"nft": "nftables", "ip": "iproute2"}
_SYSTEM_PATH = ":/usr/sbin:/sbin"
"""Directories that are searched after PATH."""


def run(command: tuple[str, ...], stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run a command to its end. Raises NetError when it is not installed, cannot be started or does not end."""
    try:
        return subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            text=True,
            errors="backslashreplace",  # comments of rules and names of interfaces may be any bytes
            check=False,
            timeout=COMMAND_SECONDS,
            # The messages of the commands are read below, and PATH of a service may lack /usr/sbin.
            env={**os.environ, "LC_ALL": "C", "PATH": f"{os.environ.get('PATH', os.defpath)}{_SYSTEM_PATH}"},
        )
    except FileNotFoundError:
        package = _PACKAGES.get(command[0], "iptables")
        raise NetError(f"{command[0]} is not installed: apt install {package}") from None
    except OSError as error:  # this process may not execute it, or there is no room for another process
        raise NetError(f"{command[0]} cannot be started: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise NetError(f"{' '.join(command)} did not end within {COMMAND_SECONDS} s") from None


def said(failed: subprocess.CompletedProcess[str]) -> str:
    """What a command that failed has printed."""
    return failed.stderr.strip() or f"exit status {failed.returncode}"


def read(command: tuple[str, ...]) -> str:
    """What a command prints. Raises NetError when it fails."""
    done = run(command)
    if done.returncode != 0:
        raise NetError(f"{' '.join(command)}: {said(done)}")
    return done.stdout


def read_json(command: tuple[str, ...]) -> list[dict[str, Any]]:
    """What a command of iproute2 prints, as values. Raises NetError, also for an `ip` that knows no JSON (BusyBox)."""
    try:
        found = json.loads(read(command) or "[]")
    except json.JSONDecodeError:
        raise NetError(f"{' '.join(command)} does not answer in JSON: install iproute2 (OpenWrt: ip-full)") from None
    return [item for item in found if isinstance(item, dict)]


@contextlib.contextmanager
def turn() -> Iterator[None]:
    """While this is held, no other pinhole changes rules or routes of this network namespace. So nobody takes a set-up
    that is half done for a broken one. The lock is one of the namespace itself, as the rules are."""
    descriptor = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        end = time.monotonic() + TURN_SECONDS
        while time.monotonic() < end:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            time.sleep(0.02)
        yield
    finally:
        os.close(descriptor)
