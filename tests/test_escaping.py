"""Text of records and of the disk through every output: shown as it is, and taken for nothing else."""

import csv
import io
import json
import zipfile
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import pytest
from markdown_it import MarkdownIt

from bench.cli.terminal import print_record, print_test
from bench.escaping import csv_cell, json_line, markdown, sentence, visible
from bench.leaderboard.attempts import Attempt, Baseline, Group
from bench.leaderboard.study import render_study
from bench.records.record import DataRecord, Record
from bench.runs.scoring.output import Table
from fake_records import make_cost, make_record, write_record

HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=http://evil.example/x>",
    "![x](http://evil.example/x.png)",
    "[click](javascript:alert(1))",
    "[label]: http://evil.example",
    "<http://evil.example>",
    "https://evil.example/x",
    "www.evil.example",
    "<!-- nothing below is shown",
    "-->",
    "&lt;b&gt; &amp;",
    "</td></tr></table>",
    "\" onmouseover=\"alert(1)",
    "' x='",
    "# a heading",
    "- an item",
    "1. an item",
    "> a quotation",
    "---",
    "===",
    "    code",
    "`code`",
    "``` fence",
    "**bold** and *italic*",
    "__bold__ and _italic_",
    "~~gone~~",
    "a | cell | more",
    "a\\|b\\",
    "$x^2$",
    "two\nlines",
    "a\r\n\r\n## b",
    "\x1b[31mred\x1b[0m",
    "\x1b]0;a title\x07",
    "\x1b]8;;http://evil.example\x1b\\link\x1b]8;;\x1b\\",
    "\x9b2J",
    "\u202egnp.exe",
    "\u2066isolated\u2069 \u200b\ufeff",
    "\u2028a line end",
    "[red]x[/foo]",
    "[/]",
    ":warning:",
    "=cmd|' /C calc'!A0",
    "+1+2",
    "-2+3",
    "@SUM(A1)",
    "\t=1+1",
    "\uff1d1+1",
    "{{ 7 * 7 }}{% raw %}",
]  # fmt: skip
PARSER = MarkdownIt("commonmark").enable(["table", "strikethrough"])


def hostile_record(text: str, seed: int) -> Record:
    """A record with this text wherever it may hold one."""
    base = make_record("one", f"screw{seed}")
    return make_record(
        f"one{seed}",
        f"screw{seed}",
        settings={"depth": text},
        official=False,
        overrides={"model.depth": text, text: 1, "model.weights": text},
        weights={"source": text},
        differs=text,
        reference=text,
        started=text,
        command=text,
        error=text,
        data=DataRecord(digest=base.data.digest, counts={}, validation_images=0, differences=[text]),
        cost=make_cost(1.0).model_copy(update={"device": text}),
        environment={"processor": text, "gpu": text, "threads": text, "commit": text},
        metrics_by_defect={text: {"recall": 0.5}},
    )


class Shown(HTMLParser):
    """What a page shows, the elements it has, and where they lead."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text, self.tags, self.places = "", set(), set()
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.places |= {str(value) for name, value in attributes if name in ("href", "src") or name.startswith("on")}

    def handle_data(self, data: str) -> None:
        self.text += data


def check_markdown(text: str) -> str:
    """What Markdown shows of it; nothing in it is markup but what `bench` writes."""
    words = []
    assert all(line.isprintable() for line in text.split("\n"))
    for token in PARSER.parse(text):
        assert token.type != "html_block" or token.content.startswith(("<details>", "</details>")), token
        assert token.type not in (
            "blockquote_open",
            "bullet_list_open",
            "ordered_list_open",
            "code_block",
            "hr",
            "fence",
        )
        for child in token.children or []:
            assert child.type in ("text", "text_special", "code_inline", "softbreak", "link_open", "link_close"), child
            if child.type == "link_open":
                assert str(child.attrs["href"]).startswith("runs/")
            words.append(child.content)
    return "".join(words)


def check_page(text: str) -> str:
    """What a page shows; it has no element and no link that a record brought."""
    assert all(line.replace("\t", "").isprintable() for line in text.split("\n"))
    shown = Shown(text)
    assert "img" not in shown.tags
    assert all(place.startswith(("#", "records/", "runs/", "data:")) for place in shown.places), shown.places
    return shown.text


def check_terminal(text: str) -> str:
    """What a terminal shows: lines of what can be seen."""
    assert all(line.isprintable() for line in text.split("\n"))
    return text


@pytest.fixture(scope="module")
def tables(bench, tmp_path_factory) -> Path:
    """The leaderboard of records that hold all of these texts, published beside it."""
    folder = tmp_path_factory.mktemp("tables")
    for seed, text in enumerate(HOSTILE):
        write_record(folder / "runs", hostile_record(text, seed), {"good": (0.1, 0.2), "scratch": (0.3, 0.4)})
    outcome = bench("leaderboard", folder / "runs", "--out", folder, "--publish", "--no-bootstrap")
    left_out = [line for line in outcome.stderr.splitlines() if "no command that could be published" in line]
    assert outcome.stderr.count("\n") == len(left_out) + 1, outcome.stderr
    outcome = bench("leaderboard", folder / "runs", "--out", folder)
    assert (outcome.status, outcome.stderr) == (0, "")
    return folder


def test_a_leaderboard_in_markdown_shows_every_text_and_takes_none_for_markup(tables):
    shown = check_markdown((tables / "mvtec_ad-one-class.md").read_text(encoding="utf-8"))
    for text in HOSTILE:
        assert visible(text).strip() in shown


def test_a_leaderboard_in_csv_holds_no_formula(tables):
    with (tables / "mvtec_ad-one-class.csv").open(encoding="utf-8", newline="") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert all(cell.isprintable() for cell in cells)
    assert all(csv_cell(cell) == cell for cell in cells)
    for text in HOSTILE:
        assert any(visible(text) in cell for cell in cells)


def test_the_page_of_a_leaderboard_shows_every_text_and_takes_none_for_markup(tables):
    shown = check_page((tables / "mvtec_ad-one-class.html").read_text(encoding="utf-8"))
    for text in HOSTILE:
        assert visible(text, lines=True) in shown


def test_compare_and_the_tables_of_a_run_show_every_text_as_it_is(bench, tables, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "1000")
    evaluation = SimpleNamespace(metrics={}, metrics_by_defect={"x": {"recall": 0.5}}, intervals={}, figures=dict)
    for seed, text in enumerate(HOSTILE):
        (run,) = (tables / "runs" / f"one{seed}").rglob("record.json")
        (other,) = (tables / "runs" / f"one{(seed + 1) % len(HOSTILE)}").rglob("record.json")
        outcome = bench("compare", run, other)
        assert outcome.status == 0, outcome
        assert visible(text).strip() in check_terminal(outcome.stdout)
        compared = json.loads(bench("compare", run, other, "--json").stdout)["settings"]
        assert compared["model.depth"]["before"] == text
        record = Record.read(run)
        capsys.readouterr()
        print_record(record, Path(text), as_json=False)
        shown = check_terminal(capsys.readouterr().out)
        assert f"record    {visible(str(Path(text)))}" in shown
        assert f"not MVTec's own data: {visible(text)}" in shown
        print_test(evaluation, record, as_json=False)
        check_terminal(capsys.readouterr().out)


def test_the_report_of_a_run_shows_every_text_and_takes_none_for_markup(bench, tables, tmp_path):
    for seed, text in enumerate(HOSTILE):
        (record,) = (tables / "runs" / f"one{seed}").rglob("record.json")
        changed = Record.read(record)
        changed.metrics["threshold"] = 0.25
        changed.write(record.parent)
        outcome = bench("report", record.parent, "--no-maps", "--out", tmp_path / "page.html")
        assert (outcome.status, outcome.stderr) == (0, "")
        assert visible(text, lines=True) in check_page((tmp_path / "page.html").read_text(encoding="utf-8"))


def test_a_study_shows_every_name_of_its_sweep_and_takes_none_for_markup():
    for text in HOSTILE:
        group, record = Group(text, text), hostile_record(text, 0)
        attempts = [
            Attempt(text, group, record.track, {}),
            Attempt(text, group, record.track, {0: record}, images=[3]),
        ]
        shown = check_markdown(render_study(text, Baseline(text, is_method=True), {text: text}, attempts))
        assert shown.count(visible(text).strip()) >= 5


def test_the_table_of_predictions_holds_no_formula_and_its_paths_lead_to_the_same_files():
    from bench.runs.scoring.output import describe

    run = SimpleNamespace(threshold=None)
    for text in (text for text in HOSTILE if "/" not in text):
        image = SimpleNamespace(found=SimpleNamespace(path=Path(text)))
        row = describe(run, SimpleNamespace(image=image, score=0.5, named=(text, 0.5), anomalous=True), {})
        assert Path(row["path"]) == Path(text)
        assert not row["path"].startswith(("=", "+", "-", "@"))
        assert row["class"] == csv_cell(text)
        stream = io.StringIO()
        Table(stream, "jsonl").write({"path": text})
        assert stream.getvalue().removesuffix("\n").isprintable()
        assert json.loads(stream.getvalue()) == {"path": text}


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_names_of_archives_and_their_members_are_said_in_one_visible_line(bench, tmp_path):
    for number, text in enumerate(HOSTILE):
        archive, root = tmp_path / f"{number}.zip", tmp_path / f"root{number}"
        name = text.replace("/", "").replace("\\", "")
        with zipfile.ZipFile(archive, "w") as file:
            for _ in range(2):
                file.writestr(f"screw/train/good/{name}.png", b"")
        root.mkdir()
        outcome = bench("data", "download", "--from", archive, "--root", root, "--accept-licence")
        assert outcome.stderr.count("\n") <= 3
        check_terminal(outcome.stdout + outcome.stderr)


def test_a_message_that_holds_such_a_text_is_one_line(bench):
    for text in HOSTILE:
        if "\0" in text:
            continue
        for command in (
            ("compare", f"x{text}", "y"),
            ("fit", "--model", f"x{text}"),
            ("report", f"x{text}"),
            (f"x{text}",),
        ):
            outcome = bench(*command)
            assert outcome.status == 2
            assert outcome.stderr.count("\n") == 1, outcome
            check_terminal(outcome.stderr)


@pytest.mark.parametrize("text", HOSTILE)
def test_what_is_shown_of_a_text_is_the_text(text):
    shown = check_markdown(f"# x\n\n{markdown(text)}\n\n{sentence(text)}\n")
    assert shown.count(visible(text).strip().replace("`code`", "code")) >= 1
    assert json.loads(json_line(json.dumps(text, ensure_ascii=False))) == text


def test_words_that_need_nothing_stay_as_they_are():
    for text in ("f_anogan_cpu", "0.7880 ± 0.0260", "-", "-0.012", "screw", "χ² = 3, p = 0.1", "日本 👩‍💻"):
        assert text == markdown(text) == sentence(text) == csv_cell(text) == visible(text)
    assert sentence("Images of `0123abcd`, `a/b-c`.") == "Images of `0123abcd`, `a/b-c`."


def test_tables_of_the_committed_records_are_the_same_bytes(bench):
    committed = Path(__file__).parents[1] / "leaderboards"
    outcome = bench("leaderboard", committed / "records", "--out", committed, "--check")
    assert (outcome.status, outcome.stderr) == (0, "")
    for name in ("attempts_lite0", "attempts_mobilenetv2", "long_tail_lite0", "long_tail_mobilenetv2"):
        assert bench("study", name, committed / "records", "--out", "studies").status == 0
        assert Path(f"studies/{name}.md").read_bytes() == (committed / f"{name}.md").read_bytes()
