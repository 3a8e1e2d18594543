"""Sparsification, quantization, signs, partial sharing, more ways of clipping and Laplace noise, against their formulas."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy import stats
from torch import Generator, Tensor

from seethrough.defenses import Params, Update
from seethrough.defenses.adaptive_clipping import AdaptiveClipping
from seethrough.defenses.clipping import Clipping
from seethrough.defenses.laplace_noise import LaplaceNoise
from seethrough.defenses.partial_sharing import PartialSharing
from seethrough.defenses.quantization import Quantization
from seethrough.defenses.sign import Sign
from seethrough.defenses.top_k import TopK


def seeded(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def an_update(seed: int = 0, scale: float = 1.0) -> Update:
    rng = seeded(seed)
    shapes = {"first.weight": (5, 3), "first.bias": (5,), "last.weight": (4, 5), "last.bias": (4,)}
    return Update({name: scale * torch.randn(shape, generator=rng) for name, shape in shapes.items()}, 4, {})


def flat(step: Params) -> Tensor:
    return torch.cat([part.flatten() for part in step.values()])


def length(step: Params) -> float:
    """The L2 norm in plain Python."""
    return math.sqrt(sum(value**2 for value in flat(step).tolist()))


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 1000), st.floats(1e-3, 1.0))
def test_top_k_sends_the_largest_coordinates_and_zero_for_the_rest(seed: int, share: float):
    update = an_update(seed)
    sent = flat(TopK(share=share).release(update, seeded()).step).tolist()
    values = flat(update.step).tolist()
    ranked = sorted(range(len(values)), key=lambda place: -abs(values[place]))[: math.ceil(share * len(values))]
    assert sent == [value if place in ranked else 0.0 for place, value in enumerate(values)]


def test_what_top_k_held_back_is_expected_to_be_small_and_only_the_excess_counts():
    step = {"a": torch.tensor([4.0, -3.0, 0.5, -1.0])}
    seen = TopK(share=0.5).release(Update(step, 1, {}), seeded()).step
    guessed = {"a": torch.tensor([4.0, -3.0, 2.0, -3.5])}
    assert TopK(share=0.5).expected(step, seen)["a"].tolist() == [4.0, -3.0, 0.0, 0.0]
    assert TopK(share=0.5).expected(guessed, seen)["a"].tolist() == [4.0, -3.0, 0.0, -0.5]
    tenfold = TopK(share=0.5).expected({"a": 10 * guessed["a"]}, seen)["a"]
    assert torch.allclose(tenfold, torch.tensor([40.0, -30.0, 0.0, -5.0]))


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 1000), st.integers(2, 8), st.sampled_from([1e-6, 1.0, 1e6]), st.booleans())
def test_a_quantized_coordinate_is_a_level_next_to_the_true_one(seed: int, bits: int, scale: float, nearest: bool):
    update = an_update(seed, scale)
    sent = Quantization(bits=bits, rounding="nearest" if nearest else "stochastic").release(update, seeded(seed)).step
    steps = 2 ** (bits - 1) - 1
    for name, part in update.step.items():
        largest = max(abs(value) for value in part.flatten().tolist())
        codes = (sent[name].double() / (largest / steps)).flatten()
        assert torch.allclose(codes, codes.round(), atol=1e-4) and codes.abs().max() <= steps * (1 + 1e-5)
        error = (codes - part.double().flatten() / (largest / steps)).abs().max()
        assert error <= (0.5 if nearest else 1.0) + 1e-4


def test_stochastic_rounding_is_right_on_average():
    update, draws, rng = an_update(), 4000, seeded(5)
    sent = torch.stack([flat(Quantization(bits=3).release(update, rng).step) for _ in range(draws)]).double()
    exact = flat(update.step).double()
    spread = sent.std(dim=0) / math.sqrt(draws) + 1e-5  # what is sent without chance is rounded to float32
    assert ((sent.mean(dim=0) - exact).abs() / spread).max() < 4.5


def test_the_rounding_noise_is_as_large_as_the_attacker_is_told():
    part = torch.rand(100_000, generator=seeded(1)) * 2 - 1
    defense = Quantization(bits=4)
    seen = defense.release(Update({"a": part}, 1, {}), seeded(2)).step
    told = float(defense.noise(seen, None, None)["a"])
    assert (seen["a"] - part).square().mean() == pytest.approx(told, rel=0.02)


def test_signs_are_sent_with_each_tensors_mean_magnitude():
    sent = Sign().release(
        Update({"a": torch.tensor([1.0, -4.0, 0.0, 3.0]), "b": torch.tensor([-2.0])}, 1, {}), seeded()
    )
    assert sent.step["a"].tolist() == [2.0, -2.0, 2.0, 2.0] and sent.step["b"].tolist() == [-2.0]


def test_what_signs_leave_out_of_normal_coordinates_is_what_the_attacker_is_told():
    part = torch.randn(100_000, generator=seeded(1))
    seen = Sign().release(Update({"a": part}, 1, {}), seeded()).step
    told = float(Sign().noise(seen, None, None)["a"])
    assert (seen["a"] - part).square().mean() == pytest.approx(told, rel=0.02)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 1000), st.floats(1e-3, 0.99), st.sampled_from(["none", "first", "last"]))
def test_partial_sharing_sends_so_many_coordinates_exactly_and_nothing_of_the_withheld_layer(
    seed: int, share: float, withheld: str
):
    update = an_update(seed)
    sent = PartialSharing(share=share, withheld=withheld).release(update, seeded(seed)).step
    hidden = [name for name in sent if name.startswith(withheld)]
    assert len(hidden) == (0 if withheld == "none" else 2) and not any(sent[name].any() for name in hidden)
    for name, part in update.step.items():
        assert torch.equal(sent[name], part * (sent[name] != 0))
    if withheld == "none":
        assert int((flat(sent) != 0).sum()) == math.ceil(share * len(flat(sent)))


def test_every_coordinate_has_the_same_chance_of_being_sent():
    update, rng = an_update(), seeded(8)
    hits = torch.stack([flat(PartialSharing(share=0.25).release(update, rng).step) != 0 for _ in range(2000)]).sum(
        dim=0
    )
    assert stats.chisquare(hits.numpy()).pvalue > 1e-3


def test_an_update_that_is_shared_wholly_is_no_partial_sharing():
    with pytest.raises(ValidationError, match="found neither"):
        PartialSharing()


@pytest.mark.parametrize("quantile", [0.2, 0.5, 0.9])
def test_adaptive_clipping_cuts_every_update_to_the_quantile_of_the_cohorts_norms(quantile: float):
    updates = tuple(an_update(seed, scale) for seed, scale in enumerate([0.1, 1.0, 5.0, 0.5, 2.0]))
    rngs = tuple(seeded() for _ in updates)
    found = AdaptiveClipping(quantile=quantile, clients=5).cohort_step(updates, rngs)
    bound = float(np.quantile([length(update.step) for update in updates], quantile))
    for sent, update in zip(found, updates, strict=True):
        factor = min(1.0, bound / length(update.step))
        assert torch.allclose(flat(sent.step), factor * flat(update.step), rtol=1e-4)


def test_a_cohort_that_mostly_sends_nothing_is_left_as_it_is():
    updates = tuple(an_update(seed, scale) for seed, scale in enumerate([0.0, 0.0, 0.0, 1.0]))
    found = AdaptiveClipping().cohort_step(updates, tuple(seeded() for _ in updates))
    assert all(torch.equal(flat(sent.step), flat(update.step)) for sent, update in zip(found, updates, strict=True))


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 1000), st.floats(1e-3, 1e3))
def test_per_layer_clipping_bounds_each_tensor_and_with_them_the_whole(seed: int, max_norm: float):
    update = an_update(seed)
    sent = Clipping(max_norm=max_norm, per_layer=True).release(update, seeded()).step
    assert length(sent) <= max_norm * (1 + 1e-6)
    for name, part in update.step.items():
        norm = math.sqrt(sum(value**2 for value in part.flatten().tolist()))
        assert torch.allclose(sent[name], part * min(1.0, max_norm / 2 / norm), rtol=1e-5)


def test_laplace_noise_has_the_distribution_that_it_says():
    update, scale, rng = an_update(1), 0.3, seeded(4)
    noise = torch.cat(
        [flat(LaplaceNoise(scale=scale).release(update, rng).step) - flat(update.step) for _ in range(400)]
    )
    assert stats.kstest(noise.double().numpy(), "laplace", args=(0, scale)).pvalue > 1e-3
    told = LaplaceNoise(scale=scale).noise(update.step, None, None)["first.bias"]
    assert noise.square().mean() == pytest.approx(float(told), rel=0.05)


@pytest.mark.parametrize(
    ("entry", "field", "values"),
    [
        (TopK, "share", [0.0, -0.1, 1.1, float("nan")]),
        (Quantization, "bits", [1, 17, 2.5]),
        (LaplaceNoise, "scale", [0.0, -1.0, float("inf")]),
        (PartialSharing, "share", [0.0, 1.1]),
        (AdaptiveClipping, "quantile", [0.0, 1.0]),
    ],
)
def test_parameters_out_of_range_are_refused_by_name(entry, field: str, values: list[float]):
    for value in values:
        with pytest.raises(ValidationError, match=field):
            entry(**{field: value})
