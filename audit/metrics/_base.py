"""Scores: how like the truth a guess is, example by example or as a batch."""

import math
from collections.abc import Callable
from typing import ClassVar, Literal

import numpy as np
from torch import Tensor, nn


class UnavailableError(Exception):
    """The metric cannot be had on this machine; the message says what is missing and how to get it."""


class MetricNotApplicableError(Exception):
    """The metric cannot be taken of such data; the message is the reason that its n/a number shows."""


class Metric:
    """A score. Parameters are its fields; there is one method to write."""

    better: ClassVar[Literal["higher", "lower"]]  # the direction in which the attacker does better
    compares: ClassVar[Literal["inputs", "labels", "shrunk"]]
    of: ClassVar[Literal["client", "cohort", "history"]] = (
        "client"  # what the truth is: the attacked client's batch, those of all in a sum, or of the client in all rounds
    )
    share: ClassVar[bool] = False  # whether values are shares of examples, or of labels

    def limits(self) -> tuple[float, float]:
        """The smallest and the largest value that can be: by default those of a share, or any."""
        return (0.0, 1.0) if self.share else (-math.inf, math.inf)

    def facts(self) -> str:
        """What beside the fields decides the values, such as the content of a file of weights."""
        return ""

    def seen_by(self, model: nn.Module, public: Tensor) -> Callable[[Tensor, Tensor], np.ndarray]:
        """`score`, for a metric that needs more than the two: the attacked `model`, which stays as it is, or public images."""
        return self.score

    def remark(self, truth: Tensor, public: Tensor) -> str:
        """What a reader of the values must know beside them, such as the rate of chance."""
        return ""

    def score(self, truth: Tensor, found: Tensor) -> np.ndarray:
        """One value for each example of `truth`, float64 [n], or one for the batch, [1]; both hold what it compares.

        Images: float32 [n, channels, height, width] in [0, 1], matched one to one. Labels: int64 [n] and [m], in any
        order. Raises: UnavailableError.
        """
        raise NotImplementedError


def as_images(inputs: Tensor) -> np.ndarray:
    """Images [n, channels, height, width] as float64 [n, height, width, channels]."""
    return inputs.detach().cpu().double().permute(0, 2, 3, 1).numpy()
