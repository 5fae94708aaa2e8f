"""A folder of your own: categories in the layout of MVTec AD, of which nothing else is known."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.config.plain_names import plain_name
from bench.config.presets import preset_names
from bench.data.datamodule import DefectData
from bench.data.layout import named_root
from bench.errors import UsageError

_UNNAMED = Path(__file__).stem  # the preset whose dataset is named after its folder


class Folder(DefectData):
    """One category of a folder of your own: `train/good`, `test/<defect type>`, `ground_truth/<defect type>`."""

    @classmethod
    def dataset_name(cls, preset: str, settings: Mapping[str, Any]) -> str:
        """The name of the root folder, unless a preset file of your own, or a record, gives another."""
        if preset != _UNNAMED:
            return preset
        root = Path(os.path.abspath(named_root(settings.get("root"))))  # noqa: PTH100 - drops `..`, keeps link names
        if root.name.casefold() in preset_names("data"):
            raise UsageError(
                f"{root} has the name of a dataset of bench: use --data {root.name.casefold()}, or rename the folder"
            )
        try:
            return plain_name(root.name)
        except ValueError as error:
            raise UsageError(
                f"{str(root)!r} cannot name a dataset: {error}; rename the folder, or give --data.root another"
            ) from error
