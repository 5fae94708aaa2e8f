"""The page of an acceptance in a real browser: what stands above the fold, the slider, paper, dark, phone."""

from functools import partial

import pytest

pytestmark = pytest.mark.slow

FOLD = 900  # pixels of a laptop's window
QUESTIONS = ["Which method?", "Is that sure?", "How many good parts stop?", "What slips through?"]


@pytest.fixture
def open_acceptance(open_page, with_maps):
    """Open the page of an acceptance."""
    return partial(open_page, with_maps.page.as_uri(), viewport={"width": 1280, "height": FOLD})


def text(page, name: str) -> str:
    return page.locator(f"#{name}").inner_text()


def counts(page) -> list[int]:
    return [int(text(page, name)) for name in ("good-passed", "good-stopped", "bad-passed", "bad-stopped")]


def test_the_four_answers_stand_above_the_fold_as_the_result_has_them(open_acceptance, with_maps):
    page, found = open_acceptance(), with_maps.result
    answers = page.locator(".answers > div")
    assert answers.locator("dt").all_inner_texts() == QUESTIONS
    assert answers.locator(".short").all_inner_texts() == [each["answer"] for each in found["answers"]]
    for place in range(4):
        box = answers.nth(place).bounding_box()
        assert box["y"] + box["height"] < FOLD, "it must be seen without scrolling"
    assert found["recommended"] in answers.nth(0).inner_text()
    bound = found["threshold"]["false_alarms"]["bound"]
    assert f"at most {100 * bound:.3g}"[:10] in answers.nth(2).inner_text()
    missed = found["test"]["found"]["of"] - found["test"]["found"]["number"]
    assert answers.nth(3).inner_text().startswith("What slips through?\n" + f"{missed} of 5 bad photos")


def test_the_table_and_the_photos_on_both_sides_follow_the_slider(open_acceptance, with_maps):
    page, found = open_acceptance(), with_maps.result
    slider = page.get_by_label("Threshold:")
    stopped, caught = found["test"]["stopped"], found["test"]["found"]
    chosen = [
        stopped["of"] - stopped["number"], stopped["number"], caught["of"] - caught["number"], caught["number"],
    ]  # fmt: skip
    assert counts(page) == chosen
    slider.press("Home")
    assert counts(page) == [0, stopped["of"], 0, caught["of"]], "below every score all are stopped"
    assert page.locator("#stopped .thumb").count() == stopped["of"] + caught["of"]
    assert page.locator("#stopped .thumb.wrong").count() == stopped["of"]
    assert text(page, "calibration-stopped") == "4"
    slider.press("End")
    assert counts(page) == [stopped["of"], 0, caught["of"], 0], "nothing lies above the largest score"
    assert page.locator("#passed .thumb.wrong").count() == caught["of"]
    assert page.locator("#passed .wrong-word:visible").all_inner_texts() == ["missed"] * caught["of"]
    assert text(page, "warning").startswith("No guarantee")
    page.get_by_role("button", name="Back to the chosen threshold").click()
    assert counts(page) == chosen
    assert text(page, "warning") == "The guarantee above is of this threshold."


def test_the_cost_and_the_command_are_those_of_the_threshold(open_acceptance, with_maps):
    page, found = open_acceptance(), with_maps.result
    assert f"{found['cost']['expected']:.4g}" in text(page, "cost")
    file = with_maps.page.with_name("threshold.json")
    assert text(page, "command").endswith(f"--threshold {file} PHOTOS"), "which is checked against its run"
    assert f"bench export --run {found['run']} --threshold {file}" in text(page, "setup + *")
    page.get_by_label("Threshold:").press("Home")
    assert "threshold.json" not in text(page, "command")
    page.get_by_label("Threshold:").press("End")
    assert f"{100 * found['cost']['bad_share']:.4g}" in text(page, "cost"), "every bad part is missed"


def test_photos_nearest_to_the_threshold_come_first_on_both_sides(open_acceptance):
    page = open_acceptance()
    scores = "side => [...document.querySelectorAll(`#${side} .thumb`)].map(f => Number(f.dataset.score))"
    passed, stopped = page.evaluate(scores, "passed"), page.evaluate(scores, "stopped")
    assert passed == sorted(passed, reverse=True)
    assert stopped == sorted(stopped)
    assert len(passed) + len(stopped) == 9


def test_each_photo_that_decides_is_shown_with_its_map(open_acceptance):
    page = open_acceptance()
    cards = page.locator(".deciding .card")
    assert cards.count() >= 3
    for place in range(cards.count()):
        pictures = cards.nth(place).locator("img").evaluate_all("images => images.map(i => [i.alt, i.naturalWidth])")
        assert [about.split(" of ")[0] for about, _ in pictures] == ["image", "heat map"]
        assert all(width for _, width in pictures), "a picture is broken"


def test_without_its_script_the_page_shows_the_chosen_threshold(open_acceptance, with_maps):
    page, found = open_acceptance(java_script_enabled=False), with_maps.result
    assert counts(page)[1] == found["test"]["stopped"]["number"]
    assert not page.locator("#threshold").is_visible()


def test_it_is_two_sheets_of_paper(open_acceptance):
    content = open_acceptance().pdf(format="A4", prefer_css_page_size=True)
    assert content.count(b"/Type /Page\n") + content.count(b"/Type /Page ") == 2


def test_on_a_phone_nothing_is_wider_than_the_window_and_at_night_it_is_dark(open_acceptance):
    phone = open_acceptance(viewport={"width": 390, "height": 844})
    assert phone.evaluate("document.documentElement.scrollWidth") <= 390
    night = open_acceptance(color_scheme="dark")
    colour = night.evaluate("getComputedStyle(document.body).backgroundColor")
    assert max(int(part) for part in colour.removeprefix("rgb(").removesuffix(")").split(",")) < 60
