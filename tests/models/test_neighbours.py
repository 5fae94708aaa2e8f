"""Nearest neighbours against scikit-learn's."""

import importlib.util

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from bench.models.parts import neighbours
from bench.models.parts.neighbours import nearest

POINTS = torch.randn(9000, 32, generator=torch.Generator().manual_seed(0)) + 2.0  # more than are compared at once
QUERIES = torch.randn(1100, 32, generator=torch.Generator().manual_seed(1)) + 2.0


@pytest.fixture(params=["products", "faiss"])
def way(request, monkeypatch):
    if request.param == "products":
        monkeypatch.setattr(neighbours, "_faiss", lambda: None)
    elif importlib.util.find_spec("faiss") is None:
        pytest.skip("faiss is not installed")


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("count", [1, 7])
def test_neighbours_and_distances_are_scikit_learns(count):
    expected, places = NearestNeighbors(n_neighbors=count, algorithm="brute").fit(POINTS).kneighbors(QUERIES)
    distances, found = nearest(QUERIES, POINTS, count)
    np.testing.assert_allclose(distances, expected, rtol=1e-5)
    np.testing.assert_array_equal(found, places)


@pytest.mark.usefixtures("way")
def test_small_distances_between_long_vectors_do_not_cancel():
    points = torch.randn(50, 8, generator=torch.Generator().manual_seed(2)) + 1000.0
    queries = points + 1e-3 * torch.tensor([1.0, 0, 0, 0, 0, 0, 0, 0])
    distances, places = nearest(queries, points)
    np.testing.assert_array_equal(places[:, 0], range(50))
    np.testing.assert_allclose(distances[:, 0], (queries - points).double().norm(dim=1), rtol=1e-5)


def test_more_neighbours_than_points_are_refused():
    with pytest.raises(ValueError, match="10 neighbours of 9 points"):
        nearest(QUERIES, POINTS[:9], 10)
