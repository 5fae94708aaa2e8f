"""What is known of ELPV without its images, and without torch."""

from bench.errors import unknown

KINDS = ("mono", "poly")
PUBLISHED = 2624  # cells of both kinds
TRAIN = 200  # functional cells to train on, drawn by the seed: the dataset has no split of its own


def check_kind(kind: str) -> None:
    """Refuse a category that is no kind of solar cell."""
    if kind not in KINDS:
        raise unknown("kind of solar cell", kind, KINDS)
