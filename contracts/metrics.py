"""What every metric owes, whoever wrote it."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from seethrough.audit.metrics import Metric, UnavailableError

from .entries import built, seeded

COUNT = 3


@pytest.fixture
def metric(metric_name: str, request: pytest.FixtureRequest) -> Metric:
    return built("metrics", metric_name, request.module)


def pair(metric: Metric) -> tuple[Tensor, Tensor]:
    """A truth, and something that is not it, of what the metric compares."""
    if metric.compares == "labels":
        return torch.tensor([0, 1, 2]), torch.tensor([3, 3, 3])
    first, second = (torch.rand((COUNT, 3, 32, 32), generator=seeded(seed)) for seed in (0, 1))
    return first, second


def scored(metric: Metric, truth: Tensor, found: Tensor) -> np.ndarray:
    try:
        return metric.score(truth, found)
    except UnavailableError as error:
        pytest.skip(str(error))


def test_a_metric_says_what_it_compares_and_which_way_the_attacker_wins(metric: Metric) -> None:
    assert metric.better in ("higher", "lower")
    assert metric.compares in ("inputs", "labels", "shrunk")
    assert metric.of in ("client", "cohort", "history")
    low, high = metric.limits()
    assert low < high
    assert not metric.share or (low, high) == (0.0, 1.0)


def test_a_metric_gives_one_value_for_each_example_or_one_for_the_batch(metric: Metric) -> None:
    values = scored(metric, *pair(metric))
    assert values.dtype == np.float64
    assert values.shape in ((COUNT,), (1,))
    low, high = metric.limits()
    assert all(math.isnan(value) or low <= value <= high for value in values)


def test_a_metric_likes_nothing_better_than_the_truth(metric: Metric) -> None:
    truth, other = pair(metric)
    sign = 1 if metric.better == "higher" else -1
    exact, wrong = scored(metric, truth, truth.clone()), scored(metric, truth, other)
    assert (sign * exact >= sign * wrong).all()
    assert sign * exact.mean() > sign * wrong.mean()


def test_a_metric_leaves_what_it_is_given_as_it_was(metric: Metric) -> None:
    truth, other = pair(metric)
    scored(metric, truth, other)
    assert all(torch.equal(*each) for each in zip((truth, other), pair(metric), strict=True))
