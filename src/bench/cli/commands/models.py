"""`bench models`: the methods that can be run."""

import json

from bench.cli.arguments import Parser


def run(typed: list[str]) -> int:
    """list the methods that can be run"""
    parser = Parser(prog="bench models", description="List the methods that can be run.")
    parser.add_argument("--json", action="store_true", help="print as JSON")
    known = parser.parse_all(typed)
    from bench.config.presets import preset_names, read_preset

    presets = [read_preset("model", name) for name in preset_names("model")]
    if known.json:
        keys = ("name", "track", "paper", "about")
        print(json.dumps([{key: getattr(preset, key) for key in keys} for preset in presets], indent=2))
        return 0
    from bench.cli.terminal import print_models

    print_models(presets)
    return 0
