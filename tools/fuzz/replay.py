"""A saved input, step by step, with what the engine does. What it does not stand is raised."""

from __future__ import annotations

import click

from tests.harness.playbook import render
from tools.fuzz.cases import decoded
from tools.fuzz.drive import Run, helper_named


def replay(engine: str, data: bytes) -> None:
    helper = helper_named(engine)
    run = Run(helper, decoded(data, helper))
    for number, setting in enumerate(run.case.settings):
        click.echo(f"session {number}: {setting.peers(helper)}\n    {setting.chosen(helper)}")
    for said in run.case.said:
        session = run.sessions[said.session]
        asked, done = len(session.pinholes.log), len(session.effects)
        click.echo(f"session {said.session}: {said.step}")
        try:
            run.take(said)
        finally:
            for line in [*session.pinholes.log[asked:], *render(session.effects[done:])]:
                click.echo(f"    {line}")
    run.end()
    click.echo("nothing is wrong with it")
