"""The first table: one line for each defense, in words that need no other table."""

import pytest

from seethrough.reports import Claim
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
    assert found["none"].pictures == "80% of pictures picked out; a guesser has 0%"
    assert found["noise"].pictures == "no more than a guesser has"
    assert found["masks"].pictures == "not known with so few batches"
    assert found["none"].labels == "cannot be told from this update"
    assert found["none"].accuracy is None


@pytest.mark.parametrize(("claims", "said"), [((), "none"), ((Claim(4.7291, 1e-5, "said"),), "4.73")])
def test_epsilon_is_what_is_claimed_rounded_up(claims: tuple[Claim, ...], said: str):
    assert lines((Promise("setting", "none", claims, True),), none=LEAK)["none"].epsilon == said
