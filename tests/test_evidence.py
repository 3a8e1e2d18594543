"""The two tests behind a leak: exact, for any number of batches and any distribution; and what they could have found."""

import itertools
import statistics
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from seethrough.reports.findings.evidence import ALPHA, Evidence, evidence_of, in_words
from seethrough.reports.findings.family import Family, Which, family_of, trials_of
from seethrough.reports.findings.significance_tests import permutation_test, permutations_of, sign_test, swap_test
from seethrough.reports.row import Guess, Score

RNG = np.random.default_rng(0)


def a_score(value: float, guess: float | None = 0.0, swapped=(), perfect: float = 1.0, perfect_swapped=(0.0,) * 19):
    guesses = () if guess is None else (Guess("a guesser", guess),)
    return Score("m", "higher", "ok", "", value, guesses=guesses, swapped=tuple(swapped), perfect=perfect,
                 perfect_swapped=tuple(perfect_swapped), n=1)  # fmt: skip


def test_the_swap_test_is_the_share_of_all_choices_that_are_as_high():
    trials = [(3.0, [1.0, 2.0, 5.0]), (2.0, [0.0, 2.0])]
    choices = [a + b for a, b in itertools.product([3.0, 1.0, 2.0, 5.0], [2.0, 0.0, 2.0])]
    assert swap_test(trials) == pytest.approx(sum(each >= 5.0 for each in choices) / 12)


def test_the_swap_test_of_many_choices_is_drawn_and_counts_the_one_at_hand():
    trials = [(10.0, [0.0] * 19)] * 8
    assert swap_test(trials) == pytest.approx(1e-4)
    half = [(0.0, list(np.linspace(-1, 1, 19)))] * 8
    assert 0.4 < swap_test(half) < 0.6


def test_without_other_batches_nothing_can_be_told():
    assert swap_test([(5.0, [])]) == 1.0


SHAPES = {
    "normal": lambda size: RNG.normal(size=size),
    "all or nothing": lambda size: (RNG.random(size) < 0.3).astype(float),
    "rare and far": lambda size: np.where(RNG.random(size) < 0.1, 50.0, RNG.normal(size=size)),
    "labels of eight": lambda size: RNG.binomial(8, 0.8, size) / 8,
}


@pytest.mark.parametrize("n", [1, 2, 4, 8, 20])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_swap_test_is_wrong_at_most_as_often_as_it_says_for_any_number_of_batches(shape: str, n: int):
    audits = 400
    drawn = [SHAPES[shape]((n, 20)) for _ in range(audits)]
    wrong = sum(swap_test([(row[0], list(row[1:])) for row in rows]) <= ALPHA for rows in drawn)
    assert stats.binomtest(wrong, audits, ALPHA, alternative="greater").pvalue > 1e-3


def test_the_sign_test_is_that_of_scipy_and_leaves_out_ties():
    gains = [0.1, 2.0, -0.3, 0.4, 0.0, 0.0, 0.7, 0.2]
    assert sign_test(gains) == pytest.approx(stats.binomtest(5, 6, alternative="greater").pvalue)
    assert sign_test([0.0, 0.0]) == 1.0


@pytest.mark.parametrize(("n", "can"), [(2, False), (5, False), (6, True)])
def test_no_fewer_than_six_batches_can_show_that_a_guesser_is_beaten(n: int, can: bool):
    assert (sign_test([1.0] * n) <= ALPHA) == can


def test_every_guesser_must_be_beaten_by_itself_and_none_is_chosen_by_the_truth():
    def trial(value: float, first: float, second: float) -> Score:
        return Score("m", "higher", "ok", "", value, guesses=(Guess("a", first), Guess("b", second)),
                     swapped=(0.0,) * 19, perfect=1.0, perfect_swapped=(0.0,) * 19, n=1)  # fmt: skip

    # Each guesser gets a quarter of two labels in every second batch; the better of both by the truth always would.
    alternating = [trial(0.3, 0.5 * (k % 2), 0.5 * (1 - k % 2)) for k in range(20)]
    assert [p <= ALPHA for _, p in evidence_of(alternating).beaten] == [False, False]
    leaking = [trial(0.6, 0.5 * (k % 2), 0.5 * (1 - k % 2)) for k in range(20)]
    assert evidence_of(leaking).helps


def test_a_perfect_attack_on_too_few_batches_has_no_power_and_the_number_needed_is_told():
    """Issue: undefended digits, batch 1, four trials, 1.000 in 4 of 4: said to have held."""
    four = evidence_of([a_score(1.0, 0.0, (0.0,) * 19)] * 4)
    assert not four.powered and four.needs == 6 and four.tells
    assert "needs 6 batches" in in_words(four)
    assert evidence_of([a_score(1.0, 0.0, (0.0,) * 19)] * 6).powered


def test_a_perfect_attack_that_ties_with_a_guesser_needs_more_batches_or_can_never_show_anything():
    sometimes = [a_score(1.0, 1.0 if k % 2 else 0.0, (0.0,) * 19) for k in range(6)]
    assert evidence_of(sometimes).needs == 11  # six of every two wins, the first of each pair
    always = evidence_of([a_score(1.0, 1.0, (0.0,) * 19)] * 6)
    assert always.needs is None and not always.powered
    same = evidence_of([a_score(1.0, 0.0, (1.0,) * 19, perfect_swapped=(1.0,) * 19)] * 6)
    assert same.needs is None


def test_the_detectable_gain_is_found_in_four_of_five_audits():
    n, audits = 8, 300
    rows = RNG.normal(size=(n, 20))
    expected = evidence_of([a_score(row[0], 0.0, row[1:]) for row in rows]).detectable
    assert expected == pytest.approx((1.96 + 0.8416) / np.sqrt(n), rel=0.25)
    found = []
    for _ in range(audits):
        drawn = RNG.normal(size=(n, 20))
        drawn[:, 0] += (1.96 + 0.8416) / np.sqrt(n)
        found.append(swap_test([(row[0], list(row[1:])) for row in drawn]) <= ALPHA)
    assert 0.72 < statistics.mean(found) < 0.9


def drawn(trial: int) -> Which:
    return Which("s", trial, 19, False)


def noisy_report(combinations: int, trials: int, leak: float = 0.0) -> list[list[tuple[Which, Score]]]:
    """Combinations that found nothing, but hang together as metrics of the same attacks on the same batches do; the first
    has found something, if there is a `leak`."""
    of_batches = RNG.normal(size=(trials, 20))
    found = []
    for place in range(combinations):
        values = 0.7 * of_batches + 0.7 * RNG.normal(size=(trials, 20))
        values[:, 0] += leak * (place == 0)
        found.append([(drawn(trial), a_score(row[0], 0.0, row[1:])) for trial, row in enumerate(values)])
    return found


def told_in(report: list[list[tuple[Which, Score]]]) -> list[bool]:
    family = family_of(map(trials_of, report))
    return [among(family, rows).tells for rows in report]


def among(family: Family, rows: list[tuple[Which, Score]]) -> Evidence:
    return evidence_of([score for _, score in rows], family, [trial for trial, _ in rows])


@pytest.mark.parametrize("trials", [3, 12])
def test_a_report_of_pure_noise_finds_something_no_more_often_than_it_says(trials: int):
    """By itself each of the 24 combinations is right as often as it says, and many reports find something."""
    reports = [noisy_report(24, trials) for _ in range(60)]
    wrong = sum(any(told_in(report)) for report in reports)
    assert stats.binomtest(wrong, len(reports), ALPHA, alternative="greater").pvalue > 1e-3, wrong
    alone = sum(any(evidence_of([score for _, score in rows]).tells for rows in report) for report in reports)
    assert alone > len(reports) / 12


def test_a_leak_is_found_among_many_combinations_that_find_nothing():
    assert all(told_in(noisy_report(40, 12, leak=2.0))[0] for _ in range(4))


def test_a_skewed_metric_takes_no_power_from_others():
    """One success in twelve batches stands many deviations above its mean; ranks do not let that count for more."""
    rare = [
        [(drawn(trial), a_score(0.0, 0.0, RNG.random(19) < 0.01)) for trial in range(12)] for _ in range(20)
    ]  # by chance, and seldom
    normal = noisy_report(20, 12, leak=1.4)
    family = family_of(map(trials_of, [*rare, *normal]))
    assert among(family, normal[0]).alone < 1e-3 and among(family, normal[0]).tells


def test_a_combination_without_others_is_judged_as_by_itself():
    (rows,) = noisy_report(1, 8)
    found = among(family_of([trials_of(rows)]), rows)
    assert found.told == pytest.approx(found.alone, abs=0.02)


def test_where_nothing_differs_there_is_no_family():
    same = [(drawn(trial), a_score(1.0, 0.0, (1.0,) * 19)) for trial in range(4)]
    family = family_of([trials_of(same)])
    assert family.size == 0 and among(family, same).told == 1.0


def test_a_perfect_attack_that_chance_equals_somewhere_in_the_report_has_no_power():
    """By itself it would be told from other batches; among 200 combinations chance does as well."""
    weak = [
        (drawn(trial), a_score(0.0, -1.0, RNG.normal(size=19), 1.0, np.linspace(-1, 1.2, 19))) for trial in range(6)
    ]
    assert evidence_of([score for _, score in weak]).needs == 6
    needs = among(family_of(map(trials_of, [*noisy_report(200, 6), weak])), weak).needs
    assert needs is not None and needs > 6


@pytest.mark.parametrize("seed", range(3))
def test_the_permutation_test_is_the_share_of_all_orders_that_are_as_high(seed: int):
    table = np.random.default_rng(seed).normal(size=(4, 4))
    rows = {place: table[place, [(place + step) % 4 for step in range(4)]] for place in range(4)}
    sums = [sum(table[place, order[place]] for place in range(4)) for order in itertools.permutations(range(4))]
    assert permutation_test(rows, 4) == pytest.approx(sum(each >= np.trace(table) - 1e-9 for each in sums) / 24)


def test_the_permutation_test_of_many_orders_is_drawn_and_counts_the_one_at_hand():
    dealt = permutations_of(8)
    assert dealt.shape == (9_999, 8) and (np.sort(dealt, axis=1) == np.arange(8)).all()
    assert len(np.unique(dealt, axis=0)) > 8_000 and (permutations_of(8) == dealt).all()
    own = {place: np.array([1.0, *[0.0] * 7]) for place in range(8)}
    as_high = int((dealt == np.arange(8)).all(axis=1).sum())
    assert permutation_test(own, 8) == pytest.approx((1 + as_high) / 10_000)
    assert 0.4 < permutation_test({place: np.array([0.5, *[0.0, 1.0] * 3, 0.5]) for place in range(8)}, 8) < 0.9


def test_all_orders_of_seven_are_gone_through():
    assert len(np.unique(permutations_of(7), axis=0)) == 5_040 == len(permutations_of(7))
    own = {place: np.array([1.0, *[0.0] * 6]) for place in range(7)}
    assert permutation_test(own, 7) == pytest.approx(1 / 5_040)


def test_sums_of_the_largest_numbers_stay_within_range_and_none_tells_nothing():
    most = {place: np.array([1e308, -1e308, -1e308]) for place in range(3)}
    assert permutation_test(most, 3) == pytest.approx(1 / 6)
    assert swap_test([(1e308, [-1e308])] * 3) == pytest.approx(1 / 8)
    assert permutation_test({}, 3) == 1.0


def test_the_smallest_numbers_are_told_apart():
    assert swap_test([(2e-30, [1e-30, 0.0])] * 2) == pytest.approx(1 / 9)
    assert permutation_test({place: np.array([1e-30, 0.0, 0.0]) for place in range(3)}, 3) == pytest.approx(1 / 6)


def test_ten_thousand_choices_are_gone_through_and_one_more_is_not():
    rows = [[5.0, *range(5), *range(6, 10)]] * 4
    as_high = sum(sum(choice) >= 20.0 for choice in itertools.product(*rows))
    assert swap_test([(row[0], row[1:]) for row in rows]) == as_high / 10_000
    assert swap_test([(1.0, [*[1.0] * 9, *[0.0] * 63]), (1.0, [0.0] * 136)]) != 10 / 10_001


def test_what_is_drawn_is_the_same_in_every_test():
    half = [(0.0, list(np.linspace(-1, 1, 19)))] * 8
    assert swap_test(half) == swap_test(half)


def test_as_many_gains_as_losses_and_what_is_equal_but_for_rounding_are_told_as_what_they_are():
    assert sign_test([1.0, 2.0, -1.0, -2.0]) == pytest.approx(11 / 16)
    assert sign_test([1e-9, -1e-9, 0.0]) == 1.0
    assert sign_test([1e-9, 1.0, -1e-9]) == 0.5


@pytest.mark.parametrize("clients", [5, 7, 12])
def test_claims_that_know_nothing_are_told_from_other_truths_no_more_often_than_the_test_says(clients: int):
    """Though claims and truths each have their own kind: the claims are far from any public mix of labels."""
    wrong, audits = 0, 400
    for _ in range(audits):
        claims, truths = RNG.normal(3, 1, clients), RNG.normal(0, 1, clients)
        table = -np.abs(claims[:, None] - truths[None])
        rows = {place: np.roll(table[place], -place) for place in range(clients)}
        wrong += permutation_test(rows, clients) <= ALPHA
    assert stats.binomtest(wrong, audits, ALPHA, alternative="greater").pvalue > 1e-3


def lent(clients: int, table: np.ndarray) -> tuple[list[Score], list[Which]]:
    """The scores of trials that lend each other their truths; a perfect attacker has 1 for its own and 0 for others'."""
    rows = [np.roll(table[place], -place) for place in range(clients)]
    zeros = (0.0,) * (clients - 1)
    scores = [replace(a_score(row[0], -1.0, row[1:], 1.0, zeros), permuted=True) for row in rows]
    return scores, [Which("s", place, clients - 1, True) for place in range(clients)]


def test_trials_that_lend_each_other_their_truths_are_told_by_the_orders_of_them_all():
    scores, named = lent(6, np.eye(6))
    found = evidence_of(scores, None, named)
    assert found.alone == pytest.approx(1 / 720) and found.tells and found.helps and found.powered and found.needs == 6
    family = family_of([trials_of(list(zip(named, scores, strict=True)))])
    assert evidence_of(scores, family, named).told == pytest.approx(1 / 720, abs=1e-3)
    same, named = lent(6, np.ones((6, 6)))
    assert evidence_of(same, None, named).alone == 1.0


@pytest.mark.parametrize("clients", [1, 2, 4, 5])
def test_few_recorded_clients_can_show_nothing_and_say_how_many_would(clients: int):
    scores, named = lent(clients, np.eye(clients))
    found = evidence_of(scores, None, named)
    assert not found.powered and found.needs == 6


def test_trials_that_know_different_truths_tell_nothing():
    """A number beyond those that are lent, other numbers of clients, or one trial that lends nothing, ended in an IndexError
    or in a test of something else."""
    scores, named = lent(6, np.eye(6))
    fewer, fewer_named = lent(4, np.eye(4))
    beyond = [replace(which, number=which.number + 1) for which in named]
    mixed = [replace(named[0], permuted=False), *named[1:]]
    for some, whose in ((scores, beyond), (scores, mixed), (scores + fewer, named + fewer_named)):
        rows = list(zip(some, whose, strict=True))
        family = family_of([trials_of([(which, one) for one, which in rows])])
        found = evidence_of(some, family, whose)
        assert found.told == found.alone == 1.0 and not found.tells and not found.powered


def test_the_chance_of_a_strength_counts_the_draws_as_good_but_for_rounding_and_the_one_at_hand():
    trials = trials_of([(drawn(0), a_score(2.0, 0.0, (1.0, 0.0)))])
    family = family_of([trials])
    (strength,) = family.strengths.values()
    best = np.array([strength - 0.1, strength - 1e-10, strength, strength + 0.1])
    assert replace(family, best=best).chance_of(trials) == 4 / 5


@pytest.mark.parametrize(
    ("best", "needed"),
    [
        (
            np.arange(-99.0, 0.0),
            0.04,
        ),  # of 100 draws, the one at hand among them, four are better than the place of 5 %
        (np.arange(-99.0, 0.0) + 0.5, 0.04),  # a rank of 3.5, so the next one
        (np.full(99, -0.5), 0.01),
        (np.full(99, -50.0), 0.05),
    ],
)
def test_the_rank_needed_is_that_of_the_best_of_chance_between_what_can_be_drawn_and_the_level(best, needed):
    assert Family(1, best, {}).rank_needed(0.05) == pytest.approx(needed)


def gone_through(combinations: list[list[np.ndarray]], places: list[list[int]]) -> list[float]:
    """What `chance_of` is by definition for each, with a row for each trial, in which a choice has a place in [0, 1)."""
    ranks = []
    for rows in combinations:
        sums = np.array([sum(row[int(u * len(row))] for row, u in zip(rows, at, strict=True)) for at in places])
        own = sum(row[0] for row in rows)
        ranks.append((np.mean(sums >= sums[:, None] - 1e-9, axis=1), float(np.mean(sums >= own - 1e-9))))
    best = np.min([rank for rank, _ in ranks], axis=0)
    return [float(np.mean(best <= own + 1e-9)) for _, own in ranks]


@pytest.mark.parametrize("seed", range(3))
def test_a_family_is_that_of_all_choices_gone_through(seed: int):
    """Though of some trials a combination knows fewer batches than another, and others tell nothing at all."""
    rng = np.random.default_rng(seed)
    combinations = [[np.append(rng.random(size - 1), 1.0)[::-1] for _ in range(2)] for size in (4, 5)]
    combinations[1][1] = combinations[1][1][[1, 0, 2, 3, 4]]
    expected = gone_through(combinations, list(itertools.product((np.arange(20) + 0.5) / 20, repeat=2)))
    families = [[(drawn(trial), row) for trial, row in enumerate(rows)] for rows in combinations]
    flat = [[(drawn(trial), np.ones(4)) for trial in range(2)]]
    family = family_of([*flat, *families])
    assert family.size == 2 and family.best.shape == (9_999,) and (np.diff(family.best) >= 0).all()
    assert [family.chance_of(trials) for trials in families] == pytest.approx(expected, abs=0.02)
    assert family.chance_of(flat[0]) == 1.0


@pytest.mark.parametrize("clients", [3, 4])
def test_a_family_of_trials_that_lend_each_other_their_truths_is_that_of_all_orders(clients: int):
    rng = np.random.default_rng(clients)
    for _ in range(4):
        table = rng.random((clients, clients))
        _, named = lent(clients, table)
        trials = [(which, np.roll(table[place], -place)) for place, which in enumerate(named)]
        orders = list(itertools.permutations(range(clients)))
        sums = np.array([sum(table[place, order[place]] for place in range(clients)) for order in orders])
        expected = np.mean(sums >= np.trace(table) - 1e-9)
        assert family_of([trials]).chance_of(trials) == pytest.approx(expected, abs=0.02)


def test_a_trial_is_its_gains_with_the_true_batch_first_whatever_is_better():
    nan = float("nan")
    rows = [
        (drawn(0), a_score(nan, 0.0, (1.0, 0.0), nan, (1.0,))),
        (drawn(1), a_score(1.0, 0.0, (), 1.0, ())),
        (drawn(2), a_score(1.0, 0.0, (nan, nan), 1.0, (nan,))),
        (drawn(3), a_score(2.0, 0.0, (1.0, nan, 3.0), 5.0, (4.0, nan))),
        (drawn(4), replace(a_score(2.0, 0.0, (1.0,), 5.0, (4.0,)), better="lower")),
    ]
    assert [(which.number, list(gains)) for which, gains in trials_of(rows)] == [
        (3, [2.0, 1.0, 3.0]),
        (4, [-2.0, -1.0]),
    ]
    perfect = trials_of(rows, perfect=True)
    assert [(which.number, list(gains)) for which, gains in perfect] == [(3, [5.0, 4.0]), (4, [-5.0, -4.0])]


def test_trials_that_lend_each_other_their_truths_know_them_all_or_are_left_out():
    scores, named = lent(3, np.eye(3))
    rows = list(zip(named, scores, strict=True))
    rows[0] = (named[0], replace(scores[0], swapped=(0.0, float("nan"))))
    assert [which.number for which, _ in trials_of(rows)] == [1, 2]
    before = [(replace(which, number=which.number - 1), score) for which, score in rows]
    assert [which.number for which, _ in trials_of(before[2:])] == [1]
    assert trials_of([(replace(named[1], number=-1), scores[1]), *rows[2:]]) == []
    assert trials_of([(replace(named[1], others=3), scores[1]), *rows[2:]]) == []


def test_the_largest_and_the_smallest_gains_are_told_apart_but_not_what_differs_by_rounding():
    for scale in (1e308, 1e-308):
        trials = trials_of([(drawn(trial), a_score(scale, 0.0, (-scale, 0.0))) for trial in range(3)])
        assert family_of([trials]).chance_of(trials) == pytest.approx(1 / 27, abs=0.01)
    for value in (0.0, 1.0):
        rounded = trials_of([(drawn(0), a_score(value + 1e-13, 0.0, (value, value)))])
        assert family_of([rounded]).size == (value == 0.0)
    nothing = trials_of([(drawn(0), a_score(0.0, 0.0, (0.0, 0.0)))])
    assert family_of([nothing]).size == 0 and family_of([nothing]).chance_of(nothing) == 1.0


@pytest.mark.parametrize(
    "rows",
    [
        [[1.0, 0.0, 0.0, 0.0]],
        [[1.0, 0.9, 0.0, 0.0]],
        [[-3.0, -5.0], [2.0, 1.0, 0.0]],
        [[5.0, 3.0], [1.0, 0.0]],
        [[0.0, 9.0]],
    ],
)
def test_of_equal_ranks_the_one_more_standard_deviations_above_its_mean_is_the_better(rows):
    trials = [(drawn(trial), np.array(row)) for trial, row in enumerate(rows)]
    family = family_of([trials])
    above = sum(row[0] - np.mean(row) for row in rows) / np.sqrt(sum(np.var(row) for row in rows))
    (strength,) = family.strengths.values()
    assert strength % 1 == pytest.approx((above / (1 + abs(above))) % 1)
    rank = round(above / (1 + abs(above)) - strength)
    sums = [sum(choice) for choice in itertools.product(*rows)]
    as_high = np.mean([each >= sums[0] - 1e-9 for each in sums])
    assert rank == pytest.approx(1 + 9_999 * as_high, abs=200) and family.best[-1] >= strength


def test_the_lowest_of_all_ranks_behind_every_draw_and_draws_are_the_same_in_every_report():
    trials = [(drawn(0), np.array([0.0, 1.0]))]
    family, again = family_of([trials]), family_of([trials])
    assert list(family.strengths.values()) == [-0.5 - 10_000] and (family.best == again.best).all()


def test_trials_that_lend_nothing_are_chosen_for_each_by_itself():
    trials = [(Which("s", trial, 1, False), np.array([1.0, 0.0])) for trial in range(2)]
    assert family_of([trials]).chance_of(trials) == pytest.approx(1 / 4, abs=0.02)
