"""The categories that the options of a `bench data` command choose."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from bench.cli.command import Known
from bench.cli.early import check_images
from bench.cli.options import reading_settings
from bench.console import is_quiet, say
from bench.data.category_folders import ALL
from bench.errors import UsageError

if TYPE_CHECKING:  # imports torch, which help does not need
    from bench.data.datamodule import DefectData


def chosen_categories(known: Known, doing: str) -> Iterator[tuple[str, "DefectData"]]:
    """Yield the dataset's name and the data of each chosen category; a UsageError where no category is named.

    `doing` says at once what is done with them: torch, and then all images, take their time.
    """
    data, category = known.data, known.category
    from bench.config.presets import DEFAULT_DATA, read_preset
    from bench.data.remarks import remarks

    if not category:
        raise UsageError("no category; name one: --category screw, or all: --category all")
    preset = read_preset("data", DEFAULT_DATA if data is None else data)
    settings = dict(preset.settings.get("data", {})) | reading_settings(known)
    check_images(preset, category, settings)
    if not is_quiet():
        say(f"bench: {doing} {'all categories' if category == ALL else category} ({preset.name})")

    load = preset.load_class()
    names = load(ALL, 0, "model", **settings).category_names() if category == ALL else [category]
    for name in names:
        found: DefectData = load(name, 0, "model", **settings)
        for line in remarks(found.full_category):
            say(f"bench: {line}")
        yield found.dataset_name(preset.name, settings), found
