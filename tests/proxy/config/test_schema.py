"""The schema of the configuration file, and the examples: what one can say is described, and what is shown is valid."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from proxy.config import documents, reading
from proxy.config.files import Source
from proxy.config.recording import Audit
from proxy.config.schema import REGISTRY, json_schema

CONFIGS = Path(__file__).parents[3] / "configs"
EXAMPLES = sorted(CONFIGS.glob("*.yaml"))


def _resolved(node: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    return schema["$defs"][node["$ref"].rpartition("/")[2]] if "$ref" in node else node


def _keys(node: dict[str, Any], schema: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    """The path of every key that a schema has."""
    node = _resolved(node, schema)
    for name, child in node.get("properties", {}).items():
        yield (name,)
        yield from ((name, *rest) for rest in _keys(child, schema))
    if "items" in node:
        yield from _keys(node["items"], schema)


def _written(value: Any) -> Iterator[tuple[str, ...]]:
    """The path of every key that a file has."""
    if isinstance(value, dict):
        for name, child in value.items():
            yield (name,)
            yield from ((name, *rest) for rest in _written(child))
    if isinstance(value, list):
        for child in value:
            yield from _written(child)


def _plain(file: Path) -> Any:
    return documents.read([Source(file.name, file.read_bytes())]).value


def test_schema_has_the_keys_of_the_file_with_descriptions() -> None:
    schema = json_schema()
    assert {"session-helpers", "policies", "network"} <= schema["properties"].keys()
    described = _resolved(schema["properties"]["policies"]["items"], schema)["properties"]
    assert {"from", "source", "destination", "action", "snat", "dnat", "options"} <= described.keys()
    assert all(field.get("description") for name, field in described.items() if name != "options")
    assert schema["$defs"]["NetworkSettings"]["properties"]["mark"]["default"] == "0x1000000/0x1000000"


def test_schema_describes_every_option_of_every_helper() -> None:
    schema = json_schema()
    options = schema["$defs"]["Options"]["properties"]
    assert set(options) == set(REGISTRY)
    for reference in options.values():
        fields = _resolved(reference, schema)["properties"]
        assert [name for name, field in fields.items() if not field.get("description")] == []


def test_an_option_that_would_let_something_pass_is_one_of_its_helper() -> None:
    """`explain` shows it as a line for the policy."""
    schema = json_schema()
    options = schema["$defs"]["Options"]["properties"]
    for name, helper in REGISTRY.items():
        known = _resolved(options[name], schema)["properties"]
        for word, option in helper.permits.items():
            (written,) = yaml.safe_load(f"options: {{{name}: {{{option}}}}}")["options"][name]
            assert written in known, f"{name}: {word}"


def test_the_full_example_has_every_key() -> None:
    """By default the log has no further sinks, so their keys stand in a comment."""
    schema, of_sinks = json_schema(), ("audit", "sinks")
    every = set(_keys(schema, schema))
    sinks = {keys[2] for keys in every if keys[:2] == of_sinks and len(keys) == 3}
    usual = {keys for keys in every if keys[:2] != of_sinks or len(keys) == 2}
    assert set(_written(_plain(CONFIGS / "pinhole.yaml"))) == usual
    text = (CONFIGS / "pinhole.yaml").read_text()
    comment = text[text.index("# Further places") : text.index("sinks: []")].replace("#", "")
    written = [yaml.safe_load(sink) for sink in re.findall(r"- (\{.*\})", comment)]
    assert sinks == {key for sink in written for key in sink}
    assert len(Audit.model_validate({"sinks": written}).places) == len(written)


def test_the_full_example_says_what_holds_without_it() -> None:
    read = reading.load(CONFIGS / "pinhole.yaml")
    of_the_file = {"source": reading.default().source, "policy_places": ()}
    assert read.model_copy(update=of_the_file) == reading.default()


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.name)
def test_examples_are_valid(file: Path) -> None:
    assert reading.load(file).policies
    jsonschema.Draft202012Validator(json_schema()).validate(_plain(file))
