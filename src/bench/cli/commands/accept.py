"""`bench accept`: which method to use on photos of one's own, with which threshold, and what that promises."""

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from bench.cli.amounts import check_cost, check_share
from bench.cli.command import Argument, Known, command, option
from bench.cli.completion import FOLDER, IMPORTED, MODELS, complete_settings
from bench.cli.grid_options import parse_seeds
from bench.cli.options import quiet_option
from bench.console import each_line_once, say, tell
from bench.data.category_folders import GOOD
from bench.data.importing.roles import SPLIT
from bench.errors import UsageError, nearest
from bench.writing import check_folder, write_atomically, writing_to

if TYPE_CHECKING:  # these import torch
    from bench.acceptance.acceptance import Acceptance
    from bench.config.settings import Config

PAGE, RESULT = "acceptance.html", "acceptance.json"
_METHODS = ["padim_mobilenetv2", "knn_mobilenetv2"]
_OUT = Path("acceptance")
_PRODUCTS = Path("products")  # where `bench data import` makes categories
_EXAMPLES = """Settings of all methods: as for 'bench fit', such as --model.weights FILE or --image-size 256.

Examples:
  bench data import ~/photos --name tablet
  bench accept tablet --max-false-alarms 0.05
  bench accept tablet --methods padim,patchcore --cost-miss 100 --cost-alarm 1 --bad-share 0.002
"""


@command(
    "Fit methods on a category of your own photos, recommend one, choose its threshold on photos that it did not learn "
    f"from, and write a page of what that promises: {PAGE}, and {RESULT}.",
    Argument(
        "category", type=IMPORTED, metavar="CATEGORY", about="that 'bench data import' made: its name, or its folder"
    ),
    option("--methods", "--models", type=MODELS, metavar="A,B", help=f"methods (default: {','.join(_METHODS)})"),
    option(
        "--max-false-alarms", type=float, default=0.05, metavar="SHARE", help="of good parts, at most (default: 0.05)"
    ),
    option("--seeds", type=parse_seeds, default="0,1,2", metavar="0,1,2", help="seeds (default: 0,1,2)"),
    option("--cost-miss", type=float, metavar="COST", help="of a bad part that passes"),
    option("--cost-alarm", type=float, metavar="COST", help="of a good part that is stopped"),
    option(
        "--bad-share", type=float, metavar="SHARE", help="of bad parts at the line (default: that of the test photos)"
    ),
    option("--runs", type=FOLDER, default="runs", metavar="FOLDER", help="folder of all runs (default: runs)"),
    option("--out", type=FOLDER, metavar="FOLDER", help=f"of the page (default: {_OUT}/CATEGORY)"),
    option("--force", is_flag=True, help="run finished cells again"),
    option("--thorough", is_flag=True, help="a learning curve of methods that train as well, which takes long"),
    option("--json", is_flag=True, help="print as JSON instead of sentences"),
    quiet_option(),
    settings=complete_settings,
    epilog=_EXAMPLES,
)
def run(known: Known) -> int:
    """Fit, compare, choose; write the page and tell what is on it."""
    known.methods = list(dict.fromkeys(known.methods or _METHODS))
    _check(known)
    options = _settings(known)
    _check_cells(known, options)
    out = known.out or _OUT / known.category
    check_folder(out, "--out FOLDER")

    from bench.runs.telling import telling

    with each_line_once(), telling(f"accept {known.category}", progress=True):
        from bench.acceptance.acceptance import Asked, accept
        from bench.acceptance.page import render
        from bench.acceptance.result import as_dict
        from bench.config.presets import is_path
        from bench.records.chosen_threshold import THRESHOLD

        asked = Asked(
            known.max_false_alarms,
            known.runs,
            known.cost_miss,
            known.cost_alarm,
            known.bad_share,
            known.force,
            known.thorough,
            {Path(name).stem: name for name in known.methods if is_path(name)},
        )
        found = accept(_configs(known, options), asked)
        page, result = render(found, out / THRESHOLD), as_dict(found)
    with writing_to(out, "--out FOLDER"):
        out.mkdir(parents=True, exist_ok=True)
        found.point.chosen.write(out)
        write_atomically(out / RESULT, json.dumps(result, indent=2, allow_nan=False, ensure_ascii=False) + "\n")
        write_atomically(out / PAGE, page)
    if known.json:
        print(json.dumps(result, indent=2, allow_nan=False, ensure_ascii=False))
        say(f"bench: {out / PAGE}")
    else:
        _tell(found, out)
    return 0


def _check(known: Known) -> None:
    """Refuse wishes that no threshold has, and methods that have none, before anything is read."""
    from bench.config.class_sources import read_source
    from bench.config.presets import read_preset
    from bench.config.tracks import TRACKS

    check_share("--max-false-alarms", known.max_false_alarms, "0.05")
    check_share("--bad-share", known.bad_share, "0.02")
    check_cost("--cost-miss", known.cost_miss)
    check_cost("--cost-alarm", known.cost_alarm)
    if (known.cost_miss is None) != (known.cost_alarm is None):
        raise UsageError("costs compare two mistakes: give both --cost-miss and --cost-alarm, in one unit")
    if known.bad_share is not None and known.cost_miss is None:
        raise UsageError("--bad-share weighs costs: give --cost-miss and --cost-alarm as well")
    for name in known.methods:
        preset = read_preset("model", name)
        source = read_source(preset)
        track = source.track if source and source.track else preset.track
        if track in TRACKS and TRACKS[track].learns_from_defects:
            raise UsageError(
                f"{preset.name} is a classifier: it learns from labelled defects and has no threshold to accept; name "
                "methods that learn from good parts: 'bench models' lists them"
            )


def _settings(known: Known) -> dict[str, str]:
    """The typed settings by their full names, with the data's root and who calibrates; sets the category's name."""
    from bench.config.presets import read_preset
    from bench.config.setting_words import Vocabulary

    presets = [read_preset("model", name) for name in known.methods]
    options = Vocabulary(known.settings, presets, read_preset("data", "folder")).full()
    folder = _folder(known, options)
    options["data.root"], known.category = str(folder.parent), folder.name
    options.setdefault("data.masks", "optional")
    if (folder / SPLIT).is_file():
        if "data.validation_share" in options:
            raise UsageError(f"{folder / SPLIT} says which photos calibrate: leave out --data.validation_share")
        options.setdefault("data.held_out", "calibration")
        _check_roles(folder)
    elif not (folder / "train" / GOOD).is_dir():
        raise UsageError(f"no {folder / SPLIT}; import these photos first: bench data import {folder} --name NAME")
    elif options.get("data.validation_share", "0") in ("0", "0.0"):
        raise UsageError(
            f"no {folder / SPLIT}: nobody knows which photos calibrate; import them (bench data import PHOTOS --name "
            f"{folder.name}), or hold out a share of those to learn from: --data.validation_share 0.25"
        )
    return options


def _folder(known: Known, options: Mapping[str, str]) -> Path:
    """The category's folder: the one that is named, else of that name below the root, else where imports lie."""
    import os

    from bench.config.paths import DATA
    from bench.data.category_folders import category_folder

    typed = Path(known.category)
    if typed.name in ("", ".."):  # the folder where one stands
        typed = typed.resolve()
    if "data.root" in options:
        return category_folder(Path(options["data.root"]).expanduser(), known.category, {})
    if len(typed.parts) > 1 or typed.is_absolute():
        if not typed.is_dir():
            raise UsageError(
                f"no folder {typed}; make one of your photos: bench data import PHOTOS --name {typed.name}"
            )
        return typed.absolute()
    if (_PRODUCTS / typed).is_dir():
        return (_PRODUCTS / typed).absolute()
    if os.environ.get(DATA):
        return category_folder(Path(os.environ[DATA]), known.category, {})
    there = [path.name for path in _PRODUCTS.iterdir() if path.is_dir()] if _PRODUCTS.is_dir() else []
    if near := nearest(typed.name, there):
        raise UsageError(f"no category {typed} in {_PRODUCTS}; did you mean '{near}'?")
    raise UsageError(
        f"no category {typed} in {_PRODUCTS}; make one of your photos (bench data import PHOTOS --name {typed}), or "
        "say where it lies: --data.root FOLDER"
    )


def _check_roles(folder: Path) -> None:
    """Refuse a category without photos to learn from, to calibrate, or to check on."""
    from bench.data.importing.roles import read_roles

    roles = {photo.role for photo in read_roles(folder)}
    for role, share in (("calibration", "--calibration-share"), ("test", "--test-share")):
        if role not in roles:
            raise UsageError(f"no photo in {folder} has the role {role}; import the photos again with a {share}")


def _check_cells(known: Known, options: dict[str, str]) -> None:
    """Refuse settings of the wrong kind, weights and masks that are not there, before torch is imported."""
    from bench.cli.early import check_cell, check_place
    from bench.config.settings import read_layers

    for name in known.methods:
        layers = read_layers(model=name, data="folder", category=known.category, files=[])
        check_cell(layers, [known.category], options)
    check_place(known.runs, "--runs FOLDER")


def _configs(known: Known, options: dict[str, str]) -> "list[Config]":
    from bench.sweep.plan import plan, read_sweep

    sweep = read_sweep(None, {"models": known.methods, "categories": [known.category], "seeds": known.seeds})
    return [cell.config for cell in plan(sweep, options, "folder")]


def _tell(found: "Acceptance", out: Path) -> None:
    from bench.acceptance.sentences import answers, cost_sentence, remarks, verdict
    from bench.records.chosen_threshold import THRESHOLD

    tell(f"{verdict(found)}.")
    for each in answers(found):
        tell(f"{each.question} {each.answer}. {each.behind}")
    for line in filter(None, [cost_sentence(found), *remarks(found)]):
        tell(line)
    taken = shlex.join(["--run", str(found.folder), "--threshold", str(out / THRESHOLD)])
    tell(f"{out / PAGE}; to use this model with this threshold: bench predict {taken} PHOTOS")
    tell(f"to put both on a machine without torch: bench export {taken}")
