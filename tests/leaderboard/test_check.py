"""`bench leaderboard --check`, and that the same records give the same bytes."""

from pathlib import Path

import pytest

from fake_records import make_record, write_record, write_seeds

MARKDOWN = Path("leaderboards/mvtec_ad-one-class.md")
CSV = Path("leaderboards/mvtec_ad-one-class.csv")
SCORES = {"good": (0.1, 0.2, 0.3), "scratch": (0.25, 0.6, 0.7), "hole": (0.5, 0.05)}


@pytest.fixture
def runs(own_folder: Path) -> Path:
    for model, shift in (("one", 0.0), ("other", 0.1)):
        scores = {kind: [value + shift * (value < 0.3) for value in values] for kind, values in SCORES.items()}
        for seed in range(2):
            write_record(own_folder / "runs", make_record(model, seed=seed), scores)
    return own_folder / "runs"


def test_fresh_tables_pass_and_nothing_is_written(bench, runs):
    assert bench("leaderboard", "runs").status == 0
    before = MARKDOWN.stat().st_mtime_ns, CSV.stat().st_mtime_ns
    outcome = bench("leaderboard", "runs", "--check")
    assert (outcome.status, outcome.stdout, outcome.stderr) == (0, "", "")
    assert (MARKDOWN.stat().st_mtime_ns, CSV.stat().st_mtime_ns) == before


def test_stale_and_missing_tables_fail_in_one_line_that_names_them(bench, runs):
    bench("leaderboard", "runs")
    MARKDOWN.write_text(MARKDOWN.read_text().replace("0.", "1.", 1))
    CSV.unlink()
    outcome = bench("leaderboard", "runs", "--check")
    assert (outcome.status, outcome.stdout) == (1, "")
    assert outcome.stderr == f"bench: stale: {MARKDOWN}, {CSV}; run the same command without --check\n"


def test_a_new_record_makes_the_tables_stale(bench, runs):
    bench("leaderboard", "runs")
    write_record(runs, make_record("third"))
    assert bench("leaderboard", "runs", "--check").status == 1


def test_a_table_of_records_that_are_gone_fails(bench, runs):
    bench("leaderboard", "runs")
    Path("leaderboards/other-one-class.md").write_text("of before")
    outcome = bench("leaderboard", "runs", "--check")
    assert outcome.status == 1
    assert "no record is in leaderboards/other-one-class.md" in outcome.stderr


def test_nothing_is_published_by_a_check(refuse, runs):
    assert "--publish" in refuse("leaderboard", "runs", "--check", "--publish")


def test_the_same_records_give_the_same_bytes_wherever_they_lie(bench, runs, own_folder):
    for place, path in enumerate(sorted(runs.rglob("record.json"), reverse=True)):
        copy = own_folder / "two" / str(place) / "deeper"
        copy.mkdir(parents=True)
        for file in path.parent.iterdir():
            (copy / file.name).write_bytes(file.read_bytes())
    bench("leaderboard", "runs", "--out", "first")
    bench("leaderboard", "two", "runs", "--out", "second")
    for name in (MARKDOWN.name, CSV.name):
        assert Path("first", name).read_bytes() == Path("second", name).read_bytes()
    assert "[+" in Path("first", MARKDOWN.name).read_text() or "[-" in Path("first", MARKDOWN.name).read_text()


def test_without_folders_runs_and_published_records_are_read(bench, own_folder):
    write_seeds(own_folder / "runs", (0.5,), model="own")
    write_seeds(own_folder / "leaderboards" / "records", (0.6,), model="theirs")
    assert bench("leaderboard").status == 0
    assert "| own |" in MARKDOWN.read_text()
    assert "| theirs |" in MARKDOWN.read_text()


def test_without_any_folder_it_says_which_were_looked_for(refuse, own_folder):
    assert "neither runs nor leaderboards/records" in refuse("leaderboard")
