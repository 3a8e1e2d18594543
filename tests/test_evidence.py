"""The two tests behind a leak: exact, for any number of batches and any distribution; and what they could have found."""

import itertools
import statistics

import numpy as np
import pytest
from scipy import stats

from seethrough.reports.findings.evidence import ALPHA, evidence_of, in_words
from seethrough.reports.findings.significance_tests import sign_test, swap_test
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
