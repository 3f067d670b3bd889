"""Builds the package for a release of Debian, in a root of that release."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
from pathlib import Path
from platform import machine

from tools.debian.roots import PLACE, ROOT, DebianError, Release, base, builder, inside, made_once, run

NAME = "pinhole-gateway"
CHECKERS = ("lintian",)
SOURCES = (
    *("CHANGELOG.md", "LICENSE", "README.md", "pyproject.toml", "configs", "debian", "docs", "protocols", "proxy"),
    *("tools/manpages.py", "tools/roff.py"),
)
"""What a package is made of."""


def package(release: Release) -> Path:
    """The package, built unless it has been from the same sources. Beside it are the packages that it needs."""
    sources = _sources()
    with made_once(PLACE / release.number / "packages" / _digest(release, sources)) as (there, unfinished):
        if unfinished:
            for former in there.parent.iterdir():
                shutil.rmtree(former, ignore_errors=True)
            unfinished.mkdir()
            _build(release, sources, unfinished)
            _download_needed(base(release), unfinished)
    return next(there.glob(f"{NAME}_*.deb"))


def _sources() -> list[Path]:
    """The files that a package is made of, as they are now, relative to the checkout."""
    listed = run(("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", *SOURCES), cwd=ROOT)
    return sorted(Path(name) for name in listed.split("\0") if name and (ROOT / name).is_file())


def _digest(release: Release, sources: list[Path]) -> str:
    digest = hashlib.sha256(repr(release).encode())
    for path in sources:
        digest.update(f"{path}\0".encode() + (ROOT / path).read_bytes())
    if not release.has_libraries:
        digest.update((ROOT / "requirements.lock").read_bytes())
    return digest.hexdigest()[:16]


def _build(release: Release, sources: list[Path], result: Path) -> None:
    """Build in a copy of the sources, below /build of a root that has what they say they are built with."""
    control = ROOT / "debian" / ("control" if release.has_libraries else "bookworm/control")
    root = builder(release, [*_built_with(control), *CHECKERS])
    tree = root / "build/source"
    shutil.rmtree(tree.parent, ignore_errors=True)
    for path in sources:
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, tree / path)
    if not release.has_libraries:
        shutil.copytree(tree / "debian/bookworm", tree / "debian", dirs_exist_ok=True)
        changelog = tree / "debian/changelog"
        # One that is older than the package for Debian 13, so that an upgrade of the release takes that one.
        changelog.write_text(changelog.read_text().replace(")", "~deb12)", 1))
        _wheels(tree / "debian/wheels")
    # Whoever builds need not have a compiler, which is what it would be checked for beside.
    inside(root, "sh", "-c", "cd /build/source && dpkg-buildpackage --build=binary --no-sign --no-check-builddeps")
    inside(root, "sh", "-c", "lintian --fail-on error --allow-root /build/*.changes")
    for built in tree.parent.glob("*.deb"):
        shutil.copy(built, result)


def _built_with(control: Path) -> list[str]:
    """The packages of Build-Depends."""
    fields = re.search(r"^Build-Depends:(.*(?:\n\s.*)*)", control.read_text(), re.MULTILINE)
    assert fields is not None
    return [each.split()[0] for each in fields[1].split(",")]


def _wheels(place: Path) -> None:
    """The libraries that Debian 12 is too old for, for its Python, as requirements.lock pins them."""
    python = sys.executable
    words = (python, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps")
    platforms = [f"--platform={kind}_{machine()}" for kind in ("manylinux2014", "manylinux_2_17", "manylinux_2_28")]
    options = ["--python-version=3.11", "--implementation=cp", "--only-binary=:all:", *platforms]
    lock = ROOT / "requirements.lock"
    command = [*words, *options, "--require-hashes", "--requirement", str(lock), "--dest", str(place)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise DebianError(f"{' '.join(command)}: {done.stderr}")


def _download_needed(root: Path, place: Path) -> None:
    """The packages that a machine still needs, so that the package can be installed where there is no network."""
    within = root / "var/cache/apt/needed"
    shutil.rmtree(within, ignore_errors=True)
    (within / "partial").mkdir(parents=True)
    for built in place.glob("*.deb"):
        shutil.copy(built, within)
    cache = "Dir::Cache::Archives=/var/cache/apt/needed"
    words = ("install", "--yes", "--no-install-recommends", "--download-only", "-o", cache)
    inside(root, "sh", "-c", f"apt-get {' '.join(words)} /var/cache/apt/needed/{NAME}_*.deb")
    needed = place / "needed"
    needed.mkdir()
    for found in within.glob("*.deb"):
        if not found.name.startswith(f"{NAME}_"):
            shutil.move(found, needed)
    shutil.rmtree(within)
