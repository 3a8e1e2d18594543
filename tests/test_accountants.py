"""Epsilons by Opacus' accountants, as the guarantees state them, against dp-accounting: within 1 %."""

import math
import warnings

import dp_accounting
import pytest
from dp_accounting.pld.pld_privacy_accountant import PLDAccountant
from dp_accounting.rdp.rdp_privacy_accountant import RdpAccountant

from seethrough.defenses._mechanism import GaussianMechanism
from seethrough.defenses.guarantees.accounting import (
    LEAST_NOISE,
    PRV_SMALLEST_DELTA,
    SAMPLED_ORDERS,
    Accountant,
    gaussian_epsilon,
    reliable_accountant,
    sampled_epsilon,
)

UNSAMPLED = [(0.5, 1, 1.0), (1.0, 1, 1.0), (1.0, 10, 1.0), (4.0, 1, 1.0), (8.0, 100, 1.0), (50.0, 20, 1.0)]
SAMPLED = [(0.8, 4, 0.25), (1.0, 4, 0.5), (1.0, 100, 0.1), (2.0, 100, 0.1), (1.0, 1000, 0.01), (4.0, 2000, 0.01)]
DELTAS = (1e-7, 1e-5, 1e-3)


def event(mechanism: GaussianMechanism) -> dp_accounting.DpEvent:
    released = dp_accounting.GaussianDpEvent(mechanism.noise_multiplier)
    if mechanism.rate < 1:
        released = dp_accounting.PoissonSampledDpEvent(mechanism.rate, released)
    return dp_accounting.SelfComposedDpEvent(released, mechanism.steps)


@pytest.mark.parametrize("parameters", UNSAMPLED + SAMPLED)
def test_rdp_agrees_with_dp_accounting(parameters: tuple[float, int, float]):
    mechanism = GaussianMechanism(*parameters)
    independent = RdpAccountant(orders=SAMPLED_ORDERS if mechanism.rate < 1 else None).compose(event(mechanism))
    for delta in DELTAS:
        found = gaussian_epsilon(mechanism, delta, "rdp")
        assert found == pytest.approx(independent.get_epsilon(delta), rel=0.01)


@pytest.mark.parametrize("parameters", UNSAMPLED + SAMPLED)
def test_prv_agrees_with_the_privacy_loss_distributions_of_dp_accounting(parameters: tuple[float, int, float]):
    mechanism = GaussianMechanism(*parameters)
    independent = PLDAccountant().compose(event(mechanism))
    for delta in DELTAS:
        assert reliable_accountant("prv", mechanism, delta) == "prv"
        found = gaussian_epsilon(mechanism, delta, "prv")
        assert found == pytest.approx(independent.get_epsilon(delta), rel=0.01)
        assert found <= gaussian_epsilon(mechanism, delta, "rdp") * 1.01


def test_sampling_never_costs_anything_and_next_to_no_noise_costs_everything():
    for noise in (1e-4, 0.05, 1.0, 100.0):
        whole, sampled = GaussianMechanism(noise, 3), GaussianMechanism(noise, 3, 0.3)
        assert gaussian_epsilon(sampled, 1e-5, "rdp") <= gaussian_epsilon(whole, 1e-5, "rdp")
    for rate in (1.0, 0.3):
        nothing = GaussianMechanism(1e-300, 1, rate)
        assert reliable_accountant("prv", nothing, 1e-5) == "rdp"
        assert gaussian_epsilon(nothing, 1e-5, "rdp") == float("inf")


def test_prv_agrees_for_neighbors_that_replace_one_unit():
    mechanism = GaussianMechanism(2.0, 3)
    replacing = dp_accounting.NeighboringRelation.REPLACE_ONE
    independent = PLDAccountant(replacing).compose(event(mechanism))
    found = gaussian_epsilon(mechanism.replacing(), 1e-5, "prv")
    assert found == pytest.approx(independent.get_epsilon(1e-5), rel=0.01)


def test_no_noise_but_the_least_is_computed_and_without_it_epsilon_is_infinite():
    for rate in (1.0, 0.3):
        least = GaussianMechanism(LEAST_NOISE, 1, rate)
        assert 4e7 < gaussian_epsilon(least, 1e-5, "rdp") < 6e7
        assert math.isinf(gaussian_epsilon(GaussianMechanism(LEAST_NOISE / 2, 1, rate), 1e-5, "rdp"))


@pytest.mark.parametrize("accountant", ["rdp", "prv"])
@pytest.mark.parametrize("parameters", [(1.0, 1, 1.0), (1e5, 1, 1.0), (100.0, 1, 0.01)])
def test_opacus_warns_of_nothing_and_epsilon_is_never_below_zero(accountant: Accountant, parameters):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = gaussian_epsilon(GaussianMechanism(*parameters), 1e-5, accountant)
    assert 0.0 <= found < 5.0 and (parameters[0] == 1.0 or found < 0.04)


def test_sampled_sums_cost_what_the_cheaper_of_two_bounds_says():
    """Without sampling more orders are tried, which wins where noise is little; elsewhere sampling does."""
    little, much = GaussianMechanism(1e-3, 1, 0.9), GaussianMechanism(2.0, 1, 0.01)
    assert gaussian_epsilon(little, 1e-5, "rdp") == gaussian_epsilon(little.unsampled(), 1e-5, "rdp")
    assert gaussian_epsilon(much, 1e-5, "rdp") == sampled_epsilon(much, 1e-5) < 0.2
    assert gaussian_epsilon(much.unsampled(), 1e-5, "rdp") > 1.0


@pytest.mark.parametrize(
    ("mechanism", "delta", "sound"),
    [
        (GaussianMechanism(0.0369), 1e-5, True),  # epsilon of 497 and 501 by zero-concentrated privacy
        (GaussianMechanism(0.03673), 1e-5, False),
        (GaussianMechanism(1.0), PRV_SMALLEST_DELTA, True),
        (GaussianMechanism(1.0), PRV_SMALLEST_DELTA / 2, False),
        (GaussianMechanism(0.04, 1, 0.5), 1e-5, True),
        (GaussianMechanism(0.03, 1, 0.5), 1e-5, False),
    ],
)
def test_prv_is_trusted_up_to_an_epsilon_and_down_to_a_delta(mechanism: GaussianMechanism, delta: float, sound: bool):
    assert reliable_accountant("prv", mechanism, delta) == ("prv" if sound else "rdp")
    assert reliable_accountant("rdp", mechanism, delta) == "rdp"
