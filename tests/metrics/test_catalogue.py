"""The catalogues of metrics and costs are the only ones that know a title, and name only what there is."""

import ast
from pathlib import Path

import numpy as np
import pytest

import bench
from bench.config.tracks import ONE_CLASS, SUPERVISED, TRACKS
from bench.metrics.bootstrap import CLASSIFICATION_STATISTICS, DETECTION_STATISTICS, classification_intervals
from bench.metrics.catalogue import METRICS, column_title, interval_text, title_of
from bench.records.costs import COSTS, cost_rows, smaller_cost_is_better
from bench.records.record import CostRecord
from fake_records import make_cost

SOURCE = Path(bench.__file__).parent
ROOMS_THAT_SHOW = (
    *("acceptance", "cli", "export", "html_report", "leaderboard", "serve", "stress", "sweep", "tracking", "views"),
)
# One word, such as recall, is also a key, and the word of sentences.
TITLES = {
    title
    for title in [
        *(title for metric in METRICS.values() for title in (metric.title, metric.column)),
        *(title for cost in COSTS.values() for title in (cost.title, cost.recorded)),
    ]
    if not title.isalpha()
} - {""}


def words_of(file: Path) -> list[str]:
    """The strings of a module without its docstrings; a template whole."""
    if file.suffix != ".py":
        return [file.read_text(encoding="utf-8")]
    tree = ast.parse(file.read_text(encoding="utf-8"))
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    found = (node for node in ast.walk(tree) if isinstance(node, ast.Constant) and id(node) not in docstrings)
    return [node.value for node in found if isinstance(node.value, str)]


@pytest.mark.parametrize("room", ROOMS_THAT_SHOW)
def test_a_title_stands_in_the_catalogue_alone(room):
    files = [file for file in sorted((SOURCE / room).rglob("*")) if file.suffix in (".py", ".j2", ".js")]
    assert files
    found = {(file.name, title) for file in files for words in words_of(file) for title in TITLES if title in words}
    assert not found


def test_each_track_shows_metrics_of_the_catalogue():
    for track in TRACKS.values():
        named = [track.headline, *track.quality, *track.published, *track.study, *track.intervals, *track.differences]
        assert set(named) <= set(METRICS)
        assert set(track.study) <= set(track.differences), "a study shows what predictions decide"


def test_what_gets_an_interval_can_be_computed_from_predictions():
    assert set(ONE_CLASS.intervals) <= set(DETECTION_STATISTICS)
    assert set(SUPERVISED.intervals) <= set(CLASSIFICATION_STATISTICS)
    found = classification_intervals([[2.0, 1.0], [0.0, 1.0], [1.0, 3.0]], [0, 1, 1], ["good", "bad"], number=10)
    assert list(found.overall) == list(SUPERVISED.intervals)


def test_every_cost_is_a_number_of_the_record_and_is_shown_with_its_unit():
    assert set(COSTS) <= set(CostRecord.model_fields)
    rows = dict(cost_rows(make_cost(12.34)))
    assert rows["fit"] == "12.3 s"
    assert rows["peak memory (process)"] == "1024 MiB"
    assert rows["parameters"] == "1,000,000 (1,000,000 trained)"


def test_a_throughput_is_better_larger_and_what_is_no_cost_has_no_direction():
    assert smaller_cost_is_better("images_per_second") is False
    assert smaller_cost_is_better("fit_seconds") is True
    assert smaller_cost_is_better("epochs") is None


@pytest.mark.parametrize(
    ("interval", "text"),
    [
        (None, ""),
        ((0.752, 0.752), ""),
        ((1.0, 1.0), ""),
        ((0.912, 0.98749), "0.912 to 0.987"),
        ((0.75201, 0.75239), "0.7520 to 0.7524"),
    ],
)
def test_an_interval_has_two_ends_that_a_reader_can_tell_apart_or_is_not_printed(interval, text):
    assert interval_text(interval) == text


def test_the_accuracy_of_a_classifier_that_names_every_image_alike_has_no_interval_to_print():
    logits = np.tile([1.0, 0.0, 0.0], (33, 1))
    found = classification_intervals(logits, [0] * 25 + [1] * 5 + [2] * 3, ("good", "a", "b"), number=50)
    assert found.overall["accuracy"] == (25 / 33, 25 / 33)
    assert interval_text(found.overall["accuracy"]) == ""


@pytest.mark.parametrize("track", TRACKS.values(), ids=lambda track: track.name)
def test_no_two_metrics_of_a_run_or_a_table_have_the_same_title(track):
    titles = [title_of(name) for name in METRICS]
    assert len(set(titles)) == len(titles)
    columns = [column_title(name, track) for name in track.quality]
    assert len(set(columns)) == len(columns)
