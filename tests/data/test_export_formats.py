"""What `bench data export` writes, read back by what others read it with; folder and file names are Chinese."""

import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from pycocotools import mask as masks
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from skimage.draw import polygon2mask

from bench.data.masks import read_mask
from bench.metrics.regions import label_regions
from fake_regions import CATEGORY, HEIGHT, IMAGES, SHAPES, WIDTH, write_odd_category

# pycocotools 2.0.11 with numpy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword")

SPLITS = ("train", "val", "test")
SHARES = ("--shares", "0.5,0.25,0.25")

Export = Callable[..., Path]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("图像") / "缺陷 数据"
    write_odd_category(folder)
    return folder


@pytest.fixture
def export(bench, root: Path, tmp_path: Path) -> Export:
    """Export the category with these options; the folder."""

    def run(*options: object) -> Path:
        out = tmp_path / "导出 files"
        outcome = bench("data", "export", "--category", CATEGORY, "--data.root", root, "--out", out, *SHARES, *options)
        assert outcome.status == 0, outcome.stderr
        assert outcome.stdout.endswith(f"{out}\n")
        return out

    return run


def true_mask(root: Path, name: str) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """The mask of an exported image, found by its name: `test-stairs-002.png`."""
    _, kind, stem = Path(name).stem.split("-")
    if kind == "good":
        return np.zeros((HEIGHT, WIDTH), bool)
    return read_mask(root / CATEGORY / "ground_truth" / kind / f"{stem}_mask.png")


def read_coco(folder: Path) -> dict[str, COCO]:
    return {split: COCO(folder / "annotations" / f"instances_{split}.json") for split in SPLITS}


def read_prompts(folder: Path) -> list[dict[str, Any]]:
    files = (folder / "prompts" / f"{split}.json" for split in SPLITS)
    return [image for file in files for image in json.loads(file.read_text(encoding="utf-8"))["images"]]


def read_labels(folder: Path) -> dict[str, list[list[float]]]:
    """Rows of numbers by the name of the image."""
    names = {path.stem: path.name for path in (folder / "images").rglob("*.*")}
    files = sorted((folder / "labels").rglob("*.txt"))
    assert [file.parent.name for file in files] == [
        next((folder / "images").rglob(names[f.stem])).parent.name for f in files
    ]
    return {names[f.stem]: [[float(w) for w in line.split()] for line in f.read_text().splitlines()] for f in files}


@pytest.mark.parametrize("segmentation", ["polygons", "rle"])
def test_pycocotools_reads_the_masks_pixel_for_pixel(export, root, segmentation):
    images = 0
    for part in read_coco(export("--format", "coco", "--segmentation", segmentation)).values():
        for image in part.imgs.values():
            images += 1
            annotations = part.loadAnns(part.getAnnIds(image["id"]))
            true = true_mask(root, image["file_name"])
            read = [part.annToMask(annotation).astype(bool) for annotation in annotations]
            assert (np.any([np.zeros_like(true), *read], axis=0) == true).all()
            assert sum(annotation["area"] for annotation in annotations) == true.sum()
            assert [int(one.sum()) for one in read] == [annotation["area"] for annotation in annotations]
            assert len(annotations) == label_regions(true)[1]
            boxes = [masks.toBbox(part.annToRLE(annotation)).tolist() for annotation in annotations]
            assert boxes == [annotation["bbox"] for annotation in annotations]
    assert images == 14 + IMAGES * len(SHAPES)


def test_only_regions_with_holes_are_run_lengths(export):
    for part in read_coco(export("--format", "coco")).values():
        for annotation in part.anns.values():
            kind = part.cats[annotation["category_id"]]["name"]
            is_ring = kind == "环 ring" and annotation["area"] > 1
            assert isinstance(annotation["segmentation"], dict) == is_ring


def test_an_evaluation_counts_regions_with_holes_as_objects_to_be_found(export, capsys):
    """`iscrowd` 1 would have it forgive that they are missed."""
    part = read_coco(export("--format", "coco"))["train"]
    found = [
        {"image_id": a["image_id"], "category_id": a["category_id"], "segmentation": part.annToRLE(a), "score": 1.0}
        for a in part.anns.values()
    ]
    polygons_alone = [f for f, a in zip(found, part.anns.values(), strict=True) if isinstance(a["segmentation"], list)]
    precision = []
    for detections in (found, polygons_alone):
        evaluation = COCOeval(part, part.loadRes(deepcopy(detections)), "segm")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        precision.append(evaluation.stats[0])
    assert precision[0] == pytest.approx(1)
    assert precision[1] < 1


def test_good_images_are_there_without_an_annotation(export):
    good = 0
    for part in read_coco(export("--format", "coco")).values():
        for image in part.imgs.values():
            if image["defect_type"] == "good":
                good += 1
                assert part.getAnnIds(image["id"]) == []
    assert good == 14


def test_yolo_polygons_enclose_the_masks_exactly(export, root):
    labels = read_labels(export("--format", "yolo"))
    assert len(labels) == 14 + IMAGES * len(SHAPES)
    for name, rows in labels.items():
        read = np.zeros((HEIGHT, WIDTH), bool)
        for row in rows:
            corners = np.array(row[1:]).reshape(-1, 2) * (WIDTH, HEIGHT)
            assert np.abs(corners - corners.round()).max() < 1e-6
            read |= polygon2mask(read.shape, corners[:, ::-1] - 0.5)
        assert (read == true_mask(root, name)).all()
        assert len(rows) == label_regions(read)[1]


def test_yolo_boxes_are_those_of_the_polygons(export):
    folder = export("--format", "yolo")
    polygons = read_labels(folder)
    boxes = read_labels(export("--format", "yolo", "--task", "detect", "--force"))
    for name, rows in polygons.items():
        for polygon, box in zip(rows, boxes[name], strict=True):
            corners = np.array(polygon[1:]).reshape(-1, 2)
            low, high = corners.min(axis=0), corners.max(axis=0)
            assert box == pytest.approx([polygon[0], *(low + high) / 2, *high - low], abs=1e-8)


def test_yolo_classes_are_names_and_for_yolo_world_prompts(export):
    folder = export("--format", "yolo")
    names, world = (yaml.safe_load((folder / f).read_text(encoding="utf-8")) for f in ("data.yaml", "data-world.yaml"))
    assert names["names"] == {0: "bars", 1: "dot", 2: "stairs", 3: "环 ring"}
    assert world["names"] == {
        0: "bars on 螺丝 M4",
        1: "dot on 螺丝 M4",
        2: "stairs on 螺丝 M4",
        3: "环 ring on 螺丝 M4",
    }
    assert {split: names[split] for split in SPLITS} == {split: f"images/{split}" for split in SPLITS}
    rows = [(name, row) for name, rows in read_labels(folder).items() for row in rows]
    assert all(names["names"][int(row[0])] == name.split("-")[1] for name, row in rows)


def test_one_class_stands_for_all_types_where_asked(export):
    folder = export("--format", "yolo", "--classes", "defect")
    assert yaml.safe_load((folder / "data.yaml").read_text())["names"] == {0: "defect"}
    assert {row[0] for rows in read_labels(folder).values() for row in rows} == {0}


def test_masks_are_read_back_from_png_and_npy(export, root):
    folder = export("--format", "masks")
    images = read_prompts(folder)
    assert len(images) == 14 + IMAGES * len(SHAPES)
    for image in images:
        true = true_mask(root, image["image"].rpartition("/")[2])
        assert (np.asarray(Image.open(folder / image["mask"])) == true * 255).all()
        if not true.any():
            assert image["regions"] == []
            assert image["regions_file"] is None
            continue
        numbers = np.load(folder / image["regions_file"])
        assert ((numbers > 0) == true).all()
        assert [region["number"] for region in image["regions"]] == list(range(1, label_regions(true)[1] + 1))
        for region in image["regions"]:
            own = numbers == region["number"]
            assert own.sum() == region["area"]
            y, x = np.nonzero(own)
            assert region["box"] == [x.min(), y.min(), x.max() + 1, y.max() + 1]


def test_points_of_a_prompt_lie_in_its_region_and_negative_ones_in_none(export):
    folder = export("--format", "masks", "--points", 2, "--negative-points", 3)
    for image in read_prompts(folder):
        for region in image["regions"]:
            numbers = np.load(folder / image["regions_file"])
            inside = min(2, region["area"])
            assert region["point_labels"] == [1] * inside + [0] * 3
            hit = [numbers[y, x] for x, y in region["points"]]
            assert hit == [region["number"]] * inside + [0] * 3


def test_images_are_copied_as_they_are(export, root):
    folder = export("--format", "coco")
    origin = json.loads((folder / "export.json").read_text(encoding="utf-8"))["origin"]
    assert len(origin) == 14 + IMAGES * len(SHAPES)
    for name, relative in origin.items():
        copy = folder / "images" / name
        assert not copy.is_symlink()
        assert copy.read_bytes() == (root / relative).read_bytes()


def test_images_can_be_links(export, root):
    folder = export("--format", "yolo", "--images", "link")
    for name, relative in json.loads((folder / "export.json").read_text(encoding="utf-8"))["origin"].items():
        assert (folder / "images" / name).readlink() == root / relative


@pytest.mark.parametrize("name", ["coco", "masks"])
def test_images_can_be_referred_to_where_they_lie(export, root, name):
    folder = export("--format", name, "--images", "reference")
    assert not (folder / "images").exists()
    if name == "coco":
        paths = [image["file_name"] for part in read_coco(folder).values() for image in part.imgs.values()]
    else:
        paths = [image["image"] for image in read_prompts(folder)]
    assert {Path(path) for path in paths} == {
        p for p in (root / CATEGORY).rglob("*.png") if "ground_truth" not in p.parts
    }


def test_the_same_command_writes_the_same_bytes(export):
    def contents(folder: Path) -> dict[str, bytes]:
        return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}

    first = contents(export("--format", "masks"))
    assert contents(export("--format", "masks", "--force")) == first
