"""Exact nearest neighbours, a part at a time; by faiss on CPUs where it is installed."""

from functools import cache
from typing import Any

import torch
from torch import Tensor

from bench.models.parts.chunks import rows_at_once
from bench.models.parts.precision import full_precision

# Queries and points that are compared at a time on a CPU: their products stay in its caches.
_QUERIES_AT_ONCE = 1024
_POINTS_AT_ONCE = 256


def nearest(queries: Tensor, points: Tensor, count: int = 1) -> tuple[Tensor, Tensor]:
    """Euclidean distances (N, count), ascending, of (N, d) queries to the nearest of (M, d) points, and their indices.

    Products find the neighbours, differences measure the distances: computed from products alone, a small distance
    between long vectors cancels and is mostly noise.
    """
    if not 1 <= count <= len(points):
        raise ValueError(f"{count} neighbours of {len(points)} points")
    distances, indices = [], []
    row_bytes = 4 * max(points.shape[1], _POINTS_AT_ONCE)
    at_once = rows_at_once(queries.device, row_bytes, on_cpu=_QUERIES_AT_ONCE)
    for part in torch.split(queries.float(), at_once):
        found = (
            _by_faiss(part, points, count)
            if _faiss() and part.device.type == "cpu"
            else _by_product(part, points, count)
        )
        exact = torch.stack([(part - points[column]).square().sum(dim=1).sqrt() for column in found.T], dim=1)
        exact, order = exact.sort(dim=1, stable=True)
        distances.append(exact)
        indices.append(found.gather(1, order))
    return torch.cat(distances), torch.cat(indices)


def _by_product(queries: Tensor, points: Tensor, count: int) -> Tensor:
    """Indices (N, count) of the largest x . y - |y|^2 / 2, whose order is that of the distances."""
    best = queries.new_empty(len(queries), 0)
    indices = torch.empty(len(queries), 0, dtype=torch.int64, device=queries.device)
    at_once = rows_at_once(queries.device, 4 * len(queries), on_cpu=_POINTS_AT_ONCE)
    with full_precision(queries.device):
        for first in range(0, len(points), at_once):
            part = points[first : first + at_once]
            likeness = torch.addmm(part.square().sum(dim=1)[None], queries, part.mT, beta=-0.5)
            # `max` is several times faster than `topk` of one.
            top, own = likeness.max(1, keepdim=True) if count == 1 else likeness.topk(min(count, len(part)), dim=1)
            best, indices = torch.cat([best, top], dim=1), torch.cat([indices, own + first], dim=1)
            best, kept = best.topk(min(count, best.shape[1]), dim=1)
            indices = indices.gather(1, kept)
    return indices


def _by_faiss(queries: Tensor, points: Tensor, count: int) -> Tensor:
    faiss = _faiss()
    faiss.omp_set_num_threads(torch.get_num_threads())
    _, indices = faiss.knn(queries.contiguous().numpy(), points.contiguous().numpy(), count)
    return torch.from_numpy(indices)


@cache
def _faiss() -> Any:
    try:
        import faiss
    except ImportError:
        return None
    return faiss
