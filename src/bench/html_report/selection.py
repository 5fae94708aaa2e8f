"""The predictions of a run, and the groups of them that a report shows."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from bench.data.category_folders import GOOD
from bench.errors import UsageError
from bench.records.predictions import check_predictions, parse_predictions
from bench.records.record import PREDICTIONS, Record

SHOWN = 8  # images of a group at most


@dataclass(frozen=True)
class Predicted:
    """A test image and what the run predicted for it."""

    path: str  # below the data root
    defect_type: str
    score: float
    probabilities: NDArray[np.float64]  # of each class; empty for detectors

    @property
    def is_defect(self) -> bool:
        """Whether it shows a defect."""
        return self.defect_type != GOOD


@dataclass(frozen=True)
class Group:
    """Images that are shown together, by their indices among the predictions, and the size of the whole group."""

    title: str
    about: str
    indices: Sequence[int]
    total: int


def read_predicted(folder: Path, record: Record) -> list[Predicted]:
    """The predictions of a run, in the order of its test; a UsageError where the file is missing or was changed."""
    file = folder / PREDICTIONS
    if not file.is_file():
        raise UsageError(f"no {file}; the report is made from it, run the cell again: bench fit --force")
    check_predictions(record, file)
    return [
        Predicted(row.path, row.defect_type, row.score, _probabilities(row.logits))
        for row in parse_predictions(file.read_bytes(), file)
    ]


def _probabilities(logits: Sequence[float]) -> NDArray[np.float64]:
    values = np.array(logits, dtype=np.float64)
    return softmax(values) if values.size else values


def detection_groups(predicted: Sequence[Predicted], threshold: float) -> list[Group]:
    """The images that a detector got wrong, the worst first, and the median image of each type."""
    order = sorted(range(len(predicted)), key=lambda index: (predicted[index].score, index))
    alarms = [i for i in reversed(order) if not predicted[i].is_defect and predicted[i].score > threshold]
    missed = [i for i in order if predicted[i].is_defect and predicted[i].score <= threshold]
    types = sorted({one.defect_type for one in predicted}, key=lambda name: (name != GOOD, name))
    of_type = [[i for i in order if predicted[i].defect_type == name] for name in types]
    typical = [indices[(len(indices) - 1) // 2] for indices in of_type]
    return [
        Group(
            "False positives", "Good images above the threshold, the highest score first.", alarms[:SHOWN], len(alarms)
        ),
        Group("False negatives", "Defects that were not found, the lowest score first.", missed[:SHOWN], len(missed)),
        Group("Typical images", "Of each type the image with the median score.", typical, len(typical)),
    ]


def mistake_groups(predicted: Sequence[Predicted], classes: Sequence[str]) -> list[Group]:
    """Images that a classifier got wrong, the most confident first, and the median image of each class."""
    sure = [float(one.probabilities.max()) for one in predicted]
    wrong = [i for i, one in enumerate(predicted) if classes[int(one.probabilities.argmax())] != one.defect_type]
    wrong.sort(key=lambda index: (-sure[index], index))
    typical = []
    for index, name in enumerate(classes):
        own = [i for i, one in enumerate(predicted) if one.defect_type == name]
        own.sort(key=lambda i: (predicted[i].probabilities[index], i))
        typical += own[(len(own) - 1) // 2 :][:1]
    return [
        Group(
            "Most confident mistakes", "Images taken for another class, the surest first.", wrong[:SHOWN], len(wrong)
        ),
        Group("Typical images", "Of each class the image with the median probability of it.", typical, len(typical)),
    ]
