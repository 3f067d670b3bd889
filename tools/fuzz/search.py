"""The search itself, by libFuzzer as atheris has it. Imported before anything else that imports the engines."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["protocols"]):
    import_module("protocols")  # whatever imports the engines later finds them instrumented

from tools.fuzz.cases import decoded, encoded
from tools.fuzz.drive import MAX_BYTES, SECONDS, helper_named, try_one
from tools.fuzz.mutations import Mutator
from tools.fuzz.seeds import seeds


class Search:
    def __init__(self, engine: str, corpus: Path, found: Path) -> None:
        """found: the directory for what is not stood."""
        self._helper = helper_named(engine)
        self._corpus = corpus
        self._found = found
        self._mutator = Mutator(self._helper, lambda data, most: atheris.Mutate(data, most))
        self._tried = 0

    def run(self, inputs: int, seed: int) -> None:
        """Until so many were tried, or one is not stood, which is saved. Ends the process, as libFuzzer does."""
        self._corpus.mkdir(parents=True, exist_ok=True)
        # libFuzzer writes into this directory and does not make it.
        self._found.mkdir(parents=True, exist_ok=True)
        for number, case in enumerate(seeds(self._helper)):
            if len(data := encoded(case)) <= MAX_BYTES:
                (self._corpus / f"seed-{number}").write_bytes(data)
        words = [
            "tools.fuzz",
            f"-runs={inputs}",
            f"-seed={seed}",
            f"-max_len={MAX_BYTES}",
            f"-timeout={SECONDS}",
            f"-artifact_prefix={self._found}/{self._helper.name}-",
            "-len_control=20",
            str(self._corpus),
        ]
        options = {"custom_mutator": self._changed, "custom_crossover": self._crossed}
        atheris.Setup(words, self._try, **options)
        atheris.Fuzz()

    def _try(self, data: bytes) -> None:
        self._tried += 1
        try_one(self._helper, data, self._tried)

    def _changed(self, data: bytes, limit: int, seed: int) -> bytes:
        return encoded(self._mutator.changed(decoded(data, self._helper), seed))[:limit]

    def _crossed(self, one: bytes, other: bytes, limit: int, seed: int) -> bytes:
        cases = decoded(one, self._helper), decoded(other, self._helper)
        return encoded(self._mutator.crossed(*cases, seed))[:limit]
