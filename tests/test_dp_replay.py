"""DP claims tested without noise (dp-recorder, arXiv:2602.17454): replay on neighbors with the noise frozen.

The difference of two releases with the same draws is the mechanism's real sensitivity. It must not exceed the declared
one, and neither the divisor, nor the draws, nor the lines of code that run may tell the neighbors apart.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import opacus
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from opacus.optimizers import DPOptimizer
from torch import Generator, Tensor

from seethrough import defenses
from seethrough.defenses import Batch
from seethrough.defenses.dp_sgd import DPSGD
from tests.test_dp_sgd import a_batch, built, flat, loop, never_called, seeded

NETS = {name: built(name) for name in ("convnet", "lenet", "batchnorm in eval mode")}
WATCHED = tuple(str(Path(package.__file__).parent) for package in (defenses, opacus))
CLIPPINGS, RATES = ("flat", "per_layer"), (1.0, 0.5, 0.07)


def mechanism(clipping: str, rate: float, noise: float = 1.0, norm: float = 0.5) -> DPSGD:
    sampling = "fixed" if rate == 1 else "poisson"
    return DPSGD(noise_multiplier=noise, max_grad_norm=norm, clipping=clipping, sampling=sampling, sample_rate=rate)  # type: ignore[arg-type]


def removed(batch: Batch, place: int) -> Batch:
    """The neighbor without one example: a gap, which the mechanism makes of whatever has no finite gradient."""
    inputs = batch.inputs.clone()
    inputs[place] = float("nan")
    return Batch(inputs, batch.labels)


def replaced(batch: Batch, place: int, value: float | None = None) -> Batch:
    """The neighbor with another example in the place of one: its neighbor's double, or one constant image."""
    inputs, labels, other = batch.inputs.clone(), batch.labels.clone(), (place + 1) % len(batch)
    inputs[place] = batch.inputs[other] if value is None else value
    labels[place] = batch.labels[other]
    return Batch(inputs, labels)


def release(defense: DPSGD, model: torch.nn.Module, batch: Batch, rng: Generator) -> Tensor:
    return flat(defense.train(never_called)(model, batch, rng))


@settings(deadline=None, max_examples=80)
@given(
    st.sampled_from(sorted(NETS)),
    st.sampled_from(CLIPPINGS),
    st.sampled_from(RATES),
    st.integers(1, 12),
    st.integers(0, 10**6),
    st.sampled_from([1.0, 1e3, 1e10, 1e25]),
)
def test_adding_removing_or_replacing_one_example_moves_the_release_by_no_more_than_declared(
    name: str, clipping: str, rate: float, size: int, seed: int, scale: float
):
    defense, batch, place = mechanism(clipping, rate), a_batch(size, seed), seed % size
    batch.inputs[place] *= scale
    unit = defense.max_grad_norm / (rate * size)  # what one example may add to the mean: the same for all neighbors
    neighbors = {1: [removed(batch, place)], 2: [replaced(batch, place), replaced(batch, place, 0.0)]}
    found = release(defense, NETS[name], batch, seeded(seed))
    for most, those in neighbors.items():
        for neighbor in those:
            moved = (found - release(defense, NETS[name], neighbor, seeded(seed))).norm()
            assert moved <= most * unit * (1 + 1e-4) + 1e-5 * size * unit


@pytest.mark.parametrize("clipping", CLIPPINGS)
def test_the_declared_sensitivity_is_reached_so_the_test_would_see_an_excess(clipping: str):
    defense, batch = mechanism(clipping, 1.0, norm=1e-3), a_batch(6)
    found = release(defense, NETS["convnet"], batch, seeded(0))
    moved = (found - release(defense, NETS["convnet"], removed(batch, 2), seeded(0))).norm() * 6
    assert moved.item() == pytest.approx(1e-3, rel=0.02)


def traced(run: Callable[[], Any]) -> list[tuple[str, int]]:
    """Every line of the mechanism that runs, in order."""
    lines: list[tuple[str, int]] = []

    def line(frame, event, argument):
        if event == "line":
            lines.append((frame.f_code.co_filename, frame.f_lineno))
        return line

    def call(frame, event, argument):
        return line if frame.f_code.co_filename.startswith(WATCHED) else None

    before = sys.gettrace()
    sys.settrace(call)
    try:
        run()
    finally:
        sys.settrace(before)
    return lines


@pytest.mark.parametrize("clipping", CLIPPINGS)
@pytest.mark.parametrize("rate", RATES)
def test_neighbors_run_the_same_lines_draw_the_same_randomness_and_are_divided_by_the_same(
    clipping: str, rate: float, monkeypatch: pytest.MonkeyPatch
):
    divisors: list[float] = []
    original = DPOptimizer.__init__

    def recording(self, *arguments, **options):
        divisors.append(options["expected_batch_size"])
        original(self, *arguments, **options)

    monkeypatch.setattr(DPOptimizer, "__init__", recording)
    defense, batch = mechanism(clipping, rate), a_batch(5)
    huge = replaced(batch, 3, 1e20)
    batches = [batch, removed(batch, 0), removed(removed(batch, 0), 1), replaced(batch, 2), huge]
    release(defense, NETS["convnet"], batch, seeded(0))  # what runs only once, to warm up
    divisors.clear()
    flows, states = [], []
    for one in batches:
        rng = seeded(4)
        flows.append(traced(lambda one=one, rng=rng: release(defense, NETS["convnet"], one, rng)))
        states.append(rng.get_state())
    assert len(flows[0]) > 50 and all(flow == flows[0] for flow in flows)
    assert all(torch.equal(state, states[0]) for state in states)
    assert divisors == [rate * 5] * 5, "no neighbor is told apart by its divisor (Opacus issues 571 and 819)"


def test_the_floor_of_the_expected_batch_would_have_told_neighbors_apart():
    """Opacus' own training loop divides by int(len(data) * rate): for 8 examples at rate 1/8 by 1, for 7 by 0."""
    rate = 0.125
    assert [int(size * rate) for size in (8, 7)] == [1, 0]
    defense, batch = mechanism("flat", rate, noise=0.0), a_batch(8)
    for seed in range(40):
        moved = release(defense, NETS["convnet"], batch, seeded(seed)) - release(
            defense, NETS["convnet"], removed(batch, 1), seeded(seed)
        )
        assert moved.norm() <= 0.5 / (rate * 8) * (1 + 1e-4)


def test_the_replay_catches_a_mechanism_that_clips_the_batch_instead_of_each_example():
    def clipped_as_one(batch: Batch) -> Tensor:
        total = torch.stack([flat(one) for one in loop(NETS["convnet"], batch)]).sum(dim=0)
        return total * (0.5 * len(batch) / total.norm()).clamp(max=1.0)

    batch = a_batch(4)
    batch.inputs[1] *= 1e3
    moved = (clipped_as_one(batch) - clipped_as_one(replaced(batch, 1))).norm()
    assert moved > 2 * 0.5
