"""pinhole needs what it says it needs: no package for nothing, and the oldest versions that are declared suffice.

They are those of Debian 13, and its package asks for the same ones.
"""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PYTHON = ROOT / ".cache/oldest/bin/python"
"""`tools/setup --test` makes this environment, of `tests/oldest.lock`."""
PLACES = ("command", "config", "control")


def _declared() -> dict[str, str]:
    """The packages that pinhole needs, and the oldest version of each."""
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    return {name.lower(): version for name, version in (each.split(">=") for each in wanted)}


def test_every_package_that_is_needed_is_used() -> None:
    sources = "".join(path.read_text() for room in ("proxy", "protocols") for path in (ROOT / room).rglob("*.py"))
    modules = {name: {"pyyaml": "yaml"}.get(name, name.replace("-", "_")) for name in _declared()}
    unused = [name for name, module in modules.items() if not re.search(rf"(?m)^\s*(from|import) {module}\b", sources)]
    assert unused == []


def test_the_package_for_debian_13_asks_for_the_same_versions() -> None:
    names = {"pyyaml": "python3-yaml"}
    wanted = {(names.get(name, f"python3-{name}"), version) for name, version in _declared().items()}
    source, binary = (ROOT / "debian/control").read_text().split("\n\n", 1)
    for stanza in (source, binary):
        assert set(re.findall(r"(python3-(?!setuptools)[a-z-]+) \(>= (\S+)\)", stanza)) == wanted


def test_what_is_tested_is_the_oldest_version_of_each_package() -> None:
    pinned = dict(re.findall(r"^([\w.-]+)==(\S+)", (ROOT / "tests/oldest.lock").read_text(), re.MULTILINE))
    assert {name: pinned.get(name) for name in _declared()} == _declared()


def test_what_comes_from_npm_is_pinned_by_hashes_whatever_registry_it_comes_from() -> None:
    """npm writes down where each package was, unless it is asked not to (`tools/lock`)."""
    _, *packages = json.loads((ROOT / "tests/interop/npm/package-lock.json").read_text())["packages"].values()
    assert packages
    assert [one for one in packages if not one["integrity"].startswith("sha512-") or "resolved" in one] == []


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(not PYTHON.exists(), reason="`tools/setup --test` makes the environment of the oldest versions")
def test_command_configuration_and_control_work_with_them() -> None:
    places = [f"tests/proxy/{place}" for place in PLACES]
    options = ["-q", "-p", "no:cacheprovider", "-m", "not netns and not interop"]
    run = subprocess.run(
        [PYTHON, "-m", "pytest", *options, *places], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout[-6000:]
