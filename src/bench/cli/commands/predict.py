"""`bench predict`: score new images with a finished run."""

import os
import sys
from collections import Counter
from contextlib import ExitStack, closing
from heapq import nlargest
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench.cli.command import Argument, Known, command, option
from bench.cli.completion import FILE, FOLDER, RUN
from bench.cli.options import device_option, own_file_options, quiet_option
from bench.cli.taken_threshold import taken_threshold, threshold_option
from bench.console import is_quiet, say, tell
from bench.errors import RunError, UsageError, counted
from bench.writing import check_free

if TYPE_CHECKING:  # these import torch
    from bench.runs.scoring.images import FoundImage
    from bench.runs.scoring.scorer import FinishedRun
    from bench.runs.scoring.stream import ScoredImage

OUT = Path("predictions")
_NAMED = 10  # anomalous images in the summary


@command(
    "Score images with the checkpoint of a finished run, resized as in its test. The data that the run learned from "
    "need not be there.",
    Argument("paths", nargs=-1, required=True, type=FILE, metavar="PATH...", about="images, or folders of images"),
    option("--run", type=RUN, required=True, metavar="RUN", help="folder of the run"),
    option("--out", type=FOLDER, metavar="FOLDER", help=f"folder of the results, a new one (default: {OUT})"),
    option("--format", type=click.Choice(("csv", "jsonl")), help="form of the table (default: csv)"),
    option("--stdout", is_flag=True, help="print the table as JSON lines instead of writing it"),
    option("--maps", is_flag=True, help="raw anomaly maps, 32-bit TIFF of the images' size in MVTec's layout"),
    option("--overlays", is_flag=True, help="heat maps over the images, PNG, one scale for the run"),
    option("--gallery", is_flag=True, help="a page of the images, the most anomalous first: image, map, contour"),
    threshold_option(),
    option("--strict", is_flag=True, help="stop at an unreadable image, and leave nothing"),
    quiet_option(),
    device_option(),
    *own_file_options(),
)
def run(options: Known) -> int:
    """Write a folder of results, or print them."""
    _check(options)
    if "torch" not in sys.modules:
        # Else torch's threads spin while they wait for each other, on cores that decode the next images.
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")

    from bench.config.trusted_code import check_is_of_run
    from bench.records.record import Record
    from bench.runs.scoring.images import find_images

    if options.out:
        check_free(options.out)
    record = Record.read(options.run)  # `load_run` reads and checks it as well, after the import of torch
    names = {"model": record.model, "data": record.dataset}
    check_is_of_run(options.run, names, record.config, {"model": options.model, "data": options.data})
    taken = taken_threshold(options.run, record, options.threshold)
    images = find_images(options.paths)

    from bench.runs.scoring.scorer import load_run

    run = load_run(options.run, model=options.model, data=options.data, device=options.device, threshold=taken)
    _check_maps(run, options)
    if record.products is not None and taken is None:
        products = ", ".join(record.products)
        say(f"bench: one model for {products}: its one threshold for all decides; --threshold takes another")
    if run.config.settings["data"].get("random_pose"):
        say("bench: the run's images were posed at random; these are cropped at their centre")
    _predict(run, images, options)
    return 0


class Worst:
    """The names of the most anomalous images that were called anomalous."""

    def __init__(self) -> None:
        self._best: list[tuple[float, int, str]] = []
        self._added = 0

    def add(self, found: "ScoredImage") -> None:
        """Remember an image if it is among them."""
        self._added += 1
        if found.anomalous:
            self._best = nlargest(_NAMED, [*self._best, (found.score, -self._added, str(found.image.found.path))])

    def names(self) -> list[str]:
        """The worst one first."""
        return [name for _, _, name in self._best]


def _check(options: Known) -> None:
    """Refuse options that cannot work, before anything is loaded; `out` stays None where nothing is written."""
    pictures = options.maps or options.overlays or options.gallery
    if options.stdout and options.format == "csv":
        raise UsageError("--stdout prints JSON lines; leave out --format csv")
    if options.stdout and options.out and not pictures:
        raise UsageError("--stdout writes no folder; leave out --out, or ask for --maps, --overlays or --gallery")
    if options.stdout and not pictures:
        return
    options.out = options.out or OUT
    for path in options.paths:
        if pictures and path.is_dir() and options.out.resolve().is_relative_to(path.resolve()):
            line = f"{options.out} lies in {path}, where its pictures would be images next time"
            raise UsageError(f"{line}; name another folder with --out")


def _check_maps(run: "FinishedRun", options: Known) -> None:
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


def _predict(run: "FinishedRun", images: "list[FoundImage]", options: Known) -> None:
    from bench.progress import ProgressBar
    from bench.runs.scoring.gallery import Gallery
    from bench.runs.scoring.output import PictureWriter, Table, describe, open_table, staged
    from bench.runs.scoring.stream import BrokenImage, score_images

    count, conversions, worst = Counter[str](), Counter[str](), Worst()
    gallery = Gallery(run) if options.gallery else None
    stdout = sys.stdout  # a progress bar replaces sys.stdout
    bar = ProgressBar("images")
    with ExitStack() as stack:
        folder = stack.enter_context(staged(options.out)) if options.out else None
        if options.stdout or folder is None:
            table = Table(stdout, "jsonl")
        else:
            table = stack.enter_context(open_table(folder, options.format or "csv"))
        shown = options.overlays or options.gallery
        results = stack.enter_context(closing(score_images(run, images, pictures=shown)))
        writer = stack.enter_context(PictureWriter(run, folder, maps=options.maps, overlays=options.overlays))
        if sys.stderr.isatty() and not is_quiet() and not (options.stdout and stdout.isatty()):
            stack.callback(bar.stop)
            bar.start("predicting", len(images))
        for found, files in writer.written(results):
            bar.advance()
            if isinstance(found, BrokenImage):
                if options.strict:
                    raise UsageError(found.reason)
                say(f"bench: skipped: {found.reason}")
                count["skipped"] += 1
                continue
            if gallery:
                gallery.add(found)
            table.write(describe(run, found, files))
            if options.stdout:
                stdout.flush()
            count.update(scored=1, anomalous=int(found.anomalous), own=int(found.image.is_own))
            worst.add(found)
            conversions.update([found.image.conversion] if found.image.conversion else [])
        if not count["scored"]:
            raise RunError(f"none of {len(images)} images could be read; nothing was written")
        if gallery and folder:
            gallery.write(folder)
    for what, number in sorted(conversions.items()):
        say(f"bench: {counted(number, 'image')}: {what}")
    _conclude(run, count, worst, options)


def _conclude(run: "FinishedRun", count: Counter[str], worst: "Worst", options: Known) -> None:
    """Print what was done; a RunError where images were skipped."""
    from bench.runs.scoring.gallery import GALLERY
    from bench.runs.scoring.stream import OWN_IMAGES

    if not options.stdout:
        limit = "taken for a defect" if run.threshold is None else f"anomalous, score above {run.threshold:.4g}"
        table = options.out / f"predictions.{options.format or 'csv'}"
        tell(f"{counted(count['scored'], 'image')}: {count['anomalous']} {limit}; {table}")
        if names := worst.names():
            more = count["anomalous"] - len(names)
            tell(f"anomalous: {', '.join(names)}" + (f" and {counted(more, 'other')}" if more else ""))
    if options.gallery:
        say(f"bench: {options.out / GALLERY}")
    if count["own"]:
        say(f"bench: {count['own']} {OWN_IMAGES} {run.folder / 'predictions.csv'}")
    if count["skipped"]:
        raise RunError(f"{count['skipped']} of {count['skipped'] + count['scored']} images were skipped")
