"""The choice of a coreset against the greedy loop as it is usually written."""

from datetime import timedelta

import pytest
import torch

from bench.models.parts.coreset import choose_covering


def one_by_one(points: torch.Tensor, count: int, start: torch.Tensor) -> list[int]:
    """Farthest first, each pick measured against every point, in double precision."""
    points, distances, chosen = points.double(), start.double(), []
    for _ in range(count):
        chosen.append(int(distances.argmax()))
        distances = torch.minimum(distances, (points - points[chosen[-1]]).norm(dim=1))
    return chosen


def random_points(count: int, features: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Points far from zero and their mean distances to the first ten."""
    points = torch.randn(count, features, generator=torch.Generator().manual_seed(seed)) + 3.0
    return points, torch.cdist(points, points[:10]).mean(dim=1)


@pytest.mark.parametrize("seed", [0, 1])
def test_picks_are_those_of_the_plain_loop(seed):
    points, start = random_points(5000, 64, seed)
    chosen = choose_covering(points, torch.arange(5000), 500, start)
    assert chosen.tolist() == one_by_one(points, 500, start)


def test_in_crowds_each_pick_is_the_farthest_but_for_rounding():
    centres, _ = random_points(40, 16)
    points = 5 * centres.repeat_interleave(50, dim=0) + random_points(2000, 16, seed=1)[0]
    distances = start = torch.cdist(points, points[:10]).mean(dim=1)
    for pick in choose_covering(points, torch.arange(2000), 1500, start).tolist():
        assert float(distances[pick]) == pytest.approx(float(distances.max()), rel=1e-5)
        distances = torch.minimum(distances, (points - points[pick]).norm(dim=1))


def test_points_keep_their_values_and_their_names():
    points, start = random_points(300, 8)
    before = points.clone()
    named = choose_covering(points, torch.arange(300) * 7 + 1, 20, start)
    assert torch.equal(points, before)
    assert ((named - 1) // 7).tolist() == one_by_one(points, 20, start)


def test_every_point_is_chosen_once_even_where_all_are_the_same():
    points = torch.ones(1500, 4)
    chosen = choose_covering(points, torch.arange(1500), 1500, torch.zeros(1500))
    assert sorted(chosen.tolist()) == list(range(1500))


def _choose_own_share(rank: int, processes: int, store: str, results: torch.multiprocessing.Queue) -> None:
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{store}", rank=rank, world_size=processes, timeout=timedelta(seconds=60)
    )
    points, start = random_points(2501, 16)
    own = slice(rank, None, processes)
    results.put((rank, choose_covering(points[own], torch.arange(2501)[own], 300, start[own]).numpy()))
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_choose_what_one_chooses(tmp_path):
    context = torch.multiprocessing.get_context("spawn")
    results = context.Queue()
    arguments = [(rank, 2, str(tmp_path / "store"), results) for rank in range(2)]
    workers = [context.Process(target=_choose_own_share, args=own) for own in arguments]
    for worker in workers:
        worker.start()
    outcomes = [results.get(timeout=120) for _ in workers]
    for worker in workers:
        worker.join(60)
    points, start = random_points(2501, 16)
    alone = one_by_one(points, 300, start)
    for _, chosen in outcomes:
        assert chosen.tolist() == alone
