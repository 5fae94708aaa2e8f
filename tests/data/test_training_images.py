"""Which images a method learns from where their number or their purity is chosen."""

import json
from itertools import pairwise
from pathlib import Path

import pytest

from bench.data.datamodule import DefectData
from bench.data.digests import file_sha256
from fake_data import write_category

DEFECTS = {"blob": 6, "scratch": 6}


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("few")
    write_category(folder, train=20, defects=DEFECTS)
    return folder


def data_of(root: Path, seed: int = 0, **settings) -> DefectData:
    return DefectData("screw", seed, "model", root=str(root), image_size=32, validation_share=0.0, **settings)


def learned(data: DefectData) -> set[str]:
    return {sample.relative for sample in data.category.train}


@pytest.mark.parametrize("shots", [1, 2, 4, 8, 16])
def test_so_many_training_images_are_kept_and_all_of_the_test(root, shots):
    data = data_of(root, shots=shots)
    assert len(data.category.train) == data.spec.train_images == shots
    assert data.category.test == data.full_category.test


def test_the_images_of_a_smaller_number_are_among_those_of_a_larger_one(root):
    parts = [learned(data_of(root, shots=shots)) for shots in (1, 2, 4, 8, 16, 20)]
    assert all(small < large for small, large in pairwise(parts))
    assert parts[-1] == learned(data_of(root))


@pytest.mark.parametrize(("shots", "held_out"), [(4, 0), (5, 0), (6, 1), (16, 2)])
def test_a_share_of_few_images_may_round_to_none_that_is_held_out(root, shots, held_out):
    data = data_of(root, shots=shots)
    data.validation_share = 0.1
    assert len(data.validation_indices) == held_out
    assert len(data.training_indices) == shots - held_out


def test_the_seed_draws_the_images(root):
    drawn = [frozenset(learned(data_of(root, seed, shots=4))) for seed in range(5)]
    assert len(set(drawn)) > 1
    assert drawn[3] == learned(data_of(root, 3, shots=4))


@pytest.mark.parametrize("share", [0.05, 0.1, 0.5])
def test_a_share_of_the_training_images_is_replaced_by_defective_ones_which_are_no_test_images(root, share):
    clean, dirty = data_of(root), data_of(root, contamination=share)
    train, test = dirty.category.train, dirty.category.test
    assert len(train) == 20
    assert sum(sample.is_defect for sample in train) == round(20 * share)
    assert not set(train) & set(test)
    assert {*train, *test} <= {*clean.category.train, *clean.category.test}
    assert [sample for sample in clean.category.test if sample not in train] == list(test)


def test_a_smaller_contamination_is_part_of_a_larger_one(root):
    parts = [{s for s in data_of(root, contamination=c).category.train if s.is_defect} for c in (0.05, 0.1, 0.3)]
    assert parts[0] < parts[1] < parts[2]


def test_the_seed_draws_the_defective_images_and_the_places_that_they_take(root):
    drawn = [data_of(root, seed, contamination=0.3).category.train for seed in range(6)]
    assert len({frozenset(s for s in train if s.is_defect) for train in drawn}) > 1
    assert len({tuple(s.is_defect for s in train) for train in drawn}) > 1


def test_few_images_can_be_dirty_too(root):
    data = data_of(root, shots=4, contamination=0.25)
    assert [sample.is_defect for sample in data.category.train].count(True) == 1
    assert len(learned(data) & learned(data_of(root, shots=4))) == 3


@pytest.mark.parametrize("settings", [{"shots": 4}, {"contamination": 0.3}, {"shots": 8, "contamination": 0.5}])
def test_no_file_of_a_training_set_is_in_its_test(root, settings):
    for seed in range(10):
        category = data_of(root, seed, **settings).category
        train, test = ({file_sha256(sample.path) for sample in part} for part in (category.train, category.test))
        assert train
        assert test
        assert not train & test


def test_the_images_that_set_the_threshold_are_as_dirty_as_the_others(root):
    """Over the seeds: nobody knows which images are defective."""
    held_out = dirty = 0
    for seed in range(40):
        data = data_of(root, seed, contamination=0.3)
        data.validation_share = 0.5
        held_out += len(data.validation_indices)
        dirty += sum(data.category.train[index].is_defect for index in data.validation_indices)
    assert held_out == 400
    assert 90 <= dirty <= 150  # 120 expected


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (("--data.shots", "0"), "--data.shots 0 is not positive; null takes all training images"),
        (("--data.shots", "13"), "--data.shots 13: screw has 12 training images; null takes all"),
        (("--data.contamination", "1"), "--data.contamination 1 does not lie in [0, 1)"),
        (("--data.contamination", "-0.1"), "--data.contamination -0.1 does not lie in [0, 1)"),
        (
            ("--data.contamination", "0.01"),
            "--data.contamination 0.01 of 12 training images is no defective one; one is a share of 0.0833",
        ),
        (
            ("--data.contamination", "0.9"),
            "--data.contamination 0.9 of 12 training images takes 11 defective images from the test, and one must "
            "remain there; screw has 8: 0.583 is the largest share",
        ),
        (
            ("--data.contamination", "0.67"),
            "--data.contamination 0.67 of 12 training images takes 8 defective images from the test, and one must "
            "remain there; screw has 8: 0.583 is the largest share",
        ),
        (
            ("--data.contamination", "0.99"),
            "--data.contamination 0.99 of 12 training images is no good one; one is a share of 0.0833",
        ),
        (("--data.shots", "1"), "padim learns from 2 images at least, here is 1; raise --data.shots"),
    ],
)
def test_what_the_images_do_not_allow_is_refused_in_one_line(refuse, quick_padim, settings, words):
    assert refuse("fit", *quick_padim, *settings).removeprefix("bench: ") == words


def test_a_method_that_trains_says_how_it_gets_held_out_images(refuse, quick):
    line = refuse("fit", *quick, "--data.shots", "4")
    assert line == "bench: a method that trains takes its threshold from held-out images: raise --data.shots"


def test_a_classifier_takes_neither(refuse, data_root):
    for setting in ("--data.shots", "--data.contamination"):
        value = "4" if setting == "--data.shots" else "0.5"
        words = ("--model", "classifier", "--data.fold", "0", setting, value)
        line = refuse("fit", *words, "--category", "screw", "--data.root", data_root)
        assert f"leave out {setting}" in line


def fit(bench, *words) -> dict:
    outcome = bench("fit", *words, "--json")
    assert outcome.status == 0, outcome.stderr
    return json.loads(outcome.stdout)


def test_the_record_names_the_images(bench, quick_padim, data_root):
    record = fit(bench, *quick_padim, "--data.shots", "4")
    assert len(record["data"]["shots"]) == 4
    assert all((data_root / name).is_file() for name in record["data"]["shots"])
    assert record["data"]["contamination"] is None
    dirty = fit(bench, *quick_padim, "--data.contamination", "0.25")
    assert len(dirty["data"]["contamination"]) == 3
    assert dirty["data"]["shots"] is None
    assert dirty["data"]["differences"][-1] == "0.25 of the training images are defective, and are no test images"
    assert not dirty["official"]


def test_some_images_are_learned_from_as_from_a_folder_of_their_own(bench, quick_padim, data_root, tmp_path):
    few = fit(bench, *quick_padim, "--data.shots", "6")
    own = tmp_path / "own"
    for name in (*few["data"]["shots"], *(p.relative_to(data_root) for p in data_root.glob("screw/test/*/*"))):
        (own / name).parent.mkdir(parents=True, exist_ok=True)
        (own / name).symlink_to(data_root / name)
    (own / "screw" / "ground_truth").symlink_to(data_root / "screw" / "ground_truth")
    alone = fit(bench, *quick_padim, "--data.root", own)
    assert few["fingerprint"] != alone["fingerprint"]
    for name in ("metrics", "metrics_by_defect", "intervals", "map_range"):
        assert few[name] == alone[name]


def test_too_few_images_for_a_threshold_rank_and_decide_nothing(bench, quick_padim, tmp_path):
    outcome = bench("fit", *quick_padim, "--data.shots", "2")
    assert outcome.status == 0, outcome.stderr
    assert "no threshold: it comes from images left out one by one, of 3 at least; here are 2" in outcome.stderr
    assert "padim learned from 2 images, too few to choose a threshold: it ranks, and decides nothing" in outcome.stdout
    folder = next((tmp_path / "runs").rglob("record.json")).parent
    metrics = json.loads((folder / "record.json").read_text())["metrics"]
    assert metrics["threshold"] is None
    assert metrics["image_auroc"] is not None
    assert not {"image_accuracy", "image_recall", "image_precision"} & metrics.keys()
    photo = next((tmp_path / "runs").rglob("most_anomalous.png"))
    refused = bench("predict", "--run", folder, photo)
    assert refused.status == 2
    assert "was fitted on too few images to choose a threshold" in refused.stderr


def test_neither_setting_makes_another_cell_of_a_run_that_does_not_use_it(bench, quick_padim):
    plain = fit(bench, *quick_padim)
    assert fit(bench, *quick_padim, "--data.shots", "null", "--data.contamination", "0") == plain
