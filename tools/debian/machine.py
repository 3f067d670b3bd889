"""A machine with a real systemd as process 1, in the network namespace of a host of a lab."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tools.debian.roots import ENVIRONMENT
from tools.lab.host import Host

START_SECONDS = 60

# As process 1 of its own process namespace: the root below, with what is written to it in memory; devices that harm
# nobody; and a place of its own among the control groups, so that nothing is left where ours are.
_BOOT = """
root=$1 name=$2 files=$3
mount --make-rprivate /
memory=${root%/*}/machine
mkdir -p "$memory"
mount -t tmpfs -o mode=755 machine "$memory"
mkdir "$memory/upper" "$memory/work" "$memory/root"
mount -t overlay -o "lowerdir=$root,upperdir=$memory/upper,workdir=$memory/work" machine "$memory/root"
cd "$memory/root"
mkdir -p .before mnt/files
mount --bind -o ro "$files" mnt/files
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
for place in dev run tmp; do mount -t tmpfs -o mode=1777 machine $place; done
chmod 755 dev run
mkdir dev/pts dev/shm
for device in null zero full random urandom tty; do
    touch dev/$device
    mount --bind /dev/$device dev/$device
done
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
ln -s /proc/self/fd/0 dev/stdin
ln -s /proc/self/fd/1 dev/stdout
ln -s /proc/self/fd/2 dev/stderr
mount -t cgroup2 cgroup2 sys/fs/cgroup
mkdir "sys/fs/cgroup/$name"
echo 0 >"sys/fs/cgroup/$name/cgroup.procs"
umount sys/fs/cgroup
hostname "$name"
echo "$name" >etc/hostname
exec unshare --cgroup sh -euc '
    mount -t cgroup2 cgroup2 sys/fs/cgroup
    pivot_root . .before
    umount --lazy .before
    # Without the right to load kernel modules systemd does not try, which would fail.
    exec setpriv --bounding-set=-sys_module --inh-caps=-sys_module \\
        env --ignore-environment container=lab PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --show-status=0
'
"""
_REMOVE_GROUP = """
mount -t cgroup2 cgroup2 /mnt
[ ! -e "/mnt/$1" ] || find "/mnt/$1" -depth -type d -exec rmdir {} +
"""


class Machine:
    """A machine that has been started. Its process 1 is `pid`."""

    def __init__(self, host: Host, pid: int) -> None:
        self._host = host
        self._pid = pid

    def kill(self) -> None:
        """End all of it at once."""
        os.kill(self._pid, signal.SIGKILL)

    def command(self, *words: str) -> list[str]:
        """What runs these words on the machine, as root."""
        spaces = [f"--{space}" for space in ("mount", "pid", "uts", "ipc", "cgroup", "root")]
        given = [f"{name}={value}" for name, value in ENVIRONMENT.items()]
        return ["nsenter", f"--target={self._pid}", *spaces, "--wdns=/", "env", "--ignore-environment", *given, *words]

    def run(self, *words: str, check: bool = True, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command on the machine, as root, to its end. With `check`, raises RuntimeError when it fails."""
        return self._host.run(self.command(*words), check=check, stdin=stdin, timeout=180)

    def show(self, unit: str, *properties: str) -> dict[str, str]:
        """Properties of a unit of systemd."""
        said = self.run("systemctl", "show", f"--property={','.join(properties)}", unit).stdout
        return dict(line.split("=", 1) for line in said.splitlines())

    def is_active(self, unit: str) -> bool:
        """Whether a unit is active."""
        return self.run("systemctl", "is-active", "--quiet", unit, check=False).returncode == 0

    def write(self, path: str, text: str) -> None:
        """Write a file of the machine."""
        self.run("sh", "-c", f"cat >{path}", stdin=text)

    def audit(self, event: str = "") -> list[dict[str, Any]]:
        """The lines of pinhole's audit log, all or those of one event."""
        said = self.run("sh", "-c", "cat /var/log/pinhole/audit.log* 2>/dev/null", check=False).stdout
        lines = [json.loads(line) for line in said.splitlines(keepends=True) if line.endswith("\n")]
        return [line for line in lines if not event or line["event"] == event]

    def journal(self) -> str:
        """The end of what units have said."""
        return self.run("journalctl", "--no-pager", "--lines=60", "--output=short", check=False).stdout


@contextlib.contextmanager
def booted(host: Host, root: Path, files: Path) -> Iterator[Machine]:
    """A machine in the host's place, started from a root that stays as it is. `files` are at /mnt/files. Raises
    TimeoutError when systemd does not come up."""
    name = f"machine-{os.getpid()}-{root.parent.name}"
    words = ("unshare", "--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child", "sh", "-euc", _BOOT, "sh")
    with tempfile.TemporaryFile() as said:
        process = host.popen([*words, str(root), name, str(files)], stdout=said, stderr=said)
        try:
            machine = Machine(host, _first_of(process))
            try:
                _wait_until_up(machine)
                yield machine
            finally:
                machine.kill()
        except TimeoutError as error:
            said.seek(0)
            error.add_note(said.read().decode(errors="replace"))
            raise
        finally:
            process.wait()
            subprocess.run(("unshare", "--mount", "sh", "-euc", _REMOVE_GROUP, "sh", name), check=True)


def _first_of(process: subprocess.Popen[Any]) -> int:
    """The process 1 that a process has started, as it is known out here."""
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(OSError):
            if children := Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
                return int(children[0])
        time.sleep(0.01)
    process.kill()
    raise TimeoutError("the machine has no process 1")


def _wait_until_up(machine: Machine) -> None:
    """Wait until systemd says that all is up."""
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        said = machine.run("systemctl", "is-system-running", check=False)
        if said.stdout.strip() == "running":
            return
        time.sleep(0.1)
    raise TimeoutError(f"the machine is not up: {said.stdout}{said.stderr}{machine.journal()}")
