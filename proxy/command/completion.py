"""`pinhole completion`: words that the shell completes."""

from __future__ import annotations

import click

from proxy.errors import PinholeError


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print what makes a shell complete commands, options and names.

    \b
    bash: pinhole completion bash >/etc/bash_completion.d/pinhole
    zsh:  pinhole completion zsh >/usr/local/share/zsh/site-functions/_pinhole
    fish: pinhole completion fish >/etc/fish/completions/pinhole.fish
    """
    click.echo(script(shell))


def script(shell: str) -> str:
    """The text that a shell reads. It asks the command itself for the words, so it stays right."""
    from click.shell_completion import ShellComplete, get_completion_class

    from proxy.command.cli import main

    kind = get_completion_class(shell)
    if kind is None:
        raise PinholeError(f"click completes no words for {shell}")
    # The class for bash would first run bash to learn how old it is, which need not be there where packages are built.
    return ShellComplete.source(kind(main, {}, "pinhole", "_PINHOLE_COMPLETE")).strip()
