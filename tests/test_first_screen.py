"""The first screen of a page: what it says is the whole of it, and nothing in it reads safer than what was measured."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from seethrough.audit.cli.shown import show
from seethrough.reports import Cell, Claim, Manifest, Place, Score, write_reports
from seethrough.reports.report import Report, read_report
from tests.reports_samples import manifest, measured, place, score, utility

LEAK, FLOOR = (0.7, 0.8, 0.9, 0.8, 0.75, 0.85), (0.1, -0.1, 0.1, -0.1, 0.05, -0.05)
LABELS, PICTURES = "label_accuracy", "identifiability(gallery=50)"


def report(
    scores: dict[tuple[str, str, str], tuple[float | None, ...]],
    change: Callable[[Manifest], Manifest] = lambda planned: planned,
    extra: tuple[Cell, ...] = (),
    **changes: object,
) -> Report:
    """By defense, attack and metric, what each trial came to; None where its cell failed."""
    return read_report(*audit(scores, change, extra, **changes))


def audit(scores, change=lambda planned: planned, extra=(), **changes) -> tuple[Manifest, list[Cell]]:
    cells: dict[Place, list[Score] | None] = {}
    for (defense, attack, metric), values in scores.items():
        for trial, value in enumerate(values):
            at = place(trial, attack, defense)
            found = cells.setdefault(at, [])
            if value is None or found is None:
                cells[at] = None
            else:
                found.append(score(value, metric=metric, **changes))
    done = [
        Cell(at.key, "failed", "it broke") if found is None else measured(at, *found) for at, found in cells.items()
    ]
    metrics = tuple(dict.fromkeys(metric for _, _, metric in scores))
    return change(manifest([*cells], metrics)), [*done, *extra]


def line(found: Report, defense: str = "noise"):
    return next(each for each in found.defenses if each.defense == defense)


def page(tmp_path: Path, *audit_of: object) -> str:
    write_reports(tmp_path, *audit_of)  # type: ignore[arg-type]
    text = (tmp_path / "index.html").read_text()
    return " ".join(re.sub(r"<[^>]+>", " ", text).split())


# what was not measured


def test_a_severity_that_rests_on_labels_alone_is_the_least_that_it_may_be_and_recommends_nothing():
    """It had read: medium, only where labels are no secret."""
    found = line(report({(d, "a", LABELS): LEAK for d in ("none", "noise")}))
    assert (found.severity, found.severity_words) == ("medium", "at least medium")
    assert found.advice == "Do not rely on it: labels leak, and pictures were not measured."


def test_so_does_one_whose_attacks_on_pictures_all_failed():
    scores = {(d, "labels", LABELS): LEAK for d in ("none", "noise")}
    scores |= {(d, "pictures", PICTURES): (None,) * 6 for d in ("none", "noise")}
    found = line(report(scores))
    assert (
        found.severity_words == "at least medium" and "pictures were not measured, since cells failed" in found.advice
    )


def test_one_of_two_attacks_on_pictures_that_failed_is_named_too():
    scores = {(d, "weak", LABELS): LEAK for d in ("none", "noise")}
    scores |= {(d, "weak", PICTURES): FLOOR for d in ("none", "noise")}
    scores |= {(d, "strong", PICTURES): (None,) * 6 for d in ("none", "noise")}
    found = line(report(scores))
    assert found.severity_words == "at least medium" and "not measured by 1 attack" in found.advice


def test_with_pictures_at_the_floor_the_severity_is_that_of_the_labels():
    scores = {(d, "a", LABELS): LEAK for d in ("none", "noise")} | {
        (d, "a", PICTURES): FLOOR for d in ("none", "noise")
    }
    found = line(report(scores))
    assert (found.severity_words, found.advice) == ("medium", "Only where labels are no secret: these leak.")


def test_a_defense_that_held_by_labels_alone_held_by_what_was_measured():
    found = line(report({("none", "a", LABELS): LEAK, ("noise", "a", LABELS): FLOOR}))
    assert found.fate == "held" and found.severity_words == "none of what was measured"
    assert "pictures were not measured" in found.advice


def test_pictures_that_leak_by_another_metric_may_be_picked_out_where_that_was_not_measured():
    assert line(report({(d, "a", "ssim"): LEAK for d in ("none", "noise")})).severity_words == "at least high"


# cells that failed


def failing(planned: int = 6, failed: int = 2) -> dict[tuple[str, str, str], tuple[float | None, ...]]:
    return {(d, "a", LABELS): (None,) * failed + (0.9,) * (planned - failed) for d in ("none", "noise")}


def test_failed_cells_are_said_first_and_counted_in_the_head(tmp_path: Path):
    """The head said that 12 of 12 cells were computed."""
    found = audit(failing())
    assert read_report(*found).verdict.headline.startswith("4 of 12 cells failed. ")
    assert "8 of 12 cells measured, 4 failed" in page(tmp_path, *found)


def test_failed_trainings_are_failed_cells_too(tmp_path: Path):
    at = place(attack="training", defense="noise", threat="")
    scores = {("none", "a", LABELS): LEAK, ("noise", "a", LABELS): FLOOR}
    found = report(scores, lambda planned: replace(planned, trainings=(at,)), (Cell(at.key, "failed", "it broke"),))
    assert found.verdict.headline.startswith("1 of 13 cells failed. ")
    assert found.verdict.problems[0].subject == "1 of 13 cells failed"


@pytest.mark.parametrize(
    ("planned", "failed", "said"),
    [
        (6, 2, "Not known: 2 of 6 cells failed; --retry-failed computes them again."),  # six are enough, and planned
        (4, 0, "Not known: at least 6 batches (trials) are needed."),
        (
            5,
            1,
            "Not known: 1 of 5 cells failed; --retry-failed computes them again. Also: at least 6 batches (trials) are "
            "needed.",
        ),
    ],
)
def test_what_would_decide_it_is_what_truly_would(planned: int, failed: int, said: str):
    """More trials had been asked for where enough were planned."""
    assert line(report(failing(planned, failed))).advice == said


def test_what_is_known_of_too_few_of_the_planned_batches_is_not_put_down_to_the_plan():
    assert line(report(failing())).labels == "not known by n = 4 of 6 planned"


def test_cells_that_are_not_computed_yet_need_no_more_trials():
    planned, cells = audit(failing(6, 0))
    found = line(read_report(planned, [each for each in cells if "/noise/" not in each.key or each.key[-1] in "012"]))
    assert found.advice == "Not known: 3 of 6 cells not computed yet; the same command goes on."


# controls


def test_a_negative_control_that_was_not_run_is_said_to_be_lacking(tmp_path: Path):
    scores = {("none", "a", "ssim"): LEAK, ("noise", "a", "ssim"): FLOOR}
    assert "No negative control." in page(tmp_path, *audit(scores))
    assert "No negative control." not in page(tmp_path, *audit(scores | {("random_update", "a", "ssim"): FLOOR}))
    broken = page(tmp_path, *audit(scores | {("random_update", "a", "ssim"): (None,) * 6}))
    assert "No negative control." in broken and "nothing of it was measured" in broken


def test_defenses_and_controls_are_counted_apart_as_in_the_headline(tmp_path: Path):
    scores = {(d, "a", "ssim"): FLOOR for d in ("random_update", "noise", "clip")} | {("none", "a", "ssim"): LEAK}
    said = page(tmp_path, *audit(scores))
    assert "1 attack against 2 defenses and 2 controls" in said and "of 2 defenses none leak" in said


# what came through, and is not shown to help


def told(gains: tuple[float, ...], metric: str = PICTURES) -> list[Score]:
    """Nearer to the own batch than to others, and no better than the guesser on average."""
    return [score(0.4 + gain, 0.4, metric=metric, swapped=(-0.9,) * 19) for gain in gains]


def test_what_was_told_apart_says_the_gain_that_is_not_excluded():
    """It had read: something came through, but nothing that helps a guesser."""
    places = [place(trial) for trial in range(6)]
    cells = [measured(at, one) for at, one in zip(places, told((0.3, -0.3, 0.2, -0.2, 0.3, -0.3)), strict=True)]
    found = read_report(manifest(places, (PICTURES,)), cells)
    (told_apart,) = found.defenses
    assert told_apart.fate == "told apart"
    assert re.fullmatch(
        r"something came through; that it helps a guesser was not shown; a gain of up to \d+% is not excluded, n = 6",
        told_apart.pictures,
    )
    (statement, *_) = found.verdict.sections[0].statements
    assert "not shown to be better than" in statement.text and "; over it 0.000 [" in statement.points[0]


def test_what_was_told_apart_by_one_metric_says_the_gain_that_another_does_not_exclude():
    places = [place(trial) for trial in range(6)]
    rows = zip(places, told((-0.3,) * 6, "ssim"), FLOOR, strict=True)
    cells = [measured(at, one, score(value, metric=PICTURES)) for at, one, value in rows]
    (found,) = read_report(manifest(places, ("ssim", PICTURES)), cells).defenses
    assert found.fate == "told apart" and "a gain of up to 10% is not excluded" in found.pictures


def test_findings_say_of_each_kind_what_the_table_says():
    """The table said that something came through, and the findings that it was at the floor."""
    places = [place(trial) for trial in range(6)]
    rows = zip(places, told((-0.3,) * 6, "ssim"), FLOOR, LEAK, strict=True)
    cells = [
        measured(at, one, score(value, metric=PICTURES), score(leak, metric=LABELS)) for at, one, value, leak in rows
    ]
    found = read_report(manifest(places, ("ssim", PICTURES, LABELS)), cells)
    text = found.verdict.sections[0].statements[0].text
    assert "something came through, not shown to help a guesser: single images" in text and "at the floor" not in text


def test_what_no_attack_could_show_is_no_sign_of_safety():
    scores = {("none", "a", LABELS): LEAK, ("none", "a", PICTURES): LEAK}
    planned, cells = audit(scores)
    masked = [place(trial, "a", "masks") for trial in range(6)]
    cells += [
        measured(at, score(0.0, metric=LABELS, perfect=0.0), score(0.1, 0.1, metric=PICTURES, swapped=(-0.9,) * 19))
        for at in masked
    ]
    found = read_report(manifest((*planned.places, *masked), (LABELS, PICTURES)), cells)
    masks = line(found, "masks")
    assert masks.labels.startswith("could not be tested, which is no sign of safety")
    assert masks.severity_words == "at least low" and masks.advice.endswith("; labels could not be tested.")


# the worst number


def test_the_worst_number_is_the_worst_that_leaks_and_a_worse_one_stands_beside_it():
    """Of 68 % and 75 % the first had been called the worst, and nothing was said of the other."""
    places = [place(trial, attack) for attack in ("sure", "few") for trial in range(6)]
    cells = [
        measured(at, score(LEAK[at.trial], metric=LABELS))
        if at.attack == "sure"
        else measured(at, score(0.95, metric=LABELS, swapped=(0.99,) * 19))
        for at in places
    ]
    (found,) = read_report(manifest(places, (LABELS,)), cells).defenses
    assert found.labels.startswith("80% [") and found.labels.endswith("; 95% by few, n = 6, is not shown to leak")


def test_findings_and_the_table_rank_by_the_same_rule():
    """Where guessers differ, the highest number need not be the greatest gain."""
    places = [place(trial, attack) for attack in ("high", "gains") for trial in range(6)]
    numbers = {"high": (0.9, 0.5), "gains": (0.7, 0.0)}
    cells = [measured(at, score(*numbers[at.attack], metric=LABELS)) for at in places]
    found = read_report(manifest(places, (LABELS,)), cells)
    assert found.defenses[0].labels.startswith("90%")
    assert found.verdict.sections[0].statements[0].points[0].startswith("label_accuracy 0.900 (0.900 to 0.900) by high")


def test_where_less_means_more_the_worst_is_the_least():
    places = [place(trial, attack) for attack in ("near", "far") for trial in range(6)]
    values = {"near": 0.1, "far": 0.3}
    cells = [
        measured(
            at, score(values[at.attack] + at.trial / 100, 0.9, metric="lpips", better="lower", swapped=(0.9,) * 19)
        )
        for at in places
    ]
    found = read_report(manifest(places, ("lpips",)), cells)
    assert "by near" in found.verdict.sections[0].statements[0].points[0]


def test_a_number_of_a_whole_cohort_says_so():
    metrics = ("label_accuracy", "cohort_labels")
    places = [place(trial, defense="masks") for trial in range(6)]
    cells = [
        measured(at, score(0.0, metric=metrics[0], perfect=0.0), score(LEAK[at.trial], metric=metrics[1]))
        for at in places
    ]
    found = read_report(replace(manifest(places, metrics), sums=(("masks", 4),)), cells)
    assert "of labels right, of the whole cohort of 4, n = 6" in found.defenses[0].labels
    assert "of the whole cohort of 4 by attack" in found.verdict.sections[0].statements[0].points[0]


# what it costs


def trained(accuracies: dict[str, float]) -> tuple[tuple[Place, ...], tuple[Cell, ...]]:
    places = tuple(place(repeat, "training", defense, threat="") for defense in accuracies for repeat in range(6))
    rows = ((at, accuracies[at.defense] + at.trial / 100) for at in places)
    return places, tuple(measured(at, utility=utility(accuracy)) for at, accuracy in rows)


HELD = {("none", "a", PICTURES): LEAK, ("noise", "a", PICTURES): FLOOR}


def test_a_training_that_learned_nothing_without_a_defense_is_said_once():
    """Every row had said that a model was not shown to learn under it."""
    places, cells = trained({"none": 0.07, "noise": 0.07})
    found = report(HELD, lambda planned: replace(planned, trainings=places), cells)
    assert all("was not shown to learn" not in each.advice for each in found.defenses)
    (said,) = found.costs
    assert "learned nothing even without a defense" in said and "what a defense costs is not known" in said


def test_the_accuracy_is_in_percent_with_the_undefended_one_beside_it():
    places, cells = trained({"none": 0.9, "noise": 0.5})
    found = report(HELD, lambda planned: replace(planned, trainings=places), cells)
    assert re.fullmatch(r"5[23]% \[\d+%, \d+%\], n = 6; undefended: 9[23]%", line(found).accuracy_words)
    assert "undefended" not in line(found, "none").accuracy_words
    assert not found.costs and "was not shown to learn" not in line(found).advice


def test_an_epsilon_names_its_unit_and_is_rounded_as_everywhere_else(tmp_path: Path):
    claim = Claim(96.0541, 1e-5, "(96.055, 1e-05)-differentially private", "client")
    places = [place(trial, defense="noise") for trial in range(6)]
    cells = [measured(at, score(0.8), claim=claim) for at in places]
    at = place(attack="training", defense="noise", threat="")
    cells.append(measured(at, utility=utility(0.8), claim=replace(claim, epsilon=1211.3381)))
    planned = replace(manifest(places), trainings=(at,))
    epsilon = read_report(planned, cells).defenses[0].epsilon
    assert epsilon == "96.055 per client for what was attacked, 1211.339 per client for the training"
    said = page(tmp_path, planned, cells)
    assert "96.06" not in said and "1212" not in said


def test_everything_is_written_in_one_way():
    places = [place(trial) for trial in range(6)]
    values = (1.0, 1.0, 1.0, 1.0, 1.0, 0.99)
    cells = [
        measured(at, score(value, metric=LABELS, low=0.0, share=True)) for at, value in zip(places, values, strict=True)
    ]
    (found,) = read_report(manifest(places, (LABELS,)), cells).defenses
    assert "100.0%" not in found.labels, found.labels


def test_the_severity_of_every_defense_stands_on_the_page_as_in_the_table(tmp_path: Path):
    said = page(tmp_path, *audit(HELD | {("few", "a", PICTURES): (0.9,)}))
    assert "✓ held none" in said and "? undecided unknown" in said
    assert all(word in said for word in ("Told apart:", "Public proportions:", "Claimed epsilon:"))


# which defense


def test_the_defense_through_which_least_leaks_is_named_with_its_cost_and_what_cannot_be_told_from_it(
    tmp_path: Path, capsys
):
    scores = {("none", "a", PICTURES): FLOOR, ("none", "a", LABELS): LEAK}
    for name, column in (
        ("much", LEAK),
        ("little", tuple(each - 0.5 for each in LEAK)),
        ("like it", tuple(each - 0.45 for each in LEAK)),
    ):
        scores |= {(name, "a", LABELS): column, (name, "a", PICTURES): FLOOR}
    found = report(scores)
    show(found, tmp_path)
    said = found.choice
    assert " ".join(said.split()) in " ".join(capsys.readouterr().out.split())
    assert said.startswith("By these numbers least leaks through little (severity medium). ")
    assert said.endswith(" like it cannot be told from it.")
    assert "The accuracy that it leaves: not measured." in said


def test_a_choice_under_which_nothing_is_learned_says_so():
    places, cells = trained({"none": 0.9, "noise": 0.05, "clip": 0.9})
    scores = HELD | {("clip", "a", PICTURES): LEAK}
    said = report(scores, lambda planned: replace(planned, trainings=places), cells).choice
    assert "least leaks through noise (severity none)." in said
    assert "undefended: 92%. It was not shown that a model learns under it." in said


def test_that_nothing_was_found_is_worth_little_where_nothing_leaks_without_a_defense():
    """Labels vouch for the attack on labels, and not for pictures."""
    scores = {("none", "a", LABELS): LEAK, ("noise", "a", LABELS): FLOOR}
    found = line(report(scores | {(d, "a", PICTURES): FLOOR for d in ("none", "noise")}))
    assert found.fate == "held" and "as nothing is shown to leak without a defense either" in found.pictures
    assert "without a defense" not in found.labels and "either" not in line(report(HELD)).pictures


def test_where_too_little_is_known_no_defense_is_named():
    scores = {(d, "a", LABELS): LEAK for d in ("none", "noise", "clip")}  # labels alone
    assert report(scores).choice == "Of no defense here is so much known that one could be chosen by it."
    assert (
        report({(d, "a", PICTURES): FLOOR for d in ("none", "noise", "clip")}).choice == ""
    )  # nothing leaks undefended
    assert report({(d, "a", PICTURES): LEAK for d in ("none", "noise")}).choice == ""  # no choice


def test_what_is_new_is_in_the_digest_too(tmp_path: Path):
    write_reports(tmp_path, *audit({(d, "a", LABELS): LEAK for d in ("none", "noise")}))
    digest = json.loads((tmp_path / "report.json").read_text())
    assert [each["is_least"] for each in digest["defenses"].values()] == [True, True]
    assert digest["missing_controls"][0]["subject"] == "No negative control"
