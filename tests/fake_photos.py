"""Photos as people have them, made by script: good ones, and bad ones with a bright disc."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from fake_data import defect_mask, save, weave

SIDE = 48
GOOD, BAD = 12, 4


def write_photos(root: Path, folders: Mapping[str, int] | None = None, suffix: str = ".png") -> Path:
    """Write `root/<folder>/000.png` and so on; photos in `good`, or a folder below it, show no disc."""
    for folder, count in (folders or {"good": GOOD, "bad": BAD}).items():
        for index in range(count):
            write_photo(root / folder / f"{index:03}{suffix}", bad=not folder.startswith("good"))
    return root


def write_photo(path: Path, *, bad: bool = False, side: int = SIDE) -> Path:
    """A photo whose path decides its pixels."""
    pixels = weave(side, "/".join(path.parts[-3:]))
    if bad:
        pixels[defect_mask(side, "blob", 0)] = (250, 240, 200)
    if path.suffix == ".png":
        return save(pixels, path)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, quality=95)
    return path


def write_mask(path: Path, side: int = SIDE, *, empty: bool = False) -> Path:
    mask = defect_mask(side, "blob", 0) & (not empty)
    return save(mask.astype(np.uint8) * 255, path)


def labelme(path: Path, *polygons: list, size: tuple[int, int] = (SIDE, SIDE), kind: str = "polygon", label="dent"):
    """A drawing of LabelMe's with these polygons."""
    shapes = [{"label": label, "points": points, "shape_type": kind} for points in polygons]
    content = {
        "version": "5.5.0",
        "shapes": shapes,
        "imagePath": "x.png",
        "imageWidth": size[0],
        "imageHeight": size[1],
    }
    path.write_text(json.dumps(content))
    return path


def coco(path: Path, segmentations: Mapping[str, list], size: tuple[int, int] = (SIDE, SIDE)) -> Path:
    """A file of COCO's with the polygons, each a flat list of numbers, of each photo."""
    path.parent.mkdir(parents=True, exist_ok=True)
    images = [
        {"id": number, "file_name": name, "width": size[0], "height": size[1]}
        for number, name in enumerate(segmentations, 7)
    ]
    annotations = [
        {"id": number, "image_id": number, "category_id": 3, "segmentation": found}
        for number, found in enumerate(segmentations.values(), 7)
    ]
    path.write_text(
        json.dumps({"images": images, "annotations": annotations, "categories": [{"id": 3, "name": "scratch"}]})
    )
    return path
