"""The products that one model is for: how they are typed, and the name that they have together."""

import hashlib
from collections.abc import Sequence
from typing import Literal

from bench.config.plain_names import LONGEST, check_name
from bench.errors import UsageError

ALL = "all"  # given instead of names: every product of the dataset


def read_products(named: str | Sequence[str]) -> list[str]:
    """The named products in their alphabetical order, or `all` alone; a UsageError where they are not several.

    A text names them with commas between.
    """
    names = [word.strip() for word in named.split(",")] if isinstance(named, str) else list(named)
    if ALL in names:
        if len(names) > 1:
            raise UsageError("--one-model all takes every product of the data; leave out the other names")
        return [ALL]
    if not names:
        raise UsageError("--one-model expects several products, such as bottle,screw, or all")
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UsageError(f"--one-model names {twice} twice; name each product once")
    if len(names) == 1:
        raise UsageError(
            f"--one-model {names[0]} is one product: name several, or all, or fit it: --category {names[0]}"
        )
    for name in names:
        check_name("category", name)
    return sorted(names)


def joined_name(products: Sequence[str]) -> str:
    """The name that these products have together as a category: `bottle+screw`; of very many, the first and a hash."""
    name = "+".join(products)
    if len(name.encode()) <= LONGEST:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{products[0]}+{len(products) - 1} more-{digest}"


def check_products(category: str, products: Sequence[str] | None, fold: int | Literal["all"] | None) -> None:
    """Refuse products that are not several, sorted and the category's, and products beside a fold."""
    if products is None:
        return
    together = ",".join(products)
    if list(products) != read_products(products) or category != joined_name(products):
        raise UsageError(
            f"--data.products is set by the products of one model: --one-model {together}, without a category"
        )
    if fold is not None:
        raise UsageError("one model for several products learns from good images alone: leave out --data.fold")
