"""The test photos that decide: the worst mistakes and those nearest to the threshold, with their maps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bench.acceptance.candidates import FittedRun
from bench.acceptance.operating_point import nearest
from bench.data.datamodule import DefectData
from bench.html_report.selection import Predicted, detection_groups
from bench.html_report.test_images import PicturedImages, picture_images, picture_with_maps
from bench.runs.scoring.scorer import FinishedRun

SHOWN = 3  # photos of a group
MOVED = 60  # photos on both sides of the slider, those nearest to the threshold


@dataclass(frozen=True)
class Shown:
    """Photos under a title, by their indices among the predictions; `total` is the number of all of the group."""

    title: str
    about: str
    indices: Sequence[int]
    total: int


def deciding(run: FittedRun, threshold: float) -> list[Shown]:
    """The groups of photos that a person looks at before deciding."""
    rows = [Predicted(row.path, row.defect_type, row.score, np.empty(0)) for row in run.rows]
    alarms, missed = detection_groups(rows, threshold)[:2]
    right = [index for index, row in enumerate(rows) if (row.score > threshold) is row.is_defect]
    near = [right[place] for place in nearest([rows[index].score for index in right], threshold, SHOWN)]
    return [
        Shown(
            "Bad photos that pass", "The lowest score first: the worst mistakes.", missed.indices[:SHOWN], missed.total
        ),
        Shown("Good photos that are stopped", "The highest score first.", alarms.indices[:SHOWN], alarms.total),
        Shown(
            "Right, and nearest to the threshold",
            "A little more of anything, and the verdict is the other.",
            near,
            len(near),
        ),
    ]


def movable(run: FittedRun, threshold: float) -> list[int]:
    """The photos that move with the slider, the lowest score first."""
    scores = [row.score for row in run.rows]
    return sorted(nearest(scores, threshold, MOVED), key=lambda index: (scores[index], index))


def take_pictures(run: FinishedRun, data: DefectData, indices: Sequence[int]) -> PicturedImages:
    """Pictures of these test photos, with heat maps where the method has maps."""
    if run.record.map_range is None:
        return picture_images(data, sorted(set(indices)))
    return picture_with_maps(run, data, set(indices), progress=False)


def best_of(pictures: Mapping[str, object]) -> str:
    """The picture that says most of a photo where there is room for one: its heat map, else the photo."""
    return "heat map" if "heat map" in pictures else "image"
