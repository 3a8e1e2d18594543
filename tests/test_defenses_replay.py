"""DP-SGD replayed on neighboring batches with frozen noise: the sum moves by no more than the claim supposes."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seethrough.defenses import Batch
from seethrough.defenses.parts.per_sample import clipped_noised_mean
from tests.test_dp_sgd import a_batch, built, private, seeded, without

NETS = {name: built(name) for name in ("convnet", "lenet", "batchnorm in eval mode")}


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(sorted(NETS)),
    st.integers(2, 9),
    st.integers(0, 10**6),
    st.floats(1e-3, 1e2),
    st.sampled_from([1.0, 1e3, 1e10, 1e25]),
    st.booleans(),
)
def test_neighbors_move_the_sum_by_at_most_the_clipping_norm(
    name: str, size: int, seed: int, norm: float, scale: float, one_class: bool
):
    model, batch = NETS[name], a_batch(size, seed)
    place, other = seed % size, (seed + 1) % size
    batch.inputs[place] *= scale
    if one_class:
        batch = Batch(batch.inputs, torch.zeros(size, dtype=torch.int64))
    duplicated = Batch(batch.inputs.clone(), batch.labels.clone())
    duplicated.inputs[place], duplicated.labels[place] = batch.inputs[other], batch.labels[other]
    # The noise is frozen (same stream), so that it drops out of the difference of two sums.
    sums = {key: len(b) * private(model, b, 1.0, norm) for key, b in
            (("all", batch), ("removed", without(batch, place)), ("replaced", duplicated))}  # fmt: skip
    rounding = 1e-5 * norm * size
    assert (sums["all"] - sums["removed"]).norm() <= norm + rounding
    assert (sums["all"] - sums["replaced"]).norm() <= 2 * norm + rounding


def test_the_clipping_norm_is_reached_so_the_bound_on_neighbors_is_tight():
    model, batch, norm = built("convnet"), a_batch(4), 1e-3
    difference = 4 * private(model, batch, 1.0, norm) - 3 * private(model, without(batch, 2), 1.0, norm)
    assert difference.norm().item() == pytest.approx(norm, rel=0.02)


@pytest.mark.parametrize("poison", [float("nan"), float("inf"), -float("inf")])
def test_an_example_whose_gradient_is_not_finite_counts_as_zero(poison: float):
    model, batch = built("convnet"), a_batch(4)
    poisoned = Batch(batch.inputs.clone(), batch.labels)
    poisoned.inputs[1, 0, 3, 3] = poison
    expected = 3 * private(model, without(batch, 1), 0.0, 0.5) / 4
    assert torch.allclose(private(model, poisoned, 0.0, 0.5), expected, atol=1e-6)


def test_huge_finite_gradients_are_clipped_not_lost_to_overflow():
    samples = {"a": torch.tensor([[1e30, 0.0], [3.0, 4.0]]), "b": torch.tensor([0.0, 0.0])}
    mean = clipped_noised_mean(samples, torch.ones(2).bool(), 2, 0.0, 1.0, "flat", seeded(0))
    assert mean["a"].isfinite().all()
    assert mean["a"].norm() <= 1.0 and mean["b"].shape == ()
