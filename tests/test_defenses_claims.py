"""What DP-SGD claims, against the exact Gaussian mechanism and a count of the steps that touch an example."""

import math
import re

import pytest
from opacus.accountants import RDPAccountant
from scipy import stats
from scipy.integrate import quad
from scipy.optimize import brentq

from seethrough.defenses import Guarantee
from seethrough.defenses._mechanism import GaussianMechanism
from seethrough.defenses.dp_sgd import DPSGD
from seethrough.defenses.guarantees.accounting import Accountant, gaussian_epsilon, reliable_accountant
from seethrough.recipes import Recipe

ACCOUNTANTS: tuple[Accountant, ...] = ("rdp", "prv")


def exact_epsilon(noise: float, delta: float) -> float:
    """The Gaussian mechanism's least epsilon: Balle and Wang, ICML 2018, theorem 8, solved for epsilon."""

    def excess(epsilon: float) -> float:
        first = stats.norm.cdf(1 / (2 * noise) - epsilon * noise)
        return first - math.exp(epsilon + stats.norm.logcdf(-1 / (2 * noise) - epsilon * noise)) - delta

    if excess(0.0) <= 0:
        return 0.0
    high = next(high for high in (2.0**power for power in range(100)) if excess(high) < 0)
    return brentq(excess, 0.0, high, xtol=1e-12)


def claimed(noise: float, accountant: Accountant, recipe: Recipe | None = None, count: int = 8) -> Guarantee:
    found = DPSGD(noise_multiplier=noise, max_grad_norm=0.3, accountant=accountant).guarantee(recipe or Recipe(), count)
    assert found is not None
    return found


@pytest.mark.parametrize("noise", [0.5, 1.0, 3.0])
def test_the_exact_epsilon_is_that_of_the_definition_of_differential_privacy(noise: float):
    epsilon = exact_epsilon(noise, 1e-5)

    def advantage(x: float) -> float:
        return max(0.0, stats.norm.pdf(x, 1.0, noise) - math.exp(epsilon) * stats.norm.pdf(x, 0.0, noise))

    crossing = epsilon * noise**2 + 0.5  # where the ratio of the densities is exp(epsilon)
    assert quad(advantage, crossing, crossing + 20 * noise, epsabs=1e-14)[0] == pytest.approx(1e-5, rel=1e-6)


@pytest.mark.parametrize("steps", [1, 4, 100, 1000])
@pytest.mark.parametrize("noise", [0.5, 1.0, 2.0, 8.0, 100.0])
def test_epsilon_is_that_of_the_exact_gaussian_mechanism(noise: float, steps: int):
    exact = exact_epsilon(noise / math.sqrt(steps), 1e-5)
    by_prv, by_rdp = (claimed(noise, accountant, Recipe(steps=steps)) for accountant in ("prv", "rdp"))
    assert exact <= by_rdp.epsilon <= 1.15 * exact
    if by_prv.accountant == "Opacus, PRV":
        assert exact <= by_prv.epsilon <= 1.02 * exact
    else:  # vacuous: replacing an example would pass the largest epsilon that PRV is trusted with
        assert exact_epsilon(noise / math.sqrt(steps) / 2, 1e-5) > 450
        assert by_prv.epsilon == by_rdp.epsilon


@pytest.mark.parametrize("accountant", ACCOUNTANTS)
@pytest.mark.parametrize("delta", [1e-18, 1e-12, 1e-9, 1e-5, 1e-2, 0.5])
def test_epsilon_is_never_below_the_exact_one_not_even_where_it_is_vacuous(accountant: Accountant, delta: float):
    for noise in (0.003, 0.02, 0.025, 0.03, 0.05, 0.1, 0.3, 1.0, 3.0, 30.0, 300.0, 1e4, 1e7):
        used = reliable_accountant(accountant, GaussianMechanism(noise), delta)
        found = gaussian_epsilon(GaussianMechanism(noise), delta, used)
        assert math.isfinite(found)
        assert found >= exact_epsilon(noise, delta) * (1 - 1e-9), (noise, delta)


def test_opacus_composes_steps_as_one_gaussian_of_less_noise():
    stepwise = RDPAccountant()
    for _ in range(9):
        stepwise.step(noise_multiplier=2.0, sample_rate=1.0)
    at_once = RDPAccountant()
    at_once.step(noise_multiplier=GaussianMechanism(2.0, 9).at_once().noise_multiplier, sample_rate=1.0)
    assert stepwise.get_epsilon(1e-5) == pytest.approx(at_once.get_epsilon(1e-5), rel=1e-12)


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 12])
@pytest.mark.parametrize("size", [None, 1, 2, 3, 4, 9])
@pytest.mark.parametrize("count", [1, 4, 8])
def test_as_many_steps_compose_as_can_touch_one_example(steps: int, size: int | None, count: int):
    recipe = Recipe(steps=steps, batch_size=size)
    batches = [part.tolist() for step in recipe.order(count) for part in step]
    touched = [sum(place in batch for batch in batches) for place in range(count)]
    found = claimed(1.0, "rdp", recipe, count)
    assert found.epsilon == claimed(1.0, "rdp", Recipe(steps=max(touched)), count).epsilon
    assert f"in {max(touched)} of {steps} steps" in found.sampling


def test_disjoint_slices_cost_no_more_than_one_step():
    assert claimed(1.0, "rdp", Recipe(steps=4, batch_size=2), 8).epsilon == claimed(1.0, "rdp", Recipe(), 8).epsilon
    assert claimed(1.0, "rdp", Recipe(steps=5, batch_size=2), 8).epsilon > claimed(1.0, "rdp", Recipe(), 8).epsilon


@pytest.mark.parametrize("noise", [1.0, 4.0])
def test_the_statement_gives_both_adjacencies_and_what_the_claim_rests_on(noise: float):
    found = claimed(noise, "prv")
    numbers = re.findall(r"\(([0-9.]+), 1e-05\)-differentially private", found.statement)
    added, replaced = map(float, numbers)
    assert found.epsilon <= added <= found.epsilon + 0.001
    assert exact_epsilon(noise / 2, 1e-5) <= replaced <= 1.02 * exact_epsilon(noise / 2, 1e-5)
    assert "replace one" in found.statement and "Opacus (PRV)" in found.statement
    assert "by RDP and" in found.statement and "by PRV" in found.statement
    for condition in (
        "one example",
        "public batch size as fixed normalizer",
        "one observed round",
        "no amplification by sampling",
        "at rate 1",
        "1 noised step in one observed round",
        "over 10",
        "each client adds its own",
        "idealized arithmetic",
        "not cryptographically secure",
    ):
        assert condition in found.statement
    assert (found.unit, found.delta) == ("example", 1e-5)


def test_an_accountant_that_would_claim_too_little_is_replaced_and_the_claim_says_so():
    found = claimed(0.02, "prv")
    assert found.accountant == "Opacus, RDP" and "Opacus (RDP)" in found.statement
    assert found.epsilon >= exact_epsilon(0.02, 1e-5)


def test_without_noise_nothing_is_claimed():
    assert DPSGD(noise_multiplier=0.0, max_grad_norm=1.0).guarantee(Recipe(), 8) is None
