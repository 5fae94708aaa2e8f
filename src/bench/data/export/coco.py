"""COCO's object detection format: a JSON file for each part, an annotation for each connected region."""

import json
from pathlib import Path
from typing import Any, Literal

from bench.data.export.contents import Contents, Picture
from bench.data.export.regions import Region
from bench.version import __version__

Segmentation = Literal["polygons", "rle"]


def write_coco(contents: Contents, folder: Path, segmentation: Segmentation) -> None:
    """Write `annotations/instances_<part>.json`; `file_name` is relative to `images/<part>`, or absolute.

    A region without holes is written as polygons, unless run lengths are requested. A region with holes is always
    written as run lengths, because polygons of this format cannot express holes. `iscrowd` is 0 in either case: 1 would
    mean a group that evaluation ignores, found or missed, and that most training code leaves out.
    """
    annotations = folder / "annotations"
    annotations.mkdir()
    ids = {picture.sample.path: number for number, picture in enumerate(contents.pictures, 1)}
    number = 0
    for split in contents.shares:
        content = _head(contents, split)
        for picture in contents.part(split):
            image = ids[picture.sample.path]
            content["images"].append(_image(picture, image, contents))
            for region in picture.regions():
                number += 1
                kind = contents.class_number(picture.sample) + 1
                content["annotations"].append(
                    {"id": number, "image_id": image, "category_id": kind} | _annotation(region, picture, segmentation)
                )
        # Escaped to ASCII, because pycocotools reads in the machine's encoding, whatever that is.
        (annotations / f"instances_{split}.json").write_text(json.dumps(content) + "\n", encoding="ascii")


def _head(contents: Contents, split: str) -> dict[str, Any]:
    category = contents.category.name
    return {
        "info": {"description": f"{contents.dataset}, {category}, {split}; by bench {__version__}", "version": "1.0"},
        "licenses": [{"id": 1, "name": "see LICENSE.txt", "url": ""}],
        "categories": [
            {"id": number, "name": name, "supercategory": category, "prompt": prompt}
            for number, (name, prompt) in enumerate(contents.prompts.items(), 1)
        ],
        "images": [],
        "annotations": [],
    }


def _image(picture: Picture, number: int, contents: Contents) -> dict[str, Any]:
    return {
        "id": number,
        "file_name": contents.image_path(picture).removeprefix(f"images/{picture.split}/"),
        "width": picture.width,
        "height": picture.height,
        "license": 1,
        "defect_type": picture.sample.defect_type,
    }


def _annotation(region: Region, picture: Picture, segmentation: Segmentation) -> dict[str, Any]:
    polygons = region.polygons if segmentation == "polygons" else None
    shape: Any = {
        "counts": region.run_lengths(picture.height, picture.width),
        "size": [picture.height, picture.width],
    }
    if polygons is not None:
        shape = [polygon.ravel().tolist() for polygon in polygons]
    return {"bbox": list(region.box), "area": region.area, "segmentation": shape, "iscrowd": 0}
