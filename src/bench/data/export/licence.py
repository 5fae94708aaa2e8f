"""The licence that goes with exported images."""

from pathlib import Path

from bench.data.datamodule import DefectData
from bench.writing import copy_file

_OTHER = """\
The images and masks of this export are of the dataset "{dataset}", category "{category}". bench {version} does not know
their licence: whoever made them decides what may be done with them, and with what is derived from them.
"""


def write_licence(folder: Path, data: DefectData, dataset: str, version: str) -> None:
    """Write LICENSE.txt, and copy the licence files that lie beside the images into `licence/`."""
    words = (data.licence or _OTHER).format(category=data.category_name, dataset=dataset, version=version)
    (folder / "LICENSE.txt").write_text(words, encoding="utf-8")
    for file in _licences_beside(data):
        (folder / "licence").mkdir(exist_ok=True)
        copy_file(file, folder / "licence" / file.name)


def _licences_beside(data: DefectData) -> list[Path]:
    """The licence files in the category's folder, else those in the data root."""
    root = data.find_root()
    for location in (root / data.category_name, root):
        names = ("license", "licence", "readme", "copying")
        files = (file for file in location.iterdir() if file.is_file()) if location.is_dir() else ()
        found = sorted(file for file in files if file.stem.lower() in names)
        if any(file.stem.lower() != "readme" for file in found):
            return found
    return []
