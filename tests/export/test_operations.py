"""The operations that stand for those that ONNX lacks."""

import pytest
import torch
from torch.nn.functional import adaptive_avg_pool1d, unfold

from bench.export.formulations import _neighbourhoods
from bench.export.graph import _at_most
from bench.export.operations import Nearest, PooledNumbers, Windows
from bench.models.parts.neighbours import nearest
from bench.models.parts.windows import SlidingWindows


@pytest.mark.parametrize(("length", "count"), [(12, 4), (864, 1024), (100, 70), (7, 7), (5, 1)])
def test_numbers_are_pooled_as_by_torch(length, count):
    values = torch.rand(2, 3, length)
    torch.testing.assert_close(PooledNumbers(length, count)(values), adaptive_avg_pool1d(values, count))


@pytest.mark.parametrize("count", [1, 4])
def test_the_nearest_of_more_points_than_are_compared_at_a_time_are_found(count, monkeypatch):
    monkeypatch.setattr("bench.export.operations._POINTS_AT_ONCE", 16)
    queries, points = torch.rand(9, 5), torch.rand(70, 5)  # the last part holds six
    distances, numbers = Nearest(points, count)(queries)
    expected = nearest(queries, points, count)
    torch.testing.assert_close(distances, expected[0])
    assert numbers.tolist() == expected[1].tolist()


def test_windows_are_cut_and_merged_as_by_the_methods():
    windows = SlidingWindows(50, 16, 9)  # the last windows lie closer
    own = Windows.of(windows)
    image = torch.rand(2, 3, 50, 50)
    assert torch.equal(own.cut(image), windows.cut(image))
    maps = torch.rand(2 * len(windows.corners), 16, 16)
    torch.testing.assert_close(own.merge(maps), windows.merge(maps))
    rows = torch.cat([own.cut(image[:1], slice(first, first + 2)) for first in range(0, own.number, 2)])
    assert torch.equal(rows, windows.cut(image[:1]))


def test_neighbourhoods_are_torch_s_unfold():
    level = torch.rand(2, 5, 6, 6)
    assert torch.equal(_neighbourhoods(level).flatten(2), unfold(level, 3, padding=1))


@pytest.mark.parametrize("threshold", [0.1, 0.5, -0.1, 13.43468189239502, 1e-30])
def test_a_threshold_of_double_precision_decides_scores_of_single_precision_alike(threshold):
    single = torch.tensor(threshold)
    around = [single, *(torch.nextafter(single, torch.tensor(end)) for end in (-torch.inf, torch.inf))]
    limit = torch.tensor(_at_most(threshold))
    assert [bool(score > limit) for score in around] == [float(score) > threshold for score in around]
