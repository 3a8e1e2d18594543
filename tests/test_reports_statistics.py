import math
import statistics
from dataclasses import replace

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from scipy import stats

import audit.metrics
from audit.metrics import Metric
from defenses._catalog import catalog
from reports._statistics import RANGES, SHARES, clopper_pearson, leak_of, over_batches, value_of
from tests.reports_samples import score


def test_one_batch_has_a_mean_and_no_interval():
    found = over_batches([0.7])
    assert (found.mean, found.low, found.high, found.n) == (0.7, None, None, 1)
    assert "one batch" in found.method


def test_equal_values_claim_no_interval_of_zero_width():
    for n in (2, 4, 12):
        found = over_batches([0.3] * n)
        assert (found.mean, found.low, found.high, found.n) == (0.3, None, None, n)
        assert "equal" in found.method


def test_two_batches_get_the_interval_computed_by_hand():
    # mean 2, standard error 1, and the 97.5 % quantile of Student t with one degree of freedom is 12.7062
    found = over_batches([1.0, 3.0])
    assert (found.low, found.high) == pytest.approx((2 - 12.7062, 2 + 12.7062), abs=1e-4)
    assert found.method == "Student t"


def test_fewer_than_ten_batches_get_the_interval_of_scipy():
    values = [0.1, 0.5, 0.2, 0.9, 0.4]
    expected = stats.t.interval(0.95, 4, numpy.mean(values), stats.sem(values))
    found = over_batches(values)
    assert (found.low, found.high) == pytest.approx(expected)
    assert found.mean == pytest.approx(statistics.mean(values))


def test_from_ten_batches_on_the_interval_holds_student_t_and_the_bootstrap():
    values = numpy.random.default_rng(3).exponential(size=12)
    student = stats.t.interval(0.95, 11, values.mean(), stats.sem(values))
    bootstrap = stats.bootstrap(
        (values,), numpy.mean, method="BCa", n_resamples=1_999, rng=numpy.random.default_rng(0)
    ).confidence_interval
    assert bootstrap.high > student[1]  # skewed data: each of the two decides one end
    assert bootstrap.low > student[0]
    found = over_batches(list(values))
    assert (found.low, found.high) == pytest.approx((student[0], bootstrap.high))
    assert "BCa" in found.method


def test_the_bootstrap_gives_the_same_interval_each_time():
    values = list(numpy.random.default_rng(4).normal(size=15))
    numpy.random.default_rng().random()
    assert over_batches(values) == over_batches(values)


def test_the_interval_over_four_batches_covers_the_truth_as_often_as_it_says():
    draws = numpy.random.default_rng(0).normal(loc=5.0, size=(4_000, 4))
    estimates = [over_batches([float(value) for value in draw]) for draw in draws]
    covered = statistics.mean(found.low <= 5.0 <= found.high for found in estimates)
    assert 0.938 < covered < 0.962  # 0.95, give or take 3.5 standard errors


def test_an_estimate_refuses_what_is_not_a_number():
    for values in ([], [1.0, math.nan], [math.inf]):
        with pytest.raises(ValueError, match="finite"):
            over_batches(values)


@given(some.lists(some.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=9))
def test_any_finite_values_give_a_mean_among_them_inside_its_interval(values):
    found = over_batches(values)
    slack = 1e-9 * max(abs(value) for value in values)
    assert min(values) - slack <= found.mean <= max(values) + slack
    assert found.low is None or found.low <= found.mean <= found.high


@settings(max_examples=30, deadline=None)
@given(some.lists(some.sampled_from([0.0, 1.0, 1.0 + 1e-15, 1e300, 5e-324, -3.0]), min_size=10, max_size=14))
def test_the_bootstrap_survives_values_without_spread_and_extreme_ones(values):
    found = over_batches(values)
    assert found.low is None or found.low <= found.mean <= found.high


def test_values_that_differ_by_rounding_only_are_not_resampled():
    for values in ([1.0] * 9 + [1.0 + 2.3e-16], [1.0] * 5 + [1.0 - 1.2e-16] * 5):
        assert over_batches(values).method == "Student t"


def test_clopper_pearson_agrees_with_the_tails_of_the_binomial_distribution():
    low, high = clopper_pearson(13, 16)
    assert stats.binom.sf(12, 16, low) == pytest.approx(0.025)
    assert stats.binom.cdf(13, 16, high) == pytest.approx(0.025)


def test_four_perfect_batches_of_four_labels_do_not_claim_certainty():
    found = value_of([score(1.0, metric="label_accuracy")] * 4)
    assert found.mean == 1.0
    assert (found.low, found.high) == pytest.approx((0.025 ** (1 / 16), 1.0))  # 16 of 16
    assert found.n == 4


def test_label_accuracy_takes_the_wider_of_both_intervals_and_stays_within_zero_and_one():
    values = [1.0, 0.25, 1.0, 1.0]
    student = over_batches(values)
    found = value_of([score(value, metric="label_accuracy") for value in values])
    exact = clopper_pearson(13, 16)
    assert found.low == min(student.low, exact[0])
    assert student.high > 1.0 == found.high


def test_a_share_that_is_no_share_of_labels_keeps_its_plain_interval():
    values = [0.5, 1.0, 1.0, 0.75]
    assert value_of([score(value, metric="attribute") for value in values]) == over_batches(values)


@pytest.mark.parametrize(
    ("metric", "values", "low", "high"),
    [
        ("ssim", [0.5, 1.0, 1.0, 0.75], None, 1.0),
        ("ssim", [-0.9, 0.9], -1.0, 1.0),
        ("psnr", [5.0, 40.0], 0.0, None),
        ("lpips(net=squeeze)", [0.01, 0.3], 0.0, None),
        ("ssim", [0.5, 12.0], None, None),
    ],
)
def test_no_interval_goes_beyond_what_the_metric_can_be(metric, values, low, high):
    found, student = value_of([score(value, metric=metric) for value in values]), over_batches(values)
    assert found == replace(
        student, low=student.low if low is None else low, high=student.high if high is None else high
    )


def test_ranges_and_shares_are_those_of_metrics_that_exist():
    assert SHARES < set(RANGES) <= set(catalog(audit.metrics, Metric))


def test_no_interval_of_a_leak_goes_beyond_the_width_of_the_metrics_range():
    scores = [score(value, 0.1, metric="mean_image", better="lower") for value in (0.0, 0.9)]
    found = leak_of(scores)
    assert (found.low, found.high) == (-1.0, 1.0) and over_batches([0.1, -0.8]).low < -1.0


def test_the_leak_is_paired_by_trial():
    # values and floors vary much from trial to trial, their difference hardly at all
    found = leak_of([score(11.0, 10.0), score(21.1, 20.0), score(30.9, 30.0), score(41.0, 40.0)])
    assert found == over_batches([11.0 - 10.0, 21.1 - 20.0, 30.9 - 30.0, 41.0 - 40.0])
    assert 0.8 < found.low < found.high < 1.2


def test_the_leak_of_a_metric_where_lower_is_better_is_flipped():
    found = leak_of([score(0.1, 0.6, better="lower"), score(0.3, 0.6, better="lower")])
    assert found.mean == pytest.approx(0.4)


def test_the_leak_over_the_decoy_leaves_blind_guesses_aside():
    scores = [score(12.0, 11.0, decoy=8.0), score(13.5, 12.0, decoy=9.0), score(11.0, 10.0)]
    assert leak_of(scores, "decoy") == over_batches([4.0, 4.5])
    lower = [score(0.1, 0.2, decoy=0.6, better="lower"), score(0.3, 0.3, decoy=0.6, better="lower")]
    assert leak_of(lower, "decoy").mean == pytest.approx(0.4)


def test_the_leak_of_labels_is_no_more_certain_than_their_share():
    found = leak_of([score(1.0, 0.25, metric="label_accuracy")] * 4)
    assert found.mean == 0.75
    assert found.low == pytest.approx(0.025 ** (1 / 16) - 0.25)


def test_what_is_not_finite_enters_no_mean():
    scores = [score(1.0, 0.5), score(math.nan, 0.5), score(math.inf, 0.5), score(None, 0.5), score(3.0, math.nan)]
    assert (value_of(scores).mean, value_of(scores).n) == (2.0, 2)
    assert (leak_of(scores).mean, leak_of(scores).n) == (0.5, 1)
    assert value_of([score(math.nan)]) is None
    assert leak_of([score(1.0, None)]) is None
