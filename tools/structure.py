"""Who imports whom: `python -m tools.structure` prints the rooms from top to bottom and ends with 1 if one is wrong.

A *room* is a folder with modules below `tools`, `proxy` or `protocols`, or a module that lies there beside the folders.
`FLOORS` says which room stands above which. Two things are wrong in a house:

    a circle         modules or rooms that import each other, if only by way of others: none of them can be read, tested
                     or replaced without all
    an arrow up      a room that imports one above it, or one beside it on the same floor

Imports for annotations alone (`if TYPE_CHECKING`) count as others do, and so do those inside functions: who reads a
module has to know what they name all the same.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("tools", "proxy", "protocols")

FLOORS = (
    (
        "tools.catalogue",
        "tools.debian",
        "tools.demo",
        "tools.h323_tables",
        "tools.manpages",
        "tools.soak",
        "tools.structure",
    ),
    ("tools.roff",),
    ("tools.bench", "tools.fuzz"),
    ("tools.peers",),
    ("tools.lab",),
    ("proxy", "proxy.__main__"),
    ("proxy.command",),
    ("proxy.fortios",),
    ("proxy.daemon",),
    ("proxy.control",),
    ("proxy.measure",),
    ("proxy.sessions",),
    ("proxy.pinholes",),
    ("proxy.doctor",),
    ("proxy.holder",),
    ("proxy.host",),
    ("proxy.movers",),
    ("proxy.config",),
    ("proxy.ebpf", "proxy.sockets"),
    ("proxy.record",),
    ("proxy.beats", "proxy.errors", "proxy.version"),
    ("proxy.text",),
    ("protocols",),
    (
        "protocols.dcerpc",
        "protocols.dns",
        "protocols.ftp",
        "protocols.h323",
        "protocols.irc",
        "protocols.mgcp",
        "protocols.pmap",
        "protocols.pptp",
        "protocols.sip",
        "protocols.tns",
        "protocols.tftp",
        "protocols.rsh",
        "protocols.rtsp",
        "protocols.sane",
    ),
    ("protocols.observe", "protocols.untaken"),
    ("protocols.sdp",),
    ("protocols.toolbox",),
    ("protocols.contract",),
)
"""From top to bottom; `protocols` itself is the registry of helpers. Rooms of one floor, as helpers are, know nothing
of each other. A room that is not there is ignored: the table may be ahead of the tree. A room that it does not name has
no floor, which is printed as `-`."""

PLACED = frozenset(room for floor in FLOORS for room in floor)

Graph = Mapping[str, Collection[str]]
"""Name of a module or room -> names of those that it imports."""


def modules(root: Path = ROOT) -> dict[str, set[str]]:
    """Every module of the three folders, with those of them that it imports. A package goes by its folder's name."""
    files = [path for folder in FOLDERS for path in sorted((root / folder).rglob("*.py"))]
    paths = {_name(path.relative_to(root)): path for path in files}
    return {name: {found for found in _imported(path, paths) if found != name} for name, path in paths.items()}


def _name(path: Path) -> str:
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def _imported(path: Path, known: Collection[str]) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                raise ValueError(f"{path}:{node.lineno}: relative import")
            for alias in node.names:
                # What is imported from a package may be one of its modules, or a name that the package itself has.
                names = f"{node.module}.{alias.name}", node.module or ""
                yield from [name for name in names if name in known][:1]


def room_of(module: str) -> str:
    """proxy.sessions.flow and proxy.sessions -> proxy.sessions; proxy.errors and proxy stay what they are."""
    return ".".join(module.split(".")[:2])


def rooms(graph: Graph) -> dict[str, set[str]]:
    """The same between rooms."""
    found: dict[str, set[str]] = {}
    for module, imported in graph.items():
        room = room_of(module)
        found.setdefault(room, set()).update({room_of(name) for name in imported} - {room})
    return found


def circles(graph: Graph) -> list[list[str]]:
    """Each largest set of names of which every one reaches every other one."""
    reached = {name: _reached(graph, name) for name in graph}
    found = {frozenset(other for other in reached[name] if name in reached[other]) for name in graph}
    return sorted(sorted(circle) for circle in found if circle)


def _reached(graph: Graph, start: str) -> set[str]:
    """All to which imports lead from there; itself only if they lead back."""
    reached: set[str] = set()
    ahead = list(graph[start])
    while ahead:
        if (name := ahead.pop()) not in reached:
            reached.add(name)
            ahead += graph[name]
    return reached


def arrows_up(graph: Graph) -> list[tuple[str, str]]:
    """graph: of rooms. Those that import one that does not stand below them, and which one."""
    floors = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
    return sorted(
        (room, other)
        for room, imported in graph.items()
        for other in imported
        if room in floors and other in floors and floors[other] <= floors[room]
    )


def main(root: Path = ROOT) -> int:
    files = modules(root)
    graph = rooms(files)
    floors = [[room for room in floor if room in graph] for floor in FLOORS]
    for number, floor in enumerate(filter(None, floors), 1):
        for room in floor:
            print(f"{number:2}  {room}: {_imports(graph[room])}")
    for room in sorted(graph.keys() - PLACED):
        print(f" -  {room}: {_imports(graph[room])}")
    wrong = [f"circle of modules: {' '.join(circle)}" for circle in circles(files)]
    wrong += [f"circle of rooms: {' '.join(circle)}" for circle in circles(graph)]
    wrong += [f"arrow up: {room} imports {other}" for room, other in arrows_up(graph)]
    print("", *wrong or ["no circle, no arrow up"], sep="\n")
    return 1 if wrong else 0


def _imports(names: Collection[str]) -> str:
    return ", ".join(sorted(names)) or "imports none"


if __name__ == "__main__":
    sys.exit(main())
