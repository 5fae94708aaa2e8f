"""Masks with prompts, for promptable segmenters such as SAM."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.data.export.contents import Contents, Picture
from bench.data.export.regions import Region, find_regions, inner_points, outer_points
from bench.writing import encode


def write_masks(contents: Contents, folder: Path, points: int, negative_points: int) -> None:
    """Write `masks/<part>/*.png` (0 and 255), `regions/<part>/*.npy` (numbers of regions) and `prompts/<part>.json`.

    An image without a defect has an empty mask and no file of regions. Boxes are [left, top, right, bottom] along the
    edges of pixels, points are the (x, y) of a pixel.
    """
    (folder / "prompts").mkdir()
    for split in contents.shares:
        images = [
            _write_image(picture, contents, folder, (points, negative_points)) for picture in contents.part(split)
        ]
        content = {
            "category": contents.category.name,
            "classes": dict(contents.prompts),
            "images": images,
        }
        text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
        (folder / "prompts" / f"{split}.json").write_text(text, encoding="utf-8")


def _write_image(picture: Picture, contents: Contents, folder: Path, points: tuple[int, int]) -> dict[str, Any]:
    mask = picture.sample.read_mask()
    assert mask is not None, "an export has refused images without masks"
    file = f"masks/{picture.split}/{picture.stem}.png"
    (folder / file).parent.mkdir(parents=True, exist_ok=True)
    (folder / file).write_bytes(encode(Image.fromarray(mask.astype(np.uint8) * 255), "PNG"))
    regions = find_regions(mask)
    return {
        "image": contents.image_path(picture),
        "width": picture.width,
        "height": picture.height,
        "defect_type": picture.sample.defect_type,
        "mask": file,
        "regions_file": _write_regions(regions, picture, mask.shape, folder) if regions else None,
        "regions": [
            {"number": number, **_prompts(region, picture, contents, mask, points)}
            for number, region in enumerate(regions, 1)
        ],
    }


def _write_regions(regions: list[Region], picture: Picture, shape: tuple[int, ...], folder: Path) -> str:
    numbers = np.zeros(shape, np.uint8 if len(regions) < 256 else np.uint16)
    for number, region in enumerate(regions, 1):
        left, top, width, height = region.box
        numbers[top : top + height, left : left + width][region.pixels] = number
    file = f"regions/{picture.split}/{picture.stem}.npy"
    (folder / file).parent.mkdir(parents=True, exist_ok=True)
    np.save(folder / file, numbers)
    return file


def _prompts(
    region: Region, picture: Picture, contents: Contents, mask: NDArray[np.bool_], points: tuple[int, int]
) -> dict[str, Any]:
    left, top, width, height = region.box
    inside, outside = inner_points(region, points[0]), outer_points(region, mask, points[1])
    name, prompt = list(contents.prompts.items())[contents.class_number(picture.sample)]
    return {
        "class": name,
        "prompt": prompt,
        "area": region.area,
        "box": [left, top, left + width, top + height],
        "points": [list(point) for point in (*inside, *outside)],
        "point_labels": [1] * len(inside) + [0] * len(outside),
    }
