"""Do the tests notice? Mutants of the code that decides thresholds, folds, splits, left-out scores and digests.

    python benchmarks/mutation.py --mutants 60 --seed 0

Each mutant changes one place of one function: a comparison, an operator, a constant, a condition, an argument. It runs
the tests of its file alone, in a fork of a process that has loaded torch. A mutant that all of them pass has survived:
its change is printed. Not part of the suite: 60 mutants take about a quarter of an hour on two cores.
"""

import argparse
import ast
import importlib.abc
import importlib.util
import json
import os
import random
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]

# By file: the functions whose mutants count (none named: all), and the tests that should notice.
TARGETS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "runs/threshold.py": (("learn_and_choose_threshold", "learn", "score_out_of_fold"), ("runs/test_threshold.py",)),
    "metrics/false_alarm_bound.py": ((), ("metrics/test_false_alarm_bound.py",)),
    "metrics/operating_points.py": ((), ("metrics/test_operating_points.py",)),
    "metrics/decision_cost.py": ((), ("metrics/test_decision_cost.py",)),
    "runs/chosen_threshold.py": ((), ("cli/test_threshold_command.py", "cli/test_chosen_threshold.py")),
    "acceptance/comparison.py": ((), ("acceptance/test_comparison.py",)),
    "acceptance/operating_point.py": ((), ("acceptance/test_comparison.py", "acceptance/test_accept_command.py")),
    "runs/plan.py": (("_check_images",), ("cli/test_refused_plans.py",)),
    "evaluation/passes.py": (("score_images", "_gathered"), ("runs/test_threshold.py", "runs/test_again.py")),
    "models/parts/statistics.py": (("left_out", "finish"), ("models/test_statistics.py",)),
    "models/deep_features.py": (("leave_one_out_score", "finish", "accumulate"), ("models/test_deep_features.py",)),
    "models/spade.py": (("leave_one_out_score", "finish", "accumulate"), ("models/test_spade.py",)),
    "data/folds.py": ((), ("data/test_folds.py", "data/test_sampling.py")),
    "data/held_out.py": ((), ("data/test_held_out.py",)),
    "data/one_class.py": (("held_out",), ("data/test_datamodule.py", "data/test_held_out.py", "cli/test_values.py")),
    "data/supervised.py": ((), ("data/test_folds.py", "data/test_datamodule.py", "runs/test_supervised.py")),
    "data/layout.py": ((), ("data/test_layout.py", "cli/test_data_as_people_have_them.py")),
    "data/digests.py": ((), ("data/test_check_official.py", "data/test_layout.py")),
    "data/check_official.py": ((), ("data/test_check_official.py",)),
}

_COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip
_OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv, ast.Pow: ast.Mult, ast.BitOr: ast.BitAnd, ast.BitAnd: ast.BitOr,
}  # fmt: skip


class Mutant(NamedTuple):
    """A change of one place, as source of the whole file."""

    file: str
    line: int
    before: str
    after: str
    source: str


def mutants_of(file: str, functions: Sequence[str]) -> Iterator[Mutant]:
    """All mutants of these functions of a file."""
    text = (ROOT / "src/bench" / file).read_text(encoding="utf-8")
    tree = ast.parse(text)
    chosen = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and (not functions or n.name in functions)]
    for function in chosen:
        for node in (each for statement in function.body for each in ast.walk(statement)):
            for undo, before, after in _changes(node):
                yield Mutant(file, getattr(node, "lineno", function.lineno), before, after, ast.unparse(tree))
                undo()


def _changes(node: ast.AST) -> Iterator[tuple[Any, str, str]]:
    """Each change of a node, made; what undoes it, and the node's text before and after."""
    before = ast.unparse(node) if isinstance(node, ast.expr | ast.stmt) else ""
    if isinstance(node, ast.Compare) and type(node.ops[0]) in _COMPARISONS:
        old = node.ops[0]
        node.ops[0] = _COMPARISONS[type(old)]()
        yield lambda: node.ops.__setitem__(0, old), before, ast.unparse(node)
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS and not isinstance(node.left, ast.JoinedStr):
        operator = node.op
        node.op = _OPERATORS[type(operator)]()
        yield lambda: setattr(node, "op", operator), before, ast.unparse(node)
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        value = node.value
        node.value = (not value) if isinstance(value, bool) else value + 1
        yield lambda: setattr(node, "value", value), before, ast.unparse(node)
    if isinstance(node, ast.If | ast.IfExp | ast.While):
        test = node.test
        node.test = ast.UnaryOp(ast.Not(), test)
        yield lambda: setattr(node, "test", test), ast.unparse(test), f"not ({ast.unparse(test)})"
    if isinstance(node, ast.Call) and len(node.args) > 1 and not any(isinstance(a, ast.Starred) for a in node.args):
        arguments = node.args
        node.args = [arguments[1], arguments[0], *arguments[2:]]
        yield lambda: setattr(node, "args", arguments), before, ast.unparse(node)
    if isinstance(node, ast.BoolOp):
        joined = node.op
        node.op = ast.Or() if isinstance(joined, ast.And) else ast.And()
        yield lambda: setattr(node, "op", joined), before, ast.unparse(node)


class Planted(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Gives one module of `bench` the source of a mutant."""

    def __init__(self, mutant: Mutant) -> None:
        self.mutant = mutant
        self.name = "bench." + mutant.file.removesuffix(".py").replace("/", ".")

    def find_spec(self, name: str, path: Any, target: ModuleType | None = None) -> Any:
        if name != self.name:
            return None
        return importlib.util.spec_from_file_location(name, ROOT / "src/bench" / self.mutant.file, loader=self)

    def exec_module(self, module: ModuleType) -> None:
        exec(compile(self.mutant.source, str(ROOT / "src/bench" / self.mutant.file), "exec"), module.__dict__)


def survives(mutant: Mutant | None, tests: Sequence[str], limit: float) -> bool:
    """Whether all tests pass with the mutant in place; a mutant that runs for too long is noticed."""
    child = os.fork()
    if not child:
        with Path(os.devnull).open("w") as nothing:
            os.dup2(nothing.fileno(), 1)
            os.dup2(nothing.fileno(), 2)
            if mutant is not None:
                sys.meta_path.insert(0, Planted(mutant))
            import pytest

            paths = [str(ROOT / "tests" / test) for test in tests]
            os._exit(pytest.main(["-x", "-q", "-n0", "-p", "no:cacheprovider", "--rootdir", str(ROOT), *paths]))
    end = time.monotonic() + limit
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status == 0
        time.sleep(0.05)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return False


def main() -> None:
    """Draw mutants, evenly over the files, and tell which ones survive."""
    parser = argparse.ArgumentParser(description="Do the tests notice?")
    parser.add_argument("--mutants", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=float, default=180.0, help="seconds for the tests of one mutant")
    parser.add_argument("--out", type=Path, help="a JSON file of all mutants and what became of them")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    sys.path[:0] = [str(ROOT / "tests"), str(ROOT)]
    import lightning  # noqa: F401 - loaded once, for all forks
    import timm  # noqa: F401
    import torchvision  # noqa: F401

    draw, drawn = random.Random(options.seed), []
    pools = {file: list(mutants_of(file, functions)) for file, (functions, _) in TARGETS.items()}
    for pool in pools.values():
        draw.shuffle(pool)
    while len(drawn) < options.mutants and any(pools.values()):
        drawn += [pool.pop() for pool in pools.values() if pool]
    for file, (_, tests) in TARGETS.items():
        if not survives(None, tests, options.limit):
            sys.exit(f"the tests of {file} fail without any mutant: {' '.join(tests)}")
    outcomes = []
    for mutant in drawn[: options.mutants]:
        alive = survives(mutant, TARGETS[mutant.file][1], options.limit)
        outcomes.append({**mutant._asdict(), "source": "", "survived": alive})
        print("SURVIVED" if alive else "noticed ", f"{mutant.file}:{mutant.line}  {mutant.before}  ->  {mutant.after}")
    noticed = sum(not outcome["survived"] for outcome in outcomes)
    print(f"{noticed} of {len(outcomes)} mutants noticed")
    if options.out:
        options.out.write_text(json.dumps(outcomes, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
