"""A host of the lab: a network namespace with an interface, and ways to do things in it."""

from __future__ import annotations

import contextlib
import ctypes
import os
import pwd
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any, Literal

from tools.lab.capture import Capture
from tools.lab.janitor import NAMESPACES

START_SECONDS = 90.0
"""For a program to begin, whatever else the machine has to do. One that ends instead is not waited for."""
_KILLED_SECONDS = 60.0
"""For processes to be gone that are killed, and for whoever inherits them to have noticed."""
_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def enter(netns: str) -> None:
    """This thread goes into the network namespace, for good."""
    there = os.open(f"{NAMESPACES}/{netns}", os.O_RDONLY)
    try:
        go_into(there)
    finally:
        os.close(there)


def go_into(descriptor: int) -> None:
    """The same, by a descriptor of the namespace."""
    if _libc.setns(descriptor, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), f"setns: {os.strerror(ctypes.get_errno())}")


@contextlib.contextmanager
def inside(netns: str) -> Iterator[None]:
    """Sockets made by this thread in here, and commands started, belong to the namespace, also afterwards."""
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        enter(netns)
        try:
            yield
        finally:
            go_into(before)
    finally:
        os.close(before)


@dataclass(slots=True)
class Host:
    name: str
    """What it is in the lab: client, gateway ..."""
    netns: str
    """Its network namespace, as `ip netns` knows it."""
    interfaces: Mapping[str, tuple[IPv4Address, IPv6Address]]
    """By name. The gateway's `wan0` comes first, for it is the one that `snat: interface` shows to the server."""
    processes: list[subprocess.Popen[Any]] = field(default_factory=list)

    @property
    def v4(self) -> IPv4Address:
        return next(iter(self.interfaces.values()))[0]

    @property
    def v6(self) -> IPv6Address:
        return next(iter(self.interfaces.values()))[1]

    def address(self, version: int, interface: str | None = None) -> IPv4Address | IPv6Address:
        """The address of IP version 4 or 6 on an interface; without one, on the first."""
        addresses = self.interfaces[interface] if interface else next(iter(self.interfaces.values()))
        return addresses[0] if version == 4 else addresses[1]

    def inside(self) -> contextlib.AbstractContextManager[None]:
        """Sockets made by this thread in here, and commands started, belong to the host, also afterwards."""
        return inside(self.netns)

    def run(
        self,
        command: Sequence[str | os.PathLike[str]],
        *,
        timeout: float = 60,
        check: bool = True,
        stdin: str = "",
        user: str | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end. With `check`, RuntimeError with what it said when its status is not 0."""
        identity: dict[str, Any] = {}
        if user:
            identity = {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []}
        with self.inside():
            done = subprocess.run(
                command,
                input=stdin,
                capture_output=True,
                text=True,
                errors="backslashreplace",
                timeout=timeout,
                check=False,
                env=env,
                cwd=cwd,
                **identity,
            )
        if check and done.returncode:
            words = " ".join(str(word) for word in command)
            raise RuntimeError(f"{self.name}: {words}: exit status {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def popen(self, command: Sequence[str | os.PathLike[str]], **options: Any) -> subprocess.Popen[Any]:
        """Start a command, in a session of its own. It is killed at the latest with the lab."""
        options.setdefault("stdin", subprocess.DEVNULL)
        options.setdefault("start_new_session", True)
        with self.inside():
            process = subprocess.Popen(command, **options)
        self.processes.append(process)
        return process

    def end(self, process: subprocess.Popen[Any], seconds: float) -> None:
        """As systemd ends a service: all of its processes are asked, and those that are left after `seconds`, or after
        the first of them, are killed. Their ports are free then. RuntimeError when there are some even so."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
        end = time.monotonic() + _KILLED_SECONDS
        while time.monotonic() < end:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                process.wait()
                return
            process.poll()
            time.sleep(0.01)
        raise RuntimeError(f"{self.name}: {process.args!r} does not end")

    def is_bound(self, transport: Literal["tcp", "udp"], port: int) -> bool:
        """Whether a socket here waits on this port (TCP: listens)."""
        return self._bound(transport, port) > 0

    def _bound(self, transport: Literal["tcp", "udp"], port: int) -> int:
        """How many sockets do."""
        return sum(transport == "udp" or state == "0A" for state, _ in self._sockets(transport, port))

    def is_all_read(self, port: int) -> bool:
        """Whether no datagram waits to be read at this UDP port."""
        return all(queues.endswith(":00000000") for _, queues in self._sockets("udp", port))

    def _sockets(self, transport: Literal["tcp", "udp"], port: int) -> Iterator[tuple[str, str]]:
        """State and `sending:receiving` queues of each socket on this port, as the kernel writes them."""
        with self.inside():
            # The tables of the calling thread's network namespace, in hexadecimal: address:port, state, queues.
            tables = [Path(f"/proc/thread-self/net/{transport}{version}").read_text() for version in ("", "6")]
        for line in "".join(table.partition("\n")[2] for table in tables).splitlines():
            _, local, _, state, queues, *_ = line.split()
            if int(local.rpartition(":")[2], 16) == port:
                yield state, queues

    def wait_until_bound(
        self,
        transport: Literal["tcp", "udp"],
        port: int,
        process: subprocess.Popen[Any],
        seconds: float = START_SECONDS,
        sockets: int = 1,
    ) -> None:
        """Until the process, or what it started, does so. sockets: with how many, for a program that has one for IPv4
        and then another one for IPv6. TimeoutError when it has ended before, or time has passed."""
        told = f"nobody waits on {transport} {port}"
        self.wait_until(lambda: self._bound(transport, port) >= sockets, process, told, seconds)

    def wait_until(
        self, holds: Callable[[], bool], process: subprocess.Popen[Any], told: str, seconds: float = START_SECONDS
    ) -> None:
        """Until it holds, which is the process's doing. TimeoutError with what is `told` when that has ended before, or
        time has passed."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and process.poll() is None:
            if holds():
                return
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.01)
        raise TimeoutError(f"{self.name}: {told}")

    def sysctl(self, name: str, value: int | str) -> None:
        """Set a value below `net`, such as `ipv4.ip_forward`."""
        with self.inside():
            Path("/proc/sys/net", *name.split(".")).write_text(str(value))

    def capture(self, interface: str, filter: str = "", path: Path | None = None) -> Capture:
        """A capture (context manager) of what passes an interface; `filter` as tcpdump has it, `path` keeps a copy."""
        return Capture(self, interface, filter, path)

    def reap(self) -> None:
        """Wait for the processes that were started here and have been killed."""
        for process in self.processes:
            process.wait()
            for pipe in (process.stdin, process.stdout, process.stderr):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()
        self.processes.clear()
