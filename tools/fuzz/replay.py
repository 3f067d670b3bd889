"""A saved input, step by step, with what the engine does. What it does not stand is raised."""

from __future__ import annotations

import click

from tests.harness.playbook import Session, render
from tools.fuzz.cases import decoded
from tools.fuzz.drive import Run, helper_named


def replay(engine: str, data: bytes) -> None:
    helper = helper_named(engine)
    run = Run(helper, decoded(data, helper))
    for number, setting in enumerate(run.case.settings):
        if setting.through is not None:
            click.echo(f"session {number}: through a pinhole of session {setting.through}")
        else:
            click.echo(f"session {number}: {setting.peers(helper)}\n    {setting.chosen(helper)}")
    for said in run.case.said:
        before = {number: _length(session) for number, session in run.sessions.items()}
        click.echo(f"session {said.session}: {said.step}")
        try:
            run.take(said)
        finally:
            for number, session in run.sessions.items():
                asked, done = before.get(number, (0, 0))
                lines = [*session.pinholes.log[asked:], *render(session.effects[done:])]
                for line in lines:
                    click.echo(f"    {line}" if number == said.session else f"    session {number}: {line}")
    run.end()
    click.echo("nothing is wrong with it")


def _length(session: Session) -> tuple[int, int]:
    """How much it has asked for, and done."""
    return len(session.pinholes.log), len(session.effects)
