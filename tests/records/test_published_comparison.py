"""A run's figures beside published ones, and when the two may be subtracted."""

from pathlib import Path

import pytest

from bench.records.published import Figure
from bench.records.published_comparison import describe_figure, differences, published_figure
from bench.records.record import Record


@pytest.fixture
def record(finished: Path) -> Record:
    """As if it had been run on the official images by the paper's protocol."""
    changes = {"official": True, "overrides": {}, "reference": "cutpaste/3way/paper", "differs": ""}
    return Record.read(finished).model_copy(update=changes)


def test_the_figure_is_the_categorys_own(record):
    assert published_figure(record, "image_auroc") == (0.863, "screw", 1)


def test_the_figure_is_the_mean_where_the_categorys_is_unknown(record):
    record = record.changed(reference="padim/r18_rd100/paper")
    assert published_figure(record, "pixel_auroc") == (0.967, "mean", 15)


def test_the_figure_is_of_the_records_dataset(record):
    changes = {"dataset": "visa", "category": "macaroni2", "reference": "supersimplenet/wr50/authors_code"}
    of_visa = record.changed(**changes)
    assert published_figure(of_visa, "image_auroc") == (0.74988, "macaroni2", 1)
    assert differences(of_visa.model_copy(update={"official": False})) == ["not Amazon's own data"]
    other = record.changed(**changes | {"dataset": "btad", "category": "01"})
    assert published_figure(other, "image_auroc") is None, "that source has no figures of it"


def test_there_is_no_figure_of_a_metric_that_was_not_published(record):
    assert published_figure(record, "pixel_auroc") is None


@pytest.mark.parametrize(
    "changes",
    [{"reference": None}, {"dataset": "synthetic"}, {"category": "gear"}, {"reference": "of/a_later/release"}],
    ids=lambda changes: next(iter(changes)),
)
def test_there_is_no_figure_without_a_reference_or_outside_its_datasets(changes, record):
    assert published_figure(record.model_copy(update=changes), "image_auroc") is None


def test_a_run_by_the_papers_protocol_on_official_images_differs_in_nothing(record):
    places = {"seed": 3, "data.root": "/elsewhere", "model.weights": "w.pt", "trainer.accelerator": "gpu"}
    record = record.changed(overrides=places, weights={"source": "w.pt", "sha256": "0" * 64})
    assert differences(record) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"official": False}, "not MVTec's own data"),
        ({"differs": "5 minutes of training"}, "5 minutes of training"),
        ({"overrides": {"model.latent_dim": 7}}, "model.latent_dim=7"),
        ({"overrides": {"protocol": "full"}}, "protocol=full"),
        ({"overrides": {"trainer.max_epochs": 1}}, "trainer.max_epochs=1"),
        ({"overrides": {"model.weights": "none"}, "weights": {"source": "none"}}, "random weights"),
        ({"weights": {"source": "none", "images": "dtd (5,640 images)"}}, "images of dtd (5,640 images)"),
        ({"overrides": {"threshold_quantile": 0.9}}, None),
    ],
    ids=["images", "preset", "model", "protocol", "trainer", "random weights", "images of one's own", "threshold"],
)
def test_what_moves_published_metrics_is_named(changes, words, record):
    assert differences(record.model_copy(update=changes)) == ([] if words is None else [words])


@pytest.mark.parametrize(
    ("of", "own", "comparable", "text"),
    [
        ("screw", 0.8751, True, "0.863 (+0.012)"),
        ("screw", 0.8513, True, "0.863 (-0.012)"),
        ("screw", None, True, "0.863"),
        ("screw", 0.8751, False, "0.863*"),
        ("mean", 0.8751, True, "0.863 (mean of 15)"),
        ("mean", 0.8751, False, "0.863 (mean of 15)*"),
    ],
)
def test_a_difference_stands_only_beside_a_comparable_figure_of_the_same_category(of, own, comparable, text):
    assert describe_figure(Figure(0.863, of, 15), own, comparable=comparable) == text


def test_a_record_of_before_is_still_read(finished, tmp_path):
    record = Record.read(finished)
    text = record.model_dump_json(by_alias=True, exclude={"reference", "differs"})
    (tmp_path / "record.json").write_text(text)
    assert published_figure(Record.read(tmp_path), "image_auroc") is None
