"""How many batches would decide what is undecided: as many as simulations find, and said wherever it is."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from seethrough.audit.cli.shown import show
from seethrough.reports import write_reports
from seethrough.reports.findings.batches import batches_to_exclude
from seethrough.reports.findings.intervals import Estimate, leak_over_best
from seethrough.reports.findings.text import rounded_up
from seethrough.reports.report import Report, read_report
from seethrough.reports.row import Guess, Score
from tests.reports_samples import manifest, measured, place, score

LEAK, FLOOR = (0.7, 0.8, 0.9, 0.8, 0.75, 0.85, 0.8, 0.7), (0.1, -0.1, 0.1, -0.1, 0.05, -0.05, 0.02, -0.02)


def leak_of(scores: list[Score]) -> Estimate:
    names = dict.fromkeys(guess.name for one in scores for guess in one.guesses)
    guesses = [[guess.value for one in scores for guess in one.guesses if guess.name == name] for name in names]
    leak = leak_over_best(scores, guesses)
    assert leak is not None
    return leak


def needed(scores: list[Score], margin: float) -> int | None:
    return batches_to_exclude(scores, leak_of(scores), margin)


def drawn(kind: str, batches: int, rng: np.random.Generator) -> list[Score]:
    """Scores whose gains over the guesser are 0.1 on average."""
    if kind == "shares":  # of four labels, a guesser gets half of them
        return [score(float(each) / 4, 0.4, share=True, low=0.0) for each in rng.binomial(4, 0.5, batches)]
    if kind == "skewed":
        return [score(float(each), 0.9) for each in rng.exponential(1.0, batches)]
    return [
        score(float(each), guesses=(Guess("a", 0.0), Guess("b", float(other))))
        for each, other in zip(rng.normal(0.1, 0.3, batches), rng.normal(0.0, 0.3, batches), strict=True)
    ]


@pytest.mark.parametrize(
    ("kind", "margin", "hand"), [("shares", 0.2, 24), ("skewed", 0.35, 60), ("two guessers", 0.16, 60)]
)
def test_with_so_many_batches_about_four_of_five_audits_exclude_it(kind: str, margin: float, hand: int):
    rng = np.random.default_rng(0)
    estimates = (needed(drawn(kind, hand, rng), margin) for _ in range(30))
    batches = round(float(np.median([each for each in estimates if each is not None])))

    def share_excluded(count: int) -> float:
        highs = [leak_of(drawn(kind, count, rng)).high for _ in range(100)]
        return float(np.mean([high is not None and high <= margin for high in highs]))

    assert 0.6 <= share_excluded(batches) <= 0.97, batches
    assert share_excluded(batches // 2) < 0.6


def test_the_number_follows_the_spread_and_the_room_that_is_left():
    values = [score(0.1 * step) for step in (-1, 1) * 6]
    assert needed(values, 0.05) == pytest.approx((1.96 + 0.84) ** 2 * (0.1044 / 0.05) ** 2, rel=0.15)
    assert needed(values, 0.03) == pytest.approx((5 / 3) ** 2 * (needed(values, 0.05) or 0), rel=0.2)
    assert needed(values, 0.005) is None, "a number a hundred times that of the batches at hand was made up"


@pytest.mark.parametrize(
    ("values", "margin"),
    [
        ([0.5, 0.6, 0.5, 0.6, 0.5, 0.6], 0.2),  # they leak more than the margin on average
        ([0.1, -0.1] * 5, 0.05),  # ten batches do not tell their spread
        ([0.1] * 12, 0.2),  # equal ones have none
        ([0.01, -0.01] * 6, 0.2),  # it is excluded
    ],
)
def test_there_is_no_number_where_none_would_do_or_none_is_needed(values: list[float], margin: float):
    assert needed([score(value) for value in values], margin) is None


def undecided(margin: float) -> Report:
    places = [place(trial, defense=defense) for defense in ("none", "noise") for trial in range(16)]
    values = [value + (0.03 if value in FLOOR else 0) for value in (*LEAK, *LEAK, *FLOOR, *FLOOR)]
    cells = [measured(at, score(value)) for at, value in zip(places, values, strict=True)]
    return read_report(replace(manifest(places), margins=(("ssim", margin),)), cells)


def test_page_tables_digest_and_terminal_say_how_many(tmp_path: Path, capsys):
    report = undecided(0.06)
    (_, line) = report.defenses
    assert line.fate == "undecided" and line.batches_needed is not None and 40 < line.batches_needed < 90
    words = f"about {rounded_up(line.batches_needed)} batches"
    write_reports(tmp_path, report.manifest, report.cells)
    for name in ("index.html", "results.md"):
        assert f"{words} would exclude it" in (tmp_path / name).read_text()
    digest = json.loads((tmp_path / "report.json").read_text())
    assert line.batches_needed in [each["batches_needed"] for each in digest["defenses"].values()]
    assert line.batches_needed in [each["batches_to_exclude"] for each in digest["findings"].values()]
    show(report, tmp_path)
    said = capsys.readouterr().out
    assert "threat: noise: undecided: nothing was found, but" in said and f"{words} would exclude it" in said
    assert line.advice == f"Not known: {words}, of a new run, would decide it."


def test_where_no_number_would_do_that_is_said(tmp_path: Path):
    report = undecided(0.02)
    assert report.defenses[1].batches_needed is None
    assert (
        "these gain that much on average, so that more of the same would not exclude it"
        in report.verdict.sections[0].statements[1].text
    )


def test_what_is_decided_needs_no_more():
    assert [each.batches_needed for each in undecided(0.9).defenses] == [None, None]


def test_estimates_are_rounded_up_to_two_digits():
    assert [rounded_up(each) for each in (7, 42, 401, 2399)] == ["7", "42", "410", "2,400"]
