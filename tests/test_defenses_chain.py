"""Chains of defenses: parts act in order, and only one of them combines updates or makes a claim."""

import pytest

from defenses import Chain
from tests.test_defenses_contract import a_cohort, an_update, built, same, same_aggregate, seeded


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
    with pytest.raises(ValueError, match="guarantee"):
        Chain((built("dp_sgd"), built("dp_sgd")))
