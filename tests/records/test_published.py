"""Figures of others, as data: what they are, and that they are what the papers print."""

import json
import re
from collections.abc import Mapping
from importlib.resources import files

import pytest

from bench.errors import UsageError
from bench.records.published import DATASET, TRACK, Kind, Published, Reference, find_reference, groups, references

IDS = sorted(references())
METRICS = {
    "image_auroc", "image_f1", "image_accuracy", "pixel_auroc", "pixel_ap", "pixel_aupr_trapezoid", "aupro_0.30",
    "pixel_auroc_defective_images_only", "pro_defective_images_only", "rate_good_correct", "rate_defect_correct",
}  # fmt: skip


def everywhere(reference: Reference) -> list[tuple[tuple[str, str], Mapping[str, Published]]]:
    """The metrics of all datasets and tracks that an entry has."""
    own = {(DATASET, TRACK): reference.metrics} if reference.metrics else {}
    return list((own | dict(reference.elsewhere)).items())


def test_every_id_stands_once_in_the_file():
    def once(pairs: list[tuple[str, object]]) -> dict[str, object]:
        names = [name for name, _ in pairs]
        assert len(names) == len(set(names)), sorted(name for name in names if names.count(name) > 1)
        return dict(pairs)

    text = files("bench.records").joinpath("published.json").read_text(encoding="utf-8")
    assert list(json.loads(text, object_pairs_hook=once)) == IDS, "they stand in the order of their ids"


def test_every_id_is_method_variant_and_source():
    assert [id for id in IDS if not re.fullmatch(r"[a-z0-9_]+(/[a-z0-9_]+){2}", id)] == []


def test_every_figure_is_a_share_of_a_known_metric_and_category():
    for id, reference in references().items():
        for (dataset, _), metrics in everywhere(reference):
            assert metrics.keys() <= METRICS, id
            known = {*groups(dataset)["mean"], *groups(dataset)}
            for published in metrics.values():
                assert published.values
                assert published.values.keys() <= known, id
                assert all(0 <= value <= 1 for value in published.values.values()), id


@pytest.mark.parametrize("dataset", ["mvtec_ad", "mvtec_ad_2", "mvtec_loco", "visa", "btad"])
def test_a_mean_is_over_the_official_categories_of_its_dataset(dataset):
    facts = json.loads(files("bench.data.datasets").joinpath(f"{dataset}.json").read_text(encoding="utf-8"))
    assert sorted(groups(dataset)["mean"]) == sorted(facts["categories"])


def test_figures_of_other_datasets_and_tracks_stand_beside_those_of_the_same_source():
    reference = find_reference("supersimplenet/wr50/authors_code")
    assert reference.figure("image_auroc", "screw") == (0.92933, "screw", 1)
    assert reference.figure("image_auroc", "macaroni2", "visa") == (0.74988, "macaroni2", 1)
    assert reference.figure("image_auroc", "mean", "visa") == (0.93381, "mean", 12)
    assert reference.figure("image_auroc", "mean", "btad") is None
    of_all = find_reference("patchcore/one_model_100_epochs/ader")
    assert of_all.figure("image_auroc", "screw", "mvtec_ad", "one-model") == (0.988, "mean", 15)
    assert of_all.figure("image_auroc", "screw") is None, "a model for each product is another thing"


def test_every_figure_names_its_source_and_what_kind_of_source_that_is():
    found = [metrics for reference in references().values() for _, metrics in everywhere(reference)]
    rows = [row for metrics in found for row in metrics.values()]
    assert {row.kind for row in rows} == set(Kind.__args__)
    assert all(len(row.source) > 10 for row in rows)


def test_a_reference_without_figures_says_that_none_is_known():
    empty = {id: reference.note for id, reference in references().items() if not dict(everywhere(reference))}
    assert empty.keys() == {"deep_svdd/image/paper", "f_anogan/image/paper", "ocsvm/deep_features/paper"}
    assert all(note.startswith("no figure found") for note in empty.values())


@pytest.mark.parametrize(
    ("id", "metric", "category", "value"),
    [
        ("cutpaste/3way/paper", "image_auroc", "screw", 0.863),
        ("cutpaste/binary/paper", "image_auroc", "screw", 0.544),
        ("cutpaste/scar/paper", "image_auroc", "leather", 1.0),
        ("cutpaste/effb4_finetuned/paper", "image_auroc", "mean", 0.971),
        ("cutpaste/patch/paper", "pixel_auroc", "textures", 0.963),
        ("padim/wr50_rd550/paper", "pixel_auroc", "mean", 0.975),
        ("padim/wr50_rd550/paper", "aupro_0.30", "zipper", 0.959),
        ("padim/wr50_rd550/paper", "image_auroc", "mean", 0.953),
        ("padim/r18_rd100/paper", "pixel_auroc", "mean", 0.967),
        ("padim/effb5/paper", "image_auroc", "mean", 0.979),
        ("padim/r18/anomalib", "image_auroc", "screw", 0.759),
        ("autoencoder/ssim/paper", "pixel_auroc", "tile", 0.59),
        ("autoencoder/ssim/paper", "aupro_0.30", "mean", 0.694),
        ("autoencoder/l2/paper", "pixel_auroc", "screw", 0.96),
        ("autoencoder/l2/paper", "image_auroc", "mean", 0.754),
        ("vae/r18/padim_paper", "pixel_auroc", "objects", 0.81),
        ("patchcore/wr50_25pct/paper", "image_auroc", "mean", 0.991),
        ("padim/wr50/aupimo", "aupro_0.30", "transistor", pytest.approx(0.928, abs=0.0005)),
    ],
)
def test_figures_are_those_that_the_papers_print(id, metric, category, value):
    assert find_reference(id).figure(metric, category)[:2] == (value, category)


def test_a_mean_that_no_one_printed_is_that_of_the_categories():
    figure = find_reference("autoencoder/ssim/paper").figure("pixel_auroc", "mean")
    assert figure == (pytest.approx(0.8687, abs=0.0001), "mean", 15)


def test_a_mean_over_some_of_the_categories_is_no_mean():
    reference = find_reference("autoencoder/ssim/paper")
    assert reference.metrics["rate_good_correct"].values.keys() == set(groups()["textures"])
    assert reference.figure("rate_good_correct", "mean") is None
    assert reference.figure("rate_good_correct", "screw") is None
    assert reference.figure("rate_good_correct", "textures") is not None


def test_the_mean_stands_in_for_a_category_that_no_one_printed_and_says_so():
    assert find_reference("padim/r18_rd100/paper").figure("pixel_auroc", "screw") == (0.967, "mean", 15)


def test_a_printed_mean_is_that_of_its_categories():
    """Within a digit of three, but for one that was printed with two and one whose table contradicts itself."""
    apart = {
        (id, metric)
        for id, reference in references().items()
        for metric, row in reference.metrics.items()
        if "mean" in row.values and set(groups()["mean"]) <= row.values.keys()
        if abs(row.values["mean"] - sum(row.values[name] for name in groups()["mean"]) / 15) > 0.0016
    }
    assert apart == {("fcdd/main/cutpaste_paper", "pixel_auroc"), ("reverse_distillation/wr50/anomalib", "pixel_auroc")}


def test_an_unknown_id_is_refused_with_the_nearest():
    with pytest.raises(UsageError, match="did you mean 'cutpaste/3way/paper'"):
        find_reference("cutpaste/3-way/paper")
