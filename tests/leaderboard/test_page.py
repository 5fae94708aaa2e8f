"""The page of a leaderboard: one file that needs nothing else, safe, and the same from the same records."""

import base64
import hashlib
import html.parser
import re
from pathlib import Path

import pytest

from bench.views.viridis import heat_colour
from fake_records import make_record, write_record, write_seeds

PAGE = Path("leaderboards/mvtec_ad-one-class.html")
EVIL = "<script>alert(1)</script>"
FIVE = ("bottle", "cable", "capsule", "grid", "screw")
SCORES = {"good": (0.1, 0.2, 0.3), "scratch": (0.25, 0.6, 0.7)}


@pytest.fixture
def runs(own_folder: Path) -> Path:
    return own_folder / "runs"


@pytest.fixture
def page(bench):
    """Fold the records; the page."""

    def fold(*options: str) -> str:
        outcome = bench("leaderboard", "runs", *options)
        assert outcome.status == 0, outcome.stderr
        return PAGE.read_text(encoding="utf-8")

    return fold


class Reader(html.parser.HTMLParser):
    """What a browser would see: elements with their attributes, and the text below each heading."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.sections: dict[str, str] = {}
        self._heading = ""
        self._open = ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        self._open = tag
        if tag in ("h2", "h3"):
            self._heading = ""

    def handle_endtag(self, tag):
        self._open = ""

    def handle_data(self, data):
        if self._open in ("h2", "h3"):
            self._heading += data
        elif self._open not in ("style", "script"):
            self.sections[self._heading] = self.sections.get(self._heading, "") + data

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]


def test_nothing_is_loaded_from_anywhere(page, runs):
    write_seeds(runs, (0.7, 0.8))
    text = page()
    assert not re.search(r"https?://|//cdn|@import|url\(", text)
    seen = Reader(text)
    assert [link["href"] for link in seen.all("link")] == ["data:,"]
    assert not [found for tag in ("img", "iframe", "object", "embed", "base") for found in seen.all(tag)]
    assert all("src" not in script for script in seen.all("script"))


def test_its_policy_lets_its_own_script_run_and_nothing_else(page, runs):
    write_seeds(runs, (0.7,))
    text = page()
    (policy,) = [meta["content"] for meta in Reader(text).all("meta") if "http-equiv" in meta]
    script = re.search(r"<script>(.*)</script>", text, flags=re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert "default-src 'none'" in policy
    assert f"script-src 'sha256-{digest}';" in policy


@pytest.mark.parametrize("name", [EVIL, '"><img src=x onerror=alert(1)>', "a' onclick='alert(1)", "&lt;b&gt;"])
def test_whatever_a_record_says_stays_text(page, runs, name):
    records = [
        make_record(name.replace("/", ""), category, overrides={"model.x": name}, settings={"x": name}, command=name)
        for category in FIVE
    ]
    for place, record in enumerate(records):
        folder = runs / str(place)
        folder.mkdir(parents=True)
        record.write(folder)
    seen = Reader(page())
    assert len(seen.all("script")) == 1
    assert not seen.all("img")
    assert not [key for _, attributes in seen.elements for key in attributes if key.startswith("on")]
    assert name in seen.sections["Results by category"]


def test_the_same_records_give_the_same_bytes_wherever_they_lie(bench, runs, own_folder):
    for seed in range(2):
        write_record(runs, make_record("one", seed=seed), SCORES)
        write_record(runs, make_record("other", seed=seed), {**SCORES, "good": (0.2, 0.5, 0.6)})
    runs.rename(own_folder / "moved")
    for place, path in enumerate(sorted((own_folder / "moved").rglob("record.json"), reverse=True)):
        path.parent.rename(own_folder / "moved" / f"{place}")
    bench("leaderboard", "moved", "--out", "first")
    (own_folder / "moved").rename(own_folder / "again")
    bench("leaderboard", "again", "--out", "second")
    assert Path("first", PAGE.name).read_bytes() == Path("second", PAGE.name).read_bytes()


def test_a_check_finds_a_page_that_was_edited(bench, page, runs):
    write_seeds(runs, (0.7,))
    text = page()
    assert bench("leaderboard", "runs", "--check").status == 0
    PAGE.write_text(text.replace("0.7000", "0.9000"), encoding="utf-8")
    outcome = bench("leaderboard", "runs", "--check")
    assert (outcome.status, outcome.stderr) == (1, f"bench: stale: {PAGE}; run the same command without --check\n")


def test_all_sections_are_there_and_say_why_where_they_show_nothing(page, runs):
    write_seeds(runs, (0.7,))
    sections = Reader(page()).sections
    assert "No diagram. Friedman test: too few, it takes 5 categories or more." in sections["Critical differences"]
    assert "No method has more than one seed" in sections["Spread over seeds"]
    assert "No figure was published for these methods" in sections["Paper and ours"]
    assert "Pareto front" in sections["Cost against image AUROC"]
    assert "0.700" in sections["Model × category"]


def test_with_five_categories_and_several_seeds_every_section_has_its_picture(page, runs):
    for place, model in enumerate(("best", "near", "far")):
        for category in FIVE:
            paper = {"official": True, "reference": "cutpaste/3way/paper"}
            write_seeds(runs, (0.9 - 0.1 * place, 0.88 - 0.1 * place), model=model, category=category, **paper)
    text = page()
    names = [found.get("aria-labelledby", "").split("-title")[0] for found in Reader(text).all("svg")]
    assert names == [
        *("t1-1-fit_seconds", "t1-1-milliseconds_per_image", "t1-1-ranks", "t1-1-seeds-0"),
        *(f"t1-1-seeds-{place}" for place in range(1, 6)),
        "t1-papers",
    ]
    sections = Reader(text).sections
    assert "critical difference 1.48" in sections["Critical differences"]
    assert "-0.073" in sections["Paper and ours"], "the mean of .80 and .78, and .863 in the paper"


def test_every_id_is_there_once_and_every_link_inside_the_page_leads_somewhere(page, runs):
    for category in FIVE:
        for model in ("one", "two", "three"):
            write_seeds(runs, (0.7, 0.8), model=model, category=category)
            write_seeds(runs, (0.7, 0.8), model=model, category=category, protocol="full")
    seen = Reader(page())
    ids = [attributes["id"] for _, attributes in seen.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = [link["href"][1:] for link in seen.all("a") if link["href"].startswith("#")]
    assert len(targets) > 40
    assert set(targets) <= set(ids)


def test_a_row_has_its_records_settings_and_commands(page, runs):
    for seed in range(2):
        changed = {"overrides": {"model.width": 7}, "settings": {"width": 7}}
        write_record(runs, make_record(seed=seed, command=f"bench fit --seed {seed}", **changed))
    text = page()
    detail = text[text.index('<details id="t1-row-0">') :]
    detail = detail[: detail.index("</details>")]
    assert "bench fit --seed 0\nbench fit --seed 1\n" in detail
    assert "<code>width=7</code>" in detail.replace("model.", "")
    assert len(re.findall(r"<code>[0-9a-f]{16}</code>", detail)) == 2
    settings = re.search(r'href="#(settings-\d+)"', detail)[1]
    assert "model.width: 7" in text[text.index(f'<details id="{settings}">') :]


def test_records_beside_the_page_are_linked(bench, own_folder):
    folder = write_record(own_folder / "leaderboards" / "records", make_record())
    assert bench("leaderboard").status == 0
    link = f"{folder.relative_to(own_folder / 'leaderboards')}/record.json"
    assert link in [found.get("href") for found in Reader(PAGE.read_text(encoding="utf-8")).all("a")]


def test_the_heat_table_has_one_scale_for_all(page, runs):
    for model, auroc in (("good", 0.95), ("bad", 0.63)):
        for category in FIVE[:2]:
            write_seeds(runs, (auroc,), model=model, category=category, metrics={})
    text = page()
    heat = text[text.index('<table class="heat">') :]
    heat = heat[: heat.index("</table>")]
    colours = re.findall(r'background:(#[0-9a-f]{6});color:(#[0-9a-f]{3})" title="([^"]*)">([0-9.]+)', heat)
    assert {(colour, shown) for colour, _, _, shown in colours} == {
        (heat_colour(0.875), "0.950"),  # of the scale from .6 to 1
        (heat_colour(0.075), "0.630"),
    }
    assert "<span>0.6</span>" in text[: text.index('<table class="heat">')]


def test_what_is_never_mixed_has_tables_of_its_own(page, runs):
    write_seeds(runs, (0.7,))
    write_seeds(runs, (0.6,), protocol="full")
    titles = [f"Images that differ from MVTec's own, pixels scored at {where} resolution" for where in
              ("the model's", "the masks' own")]  # fmt: skip
    assert set(titles) <= set(Reader(page()).sections)
