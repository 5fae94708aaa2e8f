"""Settings files as people and others write them: each is read, or refused by one line that names file and line."""

from pathlib import Path

import pytest

BOMB = "a0: &a0 [1]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 27))
REFUSED = {
    "a date that is none": ("seed: 2020-99-99", "line 1: month must be in 1..12"),
    "a number that is none": ("category: screw\nseed: !!int abc", "line 2: invalid literal"),
    "a number without digits": ("seed: !!int ''", "line 1: no value of the type 'int'"),
    "a truth value that is none": ("seed: !!bool maybe", "line 1: no value of the type 'bool'"),
    "a time that is none": ("seed: !!timestamp noon", "line 1: no value of the type 'timestamp'"),
    "5,000 digits": ("seed: " + "1" * 5000, "line 1: Exceeds the limit"),
    "3,000 brackets": ("seed: " + "[" * 3000, "line 1: nested more than 50 deep"),
    "a list that holds itself": ("seed: &x [*x]", "line 1: refers to itself"),
    "a mapping that holds itself": ("model: &x\n  k: *x", "line 1: refers to itself"),
    "a list of 2^26 members": (BOMB, "line 17: stands for more than 100000 values"),
    "a setting twice": ("seed: 1\ncategory: screw\nseed: 2", "line 3: the key 'seed' stands there twice"),
    "a setting twice in a section": ("model:\n  k: 1\n  k: 2", "line 3: the key 'k' stands there twice"),
    "code": ("seed: !!python/object/apply:os.getcwd []", "line 1: could not determine a constructor"),
    "a character that is none": ("seed: \x00", "unacceptable character #x0000"),
    "two documents": ("seed: 1\n---\nseed: 2", "line 2"),
}


@pytest.mark.parametrize(("text", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_a_file_that_cannot_be_read_is_refused_by_its_line(refuse, text, words):
    Path("mine.yaml").write_text(text)
    line = refuse("fit", "--model", "padim", "--config", "mine.yaml")
    assert line.startswith("bench: mine.yaml is no valid YAML")
    assert words in line


def test_a_sweep_file_and_a_method_s_file_are_read_alike(refuse):
    Path("mine.yaml").write_text("models: [padim]\nmodels: [vae]")
    assert "line 2: the key 'models' stands there twice" in refuse("sweep", "mine.yaml")
    assert "line 2: the key 'models' stands there twice" in refuse("fit", "--model", "./mine.yaml")
    grid = ("--models", "padim", "--categories", "screw")
    assert "--launcher.lease" in refuse("sweep", *grid, "--launcher.lease", "!!int x")


def test_an_alias_and_a_merged_mapping_are_read(bench, quick):
    Path("mine.yaml").write_text("trainer: &base {max_epochs: 3}\nmodel: {}\ndata: {crop: &none null, cache: *none}\n")
    outcome = bench("fit", *quick, "--config", "mine.yaml", "--print_config")
    assert (outcome.status, outcome.stderr) == (0, "")
