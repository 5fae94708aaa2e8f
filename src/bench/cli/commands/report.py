"""`bench report`: write the page of a finished run."""

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from bench.cli.arguments import Parser
from bench.console import tell
from bench.errors import UsageError
from bench.writing import write_atomically, writing_to

if TYPE_CHECKING:  # these import torch
    from bench.data.datamodule import DefectData
    from bench.html_report.selection import Group, Predicted
    from bench.html_report.test_images import PicturedImages
    from bench.records.record import Record

PAGE = "report.html"


def run(typed: list[str]) -> int:
    """make a page of a run: figures, curves, its mistakes with heat maps"""
    options = _parser().parse_all(typed)

    from bench.html_report.report_page import render
    from bench.html_report.selection import detection_groups, mistake_groups, read_predicted
    from bench.runs.scoring.scorer import read_finished

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


def _parser() -> Parser:
    parser = Parser(
        prog="bench report",
        description="Write one self-contained page of a finished run: figures, curves, and what it got wrong, with "
        "heat maps of the test images, which are scored again from the checkpoint.",
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of the run")
    parser.add_argument("--out", type=Path, metavar="FILE", help=f"the page (default: {PAGE} in the run's folder)")
    parser.add_argument("--no-maps", action="store_true", help="no pictures: neither data nor checkpoint are needed")
    parser.add_argument("--data.root", dest="root", metavar="FOLDER", help="where the run's data lie now")
    parser.add_argument("--device", choices=("auto", "cpu", "gpu", "mps"), default="auto", help="default: auto")
    parser.add_argument("--model", metavar="FILE", help="YAML file of a method of your own, if the run's is one")
    parser.add_argument("--data", metavar="FILE", help="YAML file of a dataset of your own, if the run's is one")
    return parser


def _picture(
    record: "Record", predicted: "list[Predicted]", groups: "list[Group]", options: argparse.Namespace
) -> "PicturedImages":
    """Pictures of the images of all groups, and the PRO curve of a method with maps."""
    from bench.html_report.test_images import picture_files, picture_images, picture_with_maps
    from bench.runs.scoring.scorer import load_run

    chosen = sorted({place for group in groups for place in group.places})
    try:
        data = _data_of(record, options)
        if record.track == "supervised":
            return replace(picture_files(data, predicted, chosen), notice=data.notice)
        if len(predicted) != len(data.whole.test):
            raise UsageError(f"the run predicted {len(predicted)} images, and its data have {len(data.whole.test)}")
        if record.map_range is None:
            return replace(picture_images(data, chosen), notice=data.notice)
        run = load_run(options.run, model=options.model, data=options.data, device=options.device)
    except UsageError as error:
        raise UsageError(f"{error}; or leave out the pictures: --no-maps") from error
    return replace(picture_with_maps(run, data, chosen, progress=sys.stderr.isatty()), notice=data.notice)


def _data_of(record: "Record", options: argparse.Namespace) -> "DefectData":
    """The run's data; a UsageError where they are not those that it was tested on."""
    from bench.config.paths import with_data_of_now
    from bench.config.settings import resolve
    from bench.config.trusted_code import check_is_of_run
    from bench.records.record import settings_to_read
    from bench.runs.run import prepare

    names = {"model": record.model, "data": record.dataset}
    check_is_of_run(options.run, names, record.config, {"model": options.model, "data": options.data})
    typed, own = {"data.root": options.root} if options.root else {}, settings_to_read(record)
    files = [own if options.root else with_data_of_now(own)]
    config = resolve(model=options.model, data=options.data, category=None, files=files, options=typed)
    data, _ = prepare(config)
    if data.whole.digest != record.data.digest:
        raise UsageError(f"these are not the images that {options.run} was tested on; name them with --data.root")
    return data
