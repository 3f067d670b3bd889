"""A file of configuration for each test."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.config import reading
from proxy.config.schema import Config
from proxy.errors import ConfigError
from tests.harness.configurations import Load, Problems


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def load(text: str) -> Config:
        file = tmp_path / "pinhole.yaml"
        file.write_text(text)
        return reading.load(file)

    return load


@pytest.fixture
def problems(load: Load, tmp_path: Path) -> Problems:
    """What is wrong with a text, without the name of its file."""

    def problems(text: str) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            load(text)
        return [problem.removeprefix(f"{tmp_path}/pinhole.yaml:") for problem in caught.value.problems]

    return problems
