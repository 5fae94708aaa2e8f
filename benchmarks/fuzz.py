"""Do the readers hold? Those of records, predictions and checkpoints, fuzzed with atheris.

    pip install atheris
    python benchmarks/fuzz.py --folder fuzz -max_total_time=3600 -len_control=0

What begins with one dash goes to libFuzzer. Files of a tiny run are the first corpus; each mutant is read as commands
read it. A value, or one line of a UsageError or RunError, is an answer. The first input of each other kind is kept in
`FOLDER/findings` with its traceback. Not part of the suite: an hour is well spent when a reader changes.

An input is a letter and content: `r` a record, `j` a value for a place of one, `p` predictions, `c` a checkpoint, `k`
the pickle within one.
"""

import argparse
import io
import json
import os
import sys
import tempfile
import traceback
import warnings
import zipfile
from pathlib import Path

import atheris

os.environ["OMP_NUM_THREADS"] = "1"
with atheris.instrument_imports(include=["bench", "torch._weights_only_unpickler"]):
    import torch

    from bench.cli.main import main as bench
    from bench.config.settings import resolve
    from bench.errors import RunError, UsageError
    from bench.escaping import terminal
    from bench.leaderboard.collect import collect
    from bench.metrics.image import image_metrics
    from bench.records.predictions import parse_predictions
    from bench.records.record import (
        CHECKPOINT,
        PREDICTIONS,
        RECORD,
        Record,
        changed_settings,
        flat_settings,
        settings_to_read,
    )
    from bench.runs.checkpoint import fit_seconds, load_checkpoint
    from bench.runs.scoring.scorer import read_spec

RUN = """fit --model autoencoder_l2 --model.latent_dim 2 --category screw --data synthetic --data.image_size 32
    --data.samples_per_epoch null --trainer.max_epochs 1 --trainer.accelerator cpu --runs"""
VALUES = (b"null", b"-1", b"1e999", b'"..\u202e"', b'["a"]', b'{"a": 1}')


def small_model(file: Path) -> tuple[torch.nn.Module, bytes]:
    """The smallest tensors of a checkpoint, as a model and as a checkpoint of their own."""
    content, model, saved = torch.load(file, weights_only=True), torch.nn.Module(), io.BytesIO()
    for name, tensor in sorted(content["state_dict"].items(), key=lambda item: item[1].numel())[:4]:
        model.register_buffer(name.replace(".", "_"), tensor.clone())
    torch.save({**content, "state_dict": model.state_dict()}, saved)
    return model, saved.getvalue()


def with_pickle(archive: bytes, content: bytes | None = None) -> tuple[bytes, bytes]:
    """A checkpoint whose pickle is replaced, and the pickle that it had; its checksum fits, so it is read."""
    changed, former = io.BytesIO(), b""
    with zipfile.ZipFile(io.BytesIO(archive)) as old, zipfile.ZipFile(changed, "w") as new:
        for info in old.infolist():
            data = old.read(info)
            if info.filename.endswith("data.pkl"):
                data, former = data if content is None else content, data
            new.writestr(info.filename, data)
    return changed.getvalue(), former


def is_line(text: str) -> bool:
    return 0 < len(text) < 8000 and terminal(text).isprintable()


class Readers:
    """What commands read of the folder of a run, each file as an input has it."""

    def __init__(self, run: Path, place: Path) -> None:
        self.place, self.record, self.text = place, Record.read(run), (run / RECORD).read_bytes()
        data = self.record.data.model_copy(update={"classes": {"good": 1, "scratch": 1}})
        self.classified = self.record.model_copy(update={"track": "supervised", "data": data})
        self.model, self.checkpoint = small_model(run / CHECKPOINT)
        head, *rows = (run / PREDICTIONS).read_bytes().splitlines(keepends=True)
        logits = [row.replace(b",\n", b",-0.5 1.5\n") for row in rows if b",good," in row or b",scratch," in row]
        self.seeds = [b"r" + self.text, b"p" + head + b"".join(rows[::12]), b"p" + head + b"".join(logits[::12])]
        self.seeds += [b"c" + self.checkpoint, b"k" + with_pickle(self.checkpoint)[1]]
        self.seeds += [b"j%c" % place + value for place in range(0, 250, 9) for value in VALUES]

    def r(self, content: bytes) -> None:
        (self.place / RECORD).write_bytes(content)
        for problem in collect([self.place]).problems:
            assert is_line(problem), "a line that no terminal can show"
        record = Record.read(self.place)
        _ = changed_settings(record), flat_settings(record), record.write(self.place)
        assert Record.read(self.place) == record, "a record is another once it is written"
        resolve(model=None, data=None, category=None, files=[settings_to_read(record)], options={})

    def j(self, content: bytes) -> None:
        record = json.loads(self.text)
        mappings = [each for each in (record, *record.values(), *record["config"].values()) if isinstance(each, dict)]
        places = [(mapping, key) for mapping in mappings for key in mapping]
        mapping, key = places[content[0] % len(places)] if content else (record, "")
        try:
            mapping[key] = json.loads(content[1:])
        except (ValueError, RecursionError):
            return
        self.r(json.dumps(record).encode())

    def p(self, content: bytes) -> None:
        rows = parse_predictions(content, self.place / PREDICTIONS)
        if len({row.is_defect for row in rows}) == 2:
            image_metrics([row.score for row in rows], [row.is_defect for row in rows], None)
        for record in (self.classified, self.record):
            parse_predictions(content, self.place / PREDICTIONS, record)

    def c(self, content: bytes) -> None:
        (file := self.place / CHECKPOINT).write_bytes(content)
        _ = fit_seconds(file), read_spec(file), load_checkpoint(self.model, file, self.record.fingerprint)

    def k(self, content: bytes) -> None:
        self.c(with_pickle(self.checkpoint, content)[0])


def search(readers: Readers, data: bytes, findings: Path) -> None:
    """Read one input, and keep it where a reader answers as it must not."""
    kind, said = data[:1].decode(errors="ignore"), []
    warnings.showwarning = lambda message, *_: said.append(message)
    try:
        try:
            if kind in tuple("rjpck"):
                getattr(readers, kind)(data[1:])
        except (UsageError, RunError) as error:
            assert is_line(str(error)), "a line that no terminal can show"
        assert not said, f"it warns: {said[0]}"
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        file = findings / f"{kind}-{type(error).__name__}-{Path(frame.filename).stem}-{frame.lineno}"
        if not file.exists():
            file.write_bytes(data)
            file.with_name(f"{file.name}.txt").write_text(traceback.format_exc())
            print(f"finding: {file.name}: {error}"[:300], file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description="Fuzz the readers of records, predictions and checkpoints.")
    parser.add_argument("--folder", type=Path, default=Path("fuzz"), help="of corpus and findings")
    options, rest = parser.parse_known_args()
    corpus, findings, runs, cache = (options.folder / name for name in ("corpus", "findings", "runs", "cache"))
    for folder in (corpus, findings):
        folder.mkdir(parents=True, exist_ok=True)
    os.environ |= {"BENCH_CACHE": str(cache), "WANDB_MODE": "disabled"}
    if status := bench([*RUN.split(), str(runs)]):
        sys.exit(status)
    readers = Readers(next(runs.rglob(RECORD)).parent, Path(tempfile.mkdtemp(prefix="fuzz-")))
    for number, seed in enumerate(readers.seeds):
        (corpus / f"seed-{number}").write_bytes(seed)
    warnings.simplefilter("always")
    atheris.Setup([sys.argv[0], *rest, str(corpus)], lambda data: search(readers, data, findings))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
