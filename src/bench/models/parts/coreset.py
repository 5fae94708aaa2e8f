"""Coreset: farthest-first choice of a few points that cover all (greedy k-centre), on one process or many."""

import numpy as np
import torch
from torch import Tensor

from bench.collectives import add_over_processes, rank_and_processes
from bench.models.parts.chunks import rows_at_once
from bench.models.parts.precision import full_precision

# Points considered at a time for the next picks, and points compared with those picks at a time on a CPU.
_CANDIDATES = 512
_POINTS_AT_ONCE = 2048


@torch.no_grad()
def choose_covering(points: Tensor, ids: Tensor, count: int, start: Tensor) -> Tensor:
    """Choose `count` of all processes' points, each the farthest from those before it; return their ids in order.

    A point's distance is the minimum of `start` and its distances to the chosen points, and can only fall. So among the
    farthest `_CANDIDATES` points, the next picks are those that stay farther than the present distance of every other
    point. Hundreds of steps are decided among the candidates alone, and one matrix product then updates all points. The
    usual step reads every point for one pick, and waits for memory.

    Args:
        points: (N, d) of this process.
        ids: (N,) ids of the points, unique over all processes.
        count: how many to choose; no more than all processes have.
        start: (N,) distances before anything is chosen.
    """
    centre = _mean(points)
    norms = torch.cat([(part - centre).square().sum(dim=1) for part in torch.split(points, _at_once(points))])
    distances = start.square()  # squared from here on; -1 once chosen
    chosen: list[Tensor] = []
    missing = count
    with full_precision(points.device):
        while missing:
            candidates, names, far, bound = _farthest(points, ids, distances)
            candidates -= centre
            picks = _next_picks(candidates, far, bound, missing)
            chosen.append(names[picks])
            missing -= len(picks)
            if missing:
                _come_nearer(points, centre, norms, distances, candidates[picks])
                distances.masked_fill_(torch.isin(ids, names[picks]), -1)
    return torch.cat(chosen)


def _mean(points: Tensor) -> Tensor:
    """The mean of all processes' points: without centring, norms are large and small distances cancel."""
    total = torch.zeros(points.shape[1] + 1, dtype=torch.float64, device=points.device)
    for part in torch.split(points, _at_once(points)):
        total[:-1] += part.double().sum(dim=0)
    total[-1] = len(points)
    add_over_processes(total)
    return (total[:-1] / total[-1]).to(points.dtype)


def _farthest(points: Tensor, ids: Tensor, distances: Tensor) -> tuple[Tensor, Tensor, Tensor, float]:
    """The farthest points of all processes, their ids and distances, and a bound of all other points' distances."""
    rank, processes = rank_and_processes()
    values, indices = distances.topk(min(_CANDIDATES, len(distances)))
    own = slice(len(indices))
    # A process with fewer points leaves rows empty, at a distance that is never picked.
    vectors = points.new_zeros(processes, _CANDIDATES, points.shape[1])
    names = ids.new_zeros(processes, _CANDIDATES)
    far, bounds = distances.new_zeros(processes, _CANDIDATES), distances.new_zeros(processes)
    vectors[rank, own], names[rank, own] = points[indices], ids[indices]
    far[rank] = -1
    far[rank, own] = values
    bounds[rank] = values[-1] if len(indices) < len(distances) else -1
    for part in (vectors, names, far, bounds):
        add_over_processes(part)
    return vectors.flatten(0, 1), names.flatten(), far.flatten(), float(bounds.max())


def _next_picks(candidates: Tensor, far: Tensor, bound: float, most: int) -> Tensor:
    """Indices of the candidates that come next, in order."""
    norms = candidates.square().sum(dim=1)
    between = torch.addmm(norms[None] + norms[:, None], candidates, candidates.mT, alpha=-2)
    # On the CPU: each step reads about a thousand numbers, and a GPU would have to be waited for each time.
    apart, distances = between.clamp_min_(0).cpu().numpy(), far.cpu().numpy().copy()
    picks: list[int] = []
    while len(picks) < most:
        best = int(np.argmax(distances))
        # The first is the farthest of all; a later one only while it is farther than any point that is no candidate.
        # Points at distance 0 are all alike: nothing is left to choose between.
        if (picks and bound > 0 and distances[best] <= bound) or distances[best] < 0:
            break
        picks.append(best)
        np.minimum(distances, apart[best], out=distances)
        distances[best] = -1  # and so it stays
    return torch.tensor(picks, device=candidates.device)


def _come_nearer(points: Tensor, centre: Tensor, norms: Tensor, distances: Tensor, picked: Tensor) -> None:
    """Update squared distances with those to the new, centred picks."""
    own = picked.square().sum(dim=1)
    at_once = _at_once(points)
    for first in range(0, len(points), at_once):
        part = slice(first, first + at_once)
        squared = torch.addmm(own[None], points[part] - centre, picked.mT, alpha=-2).amin(dim=1)
        squared += norms[part]
        distances[part] = torch.minimum(distances[part], squared.clamp_min_(0))


def _at_once(points: Tensor) -> int:
    """The number of points that are centred, in double precision, and compared with all candidates at once."""
    return rows_at_once(points.device, 8 * points.shape[1] + 4 * _CANDIDATES, on_cpu=_POINTS_AT_ONCE)
