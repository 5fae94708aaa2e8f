"""The methods behind the presets: a line of 80 columns for each."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench.config.class_sources import read_source
from bench.config.presets import Preset
from bench.config.tracks import TRACKS

_COLUMNS = ("name", "class", "year", "learns", "by", "fit", "weights")
# By timm's tag or the file's name; others are ImageNet's.
_PRETRAINED = {"lvd142m": "DINOv2", "pdn_small.safetensors": "teacher", "pdn_medium.safetensors": "teacher"}


@dataclass(frozen=True)
class Method:
    """A method: the preset that bears its name, and those whose names begin with it."""

    preset: Preset
    variants: Sequence[Preset]

    def row(self) -> tuple[str, ...]:
        """What its line says, in the order of the columns; `-` is unknown, or none."""
        preset = self.preset
        source, weights = read_source(preset), preset.settings.get("model", {}).get("weights", "none")
        ways = (
            [] if source is None else ["gradient"] * source.is_trained() + ["statistics"] * ("passes" in source.defined)
        )
        year = re.search(r"\d{4}$", preset.paper)
        times = [seconds for each in (preset, *self.variants) if (seconds := fit_seconds(each)) is not None]
        return (
            preset.name,
            preset.class_path.rpartition(".")[2],
            year[0] if year else "-",
            "defects" if TRACKS[preset.track].learns_from_defects else "good",
            "both" if len(ways) == 2 else "".join(ways) or "-",
            _duration(min(times)) if times else "-",
            "-" if weights in (None, "none") else _PRETRAINED.get(weights, "ImageNet"),
        )


def methods_of(presets: Sequence[Preset]) -> Iterator[Method]:
    """Each preset whose name is not another's of the same class with an ending, with those that are."""
    for preset in presets:
        same = [each for each in presets if each.class_path == preset.class_path and each is not preset]
        if not any(preset.name.startswith(f"{each.name}_") for each in same):
            yield Method(preset, [each for each in same if each.name.startswith(f"{preset.name}_")])


def fit_seconds(preset: Preset) -> float | None:
    """How long a fit took on two cores, as the head of the preset's file says: the longest of several; else None."""
    head = (preset.folder / f"{preset.name}.yaml").read_text(encoding="utf-8").partition("class_path:")[0]
    items = re.split(r"\n# (?=[A-Z][\w ,]*:)", head)
    for item in (" ".join(each.replace("\n#", " ").split()) for each in items):
        found = re.findall(r"(?<![\w.])([\d.]+) (s|minutes)\b", item.partition(" test ")[0])
        if found and re.search("two (cores|threads)", item):
            return max(float(number) * (60 if unit == "minutes" else 1) for number, unit in found)
    return None


def table(methods: Sequence[Method], count: int) -> list[str]:
    """The lines of all methods below their titles, and where more is to be found."""
    rows = [_COLUMNS, *(method.row() for method in methods)]
    widths = [max(len(row[place]) for row in rows) for place in range(len(_COLUMNS))]
    lines = [" ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    foot = (
        "learns: from good images, or from labelled defects too; fit: of the quickest",
        f"preset measured on two cores; all {count} presets: --all",
    )
    return [*lines, *foot]


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 60 else f"{seconds / 60:.0f} min"
