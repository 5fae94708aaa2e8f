"""Ultralytics' own check of the export; it is no dependency of the tests, for it brings another OpenCV."""

from pathlib import Path

import pytest

from fake_regions import CATEGORY, IMAGES, SHAPES, write_odd_category


@pytest.fixture
def data(bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict:
    """What Ultralytics reads of an export in a folder with spaces and a Chinese name."""
    monkeypatch.setenv("YOLO_CONFIG_DIR", str(tmp_path / "settings"))
    pytest.importorskip("ultralytics")
    from ultralytics.data.utils import check_det_dataset

    root, out = tmp_path / "缺陷 数据", tmp_path / "导出 files"
    write_odd_category(root)
    arguments = ("--category", CATEGORY, "--data.root", root, "--format", "yolo", "--out", out)
    assert bench("data", "export", *arguments, "--shares", "0.5,0.25,0.25").status == 0
    return check_det_dataset(str(out / "data-world.yaml"))


@pytest.mark.parametrize("task", ["detect", "segment"])
def test_ultralytics_takes_every_image_and_label(data, task):
    from ultralytics.data.dataset import YOLODataset
    from ultralytics.data.utils import load_dataset_cache_file

    images, regions = 0, 0
    for split in ("train", "val", "test"):
        dataset = YOLODataset(img_path=data[split], data=data, task=task, augment=False, imgsz=64)
        cache = load_dataset_cache_file(Path(dataset.label_files[0]).parent.with_suffix(".cache"))
        found, missing, _, corrupt, total = cache["results"]
        assert (found, missing, corrupt) == (total, 0, 0)
        images += total
        regions += sum(len(label["cls"]) for label in dataset.labels)
    assert images == 14 + IMAGES * len(SHAPES)
    # A ring and the pixel in it, three dots, two bars, stairs.
    assert regions == IMAGES * (2 + 3 + 2 + 1)
