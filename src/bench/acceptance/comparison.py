"""Which of the methods is recommended, whether the photos can tell it from the others, and how far that flatters it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.acceptance.candidates import Candidate
from bench.leaderboard.paired import mean_auroc
from bench.metrics.bootstrap import Difference, paired_difference, resample


@dataclass(frozen=True)
class Standing:
    """The recommended method and the others, each with its distance.

    Args:
        best: the highest image AUROC, the mean over seeds; without bad photos the method that was named first.
        others: the other methods, with the image AUROC of `best` minus theirs on the same test photos.
        flattery: by how much the best of these methods is expected to look better on these photos than it is, for
            being the best of several; None where it is not known, or there is one method.
    """

    best: Candidate
    others: Sequence[tuple[Candidate, Difference | None]]
    flattery: float | None

    @property
    def not_told_apart(self) -> list[str]:
        """The methods that these photos cannot tell from the best one."""
        return [other.name for other, found in self.others if found is None or not found.larger_than_chance]


def compare(candidates: Sequence[Candidate]) -> Standing:
    """Compare the methods on the test photos that all of them saw, photos being drawn again within their types."""
    ranked = [candidate for candidate in candidates if candidate.auroc is not None]
    best = max(ranked, key=lambda each: each.auroc or 0.0, default=candidates[0])
    others = [each for each in candidates if each is not best]
    found = [(each, _difference(each, best) if best in ranked else None) for each in others]
    return Standing(best, found, _flattery(ranked) if len(ranked) > 1 else None)


def _difference(other: Candidate, best: Candidate) -> Difference:
    return paired_difference(other.scores, best.scores, mean_auroc, best.defect_types)


def _flattery(candidates: Sequence[Candidate]) -> float:
    """The winner's curse: image AUROC of the best method in a resample less that of the same method on all photos."""
    types = candidates[0].defect_types
    rows = resample(types)
    drawn = np.stack([mean_auroc(each.scores, types, rows) for each in candidates])
    true = np.array([each.auroc for each in candidates], dtype=np.float64)
    winner = drawn.argmax(axis=0)
    return max(0.0, float(np.mean(drawn.max(axis=0) - true[winner])))
