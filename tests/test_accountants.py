"""Epsilons by Opacus' accountants, as the guarantees state them, against dp-accounting: within 1 %."""

import dp_accounting
import pytest
from dp_accounting.pld.pld_privacy_accountant import PLDAccountant
from dp_accounting.rdp.rdp_privacy_accountant import RdpAccountant

from seethrough.defenses._mechanism import GaussianMechanism
from seethrough.defenses.guarantees.accounting import SAMPLED_ORDERS, gaussian_epsilon, reliable_accountant

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
