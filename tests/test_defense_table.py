"""The first table: one line for each defense, in words that need no other table."""

import re
from dataclasses import replace

import pytest

from seethrough.reports import Cell, Claim, Recovery
from seethrough.reports.defense_table import DefenseLine, defense_lines
from seethrough.reports.findings.claims import Promise
from seethrough.reports.findings.grid import read_blocks, read_grid
from seethrough.reports.report import read_report
from tests.reports_samples import manifest, measured, place, score, utility

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
    assert found["noise"].pictures == "nothing was found; a gain of up to 10% is not excluded, n = 6"
    assert found["masks"].pictures == "not known with so few batches"
    assert found["none"].labels.startswith("could not be tested, which is no sign of safety")
    assert found["none"].accuracy is None


@pytest.mark.parametrize(
    ("claims", "said"), [((), "none"), ((Claim(4.7291, 1e-5, "said", "example"),), "4.730 per example")]
)
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
    assert line.fate == "told apart"
    assert line.pictures == "something came through; that it helps a guesser was not shown, n = 6"


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
    assert "n = 6 of 12 planned" in line[0].pictures and line[1].pictures.endswith("n = 6 of 12 planned")


def test_a_small_share_is_not_rounded_to_nothing():
    places = [place(trial) for trial in range(6)]
    rows = [score(0.004 + trial / 1e4, -0.5, metric="label_accuracy") for trial in range(6)]
    blocks = read_blocks(read_grid(manifest(places, ("label_accuracy",)), [*map(measured, places, rows)]))
    (line,) = defense_lines(blocks, (), ())
    assert line.labels.startswith("0.4%"), line.labels


def lines_of(metric: str, values: tuple[float, ...], **changes) -> DefenseLine:
    places = [place(trial, defense=defense) for defense in ("none", "noise") for trial in range(len(values))]
    rows = [score(value, metric=metric, **changes) for value in (*values, *values)]
    blocks = read_blocks(read_grid(manifest(places, (metric,)), [*map(measured, places, rows)]))
    return defense_lines(blocks, (), ())[1]


@pytest.mark.parametrize(
    ("metric", "values", "severity", "advice"),
    [
        ("identifiability(gallery=50)", LEAK, "critical", "Do not rely on it: pictures come back."),
        ("identifiability", (0.3, 0.4, 0.35, 0.4, 0.3, 0.45), "high", "Do not rely on it: pictures leak in part."),
        ("ssim", LEAK, "high", "Do not rely on it: pictures leak in part."),
        ("label_accuracy", LEAK, "medium", "Do not rely on it: labels leak, and pictures were not measured."),
        (
            "cohort_distance",
            LEAK,
            "medium",
            "Do not rely on it: what a client's images have in common leaks, and pictures were not measured.",
        ),
        ("face_match", LEAK, "high", "Do not rely on it: face_match leaked."),
        ("ssim", LEAK[:2], "unknown", "Not known: at least 6 batches (trials) are needed."),
    ],
)
def test_severity_and_advice_follow_what_leaks(metric: str, values: tuple[float, ...], severity: str, advice: str):
    line = lines_of(metric, values)
    assert (line.severity, line.advice) == (severity, advice)


def test_a_defense_that_held_but_lets_nothing_be_learned_says_so():
    places = [place(trial, defense=defense) for defense in ("none", "noise") for trial in range(6)]
    rows = [score(value, metric="ssim") for value in (*LEAK, *FLOOR)]
    trained = [place(repeat, "training", "noise", threat="") for repeat in range(6)]
    for accuracies, said in (
        ((0.8, 0.82, 0.79, 0.81, 0.8, 0.83), ""),
        ((0.1, 0.12, 0.08, 0.11, 0.09, 0.1), " But a model"),
    ):
        planned = replace(manifest(places, ("ssim",)), trainings=tuple(trained))
        cells = [*map(measured, places, rows)]
        cells += [measured(at, utility=utility(value)) for at, value in zip(trained, accuracies, strict=True)]
        line = read_report(planned, cells).defenses[1]
        assert (line.fate, line.severity) == ("held", "none")
        assert line.advice.startswith(f"Held against these attacks.{said}"), line.advice


@pytest.mark.parametrize(("margin", "fate"), [(0.5, "held"), (0.01, "undecided")])
def test_held_needs_a_larger_leak_excluded_where_a_margin_is_stated(margin: float, fate: str):
    """Not to have found a leak is not that there is only a small one."""
    places = [place(trial, defense=defense) for defense in ("none", "noise") for trial in range(6)]
    cells = [measured(at, score(value)) for at, value in zip(places, (*LEAK, *FLOOR), strict=True)]
    report = read_report(replace(manifest(places), margins=(("ssim", margin),)), cells)
    assert report.defenses[1].fate == fate
    said = " ".join(each.text for each in report.verdict.sections[0].statements)
    assert ("a leak beyond the margin is not excluded for ssim by attack" in said) == (fate == "undecided"), said


def test_a_picture_metric_that_leaks_is_named_though_no_picture_can_be_picked_out():
    places = [place(trial) for trial in range(6)]
    rows = [(score(value, metric="ssim"), score(0.0, metric="identifiability")) for value in LEAK]
    cells = [measured(at, *row) for at, row in zip(places, rows, strict=True)]
    (line,) = read_report(manifest(places, ("ssim", "identifiability")), cells).defenses
    assert line.pictures.startswith("ssim 0.800 [") and line.severity == "high"


def test_what_is_told_apart_by_some_and_open_by_others_is_not_called_harmless():
    places = [place(trial) for trial in range(6)]
    told = [score(0.3, 0.3, metric="ssim", swapped=(0.0,) * 19) for _ in places]
    few = [
        score(0.9, metric="identifiability") if at.trial < 2 else score(None, metric="identifiability", status="nan")
        for at in places
    ]
    cells = [measured(at, *row) for at, *row in zip(places, told, few, strict=True)]
    (line,) = read_report(manifest(places, ("ssim", "identifiability")), cells).defenses
    assert (line.fate, line.severity) == ("told apart", "unknown")


EPSILONS = [
    ((1.5,), False, None, "1.500"),
    ((1.5,), False, ((9.0,), False), "1.500 for what was attacked, 9.000 for the training"),
    ((1.5,), False, ((), True), "1.500 for what was attacked, none for the training"),
    ((1.5,), False, ((9.0,), True), "1.500 for what was attacked, none for the training"),
    ((1.5,), True, None, "none"),
    ((), False, None, "none"),
]


@pytest.mark.parametrize(("claimed", "unclaimed", "trained", "said"), EPSILONS)
def test_epsilon_is_that_of_what_stands_beside_it(claimed, unclaimed: bool, trained, said: str):
    places = [place(trial) for trial in range(6)]
    cells = [measured(at, score(0.8), claim=Claim(claimed[0], 1e-5, "s") if claimed else None) for at in places]
    if unclaimed:
        cells[0] = replace(cells[0], claim=None, unclaimed="no noise")
    repeats = [place(repeat, "training", threat="") for repeat in range(2)] if trained else []
    for at in repeats:
        epsilons, without = trained
        claim = Claim(epsilons[0], 1e-5, "s") if epsilons and not (without and at.trial) else None
        cells.append(measured(at, utility=utility(0.8), claim=claim, unclaimed="" if claim else "none"))
    (line,) = read_report(replace(manifest(places), trainings=tuple(repeats)), cells).defenses
    assert line.epsilon == said


@pytest.mark.parametrize("status", ["unavailable", "n/a"])
def test_a_margin_is_not_kept_by_what_was_not_measured(status: str):
    metrics = ("ssim", "label_accuracy")
    places = [place(trial, defense=defense) for defense in ("none", "noise") for trial in range(6)]
    cells = []
    for at, value in zip(places, (*LEAK, *FLOOR), strict=True):
        label = (
            score(value, metric="label_accuracy")
            if at.defense == "none"
            else score(None, metric="label_accuracy", status=status)
        )
        cells.append(measured(at, score(value), label))
    for margins, fate in (((), "held"), ((("label_accuracy", 0.9),), "undecided")):
        assert read_report(replace(manifest(places, metrics), margins=margins), cells).defenses[1].fate == fate


def test_a_defense_whose_guarantee_is_refuted_did_not_hold():
    places = [place(trial, defense=defense) for defense in ("none", "noise") for trial in range(6)]
    told = Recovery(20.0, 4, 4, 4, 3, 700, 0.01, 0.05)
    cells = [
        measured(at, score(value), recovery=told if at.defense == "noise" else None)
        for at, value in zip(places, (*LEAK, *FLOOR), strict=True)
    ]
    report = read_report(manifest(places), cells)
    line = report.defenses[1]
    assert (line.fate, line.severity) == ("leaks", "critical") and "refuted" in line.advice
    assert report.verdict.headline.startswith("A guarantee is refuted by what was recovered")


def test_a_defense_with_gaps_says_so():
    places = [place(trial, defense=defense) for defense in ("none", "noise") for trial in range(12)]
    cells = [
        Cell(at.key, "failed", "broke") if at.defense == "noise" and at.trial > 5 else measured(at, score(value))
        for at, value in zip(places, (*LEAK, *LEAK, *FLOOR, *FLOOR), strict=True)
    ]
    line = read_report(manifest(places), cells).defenses[1]
    assert line.fate == "held" and "some cells failed or are missing" in line.advice
