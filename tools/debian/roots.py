"""Root directories with a minimal Debian, below `.cache/roots`. They are made from the archive that apt uses here."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PLACE = ROOT / ".cache/roots"
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
"""What commands of a Debian are given, whatever this process was started with."""

ON_A_ROUTER = ("iproute2", "logrotate", "nftables", "python3", "systemd", "systemd-sysv")
"""What stands on a machine beside the least that a Debian is. So a package brings the libraries it needs itself."""


@dataclass(frozen=True, slots=True)
class Release:
    """A release of Debian that pinhole has a package for."""

    number: str
    name: str
    has_libraries: bool
    """Whether its Python libraries are new enough. Otherwise the package brings its own ones."""


RELEASES = {"12": Release("12", "bookworm", has_libraries=False), "13": Release("13", "trixie", has_libraries=True)}


class DebianError(Exception):
    """A root or a package cannot be made. The text says what was tried, and what that said."""


def run(command: Sequence[str | os.PathLike[str]], cwd: Path | None = None) -> str:
    """Run a command to its end. Returns what it printed; raises DebianError with all that it said."""
    done = subprocess.run(command, cwd=cwd, env=ENVIRONMENT, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        words = " ".join(str(word) for word in command)
        raise DebianError(f"{words}: exit status {done.returncode}\n{done.stdout[-6000:]}{done.stderr[-6000:]}")
    return done.stdout


def inside(root: Path, *command: str) -> str:
    """Run a command in a root, with processes of its own and the names that this machine's resolver knows."""
    shutil.copy("/etc/resolv.conf", root / "etc/resolv.conf")
    shutil.copy("/etc/hosts", root / "etc/hosts")
    mounts = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", f"--root={root}")
    return run((*mounts, "--wd=/", *command))


def base(release: Release) -> Path:
    """A root with what is on a router, made when it is first wanted."""
    with made_once(PLACE / release.number / "base") as (root, unfinished):
        if unfinished:
            words = (
                "unshare",
                "--mount",  # what it mounts there is gone with it, even if it is killed
                "mmdebstrap",
                "--mode=root",
                "--variant=minbase",
                "--skip=cleanup/apt",
                "--dpkgopt=force-unsafe-io",
                "--quiet",
            )
            run((*words, f"--include={','.join(ON_A_ROUTER)}", release.name, unfinished, _archive()))
    return root


def builder(release: Release, needed: Sequence[str]) -> Path:
    """A root with these packages as well, made when it is first wanted."""
    start = base(release)
    with made_once(PLACE / release.number / f"builder-{_digest(needed)}") as (root, unfinished):
        if unfinished:
            run(("cp", "--archive", "--reflink=auto", start, unfinished))
            inside(unfinished, "apt-get", "install", "--yes", "--no-install-recommends", *needed)
            inside(unfinished, "apt-get", "clean")
    return root


@contextlib.contextmanager
def made_once(directory: Path) -> Iterator[tuple[Path, Path | None]]:
    """A directory, and the place to make it at if it is not there yet. It gets its name when it is whole. Others who
    want one beside it wait meanwhile."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    with (directory.parent / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if directory.exists():
            yield directory, None
            return
        unfinished = directory.with_name(f"{directory.name}.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        yield directory, unfinished
        unfinished.rename(directory)


def _digest(words: Sequence[str]) -> str:
    """Tells one list of words from another one."""
    return hashlib.sha256(" ".join(words).encode()).hexdigest()[:8]


def _archive() -> str:
    """The address of Debian's archive, as this machine's apt knows it."""
    format = "$(LABEL)\t$(REPO_URI)"
    for line in run(("apt-get", "indextargets", "--format", format, "Identifier: Packages")).splitlines():
        label, _, address = line.partition("\t")
        if label == "Debian":
            return address
    raise DebianError("apt of this machine has no archive of Debian (`apt-get update` first)")
