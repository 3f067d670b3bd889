"""Look for what an engine does not stand, or run again what was found: see the package."""

from __future__ import annotations

from pathlib import Path

import click

CACHE = Path(__file__).resolve().parents[2] / ".cache" / "fuzz"


@click.command(help=__doc__)
@click.argument("engine")
@click.argument("files", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--inputs", type=click.IntRange(1), default=100_000, show_default=True, help="How many to try.")
@click.option("--corpus", type=click.Path(file_okay=False, path_type=Path), help="Keeps those that reach new code.")
@click.option("--seed", type=int, default=0, help="Of what is drawn at random; without one it is another each time.")
@click.option("--blind", is_flag=True, help="Do not look at what is covered: several times as many inputs a second.")
@click.option("--further", is_flag=True, help="With --blind: connections that a message announces, as H.245 is, alone.")
def main(
    engine: str, files: tuple[Path, ...], inputs: int, corpus: Path | None, seed: int, blind: bool, further: bool
) -> None:
    # Engines are instrumented as they are imported, so nothing may import them before the search does.
    if files:
        from tools.fuzz.replay import replay

        for file in files:
            replay(engine, file.read_bytes())
        return
    if further and not blind:
        raise click.UsageError("--further is for --blind: a guided search keeps what leads on by itself")
    if blind:
        from tools.fuzz.blind import run

        run(engine, corpus or CACHE / engine, CACHE, inputs, seed, further)
        return
    try:
        from tools.fuzz.search import Search
    except ModuleNotFoundError as error:
        if error.name != "atheris":
            raise
        raise click.ClickException("the search needs atheris: tools/setup --fuzz") from None
    Search(engine, corpus or CACHE / engine, CACHE).run(inputs, seed)


if __name__ == "__main__":
    main(prog_name="python -m tools.fuzz")
