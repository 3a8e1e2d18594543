"""Secure aggregation: the sum is right, and nothing less than the sum can be read."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy import stats
from torch import Generator, Tensor

from defenses import Update
from defenses._base import weighted_mean
from defenses._masking import expanded, masked, pairwise_seeds
from defenses.secure_aggregation import SecureAggregation

RING = 2**32
BINS = 64


def seeded(seed: int) -> Generator:
    return Generator().manual_seed(seed)


def an_update(seed: int, count: int, shape: tuple[int, ...] = (4, 3), scale: float = 1.0) -> Update:
    rng = seeded(seed)

    def within() -> Tensor:
        return scale * (2 * torch.rand(shape, generator=rng) - 1)

    return Update({"weight": within(), "bias": within()[..., 0]}, count, {"norm.running_mean": within()})


def uniformity(numbers: Tensor, modulus: int = RING) -> float:
    """The p-value of a chi-square test that the numbers fill the bins of the ring evenly."""
    counts = np.bincount((numbers // (modulus // BINS)).numpy(), minlength=BINS)
    assert len(counts) == BINS
    return stats.chisquare(counts).pvalue


def worst_error(defense: SecureAggregation, updates: tuple[Update, ...]) -> float:
    found, plain = defense.aggregate(updates, seeded(0)).mean, weighted_mean(doubled(updates))
    step = [(found.step[name] - plain.step[name]).abs().max() for name in plain.step]
    return max(map(float, [*step, *((found.buffers[n] - plain.buffers[n]).abs().max() for n in plain.buffers)]))


def doubled(updates: tuple[Update, ...]) -> tuple[Update, ...]:
    return tuple(
        Update({n: t.double() for n, t in u.step.items()}, u.count, {n: t.double() for n, t in u.buffers.items()})
        for u in updates
    )


@settings(deadline=None, max_examples=80)
@given(
    st.lists(st.integers(1, 500), min_size=2, max_size=9),
    st.lists(st.integers(1, 5), min_size=1, max_size=4),
    st.integers(0, 10**6),
    st.sampled_from([0.5, 8.0, 100.0]),
    st.sampled_from([2**8, 2**22, 1000]),
)
def test_the_decoded_mean_is_the_weighted_mean_up_to_the_encodings_resolution(
    counts: list[int], shape: list[int], seed: int, reach: float, levels: int
):
    defense = SecureAggregation(clients=len(counts), clipping_range=reach, quantization_range=levels)
    updates = tuple(an_update(seed + i, count, tuple(shape), scale=reach) for i, count in enumerate(counts))
    weights = sum(count / max(counts) for count in counts)
    bound = len(counts) * reach / (levels * weights)  # half a level from each client, over the sum of weights
    single_precision = reach * 2**-23
    assert worst_error(defense, updates) <= bound + single_precision


def test_the_bound_on_the_error_is_tight():
    level = 2 * 8.0 / 2**22
    halfway = Update({"a": torch.full((1,), 0.4999 * level, dtype=torch.float64)}, 3, {})
    found = SecureAggregation(clients=4).aggregate((halfway,) * 4, seeded(0)).mean
    assert abs(found.step["a"].item() - halfway.step["a"].item()) == pytest.approx(8.0 / 2**22, rel=1e-3)


def test_what_lies_beyond_the_clipping_range_is_clipped_to_it():
    far = Update({"a": torch.tensor([100.0, -100.0, 1.0])}, 1, {})
    found = SecureAggregation(clients=2, clipping_range=2.0).aggregate((far, far), seeded(0)).mean
    assert torch.allclose(found.step["a"], torch.tensor([2.0, -2.0, 1.0]), atol=1e-6)


def test_the_largest_sum_does_not_wrap_around():
    defense = SecureAggregation(clients=3, clipping_range=1.0, quantization_range=85, modulus=256)
    full = Update({"a": torch.ones(2)}, 1, {})
    assert torch.equal(defense.aggregate((full,) * 3, seeded(0)).mean.step["a"], torch.ones(2))


def test_the_server_reads_no_update_and_its_messages_add_up_to_the_sum():
    updates = tuple(an_update(i, i + 1) for i in range(4))
    aggregate = SecureAggregation().aggregate(updates, seeded(0))
    assert aggregate.seen == ()
    assert aggregate.mean.count == 10
    size = sum(part.numel() for part in (*updates[0].step.values(), *updates[0].buffers.values()))
    for message in aggregate.masked:
        assert message.shape == (size,) and message.dtype == torch.int64
        assert message.min() >= 0 and message.max() < RING
    summed = torch.stack(aggregate.masked).sum(dim=0) % RING
    decoded = (summed.double() * (16.0 / 2**22) - 32.0) / 2.5
    assert torch.allclose(decoded[:12].float(), aggregate.mean.step["weight"].flatten(), atol=1e-6)


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 8), st.integers(0, 200), st.integers(0, 10**6), st.sampled_from([2, 2**16, 2**32, 2**48]))
def test_masks_cancel_exactly_in_the_sum(clients: int, size: int, seed: int, modulus: int):
    messages = tuple(torch.randint(modulus, (size,), generator=seeded(seed + i)) for i in range(clients))
    hidden = masked(messages, pairwise_seeds(clients, seeded(seed)), modulus)
    assert torch.equal(torch.stack(hidden).sum(dim=0) % modulus, torch.stack(messages).sum(dim=0) % modulus)


@pytest.mark.parametrize("clients", [2, 3, 4])
def test_every_message_and_every_sum_of_some_but_not_all_is_uniform_on_the_ring(clients: int):
    constant = Update({"a": torch.full((20_000,), 0.125)}, 1, {})
    messages = SecureAggregation(clients=clients).aggregate((constant,) * clients, seeded(17)).masked
    for size in range(1, clients):
        for some in itertools.combinations(messages, size):
            assert uniformity(torch.stack(some).sum(dim=0) % RING) > 1e-3
    assert (torch.stack(messages).sum(dim=0) % RING).unique().numel() == 1


def test_an_unmasked_message_would_fail_the_test_of_uniformity():
    normal = torch.randn(20_000, generator=seeded(0))
    encoded = SecureAggregation()._encoded(normal.double())
    assert uniformity(encoded) < 1e-9


def test_a_message_says_nothing_of_the_update_behind_it():
    first, second = (Update({"a": torch.full((20_000,), value)}, 1, {}) for value in (-8.0, 8.0))
    others = tuple(Update({"a": torch.zeros(20_000)}, 1, {}) for _ in range(3))
    low = SecureAggregation().aggregate((first, *others), seeded(1)).masked[0]
    high = SecureAggregation().aggregate((second, *others), seeded(2)).masked[0]
    assert stats.ks_2samp(low.numpy(), high.numpy()).pvalue > 1e-3


def test_each_pair_has_a_secret_of_its_own_and_each_round_other_secrets():
    seeds, later = pairwise_seeds(9, seeded(0)), pairwise_seeds(9, seeded(1))
    assert len(seeds) == 36
    assert len({*seeds.values(), *later.values()}) == 72
    assert all(len(seed) == 32 for seed in seeds.values())
    assert pairwise_seeds(9, seeded(0)) == seeds


def test_masks_are_little_endian_words_of_shake_256():
    # SHAKE-256 of the empty message starts with these bytes (FIPS 202 example values).
    digest = bytes.fromhex("46b9dd2b0ba88d13233b3feb743eeb24")
    expected = [int.from_bytes(digest[i : i + 8], "little") % RING for i in (0, 8)]
    assert expanded(b"", 2, RING).tolist() == expected


@pytest.mark.parametrize("modulus", [2**8, 2**32, 2**48])
def test_masks_are_uniform_on_rings_of_any_size(modulus: int):
    assert uniformity(expanded(b"a seed", 50_000, modulus), modulus) > 1e-3


@pytest.mark.parametrize("present", [0, 1, 3, 5])
def test_another_number_of_updates_than_clients_is_refused(present: int):
    with pytest.raises(ValueError, match=f"4 clients .* found {present}"):
        SecureAggregation(clients=4).aggregate(tuple(an_update(i, 1) for i in range(present)), seeded(0))


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_an_update_that_is_not_finite_is_refused(poison: float):
    bad = dataclasses.replace(an_update(0, 1), step={"weight": torch.full((4, 3), poison), "bias": torch.zeros(4)})
    with pytest.raises(ValueError, match="not finite"):
        SecureAggregation(clients=2).aggregate((an_update(1, 1), bad), seeded(0))


def test_parts_are_matched_by_name_not_by_order():
    first = an_update(0, 1)
    turned = Update(dict(reversed(first.step.items())), 1, first.buffers)
    found = SecureAggregation(clients=2).aggregate((first, turned), seeded(0)).mean
    assert all(torch.allclose(found.step[name], part, atol=1e-5) for name, part in first.step.items())


def test_a_ring_too_small_for_the_sum_is_refused():
    with pytest.raises(ValidationError, match=r"modulus must exceed clients \* quantization_range = 4096, found 4096"):
        SecureAggregation(clients=4, quantization_range=1024, modulus=4096)
    SecureAggregation(clients=4, quantization_range=1023, modulus=4096)


@pytest.mark.parametrize(
    ("name", "value"),
    [("modulus", 2**32 - 5), ("modulus", 2**49), ("clients", 1), ("clipping_range", 0.0), ("quantization_range", 0)],
)
def test_parameters_out_of_range_are_refused_by_name(name: str, value: float):
    with pytest.raises(ValidationError, match=name):
        SecureAggregation(**{name: value})  # type: ignore[arg-type]
