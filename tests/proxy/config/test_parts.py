"""A configuration in several files, and variables of the environment in its values."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.config import files, reading, whereabouts
from proxy.config.schema import Config
from proxy.errors import ConfigError
from tests.harness.configurations import POLICY, Load, Problems, policy

MAIN = "networks: {lan: 10.1.0.0/16}\npolicies: [{name: lan, source: lan, helpers: ftp, action: accept}]\n"


def written(tmp_path: Path, main: str, **parts: str) -> Path:
    """A configuration with these files in `conf.d`."""
    (tmp_path / "conf.d").mkdir()
    for name, text in parts.items():
        (tmp_path / "conf.d" / f"{name}.yaml").write_text(text)
    file = tmp_path / "pinhole.yaml"
    file.write_text(main)
    return file


def wrong(file: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        reading.load(file)
    return [problem.removeprefix(f"{file.parent}/") for problem in caught.value.problems]


# -- conf.d ------------------------------------------------------------------------------------------------------------


def test_files_of_the_folder_are_joined_in_the_order_of_their_names(tmp_path: Path) -> None:
    pbx = "policies: [{name: pbx, source: dmz, helpers: sip, action: accept}]\nnetworks: {dmz: 10.2.0.0/16}\n"
    file = written(tmp_path, MAIN, b="policies: {name: rest, source: lan, action: deny}\n", a=pbx)
    read = reading.load(file)
    assert [each.name for each in read.policies] == ["lan", "pbx", "rest"]
    assert set(read.networks) == {"lan", "dmz"}
    assert read.source == str(file)


def test_a_section_may_be_spread_over_files(tmp_path: Path) -> None:
    file = written(tmp_path, f"{MAIN}limits: {{sessions: 500}}\n", a="limits: {pinholes: 700}\naudit: {to: stderr}\n")
    limits = reading.load(file).limits
    assert (limits.sessions, limits.pinholes) == (500, 700)


def test_the_session_helper_table_may_be_spread_over_files(tmp_path: Path) -> None:
    one, other = (f"{{id: {number}, name: ftp, protocol: tcp, port: {number}}}" for number in (21, 2121))
    file = written(tmp_path, f"{MAIN}session-helpers: {one}\n", a=f"session-helpers: [{other}]\n")
    assert [entry.id for entry in reading.load(file).helpers] == [21, 2121]


def test_a_key_that_is_set_in_two_files_is_a_mistake_with_both_places(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        f"{MAIN}ports: 5000-9000\nlimits: {{sessions: 5}}\n",
        a="\nports: 6000-9000\n",
        b="limits: {pinholes: 2000, sessions: 6}\n",
    )
    assert wrong(file) == [
        f"conf.d/a.yaml:2:1: ports: this key was given before, in {file}:3",
        f"conf.d/b.yaml:1:26: limits.sessions: this key was given before, in {file}:4",
    ]


def test_a_mistake_is_told_with_the_file_that_has_it(tmp_path: Path) -> None:
    file = written(tmp_path, MAIN, a="policies: [{name: lan, source: 10.9.0.0/16, action: acept}]\n")
    assert wrong(file) == [
        "conf.d/a.yaml:1:19: policies[1].name: another policy has the name 'lan' too",
        "conf.d/a.yaml:1:53: policies[1].action: expected accept or deny",
    ]


def test_a_file_that_is_no_yaml_is_the_only_mistake_that_is_told(tmp_path: Path) -> None:
    assert wrong(written(tmp_path, "policies: [", a=MAIN)) == [
        "pinhole.yaml:1:12: a value that begins with <stream end> needs quotes"
    ]


def test_each_file_may_say_the_version(tmp_path: Path) -> None:
    assert reading.load(written(tmp_path, f"version: 1\n{MAIN}", a="version: 1\n")).version == 1


def test_files_with_other_names_are_no_part(tmp_path: Path) -> None:
    file = written(tmp_path, MAIN)
    for name in ("a.yaml~", ".b.yaml", "c.yaml.bak", "README"):
        (tmp_path / "conf.d" / name).write_text("nonsense: 1\n")
    assert reading.load(file).policies


def test_a_file_that_is_hardly_meant_to_be_passed_over_is_warned_of(tmp_path: Path) -> None:
    file = written(tmp_path, MAIN)
    (tmp_path / "conf.d" / "a.yml").write_text("audit: {to: stderr}\n")
    judged = reading.judge(files.gather(file), with_places=True)
    assert judged.warnings == (f"{tmp_path}/conf.d/a.yml:1:1: warning: is not read: call it .yaml",)


def test_a_file_that_cannot_be_read_is_a_mistake(tmp_path: Path) -> None:
    file = written(tmp_path, MAIN)
    (tmp_path / "conf.d" / "a.yaml").mkdir()
    assert wrong(file) == ["conf.d/a.yaml: cannot be read: Is a directory"]


def test_the_control_socket_may_be_named_in_the_folder(tmp_path: Path) -> None:
    file = written(tmp_path, MAIN, a="control: /run/other/control.sock\n")
    assert whereabouts.likely_control(str(file)) == "/run/other/control.sock"
    assert reading.control_in_force(str(file)).path == "/run/other/control.sock"


def test_others_may_not_write_into_a_part(tmp_path: Path) -> None:
    file = written(tmp_path, MAIN, a="version: 1\n")
    (tmp_path / "conf.d" / "a.yaml").chmod(0o666)
    judged = reading.judge(files.gather(file), with_places=True)
    assert [line.partition(": ")[2] for line in judged.problems] == [
        f"{tmp_path}/conf.d/a.yaml: everybody may write this file: chmod o-w {tmp_path}/conf.d/a.yaml"
    ]


def test_files_come_whole_through_a_descriptor(tmp_path: Path) -> None:
    file = written(tmp_path, MAIN, a="# \xe4 \u2713\n")
    assert files.unpack(files.pack(files.gather(file))) == files.gather(file)


# -- variables of the environment --------------------------------------------------------------------------------------


@pytest.fixture
def with_variables(load: Load, monkeypatch: pytest.MonkeyPatch) -> Load:
    for name, value in {"PORT": "50123", "LAN": "10.1.0.0/16", "HOST": "192.0.2.7", "EMPTY": "", "ON": "true"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("UNSET", raising=False)

    def load_it(text: str) -> Config:
        return load(text)

    return load_it


def test_a_variable_is_replaced_by_its_value(with_variables: Load) -> None:
    read = with_variables("control: /run/${HOST}.sock\n" + policy('source: "${LAN}"'))
    assert read.control.path == "/run/192.0.2.7.sock"
    assert [str(network) for network in read.policies[0].sources] == ["10.1.0.0/16"]


def test_a_variable_may_be_a_number_even_within_quotes(with_variables: Load) -> None:
    assert with_variables(f"{POLICY}network:\n  listen_port: ${{PORT}}\n").network.listen_port == 50123
    assert with_variables(f'{POLICY}network: {{listen_port: "${{PORT}}"}}\n').network.listen_port == 50123


def test_a_default_stands_in_for_what_is_not_set_or_empty(with_variables: Load) -> None:
    for name in ("UNSET", "EMPTY"):
        assert with_variables(f"{POLICY}timeouts:\n  connect: ${{{name}:-3s}}\n").timeouts.connect == 3
    assert with_variables(f"{POLICY}timeouts:\n  connect: ${{PORT:-3s}}\n").timeouts.connect == 50123


def test_two_signs_stand_for_the_text_itself(with_variables: Load) -> None:
    assert with_variables(f"{POLICY}control: /run/$${{PORT}}/$HOST\n").control.path == "/run/${PORT}/$HOST"


def test_a_variable_brings_no_further_keys(with_variables: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAN", "any, action: deny")
    with pytest.raises(ConfigError, match="'any, action: deny' is not an IP network or address"):
        with_variables(policy('source: "${LAN}"'))


def test_what_is_not_set_is_a_mistake_at_its_place(with_variables: Load, problems: Problems) -> None:
    assert problems(f"{POLICY}control: /run/${{UNSET}}\n") == [
        "2:10: control: the environment has no UNSET; set it, or write ${UNSET:-default}"
    ]


@pytest.mark.parametrize("text", ["/run/${}", "/run/${1X}", "/run/${A-b}", "/run/${UNCLOSED", "/run/${A:-${B}}"])
def test_what_is_no_variable_is_a_mistake(problems: Problems, text: str) -> None:
    (found,) = problems(f"{POLICY}control: {text}\n")
    assert found.startswith("2:10: control: ${") and "is no variable; expected ${NAME} or ${NAME:-default}" in found


def test_a_key_is_never_replaced(with_variables: Load, problems: Problems) -> None:
    assert problems(f'{POLICY}"${{HOST}}": 1\n') == ["2:1: ${HOST}: a variable stands in a value, not in a key"]
