"""`show session-helper --format fortios`: the table as a FortiGate prints it, and `import fortios` reads that back."""

from __future__ import annotations

from pathlib import Path

import yaml

from proxy.config.schema import REGISTRY
from proxy.fortios import syntax
from tests.harness import commands

FACTORY = Path(__file__).parents[1] / "fortios/examples/factory.conf"
DEAD = {"mms"}
"""What is not taken over for good (OT2)."""


def pinhole(*arguments: str, stdin: str | None = None) -> str:
    result = commands.pinhole(*arguments, stdin=stdin)
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout


def printed(*arguments: str, stdin: str | None = None) -> str:
    return pinhole("show", "session-helper", *arguments, "--format", "fortios", stdin=stdin)


def rows(text: str) -> list[str]:
    """The entries of a text of FortiOS, as id, name, protocol and port."""
    edits = syntax.read(text).block("system session-helper").edits
    keys = ("name", "protocol", "port")
    return [" ".join((number, *(entry.word(key) for key in keys))) for number, entry in edits.items()]


def test_the_built_in_table_begins_with_that_of_the_factory_line_by_line() -> None:
    factory = FACTORY.read_text().splitlines()[:-1]
    lines = [line for line in printed().splitlines() if not line.lstrip().startswith("#")]
    assert lines[: len(factory)] == factory
    assert len(factory) == 1 + 20 * 5


def test_what_a_fortigate_has_not_follows_and_no_row_is_there_twice() -> None:
    found = [row.split(" ") for row in rows(printed())]
    assert [int(number) for number, *_ in found] == list(range(1, len(found) + 1))
    assert len({tuple(row) for _, *row in found}) == len(found)
    ours = {(transport.value, port) for helper in REGISTRY.values() for transport, port in helper.ports}
    spoken = {("tcp" if protocol == "6" else "udp", int(port)) for _, _, protocol, port in found}
    assert ours <= spoken


def test_a_row_that_is_not_taken_over_says_so_and_why() -> None:
    lines = printed().splitlines()
    above = lines[lines.index("        set name mms") - 2]
    assert above.startswith("    # not taken over: the protocol is dead")


def test_the_import_reads_back_every_row(tmp_path: Path) -> None:
    """Each is an entry with the id of the FortiGate, or a remark with that id. Printed again, the entries are those."""
    text = printed()
    imported = pinhole("import", "fortios", "-", stdin=text)
    entries = {entry["id"]: entry for entry in yaml.safe_load(imported)["session-helpers"]}
    served = []
    for row in rows(text):
        number, name, protocol, port = row.split(" ")
        transport = "tcp" if protocol == "6" else "udp"
        if entry := entries.pop(int(number), None):
            served.append(row)
            assert (entry["protocol"], entry["port"]) == (transport, int(port))
            assert entry["name"] == ("dns" if name.startswith("dns-") else name)
            assert entry.get("enabled", True) == ((transport, int(port)) not in off())
        else:
            assert f"\n  # {number}: {name} {transport} {port}: " in imported
            assert name in DEAD or name not in REGISTRY
    assert not entries
    file = tmp_path / "imported.yaml"
    file.write_text(imported)
    assert rows(printed("-c", str(file))) == served


def off() -> set[tuple[str, int]]:
    """Ports that are off unless somebody turns them on."""
    return {(transport.value, port) for helper in REGISTRY.values() for transport, port in helper.off}


def test_one_entry_has_the_id_that_it_has_in_the_whole_table() -> None:
    ftp = next(number for number in range(1, 30) if "set name ftp\n" in printed(str(number)))
    assert rows(printed(str(ftp))) == ["9 ftp 6 21"]
