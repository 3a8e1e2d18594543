"""The first table: one line for each defense, in words that need no other table."""

import re

import pytest

from seethrough.reports import Cell, Claim
from seethrough.reports.defense_table import DefenseLine, defense_lines
from seethrough.reports.findings.claims import Promise
from seethrough.reports.findings.grid import read_blocks, read_grid
from tests.reports_samples import manifest, measured, place, score

LEAK, FLOOR = (0.7, 0.8, 0.9, 0.8, 0.75, 0.85), (0.1, -0.1, 0.1, -0.1, 0.05, -0.05)


def lines(promises: tuple[Promise, ...] = (), **columns: tuple[float, ...]) -> dict[str, DefenseLine]:
    places = [place(trial, defense=defense) for defense, values in columns.items() for trial in range(len(values))]
    values = [value for column in columns.values() for value in column]
    cells = [
        measured(
            at, score(value, metric="identifiability(gallery=50)"), score(0.0, metric="label_accuracy", perfect=0.0)
        )
        for at, value in zip(places, values, strict=True)
    ]
    planned = manifest(places, ("identifiability(gallery=50)", "label_accuracy"))
    found = defense_lines(read_blocks(read_grid(planned, cells)), promises, ())
    return {line.defense: line for line in found}


def test_each_defense_has_its_fate_and_what_leaks_at_worst_in_words():
    found = lines(none=LEAK, noise=FLOOR, masks=(0.9,), random_update=FLOOR)
    assert {name: line.fate for name, line in found.items()} == {"none": "leaks", "noise": "held", "masks": "undecided"}
    assert re.fullmatch(r"80% \[\d+%, \d+%\] of pictures picked out, n = 6; a guesser: 0%", found["none"].pictures)
    assert found["noise"].pictures == "nothing was found, n = 6"
    assert found["masks"].pictures == "not known with so few batches"
    assert found["none"].labels == "cannot be told from this update"
    assert found["none"].accuracy is None


@pytest.mark.parametrize(("claims", "said"), [((), "none"), ((Claim(4.7291, 1e-5, "said"),), "4.73")])
def test_epsilon_is_what_is_claimed_rounded_up(claims: tuple[Claim, ...], said: str):
    assert lines((Promise("setting", "none", claims, True),), none=LEAK)["none"].epsilon == said
    assert lines((Promise("setting", "none", (), False),), none=LEAK)["none"].epsilon == "not known yet"


def test_what_is_told_apart_is_not_said_to_be_unknown():
    """Nearer to its own batch than to others, and no better than the guesser."""
    told = lines(none=(-0.3,) * 6)
    assert told["none"].pictures == "nothing was found, n = 6"
    places = [place(trial) for trial in range(6)]
    cells = [measured(at, score(0.3, 0.3, metric="identifiability(gallery=50)", swapped=(0.0,) * 19)) for at in places]
    blocks = read_blocks(read_grid(manifest(places, ("identifiability(gallery=50)",)), cells))
    (line,) = defense_lines(blocks, (), ())
    assert line.fate == "told apart" and line.pictures == "something came through, but nothing that helps a guesser"


def test_what_leaks_at_worst_is_the_greatest_share_and_not_the_greatest_gain():
    metrics = ("label_accuracy", "cohort_labels")
    places = [place(trial) for trial in range(6)]
    own = {"label_accuracy": (0.9, 0.5), "cohort_labels": (0.7, 0.0)}
    rows = [score(value, floor, metric=name) for name, (value, floor) in own.items()]
    blocks = read_blocks(read_grid(manifest(places, metrics), [measured(at, *rows) for at in places]))
    (line,) = defense_lines(blocks, (), ())
    assert line.labels.startswith("90%"), line.labels


def test_no_defense_held_where_something_was_found_in_noise():
    found = lines(none=LEAK, noise=FLOOR, random_update=LEAK)
    assert {name: line.fate for name, line in found.items()} == {"none": "leaks", "noise": "undecided"}


def test_a_number_that_some_batches_lack_says_of_how_many_it_is():
    places = [place(trial, defense=defense) for defense in ("none", "noise") for trial in range(12)]
    metric = "identifiability(gallery=50)"
    cells = [
        Cell(at.key, "failed", "broke") if at.trial >= 6 else measured(at, score(value, metric=metric))
        for at, value in zip(places, (LEAK * 2) + (FLOOR * 2), strict=True)
    ]
    line = defense_lines(read_blocks(read_grid(manifest(places, (metric,)), cells)), (), ())
    assert "n = 6 of 12 planned" in line[0].pictures and line[1].pictures == "nothing was found, n = 6 of 12 planned"


def test_a_small_share_is_not_rounded_to_nothing():
    places = [place(trial) for trial in range(6)]
    rows = [score(0.004 + trial / 1e4, -0.5, metric="label_accuracy") for trial in range(6)]
    blocks = read_blocks(read_grid(manifest(places, ("label_accuracy",)), [*map(measured, places, rows)]))
    (line,) = defense_lines(blocks, (), ())
    assert line.labels.startswith("0.4%"), line.labels
