"""`bench data export`: images and masks for detectors and segmenters."""

import json
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import __version__
from bench.cli.arguments import Parser, data_help
from bench.cli.category_options import add_reading_options, reading_settings
from bench.console import say, tell
from bench.data.layout import ALL
from bench.errors import UsageError, counted

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


def export_parser() -> Parser:
    """The options of `bench data export`."""
    from bench.config.presets import DEFAULT_DATA

    parser = Parser(prog="bench data export", description="Write a category for detectors and segmenters.")
    parser.add_argument("--format", choices=_FORMATS, required=True, help="what to write")
    parser.add_argument("--category", metavar="NAME", required=True, help="category, such as screw, or all")
    parser.add_argument("--data", metavar="NAME", default=DEFAULT_DATA, help=data_help())
    parser.add_argument("--data.root", dest="root", metavar="FOLDER", help="folder of the categories; else BENCH_DATA")
    add_reading_options(parser)
    parser.add_argument(
        "--out",
        type=Path,
        help="folder to write (default: exports/DATASET-CATEGORY-FORMAT), or to hold those of all categories",
    )
    parser.add_argument("--force", action="store_true", help="replace an earlier export in that folder")
    parser.add_argument(
        "--classes", choices=("type", "defect"), default="type", help="a class for each defect type, or one for all"
    )
    parser.add_argument("--prompts", type=Path, metavar="FILE", help="YAML with words for each class; others keep ours")
    parser.add_argument(
        "--shares", metavar="T,V,T", default="0.7,0.15,0.15", help="of train, val and test (default: 0.7,0.15,0.15)"
    )
    parser.add_argument("--seed", type=int, default=0, help="deals the images into these parts (default: 0)")
    parser.add_argument(
        "--images",
        choices=("copy", "link", "reference"),
        default="copy",
        help="copy them (default), link to them, or only name where they lie (coco, masks)",
    )
    parser.add_argument(
        "--segmentation",
        choices=("polygons", "rle"),
        help="coco: polygons for regions without holes (default), or run lengths for all",
    )
    parser.add_argument("--task", choices=("segment", "detect"), help="yolo: polygons (default), or boxes alone")
    parser.add_argument("--points", type=int, metavar="N", help="masks: points inside each region (default: 1)")
    parser.add_argument("--negative-points", type=int, metavar="N", help="masks: points beside it (default: 0)")
    return parser


def run(typed: list[str]) -> int:
    """write images and masks for detectors and segmenters: COCO, YOLO, SAM"""
    known = export_parser().parse_all(typed)
    _settle_own_options(known)

    from bench.data.export.folder import check_target

    folders = _folders(known)
    for out in folders.values():
        check_target(out, force=known.force)
    data = {category: _read_data(category, known) for category in folders}
    # All contents are built before one is written: an error in the last leaves no partial export.
    contents = {category: _contents(data[category], known) for category in folders}
    for category, out in folders.items():
        _export(data[category], contents[category], out, known)
    return 0


def _folders(known: Namespace) -> dict[str, Path]:
    """The folder of each category; where all are exported, these folders lie in `--out`."""
    if known.category != ALL:
        return {known.category: (known.out or Path("exports", _name(known.category, known))).expanduser()}
    if known.prompts:
        raise UsageError("--prompts names the classes of one category; export that one by itself")
    out = (known.out or Path("exports")).expanduser()
    return {category: out / _name(category, known) for category in _read_data(ALL, known).category_names()}


def _name(category: str, known: Namespace) -> str:
    return f"{_dataset(known)}-{category}-{known.format}"


def _dataset(known: Namespace) -> str:
    from bench.config.presets import read_preset

    preset = read_preset("data", known.data)
    loaded: type[DefectData] = preset.load_class()
    return loaded.dataset_name(preset.name, _settings(preset, known))


def _settings(preset: "Preset", known: Namespace) -> dict[str, Any]:
    return dict(preset.settings.get("data", {})) | reading_settings(known)


def _export(data: "DefectData", contents: "Contents", out: Path, known: Namespace) -> None:
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


def _settle_own_options(known: Namespace) -> None:
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


def _read_data(category: str, known: Namespace) -> "DefectData":
    from bench.config.presets import DEFAULT_DATA, read_preset

    preset = read_preset("data", known.data)
    data: DefectData = preset.load_class()(category, known.seed, "model", **_settings(preset, known))
    if data.random_pose:
        raise UsageError(f"--data {preset.name} turns images when they are read; export --data {DEFAULT_DATA}")
    return data


def _contents(data: "DefectData", known: Namespace) -> "Contents":
    from bench.data.export.contents import Contents, name_pictures
    from bench.data.export.prompts import ANY_DEFECT, class_prompts
    from bench.data.export.split import deal, describe_gaps, read_shares
    from bench.data.export.yolo import check_yolo

    shares, category = read_shares(known.shares), data.whole
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


def _write(contents: "Contents", folder: Path, known: Namespace) -> None:
    if known.format == "coco":
        from bench.data.export.coco import write_coco

        write_coco(contents, folder, known.segmentation)
    elif known.format == "yolo":
        from bench.data.export.yolo import write_yolo

        write_yolo(contents, folder, known.task)
    else:
        from bench.data.export.masks import write_masks

        write_masks(contents, folder, known.points, known.negative_points)
