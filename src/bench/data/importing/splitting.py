"""Deal photos into three roles; photos that show the same part again stay together."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from bench.data.importing.roles import ROLES, Role
from bench.errors import UsageError, counted

_LEARNED_FROM = 2  # the fewest different parts that a method can learn anything from


def check_shares(calibration: float, test: float) -> dict[Role, float]:
    """The share of the different good parts that each role gets; a UsageError where one is none, or nothing is left."""
    for option, share in (("--calibration-share", calibration), ("--test-share", test)):
        if not 0 <= share < 1:
            raise UsageError(f"{option} {share:g} is no share of the good photos; give one from 0 to below 1")
    fit = 1 - calibration - test
    if fit < 1e-9:
        raise UsageError(
            f"--calibration-share {calibration:g} and --test-share {test:g} leave no photo to learn from; give them "
            "less than 1 together"
        )
    return {"fit": fit, "calibration": calibration, "test": test}


def join_groups(groups: NDArray[np.int64], hashes: Sequence[str]) -> NDArray[np.int64]:
    """Groups (N,) counted from 0 in the order of the photos; files of equal content share one as well."""
    first: dict[object, int] = {}
    edges = [
        (first.setdefault(key, index), index)
        for index, pair in enumerate(zip(groups.tolist(), hashes, strict=True))
        for key in pair
    ]
    start, end = np.array(edges).T
    graph = coo_array((np.ones(len(start), np.bool_), (start, end)), shape=(len(groups), len(groups)))
    joined = connected_components(graph, directed=False)[1]
    _, first_seen, inverse = np.unique(joined, return_index=True, return_inverse=True)
    numbers: NDArray[np.int64] = np.argsort(np.argsort(first_seen))[inverse].astype(np.int64)
    return numbers


def assign_roles(
    groups: NDArray[np.int64], good: NDArray[np.bool_], shares: Mapping[Role, float], seed: int
) -> list[Role]:
    """The role of each photo: bad ones are tested, and so is a good one that shows the same part as a bad one.

    The seed deals all other parts without a look at how many photos each has: a part that calibrates must be drawn as
    those of the line are. Each goes to the role that is farthest below its share of the parts, the last ones to roles
    that have too few.
    """
    sizes = Counter(groups[good].tolist())
    dealt: dict[int, Role] = dict.fromkeys(groups[~good].tolist(), "test")
    needed: Counter[Role] = Counter({role: _LEARNED_FROM if role == "fit" else 1 for role in ROLES if shares[role]})
    parts: Counter[Role] = Counter({"test": len(dealt.keys() & sizes.keys())})
    order = np.random.default_rng(seed).permutation(sorted(sizes.keys() - dealt.keys())).tolist()
    for index, group in enumerate(order):
        lacking = needed - parts
        open_ = lacking if lacking.total() >= len(order) - index else needed
        role = min(open_, key=lambda each: parts[each] / shares[each])
        parts[role] += 1
        dealt[group] = role
    if needed - parts:
        raise _too_few(sizes)
    return [dealt[group] for group in groups.tolist()]


def _too_few(sizes: Mapping[int, int]) -> UsageError:
    """What to do where the good photos do not fill the roles; `sizes` are those of their groups."""
    photos = sum(sizes.values())
    if photos > 1 and len(sizes) == 1:
        return UsageError(
            f"all {photos} good photos show the same picture, so none is left to check on; take photos of different "
            "parts, or, if they are different parts that look alike: --each-its-own"
        )
    alike = f" of {counted(len(sizes), 'different part')}" if len(sizes) < photos else ""
    return UsageError(
        f"{counted(photos, 'good photo')}{alike} {'is' if photos == 1 else 'are'} too few to learn from "
        f"({_LEARNED_FROM} at least), to set a threshold on and to check on; take more, forty are a start, or learn "
        "from all of them: --calibration-share 0 --test-share 0"
    )
