"""How often each class is drawn in training."""

from collections import Counter

import numpy as np
import pytest
from scipy.stats import chisquare

from bench.data import loading
from bench.data.folds import sampling_weights
from bench.data.loading import BatchSampler

COUNTS = {"good": 160, "cut": 25, "hole": 9}
TYPES = [name for name, count in COUNTS.items() for _ in range(count)]
INDICES = list(range(1000, 1000 + len(TYPES)))  # places in a larger split


def _sampler(sampling: str, *, seed: int = 0, batch_size: int = 16, samples: int | None = None) -> BatchSampler:
    weights = sampling_weights(TYPES, sampling)
    return BatchSampler(INDICES, batch_size, shuffle_seed=seed, samples=samples, weights=weights)


def _epochs(sampler: BatchSampler, count: int) -> list[int]:
    drawn = []
    for epoch in range(count):
        sampler.set_epoch(epoch)
        drawn += [index for draw in sampler for index in draw.indices]
    return drawn


@pytest.mark.parametrize(
    ("sampling", "shares"), [("balanced", [1, 1, 1]), ("square_root", [160**0.5, 25**0.5, 9**0.5])]
)
def test_classes_are_drawn_in_the_proportions_of_the_sampling(sampling, shares):
    drawn = Counter(TYPES[index - 1000] for index in _epochs(_sampler(sampling), 100))
    expected = 100 * len(TYPES) * np.array(shares) / sum(shares)
    assert chisquare([drawn[name] for name in COUNTS], expected).pvalue > 1e-3


@pytest.mark.parametrize("sampling", ["balanced", "square_root"])
def test_images_of_one_class_are_drawn_alike(sampling):
    drawn = Counter(_epochs(_sampler(sampling), 200))
    for name in COUNTS:
        uses = [drawn[index] for index, each in zip(INDICES, TYPES, strict=True) if each == name]
        assert chisquare(uses).pvalue > 1e-3


def test_each_once_draws_each_once():
    assert sampling_weights(TYPES, "each_once") is None
    assert sorted(_epochs(_sampler("each_once"), 1)) == INDICES


def test_weights_are_probabilities():
    weights = sampling_weights(["a", "b", "b", "a", "a", "a"], "balanced")
    assert weights == pytest.approx([1 / 8, 1 / 4, 1 / 4, 1 / 8, 1 / 8, 1 / 8])
    assert sampling_weights(TYPES, "square_root").sum() == pytest.approx(1)


def test_an_epoch_has_as_many_draws_as_images_or_as_asked():
    assert len(_epochs(_sampler("balanced"), 1)) == len(TYPES)
    assert len(_epochs(_sampler("balanced", samples=500), 1)) == 500


def test_draws_depend_on_seed_and_epoch_alone():
    assert _epochs(_sampler("balanced"), 2) == _epochs(_sampler("balanced"), 2)
    assert _epochs(_sampler("balanced"), 1) != _epochs(_sampler("balanced", seed=1), 1)
    two = _epochs(_sampler("balanced"), 2)
    assert two[: len(TYPES)] != two[len(TYPES) :]


def test_two_processes_draw_together_what_one_draws(monkeypatch):
    alone = list(_sampler("balanced", samples=64))
    parts = []
    for rank in (0, 1):
        monkeypatch.setattr(loading, "rank_and_processes", lambda rank=rank: (rank, 2))
        parts.append(list(_sampler("balanced", samples=64)))
    assert [len(part) for part in parts] == [len(alone)] * 2
    for whole, first, second in zip(alone, *parts, strict=True):
        pairs = zip(whole.indices, whole.positions, strict=True)
        halves = zip(first.indices + second.indices, first.positions + second.positions, strict=True)
        assert sorted(pairs) == sorted(halves)


def test_weights_without_a_shuffle_are_refused():
    with pytest.raises(ValueError, match="shuffle_seed"):
        BatchSampler([0, 1], 2, weights=[0.5, 0.5])
