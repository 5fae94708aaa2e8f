"""`bench export`: write a finished run as one ONNX file, with a script that scores photos by it."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from bench.cli.command import Known, command, option
from bench.cli.completion import FOLDER, RUN
from bench.cli.options import own_file_options, quiet_option, root_option
from bench.cli.taken_threshold import taken_threshold, threshold_option
from bench.console import say, tell
from bench.errors import UsageError
from bench.writing import check_free

if TYPE_CHECKING:  # these import torch
    from bench.data.datamodule import DefectData
    from bench.export.export import Exported
    from bench.records.record import Record

OUT = Path("export")


@command(
    "Write a finished run as one ONNX file, from pixels to score, map and verdict, and beside it predict.py, which "
    "scores photos with numpy, Pillow and onnxruntime alone. The file is left only if it gives each of the run's test "
    "images the run's verdict.",
    option("--run", type=RUN, required=True, metavar="RUN", help="folder of the run"),
    option("--out", type=FOLDER, metavar="FOLDER", help=f"folder of the files, a new one (default: {OUT})"),
    threshold_option(),
    option("--half", is_flag=True, help="store large constants in half precision: half the size, the same verdicts"),
    option("--check", is_flag=True, help="score the test images by torch and by the file, and compare (the default)"),
    option("--no-check", is_flag=True, help="write the file unchecked: the run's images are not needed"),
    option("--json", is_flag=True, help="print as JSON"),
    quiet_option(),
    root_option("where the run's data lie now"),
    *own_file_options(),
)
def run(options: Known) -> int:
    """Export a run."""
    from bench.config.trusted_code import check_is_of_run
    from bench.export.refusals import check_exportable, check_installed
    from bench.records.record import Record

    if options.check and options.no_check:
        raise UsageError("--check and --no-check exclude each other; leave out one")
    out: Path = options.out or OUT
    check_free(out)
    record = Record.read(options.run)  # `load_run` reads and checks it as well, after the import of torch
    names = {"model": record.model, "data": record.dataset}
    check_is_of_run(options.run, names, record.config, {"model": options.model, "data": options.data})
    check_exportable(record)
    check_installed()
    taken = taken_threshold(options.run, record, options.threshold)

    from bench.export.export import export_run
    from bench.runs.scoring.scorer import load_run
    from bench.runs.telling import telling

    run = load_run(options.run, model=options.model, data=options.data, device="cpu", threshold=taken)
    data = _data(record, options)
    if run.config.settings["data"].get("random_pose"):
        say("bench: the run's images were posed at random; the file crops them at their centre")
    with telling("bench export", progress=True):
        found = export_run(run, data, out, half=options.half, check=not options.no_check)
    if options.json:
        print(json.dumps(found.as_dict(), indent=2, allow_nan=False))
    else:
        _print(found)
    return 0


def _data(record: "Record", options: Known) -> "DefectData | None":
    """The run's data; None where they are not there and nothing is checked by them."""
    from bench.runs.run_data import data_of_run

    try:
        return data_of_run(options.run, record, model=options.model, data=options.data, root=options.root)
    except UsageError as error:
        if options.no_check:
            return None
        raise UsageError(f"{error}; or leave out the check: --no-check") from error


def _print(found: "Exported") -> None:
    from bench.export.export import MODEL, SCRIPT

    tell(f"{found.folder / MODEL}: {found.bytes / 2**20:.1f} MiB; {found.metadata['input'].partition(':')[2].strip()}")
    tell(f"{found.folder / SCRIPT}: python {SCRIPT} PHOTO..., with numpy, Pillow and onnxruntime")
    if found.comparison is None:
        tell("not checked against the run")
        return
    shown = found.comparison
    torch_ms, onnx_ms = shown.milliseconds
    maps = shown.relative_map_deviation
    of_maps = "" if maps is None else f", maps by {maps:.1e} of their range"
    tell(
        f"checked on {shown.images} test images: all verdicts the same; scores differ by at most "
        f"{shown.score_deviation:.1e} of their size{of_maps}"
    )
    threads = shown.as_dict()["threads"]
    tell(f"an image takes {onnx_ms:.1f} ms by onnxruntime, {torch_ms:.1f} ms by torch (p50, CPU, {threads} threads)")
