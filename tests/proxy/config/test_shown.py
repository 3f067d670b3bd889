"""What is in force as text, its hash, and what two configurations differ in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from proxy.config import reading
from proxy.config.changes import Change, changes
from proxy.config.files import Source
from proxy.config.schema import Config, File
from proxy.config.shown import hash_of, plain, text
from proxy.config.written import Secret
from tests.harness.configurations import POLICY, Load, policy

EXAMPLES = sorted((Path(__file__).parents[3] / "configs").glob("*.yaml"))


def read(shown: dict[str, Any]) -> Config:
    judged = reading.judge([Source("shown", text(shown).encode())])
    assert judged.settings is not None, judged.problems
    return judged.settings


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.name)
@pytest.mark.parametrize("with_defaults", [True, False])
def test_what_is_shown_says_the_same_as_the_file(file: Path, with_defaults: bool) -> None:
    settings = reading.load(file)
    assert hash_of(read(plain(settings, with_defaults=with_defaults))) == hash_of(settings)


def test_without_defaults_only_what_differs_is_shown(load: Load) -> None:
    keys = "source: [10.1.0.0/16, 192.0.2.1], dnat: null, options: {sip: {call_idle: 2h}, ftp: {tls: allow}}"
    assert plain(load(policy(keys) + "timeouts: {connect: 3s, drain: 30}\n"), with_defaults=False) == {
        "policies": [
            {
                "name": "p",
                "source": ["10.1.0.0/16", "192.0.2.1"],
                "action": "accept",
                "options": {"sip": {"call_idle": 7200}},
            }
        ],
        "timeouts": {"connect": 3},
    }


def test_with_defaults_every_key_is_shown(load: Load) -> None:
    shown = plain(load(POLICY))
    assert set(shown) == {str(field.validation_alias or name) for name, field in File.model_fields.items()}
    assert shown["policies"][0]["source"] == "any"
    assert shown["policies"][0]["options"]["tns"]["hops"] == 3
    assert shown["session-helpers"][0] == {"id": 1, "name": "ftp", "protocol": "tcp", "port": [21], "enabled": True}


WHOLE = """
audit: {sinks: [{to: journal}, {to: syslog, server: "udp://192.0.2.1:514", facility: local0}]}
hep: {to: "192.0.2.5:9060"}
metrics: {listen: 9467}
network: {mark: 0x2000000/0x2000000, max_segment: 1300}
"""


@pytest.mark.parametrize("more", ["", "audit: {to: stdout, sinks: [{to: journal}]}", "audit: {format: json}", WHOLE])
@pytest.mark.parametrize("with_defaults", [True, False])
def test_what_is_shown_means_the_same_when_it_is_read_again(load: Load, more: str, with_defaults: bool) -> None:
    settings = load(f"{POLICY}{more}\n")
    again = read(plain(settings, with_defaults=with_defaults))
    assert [getattr(again, name) for name in File.model_fields] == [
        getattr(settings, name) for name in File.model_fields
    ]
    assert again.audit.places == settings.audit.places
    assert hash_of(again) == hash_of(settings)


def test_the_password_of_a_collector_is_not_shown(load: Load) -> None:
    shown = plain(load(POLICY + 'hep: {to: "192.0.2.5:9060", password: hunter2}\n'))
    assert shown["hep"]["password"] == "(hidden)"
    assert "hunter2" not in text(shown)


def test_a_text_that_looks_like_a_variable_is_shown_so_that_it_stays_one(load: Load) -> None:
    settings = load(f"{POLICY}control: /run/$${{X}}.sock\n")
    assert read(plain(settings, with_defaults=False)).control.path == "/run/${X}.sock"


def test_the_hash_is_that_of_the_effect_and_not_of_the_words(load: Load) -> None:
    one = hash_of(load("networks: {}\n" + policy("source: [10.0.0.0/8]") + "timeouts: {connect: 10s}\n"))
    assert one == hash_of(load(policy("source: 10.0.0.0/8, snat: none") + "# a remark\n"))
    assert one != hash_of(load(policy("source: 10.0.0.0/9")))
    assert len(one) == 64


def test_changes_are_told_key_by_key(load: Load) -> None:
    before = load(POLICY + "timeouts: {connect: 3s}\n")
    after = load(
        "policies: [{name: all, snat: interface, action: accept, options: {sip: {ice: pass}}}]\nports: 5000-9999"
    )
    assert changes(before, after) == [
        Change("policies[all].snat", "none", "interface"),
        Change("policies[all].options.sip.ice", "strip", "pass"),
        Change("ports", "40000-59999", "5000-9999"),
        Change("timeouts.connect", 3, 10),
    ]
    assert changes(before, before) == []


def test_policies_that_come_go_and_change_places(load: Load) -> None:
    one, other, third = (f"{{name: {name}, source: 10.{name[1]}.0.0/16, action: deny}}" for name in ("a1", "b2", "c3"))
    before, after = load(f"policies: [{one}, {other}]"), load(f"policies: [{other}, {one}, {third}]")
    assert changes(before, after) == [
        Change("policies[c3]", None, {"name": "c3", "source": ["10.3.0.0/16"], "action": "deny"}),
        Change("policies (order)", ["a1", "b2"], ["b2", "a1"]),
    ]
    gone = changes(after, load(f"policies: [{other}, {one}]"))
    assert [(change.key, change.after) for change in gone] == [("policies[c3]", None)]


def test_a_network_that_changes_is_told_with_the_policies_that_name_it(load: Load) -> None:
    texts = [f"networks: {{lan: {net}}}\n" + policy("source: lan") for net in ("10.1.0.0/16", "10.2.0.0/16")]
    assert [change.key for change in changes(*map(load, texts))] == ["networks.lan", "policies[p].source"]


class _Part(BaseModel):
    word: Secret | None = "x"


class _WithSecret(File):
    part: _Part = _Part()


def test_a_secret_is_never_shown_yet_its_change_is_told() -> None:
    one, other = (_WithSecret(policies=(), part=_Part(word=word)) for word in ("hunter2", "hunter3"))
    assert plain(one)["part"] == {"word": "(hidden)"}
    assert changes(one, other) == [Change("part.word", "(hidden)", "(hidden)")]
