"""The rows of a CSV file."""

import csv
from pathlib import Path


def csv_rows(path: Path) -> list[dict[str, str]]:
    """All rows by the titles of their columns."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
