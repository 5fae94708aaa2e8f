"""An imported category of made photos, and one acceptance of it; both only to be read."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from conftest import run_bench
from fake_photos import write_photos

METHODS = "trivial_contrast,trivial_thumbnail"  # quick ones, without maps
PHOTOS = {"good": 16, "bad/dent": 3, "bad/hole": 2}
SMALL = ("--image-size", "32", "--device", "cpu")


@dataclass(frozen=True)
class Accepted:
    """What the command left: the folder of page and JSON, the JSON, and what it said on stderr."""

    folder: Path
    result: dict[str, Any]
    remarks: str

    @property
    def page(self) -> Path:
        return self.folder / "acceptance.html"


def product_of(folder: Path, photos: dict[str, int] | None = None, *options: str) -> Path:
    """The folder of an imported category `tablet`."""
    outcome = run_bench(
        "data", "import", write_photos(folder / "photos", photos or PHOTOS), "--name", "tablet", "--out",
        folder / "products", *options,
    )  # fmt: skip
    assert outcome.status == 0, outcome.stderr
    return folder / "products" / "tablet"


@pytest.fixture(scope="session")
def product(tmp_path_factory) -> Path:
    """16 good photos, of which 4 calibrate and 4 are tested, and 5 bad ones of two kinds."""
    return product_of(tmp_path_factory.mktemp("imported"))


@pytest.fixture(scope="session")
def accept(tmp_path_factory) -> Iterator[Callable[..., Accepted]]:
    """Run `bench accept`, in a folder of runs that all share; the result."""
    folder = tmp_path_factory.mktemp("accepted")

    def run(product: Path, *options: object, name: str) -> Accepted:
        outcome = run_bench(
            "accept", product, *SMALL, "--runs", folder / "runs", "--out", folder / name, "--json", *options
        )
        assert outcome.status == 0, outcome.stderr
        return Accepted(folder / name, json.loads(outcome.stdout), outcome.stderr)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCH_CACHE", str(folder / "cache"))
        patch.setenv("BENCH_QUIET", "1")
        yield run


@pytest.fixture(scope="session")
def accepted(accept, product) -> Accepted:
    """Two methods with two seeds, and costs."""
    costs = ("--cost-miss", 100, "--cost-alarm", 1)
    return accept(product, "--methods", METHODS, "--seeds", "0,1", *costs, name="both")


@pytest.fixture(scope="session")
def with_maps(accept, product) -> Accepted:
    """A method with maps beside one without; slow."""
    methods = ("--methods", "padim_mobilenetv2,trivial_thumbnail", "--seeds", "0", "--model.weights", "none")
    return accept(product, *methods, "--cost-miss", 100, "--cost-alarm", 1, name="maps")
