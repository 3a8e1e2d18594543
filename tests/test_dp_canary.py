"""Can the step of DP-SGD be told apart with and without a canary? Never more often than its epsilon allows.

Auditing Differentially Private Machine Learning (Jagielski, Ullman and Oprea, NeurIPS 2020), arXiv:2006.07709: from
Clopper-Pearson limits of a distinguisher's rates follows a lower limit of epsilon. It must not exceed the claim; and
with half of the noise it must, or the test would see nothing. The batch has three examples, as that of Opacus' issue 571,
which claims 1.2 where 2.5 was measured.
"""

import math
from dataclasses import dataclass

import pytest
import torch
from scipy import stats
from torch import Tensor

from seethrough.contracts.defenses import an_update
from seethrough.defenses.client_dp import ClientDP
from seethrough.defenses.dp_sgd import DPSGD
from seethrough.defenses.parts.per_sample import clipped_noised_mean, per_sample_gradients
from seethrough.recipes import Recipe
from seethrough.recipes.losses.cross_entropy import CrossEntropy
from tests.test_dp_sgd import a_batch, built, flat, seeded

RUNS = 2_000  # with the canary, and as many without
DOUBT = 0.005  # each of the two limits may fail with this probability
DELTA = 0.01


@dataclass(frozen=True)
class Audited:
    """The lower limit of epsilon, and what it comes from."""

    epsilon: float
    hits: int
    alarms: int
    runs: int


def audited(present: Tensor, absent: Tensor, delta: float) -> Audited:
    """The lower limit by a threshold on one score a run [runs], chosen on the first half, judged on the second."""
    half = len(present) // 2
    thresholds = torch.quantile(torch.cat([present[:half], absent[:half]]), torch.linspace(0.02, 0.999, 60).double())
    best = max(thresholds.tolist(), key=lambda t: _limit(present[:half], absent[:half], t, delta).epsilon)
    return _limit(present[half:], absent[half:], best, delta)


def _limit(present: Tensor, absent: Tensor, threshold: float, delta: float) -> Audited:
    hits, alarms, runs = int((present > threshold).sum()), int((absent > threshold).sum()), len(present)
    least_hits = stats.beta.ppf(DOUBT, hits, runs - hits + 1) if hits else 0.0
    most_alarms = stats.beta.ppf(1 - DOUBT, alarms + 1, runs - alarms) if alarms < runs else 1.0
    gain = (least_hits - delta) / most_alarms
    return Audited(math.log(gain) if gain > 0 else 0.0, hits, alarms, runs)


def scores(claimed: DPSGD, actual_noise: float, canary: bool, seed: int) -> Tensor:
    """How far each run's release of a batch of three points along the clipped canary's gradient, in its own length."""
    model, batch = built("lenet"), a_batch(3)
    batch.inputs[0] *= 30  # the canary: its gradient is clipped
    everyone = per_sample_gradients(model, batch, CrossEntropy())
    alone = {name: part[:1] for name, part in everyone.items()}
    rate = claimed.sample_rate if claimed.sampling == "poisson" else 1.0

    def released(samples, drawn, expected, noise, rng):
        return flat(clipped_noised_mean(samples, drawn, expected, noise, claimed.max_grad_norm, claimed.clipping, rng))

    direction = released(alone, torch.ones(1).bool(), 1.0, 0.0, seeded(0)).double()
    assert direction.norm().item() == pytest.approx(claimed.max_grad_norm, rel=0.1)
    if not canary:
        everyone = {name: part.clone() for name, part in everyone.items()}
        for part in everyone.values():
            part[0] = float("nan")  # a gap in its place
    found, rng = [], seeded(seed)
    for _ in range(RUNS):
        drawn = torch.rand(3, generator=rng) < rate
        mean = released(everyone, drawn, rate * 3, actual_noise, rng).double()
        found.append(mean @ direction * rate * 3 / claimed.max_grad_norm**2)
    return torch.stack(found)


def step(**options) -> DPSGD:
    return DPSGD(**({"noise_multiplier": 1.0, "max_grad_norm": 0.5, "delta": DELTA, "accountant": "prv"} | options))


MECHANISMS = {
    "flat": step(),
    "per layer": step(clipping="per_layer"),
    "poisson": step(sampling="poisson", sample_rate=0.5),
}


@pytest.mark.parametrize("name", MECHANISMS)
def test_the_canary_is_not_found_more_often_than_the_claim_allows_and_with_half_the_noise_it_is(name: str):
    claimed = MECHANISMS[name]
    epsilon = claimed.guarantee(Recipe(), 3).epsilon
    honest, halved = (
        audited(scores(claimed, noise, True, seed=1), scores(claimed, noise, False, seed=2), DELTA)
        for noise in (claimed.noise_multiplier, claimed.noise_multiplier / 2)
    )
    print(f"{name}: claimed {epsilon:.2f}, honest {honest}, halved {halved}")
    assert 0.1 * epsilon < honest.epsilon <= epsilon
    assert halved.epsilon > epsilon


@pytest.mark.parametrize("noise", [1.0, 0.5])
def test_a_client_is_not_found_more_often_than_client_level_dp_allows(noise: float):
    claimed = ClientDP(noise_multiplier=1.0, max_norm=0.5, delta=DELTA, accountant="prv")
    update, rng = an_update(0), seeded(3)
    actual = ClientDP(noise_multiplier=noise, max_norm=0.5)
    silent = type(update)({name: torch.zeros_like(part) for name, part in update.step.items()}, update.count, {})
    direction = flat(update.step).double() / flat(update.step).double().norm()
    present, absent = (
        torch.stack([flat(actual.release(one, rng).step).double() @ direction for _ in range(RUNS)])
        for one in (update, silent)
    )
    found, epsilon = audited(present, absent, DELTA).epsilon, claimed.guarantee(Recipe(), 3).epsilon
    assert found <= epsilon if noise == 1.0 else found > epsilon


def test_the_lower_limit_fails_no_more_often_than_it_says():
    """One Gaussian sum, whose epsilon at this delta is known exactly: honest limits exceed it in at most 1 % of audits."""
    low, high = 0.0, 20.0
    for _ in range(60):
        middle = (low + high) / 2
        spent = stats.norm.cdf(0.5 - middle) - math.exp(middle) * stats.norm.cdf(-0.5 - middle)
        low, high = (middle, high) if spent > DELTA else (low, middle)
    rng, repeats = seeded(0), 80
    wrong = sum(
        audited(
            1 + torch.randn(600, generator=rng).double(), torch.randn(600, generator=rng).double(), DELTA
        ).epsilon > high
        for _ in range(repeats)
    )  # fmt: skip
    assert stats.binom.sf(wrong - 1, repeats, 2 * DOUBT) > 1e-3
