"""What was measured over a number of the settings: which of them make a series, and how it is drawn."""

import dataclasses
import json
import re
from typing import Any

import pytest

from seethrough.audit.series import series_of
from seethrough.audit.specification.schema import Setting
from seethrough.reports.page import render_page
from seethrough.reports.parts.axis import Axis, axis_over
from seethrough.reports.parts.curves import LEFT, RIGHT, curves
from seethrough.reports.report import read_report
from seethrough.reports.row import Claim, Series
from tests.reports_samples import manifest, measured, place, score

VALUES = (0.9, 0.8, 0.85, 0.9, 0.95, 0.8)


def setting(name: str, **changes: Any) -> Setting:
    fields = {"name": name, "data": {"digits": {}}, "model": {"convnet": {}}, "batch_size": 2}
    return Setting.model_validate_json(json.dumps(fields | changes))


def test_settings_that_differ_in_one_number_make_a_series_in_its_order():
    settings = [setting(f"{rounds} rounds", rounds=rounds) for rounds in (8, 1, 4)]
    assert series_of(settings) == (Series("rounds", (("1 rounds", 1.0), ("4 rounds", 4.0), ("8 rounds", 8.0))),)


def test_what_is_held_is_no_number_where_it_is_not_written():
    assert [each.axis for each in series_of([setting(f"{size}", batch_size=size) for size in (1, 2, 4)])] == [
        "batch_size"
    ]
    assert series_of([setting(f"{held}", **({"holds": held} if held else {})) for held in (0, 4, 8)]) == ()


def test_numbers_inside_parts_count_too():
    rates = [setting(f"rate {rate}", local={"lr": rate}) for rate in (0.1, 0.01, 0.001)]
    alphas = [setting(f"alpha {alpha}", partition={"dirichlet": alpha}) for alpha in (0.1, 1, 10)]
    assert [each.axis for each in series_of([*rates, *alphas])] == ["local.lr", "partition.dirichlet"]


@pytest.mark.parametrize(
    "changes",
    [
        [{"rounds": 1}, {"rounds": 2}],
        [{"rounds": 1}, {"rounds": 2, "batch_size": 4}, {"rounds": 4}],
        [{"labels": "random"}, {"labels": "unique"}, {"mode": "train"}],
        [{"rounds": 1}, {"rounds": 2}, {"rounds": 4, "labels": "unique"}],
    ],
    ids=["two", "another number", "no numbers", "another text"],
)
def test_other_settings_make_none(changes: list[dict[str, Any]]):
    assert series_of([setting(str(number), **change) for number, change in enumerate(changes)]) == ()


def report_over(rounds: tuple[int, ...] = (1, 4, 16)) -> Any:
    """Three settings, two defenses, of which one claims an epsilon that grows."""
    places = [
        place(trial, setting=f"{number} rounds", defense=defense)
        for number in rounds
        for defense in ("none", "noise")
        for trial in range(6)
    ]
    cells = []
    for at in places:
        number = int(at.setting.split()[0])
        value = VALUES[at.trial] - (0.4 / number if at.defense == "noise" else 0.0)
        claim = Claim(float(number), 1e-5, "a claim", "client") if at.defense == "noise" else None
        cells.append(measured(at, score(value), claim=claim))
    series = Series("rounds", tuple((f"{number} rounds", float(number)) for number in rounds))
    return read_report(dataclasses.replace(manifest(places), series=(series,)), cells)


def test_every_point_is_the_finding_of_its_setting():
    (plot,) = report_over().over
    assert (plot.axis, plot.metric, [line.defense for line in plot.lines]) == ("rounds", "ssim", ["none", "noise"])
    noise = plot.lines[1].points
    assert [point.at for point in noise] == [1.0, 4.0, 16.0] and [point.epsilon for point in noise] == [1.0, 4.0, 16.0]
    means = [point.value.mean for point in noise]
    assert means == sorted(means) and means[0] == pytest.approx(sum(VALUES) / 6 - 0.4)
    assert all(point.epsilon is None for point in plot.lines[0].points)


def test_without_a_series_there_is_nothing_over_anything():
    whole = report_over()
    assert read_report(dataclasses.replace(whole.manifest, series=()), whole.cells).over == ()
    assert 'id="over"' not in render_page(read_report(dataclasses.replace(whole.manifest, series=()), whole.cells))


def test_points_stand_side_by_side_and_higher_values_higher():
    (plot,) = report_over().over
    drawn = curves(plot)
    assert [tick.text for tick in drawn.across] == ["1", "4", "16"]
    gaps = [right.at - left.at for left, right in zip(drawn.across, drawn.across[1:], strict=False)]
    assert gaps[0] == pytest.approx(gaps[1], abs=0.2) and LEFT < drawn.across[0].at < drawn.across[2].at < RIGHT
    none, noise = (curve.dots for curve in drawn.curves)
    assert all(above.y < below.y for above, below in zip(none, noise, strict=True))
    assert noise[0].y > noise[1].y > noise[2].y
    assert all(curve.floor for curve in drawn.curves) and all(dot.y_range is not None for dot in none)


def test_the_page_draws_the_lines_and_says_the_same_in_a_table():
    page = render_page(report_over())
    section = page[page.index('<section id="over">') :].partition("</section>")[0]
    assert section.count("<circle") == 6 + 2 and "<script" not in section
    text = re.sub("<[^>]+>", " ", section)
    assert all(f"epsilon {number}" in text for number in (1, 4, 16)) and "floor" in text and "n = 6" in text
    assert '<a href="#over">Over rounds</a>' in page


def test_values_beyond_an_axis_lie_on_its_ends():
    axis = Axis(0.0, 1.0, 100.0, 0.0)
    assert (axis.at(-1.0), axis.at(0.5), axis.at(2.0)) == (100.0, 50.0, 0.0)
    assert axis_over([], 0.0, 1.0, [2.0, 2.0]).low < 2.0
