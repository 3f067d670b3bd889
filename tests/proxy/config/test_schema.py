"""The schema of the configuration file, and the examples: what one can say is described, and what is shown is valid."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from proxy.config import documents, reading
from proxy.config.files import Source
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


def test_the_full_example_has_every_key() -> None:
    schema = json_schema()
    assert set(_written(_plain(CONFIGS / "pinhole.yaml"))) == set(_keys(schema, schema))


def test_the_full_example_says_what_holds_without_it() -> None:
    read = reading.load(CONFIGS / "pinhole.yaml")
    of_the_file = {"source": reading.default().source, "policy_places": ()}
    assert read.model_copy(update=of_the_file) == reading.default()


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.name)
def test_examples_are_valid(file: Path) -> None:
    assert reading.load(file).policies
    jsonschema.Draft202012Validator(json_schema()).validate(_plain(file))
