"""What the README says must work as it stands there."""

import re
import sys
from pathlib import Path

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
