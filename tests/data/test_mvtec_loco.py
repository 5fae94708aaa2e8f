"""MVTec LOCO AD: several masks an image, saturation by kind of defect, validation images that set the threshold."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.data.datasets.mvtec_loco import MVTecLOCO
from bench.data.saturation import Saturation, read_saturations
from bench.errors import UsageError
from bench.metrics.image import image_metrics
from fake_data import write_loco
from spro_reference import reference

QUICK = ("--model", "padim", "--model.weights", "none", "--model.channels", "8", "--trainer.accelerator", "cpu")


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("loco")
    write_loco(root)
    return root


@pytest.fixture
def own_folder_of(tmp_path) -> Path:
    """A category that the test may damage."""
    return write_loco(tmp_path / "loco")


def _pushpins(root: Path, protocol: str = "full", **settings) -> MVTecLOCO:
    return MVTecLOCO("pushpins", 0, protocol, root=str(root), image_size=32, **settings)


def test_each_split_is_counted_by_itself(root):
    category = _pushpins(root).full_category
    assert category.counts == {
        "train/good": 8, "validation/good": 4, "test/good": 3,
        "test/logical_anomalies": 2, "test/structural_anomalies": 2,
    }  # fmt: skip


def test_a_mask_is_all_the_masks_of_its_image(root):
    sample = next(s for s in _pushpins(root).full_category.test if s.defect_type == "logical_anomalies")
    assert len(sample.masks) == 2
    parts = [np.array(Image.open(path)) > 0 for path in sample.masks]
    assert np.array_equal(sample.read_mask(), parts[0] | parts[1])


def test_each_defect_has_the_saturation_of_its_kind(root):
    category = _pushpins(root).full_category
    sample = next(s for s in category.test if s.defect_type == "logical_anomalies")
    areas = {
        int(np.array(Image.open(path)).max()): int((np.array(Image.open(path)) > 0).sum()) for path in sample.masks
    }
    found = [defect.saturation_area for defect in sample.read_defects(category.saturation)]
    assert found == [min(12, areas[255]), int(0.5 * areas[254])]


@pytest.mark.parametrize(
    ("saturation", "area", "expected"),
    [
        (Saturation(6300, relative=False), 10_000, 6300),
        (Saturation(6300, relative=False), 500, 500),
        (Saturation(1.0, relative=True), 501, 501),
        (Saturation(0.5, relative=True), 501, 250),
    ],
)
def test_a_saturation_is_pixels_or_a_share_cut_to_whole_ones(saturation, area, expected):
    assert saturation.area(area) == expected


@pytest.mark.parametrize("settings", [{}, {"validation_share": 0.5}, {"shots": 3}, {"seed": 5}])
def test_no_method_learns_from_the_validation_images_and_they_set_the_threshold(root, settings):
    data = MVTecLOCO("pushpins", settings.pop("seed", 0), "full", root=str(root), image_size=32, **settings)
    train = data.category.train
    assert {train[i].relative for i in data.validation_indices} == {
        f"pushpins/validation/good/{number:03}.png" for number in range(4)
    }
    learned = {train[i].relative for i in data.training_indices}
    assert len(learned) == settings.get("shots", 8)
    assert all(path.startswith("pushpins/train/good/") for path in learned)


def test_a_classifier_s_folds_hold_no_validation_image(root):
    data = _pushpins(root, "model", fold=0, folds=2)
    assert not [s for s in (*data.category.train, *data.category.test) if "/validation/" in s.relative]


def test_dirty_training_images_are_refused_for_those_of_the_threshold_are_clean(root):
    with pytest.raises(UsageError, match=r"--data\.contamination leaves open"):
        _ = _pushpins(root, contamination=0.2).category


def test_the_digest_knows_saturation_and_the_validation_images(own_folder_of):
    before = _pushpins(own_folder_of.parent).full_category.digest
    _configure(own_folder_of, 0, saturation_threshold=13)
    changed = _pushpins(own_folder_of.parent).full_category.digest
    (own_folder_of / "validation/good/003.png").rename(own_folder_of / "train/good/100.png")
    moved = _pushpins(own_folder_of.parent).full_category.digest
    assert len({before, changed, moved}) == 3


def _configure(folder: Path, number: int, **changes) -> None:
    file = folder / "defects_config.json"
    entries = json.loads(file.read_text())
    entries[number] |= changes
    file.write_text(json.dumps(entries))


def _paint(folder: Path, *values: int) -> None:
    path = folder / "ground_truth/logical_anomalies/000/000.png"
    pixels = np.zeros(np.array(Image.open(path)).shape, np.uint8)
    for row, value in enumerate(values):
        pixels[row] = value
    Image.fromarray(pixels).save(path)


DAMAGES = {
    "no configuration": (
        lambda f: (f / "defects_config.json").unlink(),
        "no .*defects_config.json, which says how much",
    ),
    "a configuration that is none": (lambda f: (f / "defects_config.json").write_text("{"), "is no JSON in UTF-8"),
    "a configuration without end": (
        lambda f: (f / "defects_config.json").write_text("[" * 100_000),
        "is no JSON in UTF-8",
    ),
    "an empty configuration": (lambda f: (f / "defects_config.json").write_text("[]"), "is no list of defects"),
    "a value twice": (lambda f: _configure(f, 1, pixel_value=255), "defect 2: its pixel_value 255 is another's"),
    "a value that no mask has": (lambda f: _configure(f, 1, pixel_value=0), "defect 2: its pixel_value is no number"),
    "a share above 1": (lambda f: _configure(f, 1, saturation_threshold=1.5), "defect 2: its saturation_threshold"),
    "half a pixel": (lambda f: _configure(f, 0, saturation_threshold=0.5), "defect 1: its saturation_threshold"),
    "no saturation": (lambda f: _configure(f, 0, saturation_threshold=None), "defect 1: its saturation_threshold"),
    "no validation images": (lambda f: shutil.rmtree(f / "validation"), "no images in .*validation/good; unpack"),
    "no training images": (lambda f: shutil.rmtree(f / "train"), "no images in .*train/good; unpack"),
    "no mask": (lambda f: shutil.rmtree(f / "ground_truth/logical_anomalies/001"), "no mask for 1 of 4 defect images"),
    "another kind": (lambda f: (f / "test/odd").mkdir(), "test/odd is no kind of test images"),
    "a mask of another size": (
        lambda f: Image.new("L", (8, 8), 255).save(f / "ground_truth/logical_anomalies/000/000.png"),
        "differ in size: 8 x 8 and 48 x 48",
    ),
    "two values in a mask": (lambda f: _paint(f, 255, 254), "000.png has not one value for its defect"),
    "an unknown value": (lambda f: _paint(f, 77), "000.png has the value 77, which defects_config.json does not name"),
    "an empty mask": (lambda f: _paint(f), "000.png marks no pixel"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_bad_tree_ends_in_one_line_that_names_the_place(refuse, own_folder_of, damage):
    change, words = DAMAGES[damage]
    change(own_folder_of)
    place = ("--data", "mvtec_loco", "--category", "pushpins", "--data.root", own_folder_of.parent)
    line = refuse("fit", *QUICK, *place, "--data.image_size", "32")
    assert re.search(words, line), line


@pytest.fixture(scope="module")
def fitted(root, tmp_path_factory):
    """The folder of a finished run by the dataset's own protocol; only to be read."""
    from conftest import run_bench

    folder = tmp_path_factory.mktemp("fitted")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCH_CACHE", str(folder / "cache"))
        patch.setenv("WANDB_MODE", "disabled")
        outcome = run_bench(
            "fit", *QUICK, "--data", "mvtec_loco", "--category", "pushpins", "--data.root", root,
            "--data.image_size", "32", "--runs", folder / "runs",
        )  # fmt: skip
    assert outcome.status == 0, outcome.stderr
    assert "4 images of pushpins/validation for the threshold; no method learns from them" in outcome.stderr
    assert "sPRO@0.05" in outcome.stdout
    return next((folder / "runs").rglob("record.json")).parent


def test_a_run_has_spro_of_each_kind_and_their_mean(fitted):
    record = json.loads((fitted / "record.json").read_text())
    assert (record["dataset"], record["config"]["protocol"]) == ("mvtec_loco", "full")
    assert record["data"]["validation_images"] == len(record["data"]["held_out"]) == 4
    assert record["data"]["counts"]["validation/good"] == 4
    kinds = record["metrics_by_defect"]
    assert kinds.keys() == {"logical_anomalies", "structural_anomalies"}
    for name, of_kinds in (("spro_0.05", "spro_0.05"), ("image_auroc_of_kinds", "image_auroc")):
        values = [kind[of_kinds] for kind in kinds.values()]
        assert all(0 <= value <= 1 for value in values)
        assert record["metrics"][name] == pytest.approx(sum(values) / 2)


def test_the_auroc_of_a_kind_is_against_all_good_images(fitted):
    from bench.records.predictions import parse_predictions

    file = fitted / "predictions.csv"
    rows = parse_predictions(file.read_bytes(), file)
    kept = [row for row in rows if row.defect_type in ("good", "logical_anomalies")]
    auroc = image_metrics([row.score for row in kept], [row.is_defect for row in kept], None)["image_auroc"]
    record = json.loads((fitted / "record.json").read_text())
    assert record["metrics_by_defect"]["logical_anomalies"]["image_auroc"] == auroc


def test_spro_of_a_run_is_that_of_its_maps(fitted, root, bench, tmp_path):
    """By the definition, threshold by threshold, from the maps that `bench predict` writes in the images' size."""
    outcome = bench("predict", "--run", fitted, root / "pushpins/test", "--maps", "--out", tmp_path / "predicted")
    assert outcome.status == 0, outcome.stderr
    category, images = _pushpins(root).full_category, []
    for sample in category.test:
        path = next((tmp_path / "predicted").rglob(f"{sample.defect_type}/{sample.path.stem}.tiff"))
        kind = category.defect_types.index(sample.defect_type)
        images.append((np.array(Image.open(path)), kind, sample.read_defects(category.saturation)))
    record = json.loads((fitted / "record.json").read_text())
    for kind, name in enumerate(category.defect_types[1:], 1):
        expected = reference(images, kind, 0.05)
        assert record["metrics_by_defect"][name]["spro_0.05"] == pytest.approx(expected, abs=1e-9)


def test_a_repeated_test_has_the_same_figures(fitted, bench):
    outcome = bench("test", "--run", fitted)
    assert outcome.status == 0, outcome.stderr
    assert "the same figures as in the record" in outcome.stdout


def test_a_stressed_run_is_compared_by_its_spro_too(fitted, bench, tmp_path):
    outcome = bench("stress", fitted, "--out", tmp_path / "stress", "--json")
    assert outcome.status == 0, outcome.stderr
    assert json.loads(outcome.stdout)["runs"][0]["category"] == "pushpins"


def test_at_the_model_s_resolution_there_is_no_spro_and_that_is_said(bench, root, own_folder):
    place = ("--data", "mvtec_loco", "--category", "pushpins", "--data.root", root, "--data.image_size", "32")
    outcome = bench("fit", *QUICK, *place, "--protocol", "model")
    assert outcome.status == 0, outcome.stderr
    assert "bench: no sPRO: it is of whole images in the masks' own size" in outcome.stderr
    record = json.loads(next(Path("runs").rglob("record.json")).read_text())
    assert "spro_0.05" not in record["metrics"]
    assert record["metrics"]["image_auroc_of_kinds"] is not None


def test_no_other_dataset_has_its_metrics(finished):
    record = json.loads((finished / "record.json").read_text())
    assert not {"spro_0.05", "image_auroc_of_kinds"} & record["metrics"].keys()


def test_its_table_shows_them_and_no_other_does(fitted, finished, bench, tmp_path):
    assert bench("leaderboard", fitted.parents[2], finished.parents[2], "--out", tmp_path / "tables").status == 0
    tables = {path.name: path.read_text() for path in (tmp_path / "tables").glob("*.md")}
    assert "sPRO@0.05" in tables["mvtec_loco-one-class.md"]
    assert "image AUROC (mean of the kinds)" in tables["mvtec_loco-one-class.md"]
    assert "sPRO" not in tables["mvtec_ad-one-class.md"]


def test_the_description_counts_the_defects_of_all_masks(bench, root):
    outcome = bench("data", "describe", "--data", "mvtec_loco", "--category", "pushpins", "--data.root", root, "--json")
    assert outcome.status == 0, outcome.stderr
    assert json.loads(outcome.stdout)["masks"] == 4


def test_the_check_reads_each_defect(bench, own_folder_of):
    check = ("data", "check", "--data", "mvtec_loco", "--category", "pushpins", "--data.root", own_folder_of.parent)
    outcome = bench(*check)
    assert (outcome.status, outcome.stdout) == (0, "pushpins: read; no source counts its images\n")
    _paint(own_folder_of, 77)
    outcome = bench(*check)
    assert outcome.status == 1
    assert "has the value 77" in outcome.stdout


def test_a_configuration_is_read_as_mvtec_writes_it(tmp_path):
    file = tmp_path / "defects_config.json"
    file.write_text(
        '[{"defect_name": "1_additional_pushpin", "pixel_value": 255, "saturation_threshold": 6300, '
        '"relative_saturation": false}]'
    )
    assert read_saturations(file) == {255: Saturation(6300, relative=False)}
