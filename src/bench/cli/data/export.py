"""`bench data export`: write images and masks for detectors and segmenters: COCO, YOLO, SAM."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.cli.command import Known, command, option
from bench.cli.completion import CATEGORY, FILE, FOLDER
from bench.cli.early import check_images
from bench.cli.options import data_option, reading_options, reading_settings, root_option
from bench.config.presets import DEFAULT_DATA, read_preset
from bench.console import say, tell
from bench.data.category_folders import ALL
from bench.errors import UsageError, counted
from bench.version import __version__

if TYPE_CHECKING:  # these import torch or YAML, which help does not need
    from bench.config.presets import Preset
    from bench.data.datamodule import DefectData
    from bench.data.export.contents import Contents

_FORMATS = ("coco", "yolo", "masks")
# Options of one format alone: that format, and the default value.
_OWN: Mapping[str, tuple[str, str | int]] = {
    "segmentation": ("coco", "polygons"),
    "task": ("yolo", "segment"),
    "points": ("masks", 1),
    "negative_points": ("masks", 0),
}


@command(
    "Write a category for detectors and segmenters.",
    option("--format", type=click.Choice(_FORMATS), required=True, help="what to write"),
    option("--category", type=CATEGORY, metavar="NAME", required=True, help="category, such as screw, or all"),
    data_option(DEFAULT_DATA),
    root_option("folder of the categories; else BENCH_DATA"),
    *reading_options(),
    option(
        "--out",
        type=FOLDER,
        metavar="FOLDER",
        help="folder to write (default: exports/DATASET-CATEGORY-FORMAT), or to hold those of all categories",
    ),
    option("--force", is_flag=True, help="replace an earlier export in that folder"),
    option(
        "--classes",
        type=click.Choice(("type", "defect")),
        default="type",
        help="a class for each defect type, or one for all",
    ),
    option("--prompts", type=FILE, metavar="FILE", help="YAML with words for each class; others keep ours"),
    option(
        "--shares", metavar="T,V,T", default="0.7,0.15,0.15", help="of train, val and test (default: 0.7,0.15,0.15)"
    ),
    option("--seed", type=int, default=0, metavar="N", help="deals the images into these parts (default: 0)"),
    option(
        "--images",
        type=click.Choice(("copy", "link", "reference")),
        default="copy",
        help="copy them (default), link to them, or only name where they lie (coco, masks)",
    ),
    option(
        "--segmentation",
        type=click.Choice(("polygons", "rle")),
        help="coco: polygons for regions without holes (default), or run lengths for all",
    ),
    option("--task", type=click.Choice(("segment", "detect")), help="yolo: polygons (default), or boxes alone"),
    option("--points", type=int, metavar="N", help="masks: points inside each region (default: 1)"),
    option("--negative-points", type=int, metavar="N", help="masks: points beside it (default: 0)"),
)
def run(known: Known) -> int:
    """Write one category, or all."""
    _settle_own_options(known)

    from bench.data.export.folder import check_target

    preset = read_preset("data", known.data)
    check_images(preset, known.category, _settings(preset, known))
    folders = _folders(known)
    for out in folders.values():
        check_target(out, force=known.force)
    data = {category: _read_data(category, known) for category in folders}
    # All contents are built before one is written: an error in the last leaves no partial export.
    contents = {category: _contents(data[category], known) for category in folders}
    for category, out in folders.items():
        _export(data[category], contents[category], out, known)
    return 0


def _folders(known: Known) -> dict[str, Path]:
    """The folder of each category; where all are exported, these folders lie in `--out`."""
    if known.category != ALL:
        return {known.category: (known.out or Path("exports", _name(known.category, known))).expanduser()}
    if known.prompts:
        raise UsageError("--prompts names the classes of one category; export that one by itself")
    out = (known.out or Path("exports")).expanduser()
    return {category: out / _name(category, known) for category in _read_data(ALL, known).category_names()}


def _name(category: str, known: Known) -> str:
    return f"{_dataset(known)}-{category}-{known.format}"


def _dataset(known: Known) -> str:
    preset = read_preset("data", known.data)
    loaded: type[DefectData] = preset.load_class()
    return loaded.dataset_name(preset.name, _settings(preset, known))


def _settings(preset: "Preset", known: Known) -> dict[str, Any]:
    return dict(preset.settings.get("data", {})) | reading_settings(known)


def _export(data: "DefectData", contents: "Contents", out: Path, known: Known) -> None:
    from bench.data.export.folder import SUMMARY, building
    from bench.data.export.licence import write_licence

    with building(out, force=known.force) as folder:
        _write(contents, folder, known)
        contents.place_images(folder)
        write_licence(folder, data, contents.dataset, __version__)
        own = {name: getattr(known, name) for name, (format_, _) in _OWN.items() if format_ == known.format}
        summary = {"format": known.format} | own | contents.summary()
        text = json.dumps(summary, indent=1, ensure_ascii=False) + "\n"
        (folder / SUMMARY).write_text(text, encoding="utf-8")
    for split, counts in summary["counts"].items():
        tell(f"{split:<6}{sum(counts.values()):>6} images: {', '.join(f'{n} {name}' for name, n in counts.items())}")
    tell(out)


def _settle_own_options(known: Known) -> None:
    for name, (format_, default) in _OWN.items():
        typed = getattr(known, name)
        if typed is None:
            setattr(known, name, default)
        elif known.format != format_:
            raise UsageError(f"--{name.replace('_', '-')} belongs to --format {format_}")
    if known.points < 0 or known.negative_points < 0:
        raise UsageError("--points and --negative-points count points: 0 or more")
    if known.seed < 0:
        raise UsageError(f"--seed {known.seed} is negative")


def _read_data(category: str, known: Known) -> "DefectData":
    preset = read_preset("data", known.data)
    data: DefectData = preset.load_class()(category, known.seed, "model", **_settings(preset, known))
    if data.random_pose:
        raise UsageError(f"--data {preset.name} turns images when they are read; export --data {DEFAULT_DATA}")
    return data


def _contents(data: "DefectData", known: Known) -> "Contents":
    from bench.data.export.contents import Contents, name_pictures
    from bench.data.export.prompts import ANY_DEFECT, class_prompts
    from bench.data.export.split import deal, describe_gaps, read_shares
    from bench.data.export.yolo import check_yolo

    shares, category = read_shares(known.shares), data.full_category
    if missing := category.without_masks:
        raise UsageError(
            f"{counted(missing, 'defect image')} of {category.name} without a mask; an export would call "
            "them free of defects: draw the masks, or move the images"
        )
    types = category.defect_types[1:]
    classes = types if known.classes == "type" else (ANY_DEFECT,)
    prompts = class_prompts(category.name, classes, known.prompts)
    dealt = deal(category, shares, known.seed, data.cache)
    contents = Contents(
        dataset=_dataset(known),
        category=category,
        prompts=prompts,
        shares=shares,
        seed=known.seed,
        images=known.images,
        pictures=name_pictures(dealt, category.name),
    )
    if known.format == "yolo":
        check_yolo(contents)
    for line in describe_gaps(dealt, shares, category.defect_types):
        say(f"bench: {line}")
    return contents


def _write(contents: "Contents", folder: Path, known: Known) -> None:
    if known.format == "coco":
        from bench.data.export.coco import write_coco

        write_coco(contents, folder, known.segmentation)
    elif known.format == "yolo":
        from bench.data.export.yolo import write_yolo

        write_yolo(contents, folder, known.task)
    else:
        from bench.data.export.masks import write_masks

        write_masks(contents, folder, known.points, known.negative_points)
