"""How light, blur, JPEG and small shifts move the scores of good test photos, measured by the way to the threshold."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.data.layout import Sample
from bench.errors import RunError
from bench.phases import phase
from bench.runs.scoring.scorer import FinishedRun
from bench.stress.changes import Change, all_changes

KINDS = ("light", "blur", "JPEG", "shift")
_SAME = 1e-3  # relative: another number of photos at once moves the last digits
MOST = 40  # photos, the first ones of the test: 15 changes of each shall take less than a minute


@dataclass(frozen=True)
class Moved:
    """What one change does to the good test photos.

    Args:
        change: the change in one strength.
        shift: the median way of a score, in units of the way from the median good score to the threshold: 1 makes the
            median photo an alarm. None where the median good photo is an alarm already.
        alarms: the good photos that are stopped under the change.
    """

    change: Change
    shift: float | None
    alarms: int


@dataclass(frozen=True)
class Robustness:
    """All changes, and the good photos: how many there are, and how many are stopped without any change."""

    photos: int
    alarms: int
    moved: Sequence[Moved]

    @property
    def worst(self) -> Moved | None:
        """The weakest change that stops more good photos; where none does, the weak one with the longest way up."""
        more = [each for each in self.moved if each.alarms > self.alarms]
        if more:
            return min(more, key=lambda each: (each.change.strength, -each.alarms, -(each.shift or 0.0)))
        weakest = [each for each in self.moved if each.change.strength == 1]
        return max(weakest, key=lambda each: each.shift or 0.0, default=None)


def measure_robustness(
    run: FinishedRun, samples: Sequence[Sample], recorded: NDArray[np.float64], threshold: float
) -> Robustness | None:
    """Score the first good ones of these photos under each change, one strength after the other; None without any.

    `recorded` are the scores of all good ones in the run's test. A RunError where the unchanged photos have others now.
    """
    good = [sample for sample in samples if not sample.is_defect][:MOST]
    if not good:
        return None
    photos = [sample.read_image() for sample in good]
    changes = [change for change in all_changes() if change.kind in KINDS]
    with phase("robustness: photos in another light, blurred, compressed, moved", len(changes), "changes") as counted:
        before = _scores(run, photos)
        if not np.allclose(before, recorded[: len(good)], rtol=_SAME, atol=0):
            raise RunError(
                f"{run.folder} scored again differs from its record; accept on the kind of device, and with the "
                "versions, that it was fitted with, or fit it again: --force"
            )
        moved = []
        for change in changes:
            changed = [_changed(photo, change, number) for number, photo in enumerate(photos)]
            moved.append(_moved(change, before, _scores(run, changed), threshold))
            counted.advance()
    return Robustness(len(good), int((before > threshold).sum()), moved)


def _changed(photo: Image.Image, change: Change, number: int) -> Image.Image:
    return Image.fromarray(change.apply(np.asarray(photo), (0, number)))


def _scores(run: FinishedRun, photos: Sequence[Image.Image]) -> NDArray[np.float64]:
    parts = []
    for start in range(0, len(photos), run.batch_size):
        some = photos[start : start + run.batch_size]
        pixels = np.stack([run.pixels(photo) for photo in some])
        parts.append(run.score(pixels, run.content([photo.size for photo in some])).score.double().numpy())
    return np.concatenate(parts)


def _moved(change: Change, before: NDArray[np.float64], after: NDArray[np.float64], threshold: float) -> Moved:
    way = threshold - float(np.median(before))
    shift = float(np.median(after - before)) / way if way > 0 else None
    return Moved(change, shift, int((after > threshold).sum()))
