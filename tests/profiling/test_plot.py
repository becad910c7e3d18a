# SPDX-License-Identifier: Apache-2.0
"""Pictures of a profile: what they show, as a page and as a PNG."""

import re
import sys
from dataclasses import replace
from html.parser import HTMLParser

import profile_cases
import pytest

from profiling.errors import ProfileError
from profiling.plot_data import charts
from profiling.plot_page import page, ticks
from profiling.plot_png import png
from profiling.profile import InferencePoint, Profile, Provenance, TrainingPoint

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def made():
    return profile_cases.profile()


def test_each_phase_has_its_four_pictures(made):
    drawn = charts(made)
    assert [(one.phase, one.title) for one in drawn[:4]] == [
        ("decode", "Power"),
        ("decode", "Time of an iteration"),
        ("decode", "Energy per token"),
        ("decode", "Pareto front"),
    ]
    assert [one.phase for one in drawn] == ["decode"] * 4 + ["prefill"] * 4 + ["training"] * 4
    assert {len(one.lines) for one in drawn[:8]} == {6}
    energy = next(one for one in drawn if (one.phase, one.title) == ("decode", "Energy per token"))
    first = energy.lines[0]
    seen = next(one for one in made.inference if (one.phase, one.batch) == ("decode", 1))
    assert first.label == "batch 1, context 512"
    assert first.y[0] == pytest.approx(seen.latency_s * seen.power_w)


def test_the_front_is_what_nothing_else_beats(made):
    for chart in charts(made):
        if chart.title != "Pareto front":
            continue
        for line in chart.lines:
            points = list(zip(line.x, line.y, strict=True))
            beaten = [
                any(x <= at[0] and y <= at[1] and (x, y) != at for x, y in points) for at in points
            ]
            assert [not one for one in beaten] == list(line.front)


def test_many_loads_are_thinned_and_unknown_power_is_not_drawn(made):
    many = profile_cases.profile(batches=range(1, 20), contexts=(512,))
    assert {len(one.lines) for one in charts(many) if one.phase == "decode"} == {8}
    blind = replace(
        made, training=(), inference=tuple(replace(one, power_w=None) for one in made.inference)
    )
    assert {one.title for one in charts(blind)} == {"Time of an iteration"}


def test_caps_are_an_axis_too_and_points_alone_are_none(made):
    capped = tuple(
        replace(one, clock_mhz=None, power_cap_w=one.clock_mhz / 4) for one in made.inference
    )
    assert charts(replace(made, inference=capped, training=()))[0].x_label == "power cap (W)"
    point = InferencePoint(phase="decode", batch=1, latency_s=0.1, clock_mhz=900.0)
    with pytest.raises(ProfileError, match="nothing to draw"):
        charts(Profile(provenance=Provenance.PUBLISHED, inference=(point,)))


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.seen, self.loaded = [], [], []

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        self.loaded += [value for name, value in attrs if name in {"src", "href"}]
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_whole_loads_nothing_and_escapes_names(made):
    text = page(charts(made), "<script>alert(1)</script>", [("source", "<b>&")])
    tags = Tags()
    tags.feed(text)
    assert tags.open == []
    assert tags.loaded == []
    assert "script" not in tags.seen
    assert tags.seen.count("svg") == 12
    assert "default-src 'none'" in text
    assert "&lt;b&gt;&amp;" in text


@pytest.mark.parametrize(
    "low, high, wanted",
    [(0, 10, [0, 2, 4, 6, 8, 10]), (855, 1410, [800, 900, 1000]), (0, 0.0123, [0, 0.005, 0.01])],
)
def test_ticks_are_round_and_span_the_range(low, high, wanted):
    found = ticks(low, high)
    assert found[: len(wanted)] == pytest.approx(wanted)
    assert found[0] <= low
    assert found[-1] >= high
    assert 2 <= len(found) <= 9


@pytest.mark.parametrize("low, high", [(5, 5), (0, 0), (12.3, 12.300000000000002)])
def test_ticks_of_a_single_value_span_something(low, high):
    """Also of one that came out a bit off."""
    assert 2 <= len(set(ticks(low, high))) <= 9


def test_small_work_units_are_drawn():
    """Such as one operation each: 240 T of them a second."""
    points = [
        TrainingPoint(workers=1, rate=rate, clock_mhz=clock, power_w=watts)
        for rate, clock, watts in ((2.4e14, 1980, 72), (1.6e14, 1100, 45))
    ]
    drawn = charts(Profile(provenance=Provenance.PUBLISHED, training=tuple(points)))
    for one in re.findall(r"<svg.*?</svg>", page(drawn, "x", [])):
        labels = re.findall(r'text-anchor="end">([^<]*)<', one)
        assert len(set(labels)) == len(labels) >= 2


def test_a_png_is_a_png(made):
    data = png(charts(replace(made, training=())), "a $b$ title")
    assert data.startswith(b"\x89PNG")


def test_without_matplotlib_one_line_says_what_to_do(made, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ProfileError, match=r"pip install 'slurm-green\[plot\]'; an \.html page"):
        png(charts(made), "x")
