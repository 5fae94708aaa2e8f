"""The licence that goes with exported images."""

from pathlib import Path

from bench.data.facts import mvtec_categories
from bench.data.layout import Category
from bench.data.listing import GOOD
from bench.writing import copy_file

_MVTEC = """\
The images and masks that this export is made of are from MVTec AD, category "{category}".
Copyright 2019 MVTec Software GmbH.
Licence: Creative Commons Attribution-NonCommercial-ShareAlike 4.0 International (CC BY-NC-SA 4.0),
https://creativecommons.org/licenses/by-nc-sa/4.0/

What it means, in short (the licence decides):
- Name the source. Scientific work cites
  Paul Bergmann, Michael Fauser, David Sattlegger, Carsten Steger: "MVTec AD - A Comprehensive Real-World Dataset for
  Unsupervised Anomaly Detection", IEEE Conference on Computer Vision and Pattern Recognition (CVPR), 2019.
- Non-commercial use only, of these images and of what is derived from them; MVTec answers for anything else.
- Who passes on this folder or a changed copy does so under the same licence and says what was changed.

What was changed: images were renamed and divided into parts anew; their pixels are the original ones. Boxes, polygons,
run lengths, points and masks were computed from the original masks by bench {version}. Class prompts were added.
"""

_SYNTHETIC = """\
The images and masks of this export were drawn by bench {version} (--data synthetic, category "{category}"). They show
nothing real, hold no one else's work, and are free to use under bench's own licence, MIT.
"""

_OTHER = """\
The images and masks of this export are of the dataset "{dataset}", category "{category}". bench {version} does not know
their licence: whoever made them decides what may be done with them, and with what is derived from them.
"""


def write_licence(folder: Path, category: Category, dataset: str, version: str, *, synthetic: bool) -> None:
    """Write LICENSE.txt, and copy the licence files that lie beside the images into `licence/`."""
    facts = mvtec_categories().get(category.name)
    if synthetic:
        text = _SYNTHETIC
    elif facts and set(category.defect_types) == {GOOD, *facts.defect_types}:
        text = _MVTEC  # in another size or number they are still MVTec's
    else:
        text = _OTHER
    words = text.format(category=category.name, dataset=dataset, version=version)
    (folder / "LICENSE.txt").write_text(words, encoding="utf-8")
    for file in _licences_beside(category):
        (folder / "licence").mkdir(exist_ok=True)
        copy_file(file, folder / "licence" / file.name)


def _licences_beside(category: Category) -> list[Path]:
    """Those in the category's folder, else in the data root."""
    folder = category.train[0].path.parents[2]
    for place in (folder, folder.parent):
        names = ("license", "licence", "readme", "copying")
        found = sorted(file for file in place.iterdir() if file.is_file() and file.stem.lower() in names)
        if any(file.stem.lower() != "readme" for file in found):
            return found
    return []
