"""`bench models`: list the methods that can be run."""

import json

from bench.cli.command import Known, command, option
from bench.console import tell


@command(
    "List the methods that can be run.",
    option("--all", is_flag=True, help="all presets of each method, with what they are"),
    option("--json", is_flag=True, help="print all presets as JSON"),
)
def run(known: Known) -> int:
    """Print a line for each method."""
    from bench.config.presets import preset_names, read_preset

    presets = [read_preset("model", name) for name in preset_names("model")]
    if known.json:
        keys = ("name", "track", "paper", "about")
        print(json.dumps([{key: getattr(preset, key) for key in keys} for preset in presets], indent=2))
        return 0
    if known.all:
        from bench.cli.terminal import print_models

        print_models(presets)
        return 0
    from bench.cli.methods import methods_of, table

    for line in table(list(methods_of(presets)), len(presets)):
        tell(line)
    return 0
