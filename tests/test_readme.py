"""What the README says must work as it stands there."""

import re
import sys
from pathlib import Path

from PIL import Image

from fake_data import weave

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def code_block(language: str, containing: str) -> str:
    blocks = re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)
    return next(block for block in blocks if containing in block)


def test_the_method_in_one_file_runs_from_outside_the_package(bench, own_folder, data_root, monkeypatch):
    monkeypatch.delitem(sys.modules, "mine", raising=False)  # another test's
    (own_folder / "mine.py").write_text(code_block("python", "class MeanImage"))
    (own_folder / "mine.yaml").write_text(code_block("yaml", "mine.MeanImage"))
    arguments = ("--category", "screw", "--data.root", data_root, "--data.image_size", "32")
    outcome = bench("fit", "--model", "./mine.yaml", *arguments)
    assert outcome.status == 0, outcome.stderr
    assert next((own_folder / "runs" / "mine").rglob("record.json"))


def test_every_command_and_option_of_the_readme_exists(bench):
    commands = ("fit", "test", "predict", "report", "sweep", "leaderboard", "compare")
    known = bench("--help").stdout + "".join(bench(command, "--help").stdout for command in commands)
    known += bench("data", "export", "--help").stdout
    for block in re.findall(r"```bash\n(.*?)```", README, flags=re.DOTALL):
        for command in re.findall(r"\bbench (?!COMMAND)(\w+)", block):
            assert re.search(rf"^  {command}\s", known, flags=re.MULTILINE), command
        for option in re.findall(r"(?<=\s)--(\w+)(?=[\s]|$)", block):
            assert f"--{option}" in known or option in ("seed",), option


def test_the_example_of_the_interface_runs_as_it_stands():
    Image.fromarray(weave(64, "part")).convert("L").save("part.png")
    scope: dict[str, object] = {}
    exec(code_block("python", "bench.load(run.folder)"), scope)
    assert scope["scored"].verdict in ("good", "anomalous")


def test_the_sweep_of_ideas_has_a_baseline_and_its_cells(bench, own_folder):
    (own_folder / "ideas.yaml").write_text(code_block("yaml", "# ideas.yaml"))
    words = re.search(r"bench (sweep ideas.yaml .*?)  +#", README).group(1).split()
    outcome = bench(*words, "--dry-run")
    assert outcome.status == 0, outcome.stderr
    assert "12 cells, 0 done, 12 to do" in outcome.stdout
    (own_folder / "runs").mkdir()
    study = re.search(r"bench (study ideas.yaml .*?)  +#", README).group(1).split()
    assert "no finished run of the sweep ideas in runs" in bench(*study).stderr
