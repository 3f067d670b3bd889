"""What a peer says never speaks to a terminal, by whichever way it gets to one."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from proxy.command import terminal
from proxy.command.cli import main
from proxy.errors import ConfigError
from proxy.record import sinks
from proxy.record.audit import Origin, open_log
from proxy.record.forms import form
from proxy.record.outlets import FileOutlet
from proxy.record.sinks import Sink
from proxy.text import printable, printable_json, say

SPEAKING = {
    "esc": "\x1b]0;owned\x07",
    "bel": "\x07",
    "c1": "\x9b31m",
    "bidi": "\u202eevil\u2066",
    "mark": "\u200f\u061c",
    "lines": "a\r\nb\u2028c\u2029\x85",
    "nul": "\x00\x7f",
    "surrogate": "\udc9b",
    "tag": "\U000e0041",
}
HARMLESS = "J\u00fcrgen \u65e5\u672c [x] \\ ' \""
each = pytest.mark.parametrize("said", SPEAKING.values(), ids=SPEAKING)


def shows(output: str) -> bool:
    """Whether a terminal would only print it."""
    return output.replace("\n", "").isprintable()


@each
def test_what_does_not_print_is_escaped_and_the_rest_stays(said: str) -> None:
    assert shows(printable(said + HARMLESS))
    assert printable(said + HARMLESS).endswith(HARMLESS)
    assert "\n" not in printable(said)
    assert printable("one\ntwo\x1b", keep="\n") == "one\ntwo\\x1b"
    assert printable("\u202e\U000e0041") == "\\u202e\\U000e0041"


@each
@pytest.mark.parametrize("name", ["json", "console", "ecs", "cef"])
def test_the_audit_log(tmp_path: Path, said: str, name: str) -> None:
    sink = Sink(FileOutlet(str(tmp_path / "log"), form(name)))
    nested = [{"before": said, said: (said,)}]
    open_log(Origin("gateway", "1cce2aa5"), sink).bind(client=said).write(
        "tns.connect", program=said, changes=nested, raw=said.encode("utf-8", "replace")
    )
    sink.close()
    (line,) = (tmp_path / "log").read_bytes().decode().split("\n")[:-1]
    assert shows(line) or (name != "console" and shows(line.replace("\x7f", "")))


@each
@pytest.mark.parametrize("is_terminal", [True, False])
def test_tables(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, said: str, is_terminal: bool
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: is_terminal, raising=False)
    monkeypatch.setenv("TERM", "dumb")  # without the colours of our own
    terminal.print_rows([{"client": said, "several": [said], "mapping": {said: said}}])
    terminal.print_fields({"config": said})
    assert shows(capsys.readouterr().out)


@each
def test_json_for_programs_says_the_same_and_shows_nothing(capsys: pytest.CaptureFixture[str], said: str) -> None:
    terminal.print_json({"said": said, said: [HARMLESS]})
    output = capsys.readouterr().out
    assert shows(output)
    assert json.loads(output) == {"said": said, said: [HARMLESS]}
    assert HARMLESS.partition(" ")[0] in output
    assert printable_json('"plain"') == '"plain"'


@pytest.mark.parametrize("said", [said for name, said in SPEAKING.items() if name not in ("nul", "surrogate")])
def test_problems_of_a_configuration(tmp_path: Path, said: str) -> None:
    file = tmp_path / f"x{said}.yaml"
    file.write_text(f"version: 1\npolicies: []\n{json.dumps('k' + said)}: 1\ncontrol: {json.dumps(said)}\n")
    result = CliRunner().invoke(main, ["check", str(file)])
    assert result.exit_code == 1
    assert shows(result.output)
    file.write_text("policies: [{name: all, action: accept}]")
    assert shows(CliRunner().invoke(main, ["check", str(file)]).output)
    assert all(map(shows, ConfigError([f"a\n{said}"]).problems))
    assert "\n" not in ConfigError([f"a\n{said}"]).problems[0]


@each
def test_standard_error(capsys: pytest.CaptureFixture[str], said: str) -> None:
    terminal.say(said)
    say(said)
    sink = Sink(FileOutlet("stderr"))
    sink._report(said)
    sink.close()
    assert shows(capsys.readouterr().err)
    assert vars(sinks)["say"] is say
