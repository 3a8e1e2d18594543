"""Chains of defenses: parts act in order, and only one of them combines updates or makes a claim."""

import pytest
import torch

from seethrough.common.entry import entry
from seethrough.contracts.defenses import a_cohort, an_update, same, same_aggregate
from seethrough.contracts.entries import seeded
from seethrough.defenses import Chain, Defense, Guarantee
from seethrough.recipes import Recipe
from tests.parameters import built


def test_a_chain_clips_before_it_sums_in_secret():
    clipping, summing = built("clipping"), built("secure_aggregation")
    chain = Chain((clipping, summing))
    updates = tuple(chain.release(update, seeded()) for update in a_cohort(chain))
    expected = tuple(clipping.release(update, seeded()) for update in a_cohort(summing))
    assert all(same(*pair) for pair in zip(updates, expected, strict=True))
    assert same_aggregate(chain.aggregate(updates, seeded(1)), summing.aggregate(expected, seeded(1)))
    assert chain.cohort() == summing.cohort()
    assert chain.aggregate(updates, seeded(1)).seen == ()


def test_a_chain_applies_its_parts_in_order():
    noise, clipping = built("gaussian_noise"), built("clipping")
    last = Chain((noise, clipping)).release(an_update(), seeded(2))
    by_hand = clipping.release(noise.release(an_update(), seeded(2)), seeded(2))
    assert same(last, by_hand)
    assert not same(last, Chain((clipping, noise)).release(an_update(), seeded(2)))


def test_a_chain_combines_updates_in_one_way_only():
    with pytest.raises(ValueError, match="SecureAggregation, SecureAggregation"):
        Chain((built("secure_aggregation"), built("clipping"), built("secure_aggregation")))


def test_a_chain_claims_one_guarantee_only():
    @entry
    class Claiming(Defense):
        def guarantee(self, recipe: Recipe, count: int) -> Guarantee | None:
            return None

    with pytest.raises(ValueError, match="`guarantee`, found DPSGD, Claiming"):
        Chain((built("dp_sgd"), Claiming()))


def test_a_chain_replaces_the_gradient_in_one_way_only():
    with pytest.raises(ValueError, match="`train`, found DPSGD, DPSGD"):
        Chain((built("dp_sgd"), built("dp_sgd")))


def test_a_chain_clips_to_the_cohorts_quantile_before_it_adds_noise():
    chain = Chain((built("adaptive_clipping"), built("gaussian_noise")))
    updates, rngs = a_cohort(chain), tuple(seeded(place) for place in range(4))
    clipped = built("adaptive_clipping").cohort_step(updates, rngs)
    noisy = tuple(built("gaussian_noise").release(update, seeded(place)) for place, update in enumerate(clipped))
    found = chain.cohort_step(updates, tuple(seeded(place) for place in range(4)))
    assert all(same(*pair) for pair in zip(found, noisy, strict=True))


def test_a_chain_expects_and_adds_noise_as_its_parts_do_one_after_another():
    top, clip, noise = built("top_k"), built("clipping"), built("gaussian_noise")
    chain, step = Chain((top, clip, noise, noise)), an_update().step
    seen = chain.release(an_update(), seeded()).step
    by_hand = clip.expected(top.expected(step, seen), seen)
    assert all(torch.equal(part, by_hand[name]) for name, part in chain.expected(step, seen).items())
    assert {name: float(part) for name, part in chain.noise(seen, None, None).items()} == pytest.approx(
        dict.fromkeys(seen, 0.02)
    )
