"""Link categories that lie elsewhere into the data root."""

from collections.abc import Collection
from pathlib import Path

from bench.data.download.members import category_folders
from bench.errors import UsageError


def link(source: Path, root: Path, wanted: Collection[str] | None) -> list[str]:
    """Link into `root` the categories of a folder that it lacks; return their names."""
    found = {folder.name: folder for folder in category_folders(source) if wanted is None or folder.name in wanted}
    if not found:
        raise UsageError(
            f"no category{f' {sorted(wanted)[0]}' if wanted else ''} in {source}; expected train/good there"
        )
    present = sorted(name for name in found if not (root / name).exists())
    for name in present:
        (root / name).symlink_to(found[name], target_is_directory=True)
    return present
