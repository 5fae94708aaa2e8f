"""`bench verify`: the figures of maps that others made, exact, and the protocols that reproduce claimed ones."""

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.cli.command import Argument, Known, command, option
from bench.cli.completion import CATEGORY, FILE, FOLDER
from bench.cli.early import check_images, check_place
from bench.cli.options import data_option, quiet_option, reading_options, reading_settings, root_option
from bench.config.presets import DEFAULT_DATA, owner_of, read_preset
from bench.console import add_row, plain_console, tell
from bench.data.category_folders import ALL
from bench.errors import UsageError
from bench.verification.claims import CLAIMABLE, read_claims

if TYPE_CHECKING:  # these import torch
    from bench.data.datamodule import DefectData
    from bench.verification.claims import Claim, Figure
    from bench.verification.verify import Verification

_SHOWN = 0.0005  # a smaller difference is not told on a terminal; --json has all
_EXAMPLES = """Examples:
  bench verify maps --category bottle
  bench verify maps --category bottle --scores scores.csv --claimed pixel_auroc=.981 --claimed aupro_0.30=94.6%
"""


@command(
    "Compute the exact figures of raw anomaly maps that others made of a category's test images, and the same under "
    "protocols that are known to differ; list all that reproduce a claimed figure. The record has a track of its own.",
    Argument(
        "maps",
        type=FILE,
        metavar="MAPS",
        about="folder of maps named as their images, bottle/test/good/000.tiff (or .npy), or one .npz",
    ),
    option("--category", type=CATEGORY, metavar="NAME", required=True, help="category whose test images they are of"),
    data_option(DEFAULT_DATA),
    root_option(),
    *reading_options(),
    option("--scores", type=FILE, metavar="FILE", help="CSV with path and score (default: each map's maximum)"),
    option("--threshold", type=float, metavar="VALUE", help="of the scores, for accuracy, precision and recall"),
    option(
        "--claimed",
        multiple=True,
        metavar="NAME=VALUE",
        help=f"a figure to find again, .981 or 98.1%; repeatable; names: {', '.join(CLAIMABLE)}",
    ),
    option("--name", default="maps", metavar="NAME", help="of the method, for its record (default: maps)"),
    option("--seed", type=click.IntRange(0), default=0, metavar="N", help="that the maps are of (default: 0)"),
    option("--runs", type=FOLDER, default="runs", metavar="FOLDER", help="folder of all records (default: runs)"),
    option("--json", is_flag=True, help="print as JSON instead of tables"),
    quiet_option(),
    epilog=_EXAMPLES,
)
def run(options: Known) -> int:
    """Verify the maps, write the record, print the figures."""
    claims, settings = _check(options), reading_settings(options)
    preset = read_preset("data", options.data)
    own = dict(preset.settings.get("data", {})) | settings
    check_images(preset, options.category, own)
    check_place(options.runs, "--runs FOLDER")

    from bench.runs.telling import telling

    with telling("bench verify", progress=True):
        from bench.verification.keep import keep
        from bench.verification.report import as_dict
        from bench.verification.verify import Request, verify

        loaded: type[DefectData] = preset.load_class()
        data = loaded(options.category, options.seed, "full", **own)  # it divides datasets that have no split
        request = Request(
            maps=options.maps,
            scores=options.scores,
            threshold=options.threshold,
            claims=claims,
            name=options.name,
            seed=options.seed,
            dataset=loaded.dataset_name(preset.name, own),
            settings={"class_path": preset.class_path} | own,
            command=_words(options, settings),
        )
        found = verify(data, request)
        folder = keep(found, options.runs)
    if options.json:
        print(json.dumps(as_dict(found, folder), indent=2, allow_nan=False, ensure_ascii=False))
    else:
        _print(found, folder)
    return 0


def _check(options: Known) -> "list[Claim]":
    """Refuse what cannot be meant, before anything is read."""
    from math import isfinite

    from bench.config.plain_names import check_name

    claims = read_claims(options.claimed)
    check_name("method's name", options.name)
    if options.category == ALL:
        raise UsageError("maps are verified one category at a time; name one with --category")
    if options.threshold is not None and not isfinite(options.threshold):
        raise UsageError(f"--threshold {options.threshold:g} is no finite number")
    for path, name in ((options.maps, "MAPS"), (options.scores, "--scores")):
        if path is not None and not path.exists():
            raise UsageError(f"{name}: there is no {path}")
    return claims


def _words(options: Known, settings: Mapping[str, Any]) -> str:
    """The command that repeats the verification, with all that decides its figures."""
    words = ["bench", "verify", str(options.maps), "--category", options.category]
    if options.data != DEFAULT_DATA:
        words += ["--data", options.data]
    for name, value in settings.items():
        words += [f"--data.{name}", str(value)]
    for name in ("scores", "threshold"):
        if (value := getattr(options, name)) is not None:
            words += [f"--{name}", str(value)]
    return shlex.join([*words, "--name", options.name, "--seed", str(options.seed)])


def _print(found: "Verification", folder: Path) -> None:
    from bench.metrics.catalogue import metric_text, title_of
    from bench.verification.verify import MAXIMUM

    record = found.record
    sizes = ", ".join(f"{width} x {height}" for height, width in found.sizes[:3])
    more = " and others" if len(found.sizes) > 3 else ""
    maps = f"{len(found.predictions)} maps of {sizes}{more} pixels"
    tell(f"{record.model} on {record.category} ({record.dataset}): {maps}")
    if record.config["maps"]["scores"] == MAXIMUM:
        tell("images are scored by the maximum of their map; --scores FILE gives others")
    _print_table([[title_of(name), metric_text(value)] for name, value in record.metrics.items()], ["metric", "exact"])
    if rows := list(_changed(found)):
        tell(f"under other protocols, where a figure differs by {_SHOWN} or more:")
        _print_table(rows, ["protocol", "metric", "figure", "differs by"])
    for claim, figures in found.claims:
        _print_claim(claim, figures, record.metrics.get(claim.metric))
    if len(found.claims) > 1:
        tell(f"all {len(found.claims)} claims at once: {', '.join(found.together) or 'no protocol'}")
    tell(f"record    {folder / 'record.json'}")
    if not record.official and (owner := owner_of(record.dataset)):
        tell(f"not {owner}'s own data: {'; '.join(record.data.differences)}")


def _changed(found: "Verification") -> "list[list[str]]":
    """The rows of single protocols whose figures differ from the exact ones."""
    from bench.metrics.catalogue import METRICS, metric_text
    from bench.verification.figures import AND

    rows = []
    for name, own in found.others.items():
        for metric, value in own.items():
            exact = found.record.metrics.get(metric)
            if AND in name or value is None or (exact is not None and abs(value - exact) < _SHOWN):
                continue
            difference = "" if exact is None else f"{value - exact:+.4f}"
            rows.append([name, METRICS[metric].column, metric_text(value), difference])
    return rows


def _print_claim(claim: "Claim", figures: "list[Figure]", exact: float | None) -> None:
    from bench.metrics.catalogue import metric_text, title_of
    from bench.verification.report import about

    said = f"{title_of(claim.metric)} {claim.value:.6g} claimed"
    if not figures:
        own = f"; the exact figure is {metric_text(exact)}" if exact is not None else ""
        tell(f"{said}: no protocol reproduces it to {claim.tolerance:g}{own}")
        return
    tell(f"{said}, reproduced to {claim.tolerance:g} by:")
    for each in figures:
        difference = "no exact figure" if each.difference is None else f"{each.difference:+.4f}"
        tell(f"  {each.protocol}  {each.value:.4f} ({difference})  {about(each.protocol)}")


def _print_table(rows: "list[list[str]]", titles: "list[str]") -> None:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE, pad_edge=False)
    for place, title in enumerate(titles):
        numbers = place and place >= len(titles) - 2
        # Names are folded where a line is too narrow, numbers never.
        table.add_column(title, justify="right" if numbers else "left", no_wrap=bool(numbers), overflow="fold")
    for row in rows:
        add_row(table, row)
    plain_console().print(table)
