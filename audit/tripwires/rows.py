"""Rows of weights that measure the same, as in imprint layers, or lean to one side, as trap weights do."""

import torch
from torch import Tensor, nn

FEWEST_INPUTS = 8  # of a row: shorter ones are alike by chance
FEWEST_WEIGHTS, FEWEST_ROWS = 64, 16  # of a layer whose rows may lean: the balance of fewer is chance
PROPORTIONAL = 0.999  # cosine, either sign


@torch.no_grad()
def proportional_rows(model: nn.Module) -> int:
    """The most rows of one matrix or kernel that are proportional to another one of it."""
    return max((_with_partner(each.flatten(1)) for each in model.parameters() if each.dim() > 1), default=0)


def _with_partner(rows: Tensor) -> int:
    norms = rows.norm(dim=1)
    rows = rows[norms > 0] / norms[norms > 0, None]
    if rows.shape[1] < FEWEST_INPUTS or len(rows) < 2:
        return 0
    return sum(int((((part @ rows.T).abs() > PROPORTIONAL).sum(dim=1) > 1).sum()) for part in rows.split(1024))


@torch.no_grad()
def leaning(model: nn.Module) -> float:
    """How far the rows of one matrix or kernel lean to one side together: of the sum of a row's weights over the sum of their
    sizes, the mean over rows against its standard deviation over rows; the largest of all. In [0, inf].

    Trap weights (Boenisch et al., EuroS&P 2023, section 5) shrink the positive half of every row by one factor.
    """
    return max((_leaning(each.flatten(1)) for each in model.parameters() if each.dim() > 1), default=0.0)


def _leaning(rows: Tensor) -> float:
    rows = rows[rows.abs().sum(dim=1) > 0].double()
    if rows.shape[1] < FEWEST_WEIGHTS or len(rows) < FEWEST_ROWS:
        return 0.0
    balance = rows.sum(dim=1) / rows.abs().sum(dim=1)
    mean, deviation = float(balance.mean().abs()), float(balance.std())
    return mean / deviation if deviation > 0 else float("inf") if mean > 0 else 0.0
