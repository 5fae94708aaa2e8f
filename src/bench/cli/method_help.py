"""The help of one method: its settings with the preset's values, those of the data, and those that all share."""

from collections.abc import Mapping
from shutil import get_terminal_size
from textwrap import shorten, wrap
from typing import Any, NamedTuple, cast

from bench.config.class_sources import ClassSource, read_source
from bench.config.decisive_settings import Method, unusable
from bench.config.presets import DEFAULT_DATA, Preset, conf_folder, read_preset, read_yaml
from bench.config.settings import flatten

_MOST = 59  # lines
_LONG = 30  # letters of a value or type
_COLUMN = 36  # where the lines say what a setting is
_COMMON = {
    "seed": "int: of everything random",
    "protocol": "model|full: resolution of pixel metrics",
    "threshold_quantile": "float: share of held-out normal scores below the threshold",
    "patience": "int|null: epochs without a better validation loss before it stops",
    "trainer.max_epochs": "int: epochs of training",
    "trainer.accelerator": "auto|cpu|gpu|mps",
    "trainer.devices": "int: processes, one a device",
}
_OF_THE_MACHINE = ("data.cache", "data.feature_cache")  # in the whole help alone
_DEFAULTS = {"trainer.accelerator": "auto"}


def method_help(model: str, data: str | None) -> str | None:
    """The help of a method, read without importing it; None where its file does not tell its settings."""
    preset, dataset = read_preset("model", model), read_preset("data", DEFAULT_DATA if data is None else data)
    sources = read_source(preset), read_source(dataset)
    if sources[0] is None or sources[1] is None:
        return None
    values = flatten(read_yaml(conf_folder() / "default.yaml"))
    values |= flatten(dataset.settings) | flatten(preset.settings)
    idle = unusable(cast("type[Method]", sources[0])) | dict.fromkeys(_OF_THE_MACHINE, "is of the machine")
    sections = {
        f"Settings of {preset.name}:": _rows("model", sources[0], values, idle),
        f"Settings of the data, {dataset.name}:": _rows("data", sources[1], values, idle),
        "Settings of all methods:": [
            _Row(name, _shown(values.get(name, _DEFAULTS.get(name))), about)
            for name, about in _COMMON.items()
            if name not in idle
        ],
    }
    head = [shorten(f"bench fit {preset.name} CATEGORY: {_title(preset)}", _width(), placeholder=" ..."), ""]
    foot = ["", "all settings in full: --help-all; other options: bench fit --help"]
    room = _MOST - len(head) - len(foot) - len(sections) - sum(map(len, sections.values()))
    lines = head
    for title, rows in sections.items():
        lines.append(title)
        for row in rows:
            written = row.lines(2 if room > 0 else 1)
            room -= len(written) - 1
            lines += written
    return "\n".join(lines + foot)


class _Row(NamedTuple):
    """A setting with its value, and what it is."""

    name: str
    value: str
    about: str

    def lines(self, most: int) -> list[str]:
        """The setting in one line or two; what is longer ends with dots."""
        option = f"  --{self.name} {self.value}"
        text = wrap(self.about, _width() - _COLUMN, max_lines=most, placeholder=" ...")
        if len(option) >= _COLUMN:  # what it is begins behind a long name
            first = shorten(self.about, max(_width() - len(option) - 1, 20), placeholder=" ...")
            return [f"{option} {first}"]
        return [f"{option if not place else '':<{_COLUMN}}{line}" for place, line in enumerate(text)]


def _width() -> int:
    return min(get_terminal_size().columns, 120) - 1


def _title(preset: Preset) -> str:
    return f"{preset.about} ({preset.paper})" if preset.paper else preset.about or preset.class_path


def _rows(section: str, source: ClassSource, values: Mapping[str, Any], idle: Mapping[str, str]) -> list[_Row]:
    found = []
    for name, setting in source.settings.items():
        key = f"{section}.{name}"
        if key not in idle:
            value = _shown(values[key]) if key in values else _as_typed(setting.default)
            kind = setting.kind.replace("|", ", ") if len(setting.kind) > _LONG else setting.kind
            found.append(_Row(key, shorten(value, _LONG, placeholder=" ..."), f"{kind}: {setting.about}"))
    return found


def _as_typed(default: str) -> str:
    return {"None": "null", "True": "true", "False": "false"}.get(default, default.strip("'"))


def _shown(value: Any) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
