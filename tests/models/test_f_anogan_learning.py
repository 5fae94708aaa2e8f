"""What f-AnoGAN learns from normal images alone, on defects that leave an image's values as they are."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from fake_data import save

SIDE = 64
BLOCK = 14
FIT = ("--model", "f_anogan_cpu", "--category", "screw", "--data.augmentation", "none", "--data.image_size", SIDE)


def draw_disc(rng: np.random.Generator) -> NDArray[np.float64]:
    """A disc with a bright quarter and a hole, always upright, in another light each time."""
    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    radius, light = np.hypot(y, x), rng.uniform(0.85, 1.15)
    picture = np.where(radius < 24, 150 * light, 40 + rng.normal(0, 2))
    picture[(radius < 24) & (y < 0) & (x < 0)] = 220 * light
    picture[radius < 8] = 70
    return picture + rng.normal(0, 3, picture.shape)


def exchange_blocks(picture: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """A block of the disc's rim and one of the background change places: no statistic of all pixels can tell."""
    swapped = picture.copy()
    row, column = rng.integers(22, 30), rng.integers(8, 11)
    own = slice(row, row + BLOCK), slice(column, column + BLOCK)
    other = slice(0, BLOCK), slice(SIDE - BLOCK, SIDE)
    swapped[own], swapped[other] = picture[other], picture[own]
    return swapped


@pytest.fixture(scope="module")
def discs(tmp_path_factory) -> Path:
    """40 normal discs to learn from; 20 others to test, as they are and with blocks exchanged."""
    root = tmp_path_factory.mktemp("discs")
    rng = np.random.default_rng(0)

    def write(values: NDArray[np.float64], *place: str) -> None:
        grey = np.clip(values, 0, 255).astype(np.uint8)
        save(
            np.repeat(grey[:, :, None], 3, axis=2) if "ground_truth" not in place else grey,
            root.joinpath("screw", *place),
        )

    for number in range(40):
        write(draw_disc(rng), "train", "good", f"{number:03}.png")
    for number in range(20):
        normal = draw_disc(rng)
        defective = exchange_blocks(normal, rng)
        write(normal, "test", "good", f"{number:03}.png")
        write(defective, "test", "exchanged", f"{number:03}.png")
        write(255.0 * (abs(defective - normal) > 30), "ground_truth", "exchanged", f"{number:03}_mask.png")
    return root


def fit(bench, root: Path, *options: object) -> tuple[dict[str, float], list[float], list[float]]:
    """Metrics of a run, and the scores of normal and defective images."""
    outcome = bench("fit", *FIT, "--data.root", root, "--json", *options)
    assert outcome.status == 0, outcome.stderr
    record = json.loads(outcome.stdout)
    with (Path("runs") / "f_anogan_cpu" / "screw" / record["fingerprint"] / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    normal, defective = ([float(row["score"]) for row in rows if row["label"] == label] for label in "01")
    assert roc_auc_score([0] * len(normal) + [1] * len(defective), normal + defective) == pytest.approx(
        record["metrics"]["image_auroc"]
    )
    return record["metrics"], normal, defective


@pytest.mark.slow
def test_it_learns_to_draw_normal_images_and_so_leaves_a_residual_of_what_is_defective(bench, discs):
    barely = ("--trainer.max_epochs", 2, "--model.pretrain_epochs", 1, "--data.samples_per_epoch", 8)
    untrained, normal_before, _ = fit(bench, discs, *barely)
    trained, normal, defective = fit(bench, discs, "--trainer.max_epochs", 12, "--model.pretrain_epochs", 8)
    # Features of a critic that learned nothing notice some of what moved; no untrained map does.
    assert untrained["image_auroc"] < 0.85
    assert untrained["pixel_auroc"] < 0.65
    assert trained["image_auroc"] >= 0.95
    assert trained["pixel_auroc"] >= 0.95
    assert np.mean(normal) < 0.5 * np.mean(normal_before)
    assert np.mean(defective) > 3 * np.mean(normal)
