"""`bench submit`: write and check what the evaluation server of MVTec AD 2 takes."""

import json
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from bench.cli.command import Argument, Known, command, option
from bench.cli.completion import FOLDER, RUN
from bench.cli.options import device_option, own_file_options, quiet_option, root_option
from bench.console import tell
from bench.errors import RunError, UsageError, counted
from bench.writing import check_free, whole_folder, writing_to

if TYPE_CHECKING:  # these import torch
    from bench.records.record import Record
    from bench.submission.write import Written

OUT = Path("submission")
_DATASET = "mvtec_ad_2"
_SERVER = "https://benchmark.mvtec.com"
_EXAMPLES = """Examples:
  bench submit runs/padim/*/* --out padim
  bench submit --check padim
"""


@command(
    "Score the private test images of MVTec AD 2 with finished runs, one for each of its eight objects, and write what "
    "its evaluation server takes: maps in half precision, and which pixels lie above a threshold from the validation "
    "images; checked by the server's rules, and packed.",
    Argument("runs", nargs=-1, type=RUN, metavar="[RUN...]", about="folders of the runs, one for each object"),
    option("--out", type=FOLDER, metavar="FOLDER", help=f"of the files, a new one (default: {OUT})"),
    option("--check", "checked", type=FOLDER, metavar="FOLDER", help="check a submission that lies there, and no more"),
    option("--json", is_flag=True, help="print as JSON"),
    quiet_option(),
    root_option("where the dataset lies now"),
    device_option(),
    *own_file_options(),
    epilog=_EXAMPLES,
)
def run(options: Known) -> int:
    """Write a submission, or check one."""
    if find_spec("tifffile") is None:
        raise UsageError("bench submit needs tifffile; install it: pip install 'bench[submit]'")
    if options.checked is not None:
        return _check(options)
    records = _one_of_each(options.runs)
    out: Path = options.out or OUT
    check_free(out)
    check_free(out.with_name(f"{out.name}.tar.gz"))
    written, archive = _submit(options, records, out)
    if options.json:
        found = {
            one.category: {"images": one.images, "threshold": one.threshold, "marked": one.marked} for one in written
        }
        print(json.dumps({"folder": str(out), "archive": str(archive), "objects": found}, indent=2, allow_nan=False))
        return 0
    for one in written:
        tell(f"{one.category}: {one.images} images, {100 * one.marked:.2g} % of the pixels above {one.threshold:.6g}")
    tell(f"{archive}: checked by the server's rules; upload it at {_SERVER}")
    return 0


def _check(options: Known) -> int:
    from bench.submission.rules import expected_files, find_mistakes

    folder: Path = options.checked
    if options.runs or options.out:
        raise UsageError("--check looks at a submission that is there; leave out the runs and --out")
    if not folder.is_dir():
        raise UsageError(f"no folder {folder}; name a submission that was unpacked, or written by bench submit")
    mistakes = find_mistakes(folder)
    if options.json:
        print(json.dumps({"folder": str(folder), "mistakes": mistakes}, indent=2, ensure_ascii=False))
    else:
        for line in mistakes or [f"as the server takes it, {len(expected_files())} files"]:
            tell(f"{folder}: {line}")
    if mistakes:
        raise RunError(f"the server would refuse {folder}: {counted(len(mistakes), 'mistake')}")
    return 0


def _one_of_each(runs: Sequence[Path]) -> "dict[Path, Record]":
    """The records of the runs, by their folders, one for each object of the dataset."""
    from bench.config.tracks import TRACKS
    from bench.data.datasets.mvtec_ad_2_facts import PRIVATE_IMAGES
    from bench.records.finished import read_finished

    found: dict[str, Path] = {}
    records = {folder: read_finished(folder) for folder in runs}
    for folder, record in records.items():
        if record.dataset != _DATASET or record.category not in PRIVATE_IMAGES:
            raise UsageError(
                f"{folder} is of {record.dataset}, {record.category}; MVTec's server takes {_DATASET} alone"
            )
        if TRACKS[record.track].learns_from_defects or record.metrics.get("pixel_auroc") is None:
            raise UsageError(
                f"{folder} is of {record.model}, which has no anomaly maps; name runs of a method with maps"
            )
        if other := found.get(record.category):
            raise UsageError(f"{other} and {folder} are both of {record.category}; name one run for each object")
        found[record.category] = folder
    if missing := sorted(PRIVATE_IMAGES.keys() - found.keys()):
        raise UsageError(
            f"no run of {', '.join(missing)}, and MVTec's server takes all {len(PRIVATE_IMAGES)} objects together: "
            f"bench sweep --data {_DATASET} --categories {','.join(missing)}"
        )
    methods = {record.model for record in records.values()}
    if len(methods) > 1:
        raise UsageError(f"these runs are of {', '.join(sorted(methods))}; a submission is of one method")
    return records


def _submit(options: Known, records: "dict[Path, Record]", out: Path) -> "tuple[list[Written], Path]":
    from bench.runs.run_data import data_of_run
    from bench.runs.scoring.scorer import load_run
    from bench.runs.telling import telling
    from bench.submission.packing import pack
    from bench.submission.rules import find_mistakes
    from bench.submission.write import private_images, write_object

    own = {"model": options.model, "data": options.data}
    with telling("bench submit", progress=True), writing_to(out, "--out FOLDER"):
        data = {folder: data_of_run(folder, record, **own, root=options.root) for folder, record in records.items()}
        images = {folder: private_images(each.find_root(), each.category_name) for folder, each in data.items()}
        with whole_folder(out) as made:
            written = [
                write_object(load_run(folder, **own, device=options.device), data[folder], images[folder], made)
                for folder in records
            ]
            if mistakes := find_mistakes(made):
                raise RunError(f"the submission is not as the server takes it: {mistakes[0]}; nothing was written")
        return written, pack(out)
