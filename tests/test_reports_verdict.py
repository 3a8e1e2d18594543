import math

import pytest

from seethrough.common.console import visible
from seethrough.reports.findings.claims import bound, promises
from seethrough.reports.findings.grid import read_blocks, read_grid
from seethrough.reports.findings.intervals import over_batches
from seethrough.reports.findings.text import brief, interval, last_line, listed, number
from seethrough.reports.overview import summarize
from seethrough.reports.report import read_report
from seethrough.reports.row import Claim, Guess
from seethrough.reports.verdict import NOT_PROOF, judge
from tests.reports_samples import manifest, measured, place, score

LEAK, FLOOR = (0.7, 0.8, 0.9, 0.8, 0.75, 0.85), (0.1, -0.1, 0.1, -0.1, 0.05, -0.05)


def grid(*columns):
    """Readings of one attack through each (defense, values) of `columns`; a value of None is a cell not computed."""
    places = [place(trial, defense=defense) for defense, values in columns for trial in range(len(values))]
    values = [value for _, column in columns for value in column]
    cells = [measured(at, score(value)) for at, value in zip(places, values, strict=True) if value is not None]
    return manifest(places), cells


def block_fate(verdict, defense):
    ((said,),) = (
        [each for each in section.statements if each.subject.startswith(f"{defense}:")] for section in verdict.sections
    )
    return said.subject.partition(": ")[2]


def verdict_of(plan, cells):
    readings = read_grid(plan, cells)
    return judge(readings, read_blocks(readings))


def finding_of(*scores):
    at = [place(trial) for trial in range(len(scores))]
    cells = [measured(each, one) for each, one in zip(at, scores, strict=True) if one is not None]
    ((finding,),) = (block.findings for block in read_blocks(read_grid(manifest(at), cells)))
    return finding


def standing_of(*values, planned=None, **changes):
    scores = [None if value is None else score(value, **changes) for value in values]
    return finding_of(*scores, *[None] * ((planned or len(values)) - len(values))).standing


def test_what_was_told_from_other_batches_and_beats_every_guesser_leaks():
    assert standing_of(*LEAK) == "leaks"


def test_what_is_not_told_from_other_batches_is_at_the_floor_however_high_it_is():
    assert standing_of(*FLOOR) == "at the floor"
    assert standing_of(*[-0.7] * 6) == "at the floor"
    high = [score(0.9, 0.0, swapped=(0.9,) * 19) for _ in range(6)]
    assert finding_of(*high).standing == "at the floor"


def test_what_is_told_from_other_batches_and_beats_no_guesser_is_told_apart():
    """It was said to be at the floor, as if nothing had come through."""
    below = [score(value, 0.95, swapped=(0.2,) * 19, perfect_swapped=(0.2,) * 19) for value in LEAK]
    assert finding_of(*below).standing == "told apart"


def test_too_few_batches_for_a_perfect_attack_are_inconclusive_and_never_at_the_floor():
    for values in ((0.9,), (-0.9,), LEAK[:5], FLOOR[:4], (0.0, 0.0), (1.0,) * 4):
        assert standing_of(*values) == "inconclusive"
    assert finding_of(*[score(1.0)] * 4).evidence.needs == 6


def test_fewer_than_half_of_those_planned_are_inconclusive():
    assert standing_of(*LEAK, planned=13) == "inconclusive"
    assert standing_of(*LEAK, planned=12) == "leaks"


def test_equal_gains_leak_like_any_others():
    assert standing_of(*[0.5] * 5) == "inconclusive"
    assert standing_of(*[0.5] * 6) == "leaks"


def test_a_cell_that_cannot_leak_by_construction_has_a_standing_of_its_own():
    """Eight labels of a cohort held against a victim's two: guesser and perfect attack both have 1.000."""
    assert standing_of(*[1.0] * 50, floor=1.0) == "no power"


def test_images_of_a_batch_do_not_make_a_leak_of_two_batches():
    assert finding_of(*[score(1.0, 0.2, share=True, low=0.0, n=8)] * 2).standing == "inconclusive"


def test_five_equal_values_are_judged_like_any_other_five():
    assert standing_of(*[20.0] * 5) == standing_of(20.0, 20.1, 19.9, 20.0, 20.2) == "inconclusive"


def test_the_floor_is_the_one_guesser_who_does_best_on_average():
    both = [
        score(1.0, guesses=(Guess("a", float(k % 2)), Guess("b", float(1 - k % 2)), Guess("c", 0.4))) for k in range(6)
    ]
    found = finding_of(*both)
    assert (found.guesser, found.floor) == ("a", 0.5)  # the better one by the truth would always have 1


def test_a_score_without_a_guesser_cannot_be_called_a_leak():
    found = finding_of(*[score(0.9 + trial, floor=None) for trial in range(6)])
    assert found.standing != "leaks"
    assert found.value.n == 6


def test_failed_and_impossible_cells_are_counted_and_in_no_mean():
    at = [place(trial) for trial in range(5)]
    cells = [measured(each, score(0.5 + 0.1 * each.trial)) for each in at[:3]]
    cells += [measured(at[3], score(100.0), status="failed", note="boom"), measured(at[4], score(100.0), status="n/a")]
    (block,) = read_blocks(read_grid(manifest(at), cells))
    assert block.findings[0].value.mean == pytest.approx(0.6)
    assert dict(block.findings[0].states) == {"failed": 1, "n/a": 1}


def test_a_score_that_says_ok_and_is_not_finite_becomes_a_state():
    at = [place(trial) for trial in range(2)]
    cells = [measured(at[0], score(math.nan)), measured(at[1], score(None))]
    assert [reading.state for reading in read_grid(manifest(at), cells)] == ["nan", "nan"]


def test_a_metric_that_a_computed_cell_lacks_is_missing():
    (reading,) = read_grid(manifest([place()], ["psnr"]), [measured(place())])
    assert (reading.state, reading.note) == ("missing", "computed, but without this metric")


def test_a_metric_that_nobody_planned_is_still_shown():
    readings = read_grid(manifest([place()], ["psnr"]), [measured(place(), score(1.0))])
    assert [reading.metric for reading in readings] == ["psnr", "ssim"]


def test_the_worst_example_is_the_one_closest_to_its_original():
    at = [place(trial) for trial in range(2)]
    cells = [
        measured(each, score(0.5, better="lower", worst=worst)) for each, worst in zip(at, (0.3, 0.1), strict=True)
    ]
    (block,) = read_blocks(read_grid(manifest(at), cells))
    assert block.findings[0].worst == 0.1


def test_the_headline_tells_the_control_from_the_defenses():
    verdict = verdict_of(*grid(("none", LEAK), ("clipping", LEAK), ("noise", FLOOR), ("masks", (0.9,))))
    assert [block_fate(verdict, name) for name in ("clipping", "noise", "masks")] == ["leaks", "held", "undecided"]
    assert verdict.headline == (
        "Undefended updates leak private data; of 3 defenses 1 leaks, 1 held against every attack tried here (noise) "
        "and 1 is undecided."
    )
    assert verdict.tone == "leaks"


def test_the_verdict_does_not_alarm_when_only_the_control_leaks():
    assert verdict_of(*grid(("none", LEAK), ("noise", FLOOR))).tone == "held"


def test_attacks_too_weak_for_undefended_updates_are_named_and_nothing_held_against_them():
    verdict = verdict_of(*grid(("none", FLOOR), ("noise", FLOOR)))
    assert verdict.sections[0].statements[-1].subject == "Weak attacks"
    assert (
        verdict.sections[0]
        .statements[-1]
        .text.startswith("attack could not be shown to recover anything even without a defense")
    )
    assert verdict.tone == "undecided" and "none held" in verdict.headline
    assert verdict.headline.startswith("The positive control fails: nothing was found in undefended updates either, so")


def test_a_perfect_attack_on_few_batches_is_neither_weak_nor_evidence_that_a_defense_held():
    """Every label was recovered, and the page said that no leak was found and that the attack recovered nothing."""
    verdict = verdict_of(*grid(("none", (1.0,) * 4), ("noise", FLOOR[:4])))
    said = [each.subject for each in verdict.sections[0].statements]
    assert said == ["no defense: undecided", "noise: undecided", "No negative control"]
    assert verdict.sections[0].statements[0].points == (
        "attack: ssim inconclusive, needs 6 batches, though told from other batches",
    )


def test_an_attack_that_fails_without_a_defense_vouches_for_none():
    at = [place(trial, attack, defense) for attack in "ab" for defense in ("none", "noise") for trial in range(6)]
    leaks = {("a", "none")}
    cells = [
        measured(each, score(value))
        for each in at
        for value in ((LEAK if (each.attack, each.defense) in leaks else FLOOR)[each.trial],)
    ]
    verdict = verdict_of(manifest(at), cells)
    held = [each for each in verdict.sections[0].statements if each.subject == "noise: held"]
    assert "nothing was found by 2 attacks" in held[0].text and "a leaks without a defense" in held[0].text


def test_an_audit_without_a_control_says_so_and_that_nothing_held():
    verdict = verdict_of(*grid(("noise", FLOOR)))
    assert verdict.sections[0].statements[-1].subject == "No positive control"
    assert block_fate(verdict, "noise") == "undecided"


def test_an_audit_of_which_nothing_was_measured_gives_no_verdict():
    verdict = verdict_of(*grid(("none", (None,)), ("noise", (None, None))))
    partial = "Partial: 3 of 3 cells not computed yet. "
    assert verdict.headline.startswith(f"{partial}No leak could be shown even in undefended updates")
    assert verdict.tone == "undecided"
    assert verdict.problems[0].subject == "3 of 3 cells not computed yet"


def test_every_verdict_says_that_failure_is_not_proof():
    for columns in ((("none", LEAK),), (("noise", FLOOR),), (("noise", (None,)),)):
        assert verdict_of(*grid(*columns)).caveats[0] == NOT_PROOF


def test_a_leak_is_told_with_its_numbers():
    (section,) = verdict_of(*grid(("none", LEAK))).sections
    assert section.statements[0].subject == "no defense: leaks"  # "none leaks" would say the opposite
    assert section.statements[0].points == ("ssim 0.800 [0.721, 0.878] by attack (a guesser: 0.000; n = 6)",)


def test_a_leak_is_told_by_what_of_the_batch_leaked_and_what_did_not():
    at = [place(trial) for trial in range(6)]
    metrics = {
        "label_histogram": ("lower", 0.1),
        "mean_image": ("lower", 0.1),
        "psnr": ("higher", -1.0),
        "odd": ("higher", 1.0),
    }
    cells = [
        measured(
            each,
            *(
                score(value + 0.01 * each.trial, 0.5 if better == "lower" else 0.0, metric=metric, better=better)
                for metric, (better, value) in metrics.items()
            ),
        )
        for each in at
    ]
    (section,) = verdict_of(manifest(at, tuple(metrics)), cells).sections
    assert (
        "What leaked of the batch: how common each class is and what the images have in common; at the floor: single images."
        in section.statements[0].text
    )


def test_a_defense_that_held_is_told_with_what_its_batches_could_have_found():
    (section,) = verdict_of(*grid(("none", LEAK), ("noise", FLOOR))).sections
    spread = math.sqrt(sum((0.2 * step / 9) ** 2 for step in range(-9, 10)) / 18)
    reach = (1.959964 + 0.841621) * spread / math.sqrt(6)
    assert f"n = 6. Found in four of five such audits: a gain of {reach:.3f} ssim." in section.statements[1].text


def test_a_defense_against_which_a_cell_failed_has_not_held():
    plan, cells = grid(("noise", (None, None)))
    cells = [measured(at, status="failed", note="boom") for at in plan.places]
    verdict = verdict_of(plan, cells)
    assert verdict.tone == "undecided"
    assert verdict.sections[0].statements[0].points == ("attack: ssim failed",)


def test_failures_come_first_with_the_last_line_of_their_traceback():
    plan, _ = grid(("noise", (None, None, None)))
    cells = [
        measured(plan.places[0], status="n/a", note="not possible"),
        measured(plan.places[1], status="failed", note="Traceback\n  line\nValueError: boom\n"),
    ]
    problems = verdict_of(plan, cells).problems
    assert [each.subject for each in problems] == [
        "1 of 3 cells failed",
        "1 of 3 cells not computed yet",
        "1 of 3 cells not applicable",
    ]
    assert problems[0].text == "attack through noise, trial 1: ValueError: boom"


def test_an_unavailable_metric_is_named_with_its_reason():
    at = place()
    lacking = score(None, metric="lpips", status="unavailable", note="no weights")
    problems = verdict_of(manifest([at], ["ssim", "lpips"]), [measured(at, score(1.0), lacking)]).problems
    assert (problems[0].subject, problems[0].text) == ("lpips unavailable in 1 cell", "no weights")


def test_how_often_a_whole_report_may_be_wrong_is_said_in_it():
    verdict = verdict_of(*grid(*((f"defense {index}", LEAK) for index in range(40))))
    assert verdict.caveats[1].startswith("40 combinations of attack, defense and metric")
    assert "would call any of them a leak with a probability of at most 2.5%" in verdict.caveats[1]


def test_the_summary_has_a_short_text_for_every_attack_through_every_defense():
    (table,) = summarize(read_report(*grid(("none", LEAK), ("noise", FLOOR), ("masks", (None,)))).blocks)
    (row,) = table.rows
    assert (table.defenses, row.attack) == (("none", "noise", "masks"), "attack")
    assert [(cell.standing, cell.text) for cell in row.cells] == [
        ("leaks", "ssim 0.800 vs 0.000"),
        ("at the floor", "n = 6"),
        ("missing", ""),
    ]


def test_a_combination_that_was_not_planned_says_so():
    planned = manifest([place(attack="a", defense="x"), place(attack="b", defense="y")])
    (table,) = summarize(read_report(planned, []).blocks)
    assert [cell.text for row in table.rows for cell in row.cells] == ["", "not planned", "not planned", ""]


def test_a_claim_is_never_rounded_to_a_tighter_one():
    assert (bound(2.34561), bound(8.0), bound(1e-5), bound(math.inf)) == ("2.346", "8", "1e-05", "∞")


def test_a_defense_claims_a_bound_or_none_or_is_not_known_yet():
    at = [place(trial, defense=defense) for defense in ("dp", "clip", "later") for trial in range(2)]
    claim = Claim(1.0, 1e-5, "said")
    cells = [measured(each, claim=claim if each.defense == "dp" else None) for each in at[:4]]
    found = promises(manifest(at), cells)
    assert [each.claims for each in found] == [(claim,), (), ()]
    assert [each.words for each in found][1:] == ["claims no bound", "not known before a cell of it is computed"]


def test_numbers_are_shown_to_the_digits_that_matter():
    assert [number(value) for value in (21.349, 0.41251, 0.0, -0.0, 0.0023456, 1e-9, 12345.6)] == [
        *("21.35", "0.413", "0.000", "0.000", "0.00235", "1.00e\N{MINUS SIGN}09", "12346"),
    ]
    assert (number(-0.0001, 5.0), number(0.5, sign=True), number(-math.inf), number(math.nan)) == (
        *("0.00", "+0.500", "\N{MINUS SIGN}∞", "nan"),
    )


def test_an_estimate_without_an_interval_says_so():
    assert interval(over_batches([0.5])) == "0.500 (no interval)"


def test_foreign_text_cannot_hide_or_reorder():
    assert visible("a\x00b\u202ec\ud800\x1b[2J\td\r\n") == r"a\x00b\u202ec\ud800\x1b[2J" + "\td\n"
    assert brief("a\n  b " * 100, 10) == "a b a b a…"
    assert (last_line("x\n y \n\n"), last_line("")) == ("y", "")
    assert (listed([]), listed(["a"]), listed(["a", "b"]), listed(["a", "b", "c"])) == (
        "",
        "a",
        "a and b",
        "a, b and c",
    )


def test_the_negative_control_is_no_defense_and_a_report_in_which_it_leaks_trusts_nothing():
    verdict = verdict_of(*grid(("none", LEAK), ("random_update", FLOOR), ("noise", FLOOR)))
    assert verdict.headline == (
        "Undefended updates leak private data; of 1 defense none leak and 1 held against every attack tried here (noise)."
    )
    assert verdict.sections[0].statements[-1].subject == "Negative control: holds"
    broken = verdict_of(*grid(("none", LEAK), ("random_update", LEAK)))
    assert broken.headline.startswith("The negative control fails")
    assert broken.sections[0].statements[-1].subject == "Negative control: fails"
