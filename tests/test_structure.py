"""The tool that finds circles and arrows up: `python -m tools.structure`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import structure


def house(root: Path, **files: str) -> Path:
    """files: name of a module, with __ for each dot, -> its text."""
    for name, text in files.items():
        path = root.joinpath(*name.split("__")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_an_import_is_of_a_module_or_of_a_name_in_its_package(tmp_path: Path) -> None:
    root = house(
        tmp_path,
        proxy__errors="",
        proxy__record__log="from proxy import errors\nimport proxy.sockets.doors, os",
        proxy__sockets__doors="from protocols import HELPERS",
        protocols__tns="",
    )
    (root / "protocols" / "__init__.py").write_text("from protocols.tns import HELPER as _tns")
    assert structure.modules(root) == {
        "protocols": {"protocols.tns"},
        "protocols.tns": set(),
        "proxy.errors": set(),
        "proxy.record.log": {"proxy.errors", "proxy.sockets.doors"},
        "proxy.sockets.doors": {"protocols"},
    }


def test_imports_inside_functions_and_for_annotations_alone_count(tmp_path: Path) -> None:
    root = house(
        tmp_path,
        proxy__one="from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from proxy.two import Two",
        proxy__two="def two():\n    from proxy.one import One",
        proxy__three="import proxy.one",
    )
    assert structure.circles(structure.modules(root)) == [["proxy.one", "proxy.two"]]


def test_a_circle_is_found_by_way_of_others_and_without_those_that_only_lead_to_it() -> None:
    graph = {"a": ["b"], "b": ["c"], "c": ["a"], "d": ["a"], "e": [], "f": ["g"], "g": ["f", "e"]}
    assert structure.circles(graph) == [["a", "b", "c"], ["f", "g"]]


def test_rooms_can_form_a_circle_where_no_modules_do() -> None:
    files = {"proxy.x.one": ["proxy.y.two"], "proxy.y.two": [], "proxy.y.three": ["proxy.x.one"]}
    assert structure.circles(files) == []
    assert structure.circles(structure.rooms(files)) == [["proxy.x", "proxy.y"]]


@pytest.mark.parametrize(
    ("importing", "imported", "is_up"),
    [
        ("proxy.sessions", "proxy.config", False),
        ("proxy.config", "proxy.sessions", True),
        ("protocols.ftp", "protocols.tns", True),
        ("protocols.ftp", "protocols.contract", False),
        ("protocols.contract", "proxy.errors", True),
        ("proxy.errors", "tools.lab", True),
        ("proxy.errors", "proxy.of_no_floor", False),
    ],
)
def test_an_arrow_up_leads_to_a_room_that_is_not_below(importing: str, imported: str, is_up: bool) -> None:
    graph = {importing: {imported}, imported: set[str]()}
    assert structure.arrows_up(graph) == ([(importing, imported)] if is_up else [])


def test_what_is_wrong_is_told_and_is_the_result(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = house(tmp_path, proxy__config__load="from proxy.command.cli import main", proxy__command__cli="")
    assert structure.main(root) == 1
    assert "arrow up: proxy.config imports proxy.command" in capsys.readouterr().out
    (root / "proxy/config/load.py").write_text("")
    assert structure.main(root) == 0
    assert "no circle, no arrow up" in capsys.readouterr().out
