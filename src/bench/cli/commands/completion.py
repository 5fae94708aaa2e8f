"""`bench completion`: print what makes a shell complete commands, options and names."""

import click
from click.shell_completion import get_completion_class

from bench.cli.command import Argument, Known, command

VARIABLE = "_BENCH_COMPLETE"
_HOW = """How:
  bash   echo 'eval "$(bench completion bash)"' >> ~/.bashrc
  zsh    echo 'eval "$(bench completion zsh)"' >> ~/.zshrc
  fish   bench completion fish > ~/.config/fish/completions/bench.fish
"""


@command(
    "Print the script by which a shell completes commands, options, methods, datasets, categories and runs.",
    Argument("shell", type=click.Choice(("bash", "zsh", "fish")), metavar="SHELL", about="bash, zsh or fish"),
    epilog=_HOW,
)
def run(known: Known) -> int:
    """Print the script of a shell."""
    shell = get_completion_class(known.shell)
    assert shell is not None
    print(shell(click.get_current_context().find_root().command, {}, "bench", VARIABLE).source())
    return 0
