"""Every claim, replayed on cohorts: with the noise frozen, all that all clients send moves by no more than the claim
supposes when one client is taken away or replaced.

The joint length of the change is taken of everything that is sent up to the part that adds the noise: what comes after it
works on what is noisy already. Whoever is taken away adds nothing to what that part noises, whatever came before it did to
an update of zeros. Claims about examples are made in training, before clients meet: `test_dp_replay` replays those.
"""

import itertools
import math

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as some
from torch import Tensor

from seethrough.audit.specification.kinds import entries_of
from seethrough.contracts.entries import seeded
from seethrough.defenses import Chain, Defense, Update
from seethrough.defenses.adaptive_clipping import AdaptiveClipping
from seethrough.defenses.client_dp import ClientDP
from seethrough.defenses.clipping import Clipping
from seethrough.defenses.gaussian_noise import GaussianNoise
from seethrough.recipes import Recipe
from tests.parameters import built

PARTS: list[Defense] = [
    built(name) for name in entries_of("defenses").entries if name not in ("none", "secure_aggregation")
]
PARTS += [AdaptiveClipping(clients=3, quantile=0.9), Clipping(max_norm=2.0, per_layer=True), GaussianNoise(std=3.0)]
PARTS += [ClientDP(noise_multiplier=0.7, max_norm=3.0)]
SHAPES = {"weight": (4, 3), "bias": (4,)}


def an_update(seed: int, norm: float) -> Update:
    rng = seeded(seed)
    step = {name: torch.randn(shape, generator=rng, dtype=torch.float64) for name, shape in SHAPES.items()}
    length = torch.cat([part.flatten() for part in step.values()]).norm()
    return Update({name: part * norm / length for name, part in step.items()}, 4, {})


def absent(update: Update) -> Update:
    return Update({name: torch.zeros_like(part) for name, part in update.step.items()}, update.count, {})


def chained(parts: tuple[Defense, ...]) -> Defense | None:
    try:
        return Chain(parts)
    except ValueError:
        return None


def noising(parts: tuple[Defense, ...]) -> tuple[Defense, ...]:
    """The parts up to the one that adds the noise which the claim is for."""
    claim, prefixes = Chain(parts).guarantee(Recipe(), 4), (parts[:length] for length in range(1, len(parts) + 1))
    return next(prefix for prefix in prefixes if Chain(prefix).guarantee(Recipe(), 4) == claim)


def sent(parts: tuple[Defense, ...], cohort: list[Update], seed: int, gone: bool = False) -> Tensor:
    """Every coordinate that any client sends; if the first one is `gone`, nothing of it is left for the last part to noise."""
    rngs = tuple(seeded(seed + place) for place in range(len(cohort)))
    first, *rest = Chain(parts[:-1]).cohort_step(tuple(cohort), rngs) if len(parts) > 1 else tuple(cohort)
    fresh = tuple(seeded(seed + 100 + place) for place in range(len(cohort)))
    found = parts[-1].cohort_step((absent(first) if gone else first, *rest), fresh)
    return torch.cat([part.flatten() for update in found for part in update.step.values()])


def moved(parts: tuple[Defense, ...], norms: list[float], changed: float | None, seed: int) -> tuple[float, float]:
    """By how much the release moves when the first client is replaced by one of norm `changed`, or taken away, and by how much
    the claim supposes that it moves at most."""
    claim = Chain(parts).guarantee(Recipe(), 4)
    assert claim is not None and claim.mechanism is not None and claim.unit == "client"
    prefix = noising(parts)
    cohort = [an_update(seed + place, norm) for place, norm in enumerate(norms)]
    other = absent(cohort[0]) if changed is None else an_update(seed + 999, changed)
    neighbor = sent(prefix, [other, *cohort[1:]], seed, gone=changed is None)
    distance = float((sent(prefix, cohort, seed) - neighbor).norm())
    variance = prefix[-1].noise(cohort[0].step, Recipe(), 4)["bias"]
    unit = math.sqrt(float(variance)) / claim.mechanism.noise_multiplier
    return distance, unit if changed is None else 2 * unit


def claims_for_clients(parts: tuple[Defense, ...]) -> bool:
    chain = chained(parts)
    claim = None if chain is None else chain.guarantee(Recipe(), 4)
    return claim is not None and claim.unit == "client" and chain.cohort() <= 33


CLAIMING = [
    parts
    for length in (1, 2, 3)
    for parts in itertools.product([built(name) for name in entries_of("defenses").entries], repeat=length)
    if claims_for_clients(parts)
]


@pytest.mark.parametrize("clients", [3, 9, pytest.param(33, marks=pytest.mark.slow)])
def test_every_chain_of_up_to_three_that_claims_moves_no_more_than_it_supposes(clients: int):
    """Among others `[adaptive_clipping, client_dp]`: an epsilon of 2.17 was claimed where it is 3.2, 5.4 and 11.1."""
    assert len(CLAIMING) > 50  # of 4,368 chains; most others claim nothing
    rising = [0.2 * 1.3**place for place in range(clients)]
    for parts in CLAIMING:
        for changed in (None, 1e-3, 1e3):
            for norms in ([100.0, *rising[1:]], [0.01, *rising[1:]]):
                distance, most = moved(parts, norms, changed, seed=5)
                assert distance <= most * (1 + 1e-9), (parts, changed, norms[0])


@settings(
    deadline=None, max_examples=120, suppress_health_check=[HealthCheck.filter_too_much]
)  # most chains claim nothing
@given(
    some.lists(some.sampled_from(PARTS), min_size=1, max_size=3),
    some.lists(some.sampled_from([1e-3, 0.05, 0.3, 0.7, 1.0, 3.0, 50.0, 1e4]), min_size=3, max_size=9),
    some.sampled_from([None, 1e-4, 0.5, 2.0, 1e5]),
    some.integers(0, 10**6),
)
def test_no_cohort_that_hypothesis_finds_moves_a_claim_by_more(parts, norms, changed, seed):
    assume(claims_for_clients(tuple(parts)))
    distance, most = moved(tuple(parts), norms, changed, seed)
    assert distance <= most * (1 + 1e-9)


def test_a_chain_in_which_clients_mix_before_the_noise_claims_nothing_and_says_why():
    dp = ClientDP(noise_multiplier=2.0, max_norm=1.0)
    for parts in (
        (AdaptiveClipping(), dp),
        (Clipping(max_norm=1.0), AdaptiveClipping(), GaussianNoise(std=2.0)),
        (AdaptiveClipping(), Clipping(max_norm=1.0), GaussianNoise(std=2.0)),
    ):
        assert Chain(parts).guarantee(Recipe(), 4) is None, parts
        assert "agree on something before" in Chain(parts).why_unclaimed()
    assert Chain((dp, AdaptiveClipping())).guarantee(Recipe(), 4) == dp.guarantee(
        Recipe(), 4
    )  # after the noise, it may


def test_the_supposed_sensitivity_is_reached_so_an_excess_would_be_seen():
    distance, most = moved((ClientDP(noise_multiplier=1.0, max_norm=0.5),), [100.0, 1.0, 1.0], None, 3)
    assert distance == pytest.approx(most)


@pytest.mark.parametrize(("clients", "times"), [(3, 1.41), (9, 2.24), (33, 4.12)])
def test_the_replay_sees_what_one_client_moves_in_all_the_others(clients: int, times: float):
    """One of an even number of updates of two lengths decides the median, hence what half of the others send: by so many times
    what noise for a single update covers."""
    half = (clients - 1) // 2
    cohort = [an_update(place, 1.0 if place <= half else 1e-6) for place in range(clients)]
    changed = [absent(cohort[0]), *cohort[1:]]
    parts = (AdaptiveClipping(clients=clients), Clipping(max_norm=1.0))
    assert float((sent(parts, cohort, 0) - sent(parts, changed, 0)).norm()) == pytest.approx(times, abs=0.01)
