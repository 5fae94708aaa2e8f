"""How much is computed at a time: a GPU gets few large parts, and the same comes out."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from bench.data.datamodule import DataSpec
from bench.models.accumulators import State
from bench.models.parts import chunks
from bench.models.parts.chunks import rows_at_once
from bench.models.parts.coreset import choose_covering
from bench.models.parts.density import ShrunkGaussian
from bench.models.parts.neighbours import nearest
from bench.models.spade import SPADE
from emulated_cuda import DEVICE, EmulatedCuda, on_cpu
from learning import learn

CPU = torch.device("cpu")
POINTS = torch.randn(6000, 32, generator=torch.Generator().manual_seed(0)) + 2.0
QUERIES = torch.randn(2500, 32, generator=torch.Generator().manual_seed(1)) + 2.0


@pytest.fixture(autouse=True)
def operations_as_they_are() -> Iterator[None]:
    """A run in this process leaves torch deterministic: then it makes up some operations on a GPU from others."""
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(False)
    yield
    torch.use_deterministic_algorithms(before[0], warn_only=before[1])


def test_a_cpu_keeps_its_own_sizes_and_a_gpu_takes_as_many_rows_as_fill_the_bytes():
    assert rows_at_once(CPU, 1, on_cpu=256) == 256
    assert rows_at_once(DEVICE, 2**10, on_cpu=256) == 2**18
    assert rows_at_once(DEVICE, 2**30, on_cpu=256) == 256  # fewer would be slower on any device


@pytest.mark.parametrize("count", [1, 5])
def test_a_gpu_finds_the_same_neighbours_with_a_few_products(count):
    distances, places = nearest(QUERIES, POINTS, count)
    with EmulatedCuda() as emulated:
        found = nearest(QUERIES.to(DEVICE), POINTS.to(DEVICE), count)
    assert emulated.operations["addmm"] == 1
    assert torch.equal(on_cpu(found[1]), places)
    torch.testing.assert_close(on_cpu(found[0]), distances, rtol=1e-6, atol=0)


@pytest.mark.parametrize("count", [1, 5])
def test_neighbours_on_a_gpu_are_the_same_where_queries_and_points_do_not_fit_at_once(count, monkeypatch):
    monkeypatch.setattr(chunks, "_BYTES_AT_ONCE", 2**21)
    distances, places = nearest(QUERIES, POINTS, count)
    with EmulatedCuda() as emulated:
        found = nearest(QUERIES.to(DEVICE), POINTS.to(DEVICE), count)
    assert emulated.operations["addmm"] > 2
    assert torch.equal(on_cpu(found[1]), places)
    torch.testing.assert_close(on_cpu(found[0]), distances, rtol=1e-6, atol=0)


def test_products_with_queries_of_few_numbers_are_no_larger_than_the_bytes(monkeypatch):
    largest = 0
    addmm = torch.addmm

    def watched(*arguments: Tensor, **settings: float) -> Tensor:
        nonlocal largest
        product = addmm(*arguments, **settings)
        largest = max(largest, product.nbytes)
        return product

    monkeypatch.setattr(torch, "addmm", watched)
    monkeypatch.setattr(chunks, "_BYTES_AT_ONCE", 2**21)
    with EmulatedCuda():
        nearest(QUERIES[:, :2].to(DEVICE), POINTS[:, :2].to(DEVICE))
    assert 0 < largest <= 2**21


def test_a_gpu_chooses_the_same_points():
    start = torch.cdist(POINTS, POINTS[:10]).mean(dim=1)
    expected = choose_covering(POINTS, torch.arange(6000), 300, start)
    with EmulatedCuda() as emulated:
        chosen = choose_covering(POINTS.to(DEVICE), torch.arange(6000, device=DEVICE), 300, start.to(DEVICE))
    assert torch.equal(on_cpu(chosen), expected)
    rounds = sum(wait.startswith("_local_scalar_dense") for wait in emulated.waits)
    assert emulated.operations["addmm"] == 2 * rounds - 1  # one among candidates, one with all points but in the last


def gaussian(device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    model, points = ShrunkGaussian(32).to(device), POINTS.to(device)
    state = State(model.accumulators(), len(points), device)
    state.fill([points], model.accumulate)
    model.finish(state)
    return model.mean, model.whitening, model.squared_distance(QUERIES.to(device))


def test_a_gpu_learns_the_same_gaussian():
    expected = gaussian(CPU)
    with EmulatedCuda() as emulated:
        found = gaussian(DEVICE)
    assert emulated.operations["addmm_"] == 1  # two on the CPU
    torch.testing.assert_close(on_cpu(found), expected, rtol=1e-6, atol=1e-12)


def spade(device: torch.device) -> tuple[Tensor, Tensor | None]:
    images = torch.rand(9, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    model = SPADE(DataSpec(64, 3, len(images)), backbone="resnet18", weights="none", neighbours=5).eval()
    found = learn(model, images.split(3)).to(device).predict(images[:2].flip(3).to(device))
    return found.score, found.map


@pytest.mark.parametrize("galleries", [2, 9])
def test_a_gpu_finds_the_same_map_by_several_images_at_a_time(galleries, monkeypatch):
    expected = spade(CPU)
    monkeypatch.setattr(chunks, "_BYTES_AT_ONCE", galleries * 4 * 16**2 * (64 + 128 + 256))
    with EmulatedCuda() as emulated:
        found = spade(DEVICE)
    assert emulated.operations["upsample_bilinear2d"] == 2 * 2 * (1 + -(-5 // galleries))  # two images, two levels
    torch.testing.assert_close(on_cpu(found), expected, rtol=1e-5, atol=0)
