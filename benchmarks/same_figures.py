"""Whether a change of the code changed a figure: all that every method prints of 33 synthetic images, before and after.

`collect` runs each preset at 64 pixels, with random weights and one epoch for each phase of training, and writes all
figures of a run with digests of scores and logits; the fingerprints that the code gives the committed records; digests
of their tables. `compare` names each difference. A copy runs the code of its checkout, in 7 minutes of one core:

    git worktree add ../before main && cp benchmarks/same_figures.py ../before/benchmarks/
    python ../before/benchmarks/same_figures.py collect before.json
    python benchmarks/same_figures.py collect after.json       # of some runs alone: ... after.json 'vae*' padim
    python benchmarks/same_figures.py compare before.json after.json
"""

import csv
import io
import json
import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import chdir, redirect_stderr, redirect_stdout
from fnmatch import fnmatch
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml

CHECKOUT = Path(__file__).resolve().parents[1]
PHASES = {f"model.{name}_epochs": 1 for name in ("pretrain", "balancing", "freeze_backbone")}
# In place of what a preset sets for hundreds of large images; a method that has no such setting gets none.
SMALL = {"model.width": 8, "model.neighbours": 3, "model.weights": "none", "data.texture_patch": 32}
# Ways through the code that no preset takes: preset, category, options.
VARIANTS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "masks' resolution": ("padim_mobilenetv2", "screw", {"protocol": "full"}),
    "random pose": ("padim_mobilenetv2", "screw", {"data": "rd_mvtec_ad", "data.crop": 56}),
    "synthetic": ("knn_mobilenetv2", "carpet", {"data": "synthetic", "data.root": None}),
    "texture": ("autoencoder", "carpet", {}),
    "one fold": ("classifier", "screw", {"data.fold": 1, "data.per_class": 3}),
}


def make_data() -> None:
    """Few images of each synthetic category, as a folder in the layout of MVTec AD."""
    for category in ("screw", "carpet"):
        bench("data", "describe", "--data", "synthetic", "--category", category)  # makes it
    for file in Path("cache").glob("synthetic-*/*/*/*/*.png"):
        copy = Path("data", *file.parts[-4:])  # category, split, kind, name
        if int(file.name[:3]) < (12 if "train" in copy.parts else 6 if "good" in copy.parts else 3):
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, copy)


def options_of(preset: str) -> dict[str, Any]:
    """Settings by which a preset runs in seconds."""
    own = yaml.safe_load((CHECKOUT / "conf/model" / f"{preset}.yaml").read_text(encoding="utf-8"))
    options = {"data.root": "data", "data.image_size": 64, "data.crop": None, "trainer.accelerator": "cpu"}
    given = {f"{section}.{key}" for section in ("model", "data") for key, value in own[section].items() if value}
    options |= {key: value for key, value in (SMALL | PHASES).items() if key in given}
    if own.get("trainer"):  # the others do not train
        options |= {"trainer.max_epochs": 2 if given & PHASES.keys() else 1, "data.batch_size": 4}
        options |= {"data.folds": 2} if own["track"] == "supervised" else {"data.samples_per_epoch": 12}
    if own["model"].get("backbone") == "cait_m48_448":  # 1.4 GB; a small one of its family
        options |= {"model.backbone": "cait_xxs24_224", "model.levels": [20]}
    return options


def bench(*words: str) -> str:
    """What a command prints, in this process: another one would import torch again."""
    with redirect_stdout(io.StringIO()) as output, redirect_stderr(io.StringIO()) as errors:
        status = import_module("bench.__main__").main(words)
    if status:
        raise RuntimeError(f"bench {' '.join(words)}: status {status}: {errors.getvalue().strip()}")
    return output.getvalue()


def figures_of(preset: str, category: str, options: dict[str, Any]) -> dict[str, Any]:
    """All figures of a run."""
    options = options_of(preset) | options
    words = [word for key, value in options.items() for word in (f"--{key}", json.dumps(value).strip('"'))]
    shutil.rmtree("runs", ignore_errors=True)  # of the run before
    record = json.loads(bench("fit", "--model", preset, "--category", category, *words, "--json"))
    file = next(Path("runs").rglob("predictions.csv"))
    rows = sorted(csv.DictReader(file.read_text(encoding="utf-8").splitlines()), key=lambda row: row["path"])
    kept = ("fingerprint", "metrics", "metrics_by_defect", "intervals", "intervals_by_defect", "confusion", "map_range")
    scores = repr([(row["path"], row["label"], float(row["score"])) for row in rows]).encode()
    logits = repr([list(map(float, row["logits"].split())) for row in rows]).encode()
    found = {key: record[key] for key in (*kept, "data", "weights")}
    return found | {"scores_sha256": sha256(scores).hexdigest(), "logits_sha256": sha256(logits).hexdigest()}


def fingerprints() -> dict[str, dict[str, str]]:
    """What the code, wherever it lies, makes of each committed record by both versions of the protocol."""
    files = (CHECKOUT / "src/bench").rglob("*.py")
    home = next(file for file in files if "\ndef fingerprint_of(" in file.read_text(encoding="utf-8"))
    name = ".".join(home.relative_to(CHECKOUT / "src").with_suffix("").parts).removesuffix(".__init__")
    records = [json.loads(file.read_bytes()) for file in sorted(Path("leaderboards/records").rglob("record.json"))]
    cells = {each["fingerprint"]: (each["config"], each["weights"], each["data"]["digest"]) for each in records}
    make = import_module(name).fingerprint_of
    return {key: {f"version {v}": make(*cell, v) for v in (1, 2)} for key, cell in cells.items()}


def tables() -> dict[str, str]:
    """Digests of the tables of the committed records."""
    bench("leaderboard", "leaderboards/records")
    return {file.name: sha256(file.read_bytes()).hexdigest() for file in sorted(Path("leaderboards").glob("*.*"))}


def collect(out: Path, only: list[str]) -> int:
    """Run everything in a folder of its own; 1 if something failed."""
    os.environ |= {"OMP_NUM_THREADS": "1", "WANDB_MODE": "disabled", "CUDA_VISIBLE_DEVICES": "", "BENCH_CACHE": "cache"}
    os.environ.pop("BENCH_DATA", None)
    sys.path.insert(0, str(CHECKOUT / "src"))
    import_module("torch").set_num_threads(1)
    runs: dict[str, Any] = {file.stem: (file.stem, "screw", {}) for file in (CHECKOUT / "conf/model").glob("*.yaml")}
    runs = {name: run for name, run in (runs | VARIANTS).items() if any(fnmatch(name, pattern) for pattern in only)}
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        make_data()
        shutil.copytree(CHECKOUT / "leaderboards/records", "leaderboards/records")
        found: dict[str, Any] = {"runs": {name: attempt(figures_of, *runs[name]) for name in sorted(runs)}}
        found |= {"records": attempt(fingerprints), "tables": attempt(tables)}
    out.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return int(any(name.endswith("> failed") for name in values(found, "")))


def attempt(step: Callable[..., dict[str, Any]], *words: Any) -> dict[str, Any]:
    """What a step finds, or why it failed: the others count all the same."""
    print(step.__name__, *words[:1], flush=True)
    try:
        return step(*words)
    except Exception as error:
        print(f"failed: {error}"[:400], file=sys.stderr)
        return {"failed": str(error)[:400]}


def values(content: Any, name: str) -> dict[str, str]:
    """Each value, as its exact text, by its way through the file."""
    if not isinstance(content, dict):
        return {name: json.dumps(content)}
    parts = [values(content[key], f"{name} > {key}" if name else key) for key in content]
    return {key: text for part in parts for key, text in part.items()}


def compare(before: Path, after: Path) -> int:
    """Print each difference; 1 if there is one."""
    first, second = (values(json.loads(file.read_bytes()), "") for file in (before, after))
    names = [name for name in first | second if first.get(name) != second.get(name) or name.endswith("> failed")]
    for name in names:
        print(f"{name}: {first.get(name, 'missing')} -> {second.get(name, 'missing')}")
    counts = Counter(key for key, _ in sorted({tuple(name.split(" > ")[:2]) for name in first}))
    print(f"{len(names) or 'no'} difference(s) in {len(first)} values: {dict(counts)}")
    return int(bool(names))


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["collect", out, *only]:
            sys.exit(collect(Path(out), only or ["*"]))
        case ["compare", before, after]:
            sys.exit(compare(Path(before), Path(after)))
        case _:
            sys.exit(__doc__)
