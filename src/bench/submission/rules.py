"""The rules of MVTec AD 2's server: which files a submission holds, and what is in them.

They are those of MVTec's own check before an upload (`check_and_prepare_data_for_upload.py` of its utilities, 2025). A
submission without `anomaly_images_thresholded` is taken as well, and gets no SegF1; here both are required.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from bench.data.datasets import mvtec_ad_2_facts as facts
from bench.errors import first_line
from bench.phases import phase
from bench.processes import available_cores

MAPS, VERDICTS = "anomaly_images", "anomaly_images_thresholded"
SUFFIXES = {MAPS: ".tiff", VERDICTS: ".png"}
_NAMED = 3  # files of one folder that are named for one mistake


def expected_files() -> list[str]:
    """The paths of all files of a submission, below its folder."""
    return [
        f"{kind}/{category}/{private_set}/{name}{suffix}"
        for kind, suffix in SUFFIXES.items()
        for category in sorted(facts.PRIVATE_IMAGES)
        for private_set in facts.PRIVATE_SETS
        for name in facts.private_names(category, private_set)
    ]


def find_mistakes(folder: Path) -> list[str]:
    """Why the server would refuse a submission, a line each; empty where nothing is missing, superfluous or wrong."""
    expected = expected_files()
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}
    empty = [path for path in folder.rglob("*") if path.is_dir() and not any(path.iterdir())]
    mistakes = [*_grouped(expected, there, "missing"), *_grouped(sorted(there), set(expected), "superfluous")]
    mistakes += [f"{path.relative_to(folder).as_posix()}: superfluous, an empty folder" for path in sorted(empty)]
    present = [name for name in expected if name in there]
    with (
        phase("checking the submission", len(present), "files") as counted,
        ThreadPoolExecutor(available_cores()) as pool,
    ):
        for name, mistake in zip(present, pool.map(lambda each: _mistake(folder / each), present), strict=True):
            if mistake:
                mistakes.append(f"{name}: {mistake}")
            counted.advance()
    return mistakes


def _grouped(names: list[str], others: set[str], what: str) -> Iterator[str]:
    """A line for each folder with names that are not among the others."""
    by_folder: dict[str, list[str]] = {}
    for name in names:
        if name not in others:
            folder, _, file = name.rpartition("/")
            by_folder.setdefault(folder, []).append(file)
    for folder, files in by_folder.items():
        shown = ", ".join(files[:_NAMED])
        more = f" and {len(files) - _NAMED} more" if len(files) > _NAMED else ""
        yield f"{folder or '.'}: {what}: {shown}{more}"


def _mistake(file: Path) -> str:
    check: Callable[[Path], str] = _mistake_in_map if file.suffix == SUFFIXES[MAPS] else _mistake_in_verdicts
    try:
        return check(file)
    except Exception as error:  # readers of damaged files raise anything
        return f"cannot be read ({first_line(error)})"


def _mistake_in_map(file: Path) -> str:
    import tifffile

    values = tifffile.imread(file)
    if values.ndim != 2:
        return f"has {values.ndim} dimensions, not 2"
    if values.dtype != np.float16:
        return f"is of {values.dtype}, not float16"
    return "" if np.isfinite(values).all() else "holds values that are no finite numbers"


def _mistake_in_verdicts(file: Path) -> str:
    with Image.open(file) as image:
        values = np.asarray(image)
    if values.ndim != 2:
        return f"has {values.ndim} dimensions, not 2"
    others = np.setdiff1d(values.astype(np.int64), [0, 255])
    return f"holds {', '.join(map(str, others[:_NAMED]))} beside 0 and 255" if others.size else ""
