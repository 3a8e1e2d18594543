"""Rows of weights that measure the same, as in imprint layers, or whose halves are mirror images, as in trap weights."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FEWEST_INPUTS = 8  # of a row: shorter ones are alike by chance
FEWEST_WEIGHTS = 16  # of a row that may be mirrored, but for zeros
MIRRORED = 1e-4  # of the halves' norms; those of a random row of d weights differ by 1 / sqrt(d), about
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
def mirrored_rows(model: nn.Module) -> int:
    """The most rows of one matrix or kernel whose positive weights are, in order of size, its negative ones times one factor.

    Trap weights are made so (Boenisch et al., EuroS&P 2023, section 5), with a factor below 1.
    """
    return max((_mirrored(each.flatten(1)) for each in model.parameters() if each.dim() > 1), default=0)


def _mirrored(rows: Tensor) -> int:
    even = (rows > 0).sum(dim=1) == (rows < 0).sum(dim=1)
    rows = rows[even & ((rows != 0).sum(dim=1) >= FEWEST_WEIGHTS)]
    halves = [F.normalize(side.clamp(min=0).sort(dim=1).values, dim=1) for side in (rows, -rows)]
    return int(((halves[0] - halves[1]).norm(dim=1) < MIRRORED).sum())
