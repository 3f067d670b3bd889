"""With `--none-skipped` (tools/test as root) whatever cannot run has failed, in whichever way it is skipped."""

from __future__ import annotations

import subprocess
import sys
from fnmatch import fnmatchcase
from pathlib import Path
from textwrap import dedent

import pytest

from tests.harness import recordings

ROOT = Path(__file__).parents[1]

WAYS = {
    "a mark": """
        @pytest.mark.skipif(True, reason="not here")
        def test_something(): pass
    """,
    "a mark of the whole file": """
        pytestmark = [pytest.mark.skipif(True, reason="not here")]
        def test_something(): pass
    """,
    "a word of the test": """
        def test_something(): pytest.skip("not here")
    """,
    "a fixture": """
        @pytest.fixture
        def thing(): pytest.skip("not here")
        def test_something(thing): pass
    """,
    "a list without an example": """
        @pytest.mark.parametrize("number", [])
        def test_something(number): pass
    """,
    "a library that is not there": """
        pytest.importorskip("no_such_library")
        def test_something(): pass
    """,
    "a file that skips itself": """
        pytest.skip("not here", allow_module_level=True)
    """,
}


def test_a_capture_that_is_missing_fails_unless_a_licence_keeps_it_out() -> None:
    with pytest.raises(FileNotFoundError):
        recordings.found("dns", "zeek-none.pcap")
    with pytest.raises(pytest.skip.Exception, match=recordings.NOT_BESIDE):
        recordings.found("dns", "ndpi-none.pcap")
    tracked = {str(path.relative_to(recordings.HERE)) for path in recordings.HERE.rglob("*")}
    assert [name for name in tracked for pattern in recordings.KEPT_OUT if fnmatchcase(name, pattern)] == []


@pytest.mark.slow
def test_nothing_is_skipped_where_nothing_may_be(tmp_path: Path) -> None:
    for number, text in enumerate(WAYS.values()):
        (tmp_path / f"test_{number}.py").write_text(f"import pytest\n{dedent(text)}")
    words = ("-m", "pytest", "-p", "tests.conftest", f"--rootdir={tmp_path}", "--continue-on-collection-errors")
    command = (sys.executable, *words, "--none-skipped", str(tmp_path))
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    # pytest calls those that never began errors.
    assert "= 1 failed, 6 errors in" in done.stdout
    assert done.stdout.count("Skipped: ") == len(WAYS)
