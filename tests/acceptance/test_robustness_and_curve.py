"""Which change a page names, and what a learning curve is said to tell."""

from pathlib import Path

import numpy as np
import pytest

from bench.acceptance.learning_curve import Point
from bench.acceptance.robustness import Moved, Robustness, measure_robustness
from bench.acceptance.sentences import curve_sentence
from bench.errors import RunError
from bench.html_report.selection import read_predicted
from bench.records.finished import read_finished
from bench.runs.run_data import data_of_run
from bench.runs.scoring.scorer import load_run
from bench.stress.changes import Change


def moved(kind: str, strength: int, shift: float | None, alarms: int) -> Moved:
    return Moved(Change(kind, strength, 0.0, f"{kind} {strength}"), shift, alarms)


@pytest.mark.parametrize(
    ("found", "named"),
    [
        ([moved("light", 1, 0.9, 1), moved("light", 3, 3.0, 9), moved("blur", 2, 0.5, 2)], "blur 2"),
        ([moved("light", 1, 0.9, 2), moved("blur", 1, 0.1, 3), moved("JPEG", 3, 9.0, 9)], "blur 1"),
        ([moved("light", 1, 0.9, 1), moved("blur", 1, 0.95, 0), moved("JPEG", 3, 9.0, 1)], "blur 1"),
        ([moved("light", 1, None, 1), moved("blur", 2, None, 1)], "light 1"),
    ],
    ids=["the weakest that stops more", "of equal strength the one that stops most", "else the longest way", "no way"],
)
def test_the_weakest_change_that_stops_more_good_photos_is_named(found, named):
    worst = Robustness(10, 1, found).worst
    assert worst is not None
    assert worst.change.label == named


def test_a_curve_that_rises_by_more_than_seeds_differ_asks_for_photos():
    rising = [Point(10, [0.80, 0.81]), Point(20, [0.90, 0.91])]
    assert curve_sentence(rising) == (
        "From 10 to 20 photos image AUROC rose by 0.100: more good photos to learn from are likely to help."
    )
    noisy = [Point(10, [0.70, 0.90]), Point(20, [0.85, 0.90])]
    assert "no more than seeds differ" in curve_sentence(noisy)
    assert curve_sentence(rising[1:]) == ""


def test_a_run_that_scores_otherwise_than_its_record_is_refused(accepted):
    folder = Path(accepted.result["run"])
    run, data = load_run(folder, device="cpu"), data_of_run(folder, read_finished(folder))
    good = [float(row.score) for row in read_predicted(folder, run.record) if not row.is_defect]
    scores, threshold = np.array(good), accepted.result["threshold"]["threshold"]
    assert measure_robustness(run, data.category.test, scores, threshold) is not None
    with pytest.raises(RunError, match="scored again differs from its record"):
        measure_robustness(run, data.category.test, scores * 1.01, threshold)
