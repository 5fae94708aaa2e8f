"""`bench report`: make a page of a run: figures, curves, its mistakes with heat maps."""

import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from bench.cli.command import Argument, Known, command, option
from bench.cli.completion import FILE, RUN
from bench.cli.options import device_option, own_file_options, root_option
from bench.config.tracks import TRACKS
from bench.console import tell
from bench.errors import UsageError
from bench.writing import write_atomically, writing_to

if TYPE_CHECKING:  # these import torch
    from bench.html_report.selection import Group, Predicted
    from bench.html_report.test_images import PicturedImages
    from bench.records.record import Record

PAGE = "report.html"


@command(
    "Write one self-contained page of a finished run: figures, curves, and what it got wrong, with heat maps of the "
    "test images, which are scored again from the checkpoint.",
    Argument("run", type=RUN, metavar="RUN", about="folder of the run"),
    option("--out", type=FILE, metavar="FILE", help=f"the page (default: {PAGE} in the run's folder)"),
    option("--no-maps", is_flag=True, help="no pictures: neither data nor checkpoint are needed"),
    root_option("where the run's data lie now"),
    device_option(),
    *own_file_options(),
)
def run(options: Known) -> int:
    """Write the page of a finished run."""

    from bench.records.record import Record

    Record.read(options.run)  # `read_finished` reads it as well, after the import of torch

    from bench.html_report.report_page import render
    from bench.html_report.selection import detection_groups, mistake_groups, read_predicted
    from bench.records.finished import read_finished

    record = read_finished(options.run)
    predicted = read_predicted(options.run, record)
    if record.confusion is not None:
        groups = mistake_groups(predicted, record.confusion.classes)
    else:
        groups = detection_groups(predicted, record.metrics["threshold"] or 0.0)
    seen = None if options.no_maps else _picture(record, predicted, groups, options)
    page = render(record, predicted, groups, seen)
    out = options.out or options.run / PAGE
    with writing_to(out.parent, "--out FILE"):
        out.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(out, page)
    tell(out)
    return 0


def _picture(record: "Record", predicted: "list[Predicted]", groups: "list[Group]", options: Known) -> "PicturedImages":
    """Pictures of the images of all groups, and the PRO curve of a method with maps."""
    from bench.html_report.test_images import picture_files, picture_images, picture_with_maps
    from bench.runs.run_data import data_of_run
    from bench.runs.scoring.scorer import load_run

    chosen = sorted({place for group in groups for place in group.indices})
    try:
        data = data_of_run(options.run, record, model=options.model, data=options.data, root=options.root)
        if TRACKS[record.track].learns_from_defects:
            return replace(picture_files(data, predicted, chosen), notice=data.notice)
        if len(predicted) != len(data.category.test):
            raise UsageError(f"the run predicted {len(predicted)} images, and its data have {len(data.category.test)}")
        if record.map_range is None:
            return replace(picture_images(data, chosen), notice=data.notice)
        run = load_run(options.run, model=options.model, data=options.data, device=options.device)
    except UsageError as error:
        raise UsageError(f"{error}; or leave out the pictures: --no-maps") from error
    return replace(picture_with_maps(run, data, chosen, progress=sys.stderr.isatty()), notice=data.notice)
