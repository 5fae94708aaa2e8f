"""Charts as SVG: where things lie, what they say, and that the same data give the same bytes."""

import re
import xml.etree.ElementTree as ElementTree

import pytest
from matplotlib import colormaps
from matplotlib.colors import to_hex

from bench.views.axes import Axis, make_scale, share_limits
from bench.views.charts import Limit, Series, histogram, line_chart, scatter
from bench.views.row_charts import alike, rank_diagram, shorten, strip_chart
from bench.views.viridis import heat_colour, text_on

SVG = "{http://www.w3.org/2000/svg}"
RATE = Axis("rate", limits=(0.0, 1.0))


def parse(svg: str) -> ElementTree.Element:
    """The drawing as a tree: it is well-formed XML."""
    return ElementTree.fromstring(str(svg).replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1))


def texts(svg: str) -> list[str]:
    return ["".join(found.itertext()) for found in parse(svg).iter(f"{SVG}text")]


def charts(label: str = "padim") -> list[str]:
    return [
        line_chart("a", "title", "about", RATE, RATE, [Series(label, [(0.0, 0.0), (0.5, 0.75)])], diagonal="chance"),
        histogram("b", "title", "about", Axis("score"), Axis("images"), [0, 1, 2], {label: [3, 4]}),
        scatter("c", "title", "about", Axis("fit (s)"), RATE, [Series("m", [(2.0, 0.5)])], labels={(2.0, 0.5): label}),
        strip_chart("d", "title", "about", RATE, [(label, [0.25, 0.5])]),
        rank_diagram("e", "title", "about", Axis("rank", limits=(1, 3)), [(label, 1.0), ("b", 2.0), ("c", 3.0)], 1.5),
    ]


@pytest.mark.parametrize("place", range(5))
def test_a_screen_reader_gets_title_and_description_and_both_axes_have_labels(place):
    root = parse(charts()[place])
    assert root.get("role") == "img"
    named = [root.find(f"*[@id='{id}']").text for id in root.get("aria-labelledby").split()]
    assert named == ["title", "about"]
    assert {"rate", "score", "fit (s)", "rank"} & set(texts(charts()[place]))


@pytest.mark.parametrize("place", range(5))
def test_a_label_stays_text(place):
    svg = charts("<b>&\"'")[place]
    assert "<b>&\"'" in "".join(parse(svg).itertext())
    assert "<b>" not in svg


@pytest.mark.parametrize("place", range(5))
def test_colours_are_those_of_the_style_sheet(place):
    assert not re.search(r"#[0-9a-f]{3,6}\b|rgb\(|style=", charts()[place])


def test_the_same_data_give_the_same_bytes():
    assert charts() == charts()


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.0, 1.0, ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        (0.712, 0.888, ["0.70", "0.75", "0.80", "0.85", "0.90"]),
        (0, 1700, ["0", "500", "1,000", "1,500", "2,000"]),
        (-3, 3, ["-3", "-2", "-1", "0", "1", "2", "3"]),
        (5.0, 5.0, ["2", "3", "4", "5", "6", "7", "8"]),
    ],
)
def test_ticks_are_round_numbers_around_the_data(low, high, expected):
    assert make_scale(Axis("x"), [low, high], 0, 100).texts() == expected


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (3.0, 1500.0, ["1", "10", "100", "1,000", "10,000"]),
        (3.0, 40.0, ["2", "5", "10", "20", "50"]),
        (0.02, 0.02, ["0.02", "0.05"]),
    ],
)
def test_ticks_of_a_logarithmic_axis_are_powers_of_ten_or_steps_between(low, high, expected):
    assert make_scale(Axis("x", logarithmic=True), [low, high], 0, 100).texts() == expected


def test_a_logarithmic_axis_has_no_place_for_nothing():
    with pytest.raises(ValueError, match="0 or less"):
        make_scale(Axis("x", logarithmic=True), [0.0, 1.0], 0, 100)


def test_values_lie_between_their_ticks():
    scale = make_scale(Axis("x", limits=(1.0, 100.0), logarithmic=True), (), 50.0, 250.0)
    assert [scale.position(value) for value in (1.0, 10.0, 100.0)] == pytest.approx([50.0, 150.0, 250.0])


def test_bars_of_a_histogram_stand_on_each_other_and_are_as_high_as_their_counts():
    svg = histogram(
        "h", "t", "d", Axis("score"), Axis("images"), [0, 1, 2], {"good": [2, 0], "scratch": [1, 3]},
        limits=[Limit("threshold", 1.5)],
    )  # fmt: skip
    bars = [bar for bar in parse(svg).iter(f"{SVG}rect") if "bar" in bar.get("class", "")]
    (good, above, alone) = [(float(bar.get("y")), float(bar.get("height"))) for bar in bars]
    assert above[0] + above[1] == pytest.approx(good[0], abs=0.02)
    assert alone[1] == pytest.approx(3 * above[1], abs=0.03) == pytest.approx(1.5 * good[1], abs=0.03)
    assert {"good", "scratch", "threshold"} <= set(texts(svg))


def test_a_histogram_with_too_few_counts_is_refused():
    with pytest.raises(ValueError, match="'good' has 1 counts for 2 bars"):
        histogram("h", "t", "d", Axis("score"), Axis("images"), [0, 1, 2], {"good": [2]})


def test_labels_of_crowded_points_do_not_cover_each_other():
    points = [(1.0 + 0.01 * place, 0.5) for place in range(40)]
    names = {point: f"method number {place}" for place, point in enumerate(points)}
    svg = scatter("s", "t", "d", Axis("x", limits=(0, 2)), RATE, [Series("all", points)], labels=names)
    shown = [found for found in parse(svg).iter(f"{SVG}text") if "halo" in found.get("class", "")]
    assert 1 <= len(shown) < len(points)
    rows = [(found.get("y"), found.get("text-anchor")) for found in shown]
    assert len(rows) == len(set(rows)), "two labels in one place"


def test_methods_within_the_critical_difference_are_joined_in_the_largest_groups():
    assert alike([1.0, 1.5, 2.4, 4.0, 4.1], 1.5) == [(0, 2), (3, 4)]
    assert alike([1.0, 2.0, 3.0], 1.0) == [], "a difference as large as the critical one is one"
    assert alike([2.0, 2.0, 2.0], 0.5) == [(0, 2)]


def test_long_names_keep_both_ends():
    assert shorten("padim (channels=50, weights 4f570a8a)", 20) == "padim (cha…4f570a8a)"
    assert len(shorten("x" * 99)) == 26


def test_heat_colours_are_matplotlibs_viridis():
    viridis = colormaps["viridis"]
    assert [heat_colour(place / 255) for place in range(256)] == [to_hex(viridis(place)) for place in range(256)]
    assert (heat_colour(-1.0), heat_colour(2.0)) == (heat_colour(0.0), heat_colour(1.0))


def test_text_on_every_heat_colour_has_a_contrast_of_four_and_a_half_to_one():
    def luminance(colour: str) -> float:
        values = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in values]
        return sum(weight * value for weight, value in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    for place in range(256):
        colour = heat_colour(place / 255)
        own, ink = luminance(colour), 1.0 if text_on(colour) == "#fff" else 0.0
        assert (max(own, ink) + 0.05) / (min(own, ink) + 0.05) >= 4.5, colour


@pytest.mark.parametrize(
    ("values", "low"), [([1.0, 1.0], 0.9), ([0.97, 0.99], 0.9), ([0.35, 1.0], 0.3), ([0.0], 0.0), ([], 0.0)]
)
def test_an_axis_of_shares_ends_at_one_and_begins_at_a_tenth(values, low):
    assert share_limits(values) == (low, 1.0)


def test_an_axis_of_values_that_differ_by_rounding_alone_has_ticks_that_differ():
    scale = make_scale(Axis("share"), [0.7, 0.6999999999999997], 0.0, 1.0)
    assert len(set(scale.texts())) == len(scale.ticks) > 1
