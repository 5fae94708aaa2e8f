"""`bench predict`: score new images and write a folder of results."""

import argparse
import sys
from collections import Counter
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING

from bench.cli.arguments import Parser
from bench.console import say, tell
from bench.errors import RunError, UsageError, counted

if TYPE_CHECKING:  # these import torch
    from bench.runs.scoring.images import FoundImage
    from bench.runs.scoring.scorer import FinishedRun

OUT = Path("predictions")


def run(typed: list[str]) -> int:
    """score new images with a finished run"""
    options = _parser().parse_all(typed)
    _check(options)

    from bench.runs.scoring.images import find_images
    from bench.runs.scoring.output import check_free
    from bench.runs.scoring.scorer import load_run

    if options.out:
        check_free(options.out)
    images = find_images(options.paths)
    run = load_run(options.run, model=options.model, data=options.data, device=options.device)
    _check_maps(run, options)
    if run.config.settings["data"].get("random_pose"):
        say("bench: the run's images were posed at random; these are cropped at their centre")
    _predict(run, images, options)
    return 0


def _parser() -> Parser:
    parser = Parser(
        prog="bench predict",
        description="Score images with the checkpoint of a finished run, resized as in its test. "
        "The data that the run learned from need not be there.",
    )
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="an image, or a folder with all below it")
    parser.add_argument("--run", type=Path, required=True, metavar="RUN", help="folder of the run")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help=f"folder of the results, a new one (default: {OUT})")
    parser.add_argument("--format", choices=("csv", "jsonl"), help="form of the table (default: csv)")
    parser.add_argument("--stdout", action="store_true", help="print the table as JSON lines instead of writing it")
    parser.add_argument(
        "--maps", action="store_true", help="raw anomaly maps, 32-bit TIFF of the images' size in MVTec's layout"
    )
    parser.add_argument("--overlays", action="store_true", help="heat maps over the images, PNG, one scale for the run")
    parser.add_argument("--strict", action="store_true", help="stop at an unreadable image, and leave nothing")
    parser.add_argument("--device", choices=("auto", "cpu", "gpu", "mps"), default="auto", help="default: auto")
    parser.add_argument("--model", metavar="FILE", help="YAML file of a method of your own, if the run's is one")
    parser.add_argument("--data", metavar="FILE", help="YAML file of a dataset of your own, if the run's is one")
    return parser


def _check(options: argparse.Namespace) -> None:
    """Refuse options that cannot work, before anything is loaded; `out` stays None where nothing is written."""
    pictures = options.maps or options.overlays
    if options.stdout and options.format == "csv":
        raise UsageError("--stdout prints JSON lines; leave out --format csv")
    if options.stdout and options.out and not pictures:
        raise UsageError("--stdout writes no folder; leave out --out, or ask for --maps or --overlays")
    if options.stdout and not pictures:
        return
    options.out = options.out or OUT
    for path in options.paths:
        if pictures and path.is_dir() and options.out.resolve().is_relative_to(path.resolve()):
            line = f"{options.out} lies in {path}, where its pictures would be images next time"
            raise UsageError(f"{line}; name another folder with --out")


def _check_maps(run: "FinishedRun", options: argparse.Namespace) -> None:
    if not (options.maps or options.overlays):
        return
    if run.record.map_range is None and run.record.metrics.get("pixel_auroc") is None:
        raise UsageError(f"{run.record.model} has no anomaly maps; leave out --maps and --overlays")
    if run.record.map_range is None and options.overlays:
        line = f"{run.folder} is of an earlier version: its record does not say where the colours of maps begin and end"
        raise UsageError(f"{line}; run the cell again, or leave out --overlays")
    if run.geometry.crop:
        size, crop = run.geometry.size, run.geometry.crop
        say(f"bench: the run saw the middle {crop} of {size} pixels: beyond, maps hold their lowest value")


def _predict(run: "FinishedRun", images: "list[FoundImage]", options: argparse.Namespace) -> None:
    from bench.progress import ProgressBar
    from bench.runs.scoring.output import Table, describe, open_table, staged, write_pictures
    from bench.runs.scoring.stream import BrokenImage, score_images

    count, conversions = Counter[str](), Counter[str]()
    stdout = sys.stdout  # a progress bar replaces sys.stdout
    bar = ProgressBar("images")
    with ExitStack() as stack:
        folder = stack.enter_context(staged(options.out)) if options.out else None
        if options.stdout or folder is None:
            table = Table(stdout, "jsonl")
        else:
            table = stack.enter_context(open_table(folder, options.format or "csv"))
        results = stack.enter_context(closing(score_images(run, images, pictures=options.overlays)))
        if sys.stderr.isatty() and not (options.stdout and stdout.isatty()):
            stack.callback(bar.stop)
            bar.start("predicting", len(images))
        for found in results:
            bar.advance()
            if isinstance(found, BrokenImage):
                if options.strict:
                    raise UsageError(found.reason)
                say(f"bench: skipped: {found.reason}")
                count["skipped"] += 1
                continue
            files = write_pictures(run, found, folder, maps=options.maps, overlays=options.overlays) if folder else {}
            table.write(describe(run, found, files))
            if options.stdout:
                stdout.flush()
            count.update(scored=1, anomalous=found.anomalous, own=found.image.is_own)
            conversions.update([found.image.conversion] if found.image.conversion else [])
        if not count["scored"]:
            raise RunError(f"none of {len(images)} images could be read; nothing was written")
    for what, number in sorted(conversions.items()):
        say(f"bench: {counted(number, 'image')}: {what}")
    _conclude(run, count, options)


def _conclude(run: "FinishedRun", count: Counter[str], options: argparse.Namespace) -> None:
    """Print a line on what was done; a RunError where images were skipped."""
    if not options.stdout:
        limit = "taken for a defect" if run.threshold is None else f"anomalous, score above {run.threshold:.4g}"
        table = options.out / f"predictions.{options.format or 'csv'}"
        tell(f"{count['scored']} images: {count['anomalous']} {limit}; {table}")
    if count["own"]:
        say(
            f"bench: {count['own']} of these are images that the run learned from, all but one of its folds each; "
            f"fair scores of them are in {run.folder / 'predictions.csv'}"
        )
    if count["skipped"]:
        raise RunError(f"{count['skipped']} of {count['skipped'] + count['scored']} images were skipped")
