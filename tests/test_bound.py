"""The bound on reconstruction against published and checked values, and against slower ways to compute it."""

import math

import dp_accounting
import numpy as np
import pytest
from dp_accounting.pld import privacy_loss_distribution
from dp_accounting.pld.pld_privacy_accountant import PLDAccountant
from scipy import stats

from seethrough.defenses._mechanism import GaussianMechanism
from seethrough.defenses.guarantees import bound
from seethrough.defenses.guarantees.accounting import gaussian_epsilon
from seethrough.defenses.guarantees.bound import (
    _ratios,
    accountant_bound,
    gaussian_bound,
    poisson_bound,
    pure_bound,
    reconstruction_bound,
)

KAPPAS = (1 / 10, 1 / 256, 1 / 1000)
UNSAMPLED = {  # noise multiplier, steps: gamma at each of KAPPAS, to as many digits as they were checked
    (0.5, 1): (0.764, 0.255, 0.138),
    (1.0, 1): (0.389, 0.0485, 0.0183),
    (10.0, 100): (0.389, 0.0485, 0.0183),
    (2.0, 1): (0.217, 0.0154, 0.0048),
    (4.0, 1): (0.151, 0.0080, 0.0023),
}
SAMPLED = {  # noise multiplier, rate, steps: Monte-Carlo estimates, and upper limits at 99 %
    (1.0, 0.01, 1000): ((0.189, 0.0152, 0.0034), (0.201, 0.0189, 0.0063)),
    (0.7, 0.01, 1000): ((0.310, 0.034, 0.0135), (0.323, 0.042, 0.0173)),
    (0.5, 0.01, 1000): ((0.605, 0.176, 0.111), (0.619, 0.196, 0.130)),
    (1.0, 0.1, 100): ((0.470, 0.085, 0.037), (0.483, 0.101, 0.047)),
    (2.0, 0.1, 100): ((0.228, 0.0167, 0.0053), (0.240, 0.0211, 0.0084)),
}


def exact_delta(noise: float, epsilon: float) -> float:
    """The Gaussian mechanism's delta(epsilon): Balle and Wang, ICML 2018, theorem 8."""
    first = stats.norm.cdf(1 / (2 * noise) - epsilon * noise)
    return float(first - math.exp(epsilon + stats.norm.logcdf(-1 / (2 * noise) - epsilon * noise)))


@pytest.mark.parametrize("mechanism", UNSAMPLED)
def test_the_gaussian_formula_gives_the_checked_values(mechanism: tuple[float, int]):
    noise = GaussianMechanism(*mechanism).at_once().noise_multiplier
    for kappa, checked in zip(KAPPAS, UNSAMPLED[mechanism], strict=True):
        digits = len(str(checked)) - 2
        assert round(gaussian_bound(kappa, noise), digits) == checked


@pytest.mark.parametrize("mechanism", UNSAMPLED)
def test_the_least_over_all_epsilons_of_the_exact_curve_is_the_gaussian_formula(mechanism: tuple[float, int]):
    noise = GaussianMechanism(*mechanism).at_once().noise_multiplier
    for kappa in KAPPAS:
        grid = [step / 100 for step in range(int(100 * (1 / noise**2 + 8 / noise)))]
        least = min(math.exp(epsilon) * kappa + exact_delta(noise, epsilon) for epsilon in grid)
        assert least == pytest.approx(gaussian_bound(kappa, noise), abs=5e-5)


@pytest.mark.parametrize("mechanism", UNSAMPLED)
def test_the_least_over_the_curve_of_rdp_is_no_lower_and_not_much_higher(mechanism: tuple[float, int]):
    exact = GaussianMechanism(*mechanism).at_once()
    for kappa in KAPPAS:
        found = accountant_bound(kappa, lambda delta: gaussian_epsilon(exact, delta, "rdp"))
        least = gaussian_bound(kappa, exact.noise_multiplier)
        assert least * (1 - 1e-6) <= found <= 1.7 * least


def test_the_least_over_the_curve_of_prv_is_the_gaussian_formula_to_two_per_cent(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(bound, "DELTAS", bound.DELTAS[::4])  # each costs PRV a Fourier transform
    exact = GaussianMechanism(2.0)
    found = accountant_bound(0.1, lambda delta: gaussian_epsilon(exact, max(delta, 1e-9), "prv"))
    assert gaussian_bound(0.1, 2.0) <= found <= 1.02 * gaussian_bound(0.1, 2.0)


def by_loss_distributions(mechanism: tuple[float, float, int]) -> list[float]:
    """gamma at each of KAPPAS by dp-accounting, too high by less than 1 %: the target there against not there."""
    noise, rate, steps = mechanism
    loss = privacy_loss_distribution.from_gaussian_mechanism(
        noise, sampling_prob=rate, value_discretization_interval=1e-4 if steps < 1000 else 5e-5
    ).self_compose(steps)
    curve = {epsilon: loss._pmf_remove.get_delta_for_epsilon(epsilon) for epsilon in (step / 25 for step in range(250))}
    return [min(math.exp(epsilon) * kappa + delta for epsilon, delta in curve.items()) for kappa in KAPPAS]


@pytest.mark.parametrize("mechanism", [each for each in SAMPLED if each[0] >= 1])
def test_sampled_bounds_lie_above_the_true_values_and_near_the_checked_limits(mechanism):
    noise, rate, steps = mechanism
    samples = 20_000 if steps < 1000 else 5_000
    for kappa, truth, estimate, limit in zip(
        KAPPAS, by_loss_distributions(mechanism), *SAMPLED[mechanism], strict=True
    ):
        found = poisson_bound(kappa, GaussianMechanism(noise, steps, rate), samples)
        assert truth * 0.99 <= found <= 1.5 * limit + 0.02, (
            "fewer draws than the checked limits had cost this much at most"
        )
        assert truth * 0.99 <= limit and estimate == pytest.approx(truth, rel=0.2), "the checked values are sound"


@pytest.mark.slow
@pytest.mark.parametrize("mechanism", SAMPLED)
def test_with_all_draws_the_sampled_bounds_lie_between_the_true_values_and_the_checked_limits(mechanism):
    noise, rate, steps = mechanism
    for kappa, truth, limit in zip(KAPPAS, by_loss_distributions(mechanism), SAMPLED[mechanism][1], strict=True):
        assert truth * 0.99 <= poisson_bound(kappa, GaussianMechanism(noise, steps, rate)) <= 1.1 * limit


@pytest.mark.parametrize("mechanism", [(0.5, 1), (1.0, 1), (10.0, 100), (2.0, 1), (4.0, 1)])
def test_the_upper_limit_covers_the_exact_value_where_that_is_known(mechanism: tuple[float, int]):
    noise = GaussianMechanism(*mechanism).at_once().noise_multiplier
    for kappa in KAPPAS:
        for seed in range(5):
            found = poisson_bound(kappa, GaussianMechanism(noise), 10_000, seed)
            assert gaussian_bound(kappa, noise) <= found


@pytest.mark.parametrize("takes_part", [True, False])
def test_releases_are_ordered_as_by_the_densities_of_the_two_mixtures(takes_part: bool):
    noise, steps, rate, samples = 0.8, 3, 0.3, 50
    found = _ratios(GaussianMechanism(noise, steps, rate), samples, np.random.default_rng(5), takes_part)
    rng = np.random.default_rng(5)
    sums = noise * rng.standard_normal((samples, steps))
    if takes_part:
        sums += rng.random((samples, steps)) < rate
    without = stats.norm.pdf(sums, 0, noise)
    ratios = np.log(((1 - rate) * without + rate * stats.norm.pdf(sums, 1, noise)) / without).sum(axis=1)
    assert np.exp(found) + steps * np.log(1 - rate) == pytest.approx(ratios, rel=1e-9, abs=1e-9)


def test_the_upper_limit_fails_no_more_often_than_it_says():
    noise, kappa, repeats = 1.0, 0.1, 400
    exact = gaussian_bound(kappa, noise)
    below = sum(poisson_bound(kappa, GaussianMechanism(noise), 500, seed) < exact for seed in range(repeats))
    assert stats.binom.sf(below - 1, repeats, 0.01) > 1e-3


def test_the_central_limit_shortcut_would_have_claimed_too_little():
    noise, rate, steps, kappa = 1.0, 0.02, 50, 0.0039
    shortcut = gaussian_bound(kappa, 1 / (rate * math.sqrt(steps * math.expm1(1 / noise**2))))
    assert shortcut == pytest.approx(0.0067, abs=1e-4)
    assert reconstruction_bound(GaussianMechanism(noise, steps, rate), kappa).value > 0.0086 > shortcut


@pytest.mark.parametrize("mechanism", [(1.0, 4, 0.25), (0.6, 3, 0.5)])
def test_the_bound_of_a_sampled_mechanism_is_confirmed_by_an_independent_accountant(mechanism):
    noise, steps, rate = mechanism
    counted = PLDAccountant().compose(
        dp_accounting.SelfComposedDpEvent(
            dp_accounting.PoissonSampledDpEvent(rate, dp_accounting.GaussianDpEvent(noise)), steps
        )
    )
    curve = {epsilon: counted.get_delta(epsilon) for epsilon in (step / 20 for step in range(200))}
    for kappa in KAPPAS:
        independent = min(math.exp(epsilon) * kappa + delta for epsilon, delta in curve.items())
        found = reconstruction_bound(GaussianMechanism(noise, steps, rate), kappa)
        assert 0.995 * independent <= found.value <= 1.25 * independent + 1e-3


def test_a_bound_is_never_below_the_blind_guess_and_never_above_one():
    for mechanism in (
        GaussianMechanism(1.0),
        GaussianMechanism(1e4),
        GaussianMechanism(1e-3),
        GaussianMechanism(1, 3, 0.1),
    ):
        found = [reconstruction_bound(mechanism, kappa).value for kappa in (0.001, 0.01, 0.1, 0.5, 0.9, 1.0)]
        assert found == sorted(found)
        assert all(kappa <= gamma <= 1 for kappa, gamma in zip((0.001, 0.01, 0.1, 0.5, 0.9, 1.0), found, strict=True))


def test_a_single_epsilon_and_delta_bound_no_more_than_one():
    assert pure_bound(0.01, 2.0, 1e-5) == pytest.approx(math.exp(2) * 0.01 + 1e-5)
    assert pure_bound(0.01, 1e9, 0.0) == 1.0


def test_a_target_that_hardly_ever_takes_part_is_hardly_ever_recovered_however_little_the_noise():
    assert reconstruction_bound(GaussianMechanism(0.05, 1, 1e-3), 0.01).value < 0.013
    assert reconstruction_bound(GaussianMechanism(1e-9, 1, 1e-3), 0.01).value == 1.0


def test_sampling_lowers_the_bound_and_further_steps_raise_it():
    def bound(*mechanism) -> float:
        return reconstruction_bound(GaussianMechanism(*mechanism), 0.01).value

    assert bound(1.0, 4, 0.1) < bound(1.0, 4, 0.5) < bound(1.0, 4, 1.0)
    assert bound(1.0, 1, 0.5) < bound(1.0, 8, 0.5)
