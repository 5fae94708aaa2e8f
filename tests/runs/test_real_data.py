"""On MVTec AD's own images and ImageNet weights, by hand: BENCH_TEST_REAL_FITS=1, 8 minutes."""

import json
import os
from statistics import fmean

import pytest

# Read before the tests' own environment hides it.
DATA, WEIGHTS = os.environ.get("BENCH_DATA"), os.environ.get("BENCH_TEST_WEIGHTS")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("all_threads"),
    pytest.mark.skipif(
        not (DATA and WEIGHTS and os.environ.get("BENCH_TEST_REAL_FITS")),
        reason="BENCH_DATA (MVTec AD), BENCH_TEST_WEIGHTS (mobilenetv2_100) and BENCH_TEST_REAL_FITS are not all set",
    ),
]


# Means of an independent implementation (MobileNetV2, strides 4 to 16, 100 of 152 channels, 256 pixels, no crop) on
# images reduced to 256 (bottle) and 512 pixels (screw); the tolerance is what the draw of channels moves.
@pytest.mark.parametrize(
    ("category", "seeds", "expected", "tolerances"),
    [
        ("bottle", (0, 1, 2), (0.997, 0.970, 0.880), (0.004, 0.006, 0.015)),
        ("screw", (0, 1, 2, 3, 4), (0.784, 0.960, 0.860), (0.025, 0.006, 0.015)),
    ],
)
def test_padim_reaches_the_figures_of_an_independent_implementation(category, seeds, expected, tolerances, bench):
    records = []
    for seed in seeds:
        arguments = ("--category", category, "--seed", seed, "--data.root", DATA, "--model.weights", WEIGHTS)
        outcome = bench("fit", "--model", "padim_mobilenetv2", *arguments, "--json")
        assert outcome.status == 0, outcome.stderr
        records.append(json.loads(outcome.stdout))
    for name, value, tolerance in zip(("image_auroc", "pixel_auroc", "aupro_0.30"), expected, tolerances, strict=True):
        assert fmean(record["metrics"][name] for record in records) == pytest.approx(value, abs=tolerance), name
