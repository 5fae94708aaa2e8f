"""A folder of your own: categories in the layout of MVTec AD, of which nothing else is known."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.data.category_folders import name_of_root, named_root
from bench.data.datamodule import DefectData

_UNNAMED = Path(__file__).stem  # the preset whose dataset is named after its folder


class Folder(DefectData):
    """One category of a folder of your own: `train/good`, `test/<defect type>`, `ground_truth/<defect type>`."""

    @classmethod
    def dataset_name(cls, preset: str, settings: Mapping[str, Any]) -> str:
        """The name of the root folder, unless a preset file of your own, or a record, gives another."""
        if preset != _UNNAMED:
            return preset
        return name_of_root(named_root(settings.get("root")))
