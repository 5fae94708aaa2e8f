"""Training images that an imported category holds out: a threshold is set on them, and no method learns from them."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

from bench.data.importing.roles import SPLIT, read_roles
from bench.data.layout import Category
from bench.errors import UsageError

HeldOut = Literal["calibration"]


def with_held_out(category: Category, folder: Path, role: HeldOut) -> Category:
    """The category with the images of this role in its folder's `split.csv` held out; its digest names them.

    A UsageError where `split.csv` is missing or damaged, where it holds nothing out, or everything, or where photos of
    one group have two roles: a method would have seen what it is judged on.
    """
    photos = read_roles(folder)
    learned = {photo.group for photo in photos if photo.role != role}
    if both := next((photo for photo in photos if photo.role == role and photo.group in learned), None):
        raise UsageError(
            f"{folder / SPLIT}: {both.path} has the role {role}, and another photo of its group, which shows the same "
            "part, has not; import the photos again"
        )
    held_out = {f"{category.name}/{photo.path}": photo.group for photo in photos if photo.role == role}
    if not held_out:
        raise UsageError(
            f"no photo in {folder / SPLIT} has the role {role}; import the photos with a --calibration-share, or hold "
            "out a share of the good ones: --data.validation_share"
        )
    if len(held_out) == len(category.train):
        raise UsageError(f"all photos to learn from have the role {role} in {folder / SPLIT}; import the photos again")
    return replace(category, held_out=held_out)
