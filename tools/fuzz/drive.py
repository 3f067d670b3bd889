"""A case, run: its sessions begun, its steps taken, and all that must hold looked at."""

from __future__ import annotations

from dataclasses import dataclass

import click

from protocols import HELPERS
from protocols.contract.engine import Helper
from protocols.observe import Engines
from tests.harness.playbook import Session
from tests.harness.scripts import begin, come, end, take
from tools.fuzz.cases import Case, Said, decoded

THOROUGH = 200
"""One case of so many has what it holds measured, and its calls end by themselves."""
MAX_BYTES = 3_500
SECONDS = 20
"""For one case: far more than any takes."""


def helper_named(name: str) -> Helper:
    """Raises click.BadParameter."""
    if name not in HELPERS:
        raise click.BadParameter(f"{name} is none of {', '.join(HELPERS)}")
    return HELPERS[name]


@dataclass
class Run:
    helper: Helper
    case: Case

    def __post_init__(self) -> None:
        self._start = Engines(self.helper)
        self.sessions: dict[int, Session] = {}
        """Those that have begun, by their numbers."""
        for number, setting in enumerate(self.case.settings):
            if setting.through is None:
                beside = self.sessions[0] if self.sessions else None
                peers, options = setting.peers(self.helper), setting.chosen(self.helper)
                self._add(number, begin(self.helper, peers, options, self._start, beside))

    def _add(self, number: int, session: Session) -> None:
        session.tells_late = self.case.settings[number].tells_late
        self.sessions[number] = session

    def take(self, said: Said) -> None:
        """What is said where nobody has been let in is lost."""
        setting = self.case.settings[said.session]
        opener = self.sessions.get(setting.through) if setting.through is not None else None
        if said.session not in self.sessions and opener is not None:
            session = come(self.helper, opener, self._start)
            if session is not None:
                self._add(said.session, session)
        if said.session in self.sessions:
            take(self.sessions[said.session], said.step, setting.cut or None)

    def end(self, is_thorough: bool = True) -> None:
        """As `scripts.end` does, which takes longer than most cases do when it is thorough."""
        end(self.helper, *self.sessions.values(), is_thorough=is_thorough)

    def to_the_end(self, is_thorough: bool = True) -> None:
        for said in self.case.said:
            self.take(said)
        self.end(is_thorough)


def try_one(helper: Helper, data: bytes, number: int) -> None:
    """An input of a search, the `number`-th one."""
    Run(helper, decoded(data, helper)).to_the_end(is_thorough=number % THOROUGH == 0)
