"""Find what was drawn of defects: masks as images, polygons of LabelMe, polygons of COCO."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.data.images import SUFFIXES
from bench.data.importing.matching import PhotoIndex, several
from bench.data.importing.photos import Photo, Tree
from bench.errors import UsageError, counted

Points = NDArray[np.float64]
_MASK = "_mask"
_CORNERS = 3  # the fewest of a polygon
_CIRCLE = 64  # corners of the polygon that a circle becomes


@dataclass(frozen=True)
class Drawing:
    """What was drawn on one photo: a mask `file`, or polygons, each (corners, 2) of x and y in pixels.

    `size` (width, height) is that of the image that was drawn on; None where the file does not tell.
    """

    file: Path
    polygons: tuple[Points, ...] | None = None  # None: the file is a mask itself
    size: tuple[int, int] | None = None
    kinds: frozenset[str] = frozenset()  # what the polygons are called: types of defects


@dataclass
class _Found:
    """Drawings by photo, and files that belong to no photo."""

    index: PhotoIndex
    bad: frozenset[Path]
    drawings: dict[Path, Drawing] = field(default_factory=dict)
    stray: list[Path] = field(default_factory=list)

    def photo(self, named: str, file: Path) -> Path | None:
        """The photo that is meant; of several of one name, the one that shows a defect."""
        found = self.index.find(named)
        if len(found) > 1:
            found = [path for path in found if path in self.bad] or found
        if len(found) > 1:
            raise several(f"'{named}' of {file}", found)
        return found[0] if found else None

    def add(self, photo: Path | None, drawing: Drawing) -> None:
        """Keep the one drawing of a photo."""
        if photo is None:
            self.stray.append(drawing.file)
        elif (other := self.drawings.setdefault(photo, drawing)) is not drawing:
            files = f"{other.file} and {drawing.file}" if other.file != drawing.file else f"two entries of {other.file}"
            raise UsageError(f"{files} both mark defects of {photo}; keep one, or name the one to use: --masks")


def find_drawings(tree: Tree, photos: Sequence[Photo], masks: Path | None) -> tuple[dict[Path, Drawing], list[str]]:
    """The drawing of each photo that has one, and remarks; `masks` is the folder or the file to look in alone."""
    found = _Found(PhotoIndex(tree.root, tree.photos), frozenset(p.path for p in photos if not p.is_good))
    images, jsons = _files(tree, masks)
    base = masks if masks is not None and masks.is_dir() else tree.root
    for file in images:
        relative = file.relative_to(base)
        stem = relative.stem[: -len(_MASK)] if relative.stem.lower().endswith(_MASK) else relative.stem
        found.add(found.photo(relative.with_name(stem).as_posix(), file), Drawing(file))
    others = [file for file in jsons if not _read_json_into(found, file, base)]
    if masks is not None and not found.drawings:
        raise UsageError(
            f"nothing in {masks} belongs to a photo in {tree.root}; a mask is a PNG, and a drawing of LabelMe a JSON, "
            f"with the photo's name: {tree.photos[0].stem}.png"
        )
    if masks is not None:  # what lies elsewhere is not looked at
        used = {file.resolve() for file in (*images, *jsons)}
        others += [file for file in (*tree.masks, *tree.drawings) if file.resolve() not in used]
    tree.left_out += others
    remarks = []
    if found.stray:
        remarks.append(f"{counted(len(found.stray), 'mask')} of no photo left out, such as one of {found.stray[0]}")
    return found.drawings, remarks


def _files(tree: Tree, masks: Path | None) -> tuple[list[Path], list[Path]]:
    """The masks and the JSON files to look at."""
    if masks is None:
        return tree.masks, tree.drawings
    if masks.is_file() and masks.suffix.lower() == ".json":
        return [], [masks]
    if not masks.is_dir():
        raise UsageError(f"no folder {masks}; --masks names a folder of PNG or LabelMe files, or a COCO file")
    files = sorted(path for path in masks.rglob("*") if path.is_file())
    images = [path for path in files if path.suffix.lower() in SUFFIXES]
    return images, [path for path in files if path.suffix.lower() == ".json"]


def _read_json_into(found: _Found, file: Path, root: Path) -> bool:
    """Read the drawings of a JSON file; False where it is of another kind."""
    try:
        content = json.loads(file.read_bytes())
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UsageError(f"{file} is no JSON file ({error}); remove it, or export it again") from error
    if not isinstance(content, dict):
        return False
    try:
        if isinstance(content.get("shapes"), list):
            _read_labelme(found, file, content, root)
        elif isinstance(content.get("images"), list) and isinstance(content.get("annotations"), list):
            _read_coco(found, file, content)
        else:
            return False
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(f"{file} has not the form of LabelMe or COCO ({error!r}); export it again") from error
    return True


def _read_labelme(found: _Found, file: Path, content: Mapping[str, Any], root: Path) -> None:
    """One file is of one photo: that with its name beside it, else that which it names."""
    polygons = tuple(_shape(shape, file) for shape in content["shapes"])
    kinds = frozenset(str(shape["label"]) for shape in content["shapes"] if shape.get("label"))
    if not polygons:
        return
    size = (int(content["imageWidth"]), int(content["imageHeight"])) if content.get("imageWidth") else None
    own = file.with_suffix("")
    named = own.relative_to(root) if own.is_relative_to(root) else Path(own.name)
    photo = found.photo(named.as_posix(), file)
    if photo is None and content.get("imagePath"):
        photo = found.photo(str(content["imagePath"]), file)
    found.add(photo, Drawing(file, polygons, size, kinds))


def _shape(shape: Mapping[str, Any], file: Path) -> Points:
    """The polygon of a shape of LabelMe."""
    kind, points = shape.get("shape_type") or "polygon", _points(shape["points"])
    if kind == "rectangle" and len(points) == 2:
        (left, top), (right, bottom) = points
        return np.array([(left, top), (right, top), (right, bottom), (left, bottom)])
    if kind == "circle" and len(points) == 2:
        angles = np.linspace(0, 2 * np.pi, _CIRCLE, endpoint=False)
        radius = float(np.hypot(*(points[1] - points[0])))
        return np.asarray(points[0] + radius * np.column_stack([np.cos(angles), np.sin(angles)]))
    if kind not in ("polygon", "rectangle") or len(points) < _CORNERS:
        raise UsageError(f"{file} has a '{kind}' of {counted(len(points), 'point')}; draw its defects as polygons")
    return points


def _read_coco(found: _Found, file: Path, content: Mapping[str, Any]) -> None:
    """One file is of many photos: each image names its own."""
    polygons: dict[Any, list[Points]] = {image["id"]: [] for image in content["images"]}
    kinds: dict[Any, set[str]] = {image["id"]: set() for image in content["images"]}
    names = {each["id"]: str(each["name"]) for each in content.get("categories", [])}
    for annotation in content["annotations"]:
        polygons[annotation["image_id"]] += _segmentation(annotation, file)
        kinds[annotation["image_id"]] |= {names[key] for key in [annotation.get("category_id")] if key in names}
    for image in content["images"]:
        if own := polygons[image["id"]]:
            size = (int(image["width"]), int(image["height"])) if image.get("width") else None
            photo = found.photo(str(image["file_name"]), file)
            found.add(photo, Drawing(file, tuple(own), size, frozenset(kinds[image["id"]])))


def _segmentation(annotation: Mapping[str, Any], file: Path) -> Iterator[Points]:
    outlines = annotation.get("segmentation")
    if not isinstance(outlines, list) or not outlines:
        form = "run lengths" if isinstance(outlines, dict) else "a box without an outline"
        raise UsageError(f"{file} has {form} (annotation {annotation.get('id')}); export its defects as polygons")
    for outline in outlines:
        points = _points(outline)
        if len(points) < _CORNERS:
            raise UsageError(f"{file} has a polygon of {counted(len(points), 'point')}; draw it again")
        yield points


def _points(numbers: Sequence[Any]) -> Points:
    points = np.array(numbers, np.float64).reshape(-1, 2)
    if not np.isfinite(points).all():
        raise ValueError("a corner that is no number")
    return points
