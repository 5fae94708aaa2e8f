"""A tiny category in the layout of MVTec AD, made by script: a dim weave with bright defects, always the same bytes."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 48
DEFECTS = {"blob": 4, "scratch": 4}


def write_category(
    root: Path,
    name: str = "screw",
    *,
    side: int = SIDE,
    train: int = 12,
    good: int = 5,  # with the defects an odd number of test images, which two processes cannot share evenly
    defects: Mapping[str, int] = DEFECTS,
    contrast: float = 1.0,
) -> Path:
    """Write `root/name`; its folder. Defects fade into the weave as `contrast` goes to 0."""
    folder = root / name
    for split, count in (("train", train), ("test", good)):
        for index in range(count):
            save(weave(side, f"{split}/{index}"), folder / split / "good" / f"{index:03}.png")
    for defect_type, count in defects.items():
        for index in range(count):
            mask = defect_mask(side, defect_type, index)
            picture = weave(side, f"{defect_type}/{index}")
            picture[mask] = contrast * np.array((250, 240, 200)) + (1 - contrast) * picture[mask]
            save(picture, folder / "test" / defect_type / f"{index:03}.png")
            save(mask.astype(np.uint8) * 255, folder / "ground_truth" / defect_type / f"{index:03}_mask.png")
    return folder


def weave(side: int, name: str) -> NDArray[np.uint8]:
    """A normal image (side, side, 3); its name decides phase and noise."""
    rng = np.random.default_rng(list(name.encode()))
    y, x = np.mgrid[:side, :side] + rng.uniform(0, 6, (2, 1, 1))
    height = 80 + 20 * np.sin(x) * np.sin(y) + rng.normal(0, 3, (side, side))
    return np.clip(height[:, :, None] * (1.0, 0.9, 0.7), 0, 255).astype(np.uint8)


def defect_mask(side: int, defect_type: str, index: int) -> NDArray[np.bool_]:
    """Where the defect lies: a disc, or for any other type than `blob` a bar."""
    rng = np.random.default_rng(list(f"{defect_type}/{index}/mask".encode()))
    y, x = np.mgrid[:side, :side]
    centre_y, centre_x = rng.integers(side // 4, 3 * side // 4, 2)
    if defect_type == "blob":
        disc: NDArray[np.bool_] = np.hypot(y - centre_y, x - centre_x) < side / 8
        return disc
    bar: NDArray[np.bool_] = (abs(y - centre_y) < side / 24) & (abs(x - centre_x) < side / 4)
    return bar


def save(pixels: NDArray[np.uint8], path: Path) -> Path:
    """Write an image file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def write_elpv(root: Path, kinds: Mapping[str, Mapping[str, int]]) -> Path:
    """Write `root` in the layout of ELPV: of each kind so many cells of each probability, as labels.csv spells it."""
    lines, number = [], 0
    for kind, counts in kinds.items():
        for probability, count in counts.items():
            for _ in range(count):
                number += 1
                picture = weave(SIDE, f"{kind}/{number}")
                if float(probability) == 1:
                    picture[defect_mask(SIDE, "scratch", number)] = 255
                save(picture[:, :, 0], root / "images" / f"cell{number:04}.png")
                lines.append(f"images/cell{number:04}.png  {probability}  {kind}\n")
    (root / "labels.csv").write_text("".join(lines), encoding="utf-8")
    return root


def write_mvtec_ad_2(root: Path, name: str, *, side: int = SIDE, private: int = 0) -> Path:
    """Write an object in the layout of MVTec AD 2, with so many images in each private test set; its folder."""
    folder = root / name
    for split, count in (("train", 8), ("validation", 4), ("test_public", 3)):
        for index in range(count):
            save(weave(side, f"{name}/{split}/{index}"), folder / split / "good" / f"{index:03}_regular.png")
    for index in range(4):
        mask = defect_mask(side, "blob", index)
        picture = weave(side, f"{name}/bad/{index}")
        picture[mask] = (250, 240, 200)
        save(picture, folder / "test_public" / "bad" / f"{index:03}_overexposed.png")
        mask_file = folder / "test_public" / "ground_truth" / "bad" / f"{index:03}_overexposed_mask.png"
        save(mask.astype(np.uint8) * 255, mask_file)
    for split, word in (("test_private", "regular"), ("test_private_mixed", "mixed")):
        for index in range(private):
            picture = weave(side, f"{name}/{split}/{index}")
            if index % 3 == 0:
                picture[defect_mask(side, "scratch", index)] = (250, 240, 200)
            save(picture, folder / split / f"{index:03}_{word}.png")
    return folder


def write_visa(root: Path, objects: Mapping[str, tuple[int, int, int]]) -> Path:
    """Write `root` in the layout of VisA: of each object so many training, good test and anomalous images.

    Masks number the kinds of anomalies, as the original ones do: 1 in every second, 3 in the others.
    """
    lines = ["object,split,label,image,mask"]
    for name, (train, good, anomalies) in objects.items():
        for number in range(train + good):
            image = f"{name}/Data/Images/Normal/{number:04}.JPG"
            save(weave(SIDE, f"{name}/{number}"), root / image)
            lines.append(f"{name},{'train' if number < train else 'test'},normal,{image},")
        for number in range(anomalies):
            image, mask = f"{name}/Data/Images/Anomaly/{number:03}.JPG", f"{name}/Data/Masks/Anomaly/{number:03}.png"
            marked = defect_mask(SIDE, "blob", number)
            picture = weave(SIDE, f"{name}/anomaly/{number}")
            picture[marked] = (250, 240, 200)
            save(picture, root / image)
            save(marked.astype(np.uint8) * (1 + 2 * (number % 2)), root / mask)
            lines.append(f"{name},test,anomaly,{image},{mask}")
    (root / "split_csv").mkdir(parents=True, exist_ok=True)
    (root / "split_csv" / "1cls.csv").write_text("\r\n".join(lines) + "\r\n", encoding="utf-8", newline="")
    return root


def write_btad(root: Path, products: Mapping[str, tuple[int, int, int]]) -> Path:
    """Write `root` in the layout of BTAD: of each product so many of train/ok, test/ok and test/ko, 02 as PNG."""
    for name, (train, good, defective) in products.items():
        suffix = ".png" if name == "02" else ".bmp"
        for folder, count in (("train/ok", train), ("test/ok", good), ("test/ko", defective)):
            for number in range(count):
                picture = weave(SIDE, f"{name}/{folder}/{number}")
                if folder == "test/ko":
                    marked = defect_mask(SIDE, "scratch", number)
                    picture[marked] = (250, 240, 200)
                    save(marked.astype(np.uint8) * 255, root / name / "ground_truth" / "ko" / f"{number:04}.png")
                save(picture, root / name / folder / f"{number:04}{suffix}")
    return root


def write_loco(
    root: Path, name: str = "pushpins", *, train: int = 8, validation: int = 4, good: int = 3, side: int = SIDE
) -> Path:
    """Write `root/name` in the layout of MVTec LOCO AD, two images of each kind of anomalies; its folder.

    A logical anomaly has two masks, of two kinds of defects, which touch; a structural one has a single one.
    """
    folder = root / name
    for split, count in (("train", train), ("validation", validation), ("test", good)):
        for number in range(count):
            save(weave(side, f"{split}/{number}"), folder / split / "good" / f"{number:03}.png")
    for number in range(2):
        disc, bar = defect_mask(side, "blob", number), defect_mask(side, "scratch", number)
        halves = np.arange(side) < side // 2
        _save_loco(folder, f"logical_anomalies/{number:03}", {255: disc & halves, 254: disc & ~halves | bar & ~disc})
        _save_loco(folder, f"structural_anomalies/{number:03}", {253: bar})
    saturations = {255: (12, False), 254: (0.5, True), 253: (1.0, True)}
    config = [
        {"defect_name": f"defect_{value}", "pixel_value": value, "saturation_threshold": threshold,
         "relative_saturation": relative}
        for value, (threshold, relative) in saturations.items()
    ]  # fmt: skip
    (folder / "defects_config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def _save_loco(folder: Path, name: str, defects: Mapping[int, NDArray[np.bool_]]) -> None:
    """Write a defective image and a mask for each of its defects that has a pixel, whose value says what it is."""
    marked = {value: mask for value, mask in defects.items() if mask.any()}
    picture = weave(len(next(iter(marked.values()))), name)
    for number, (value, mask) in enumerate(marked.items()):
        picture[mask] = (250, 240, 200)
        save(mask.astype(np.uint8) * value, folder / "ground_truth" / name / f"{number:03}.png")
    save(picture, folder / "test" / f"{name}.png")
