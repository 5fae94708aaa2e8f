"""A run is read downwards: each step returns what the next one takes, and nothing comes back another way."""

import dataclasses
import inspect
from types import ModuleType, NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

import pytest
from lightning import Trainer
from pydantic import BaseModel

from bench.config.cell import Cell
from bench.data.datamodule import DefectData
from bench.evaluation import evaluation
from bench.evaluation.passes import Machine
from bench.models.base import Detector
from bench.records.record import Record
from bench.runs import fitting, measure_cost, run, threshold, training
from bench.tracking.run import Tracker

# What learns, reads and logs: these change, and are handed on by name.
WORKERS = (Detector, DefectData, Trainer, Tracker, Machine)
PLAIN = (int, float, str, bool, NoneType)


def is_fixed(kind: Any) -> bool:
    """Whether nobody can change a value of this type once a step has returned it; lists are handed on whole."""
    if get_origin(kind) in (list, tuple, dict, UnionType):
        return all(is_fixed(part) for part in get_args(kind) if part is not Ellipsis)
    if not isinstance(kind, type):
        return True
    if issubclass(kind, (*WORKERS, *PLAIN, tuple)) or kind.__module__ in ("pathlib", "torch", "numpy"):
        return True
    if dataclasses.is_dataclass(kind):
        return bool(kind.__dataclass_params__.frozen)
    return issubclass(kind, BaseModel) and bool(kind.model_config.get("frozen"))


def steps(module: ModuleType) -> list[Any]:
    return [f for f in vars(module).values() if inspect.isfunction(f) and f.__module__ == module.__name__]


@pytest.mark.parametrize(
    "step",
    [f for module in (run, fitting, training, threshold, evaluation, measure_cost) for f in steps(module)],
    ids=lambda f: f.__name__,
)
def test_what_a_step_of_a_run_returns_is_fixed(step):
    assert is_fixed(get_type_hints(step).get("return", NoneType))


def test_a_type_that_can_be_changed_is_noticed():
    @dataclasses.dataclass
    class Shared:
        seconds: float

    assert not is_fixed(Shared)
    assert not is_fixed(list[Shared])
    assert is_fixed(Cell)


def test_a_record_is_built_from_its_parts_and_never_changed(finished):
    record = Record.read(finished)
    with pytest.raises(ValueError, match="frozen"):
        record.status = "failed"
    with pytest.raises(ValueError, match="frozen"):
        record.data.digest = ""
    assert record.changed(status="failed").status == "failed"
    assert record.status == "finished"
