"""The optimization loop over whatever is being optimized: pixels, labels, or latents through a generator.

Variables carry the restarts in their first dimension, and an objective returns one loss for each restart. The result is
the iterate with the lowest loss, restart by restart, unless the last one is asked for: the attacker's own objective decides,
nothing else. A search that had
nothing to go by is no evidence that nothing leaks, so it says so instead of returning its start.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor

from .._base import NoGradientError
from .no_gradient import Variables, Watch, slopes_of, why_lost
from .parts import Objective, Parts

Change = Callable[[int, Variables], Variables]  # step number and variables -> variables
NOBODY: Mapping[int, int] = MappingProxyType({})


@dataclass(frozen=True, eq=False)
class Found:
    """The lowest iterate of every restart."""

    variables: Variables
    losses: Tensor  # [restarts]; infinite where every iterate's loss was not a number
    lost: str = ""  # why there was nothing to go by; empty if there was

    def best(self) -> tuple[Variables, float]:
        """The restart with the lowest loss (its variables without the restarts' dimension), and that loss.

        Raises: NoGradientError, if the search had nothing to go by."""
        if self.lost:
            raise NoGradientError(self.lost)
        winner = int(self.losses.argmin())
        return tuple(variable[winner] for variable in self.variables), float(self.losses[winner])


def cosine_schedule(steps: int, warmup: int = 0) -> Callable[[int], float]:
    """The factor on the learning rate at a step: a linear rise over `warmup` steps, then half a cosine down to zero."""

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))

    return factor


def shortened(longest: float) -> Callable[[Tensor], Tensor]:
    """Scales each restart's gradient [restarts, ...] so that its L2 norm is at most `longest`."""
    return lambda gradient: torch.renorm(gradient, 2, 0, longest)


def descend(
    start: Variables,
    objective: Objective,
    *,
    steps: int,
    lr: float,
    factor: Callable[[int], float] = lambda step: 1.0,
    slope: Callable[[Tensor], Tensor] = torch.clone,
    after: Change = lambda step, variables: variables,
    at_once: int | None = None,
    misfit: Objective | None = None,
    keep: Literal["lowest", "last"] = "lowest",
    survivors: Mapping[int, int] = NOBODY,
) -> Found:
    """The lowest (or last) iterates of Adam, with `after` (projection, noise, ...) applied to the variables after each step.

    `slope` makes of each variable's gradient [restarts, ...] what Adam sees, such as its sign (`torch.sign`; Geiping et al.,
    2020, section 5). `at_once` bounds the memory: the objective is handed no more restarts than that, and half of them where
    memory runs out all the same; None hands it all.
    `misfit` is the part of the objective that looks at the update (None: all of it): where it never has a slope in the first
    variable, priors alone have led the search, which is then lost.
    `survivors` says from which steps on how many restarts go on, those of the lowest losses so far; `after` and the objective
    are then handed these alone, in their order. Of the others the lowest iterate remains, and no last one.
    """
    variables, parts, watch = tuple(part.clone() for part in start), Parts(at_once or len(start[0])), Watch()
    adam = torch.optim.Adam(variables, lr=lr)
    living = torch.arange(len(start[0]), device=start[0].device)

    def steepness() -> Tensor:
        return parts.slopes(misfit or objective, variables)[1][0]

    found = unmet = Found(start, torch.full((len(start[0]),), math.inf, device=start[0].device))
    for step in range(steps):
        if step in survivors:
            kept = found.losses[living].argsort(stable=True)[: survivors[step]].sort().values
            living, variables = living[kept], _selected(adam, kept)
            watch.keep(kept)
        adam.param_groups[0]["lr"] = lr * factor(step)
        losses, slopes = parts.slopes(objective, variables)
        watch.see(losses, steepness)
        found = _lower(found, variables, losses, living)
        for variable, gradient in zip(variables, slopes, strict=True):
            variable.grad = slope(gradient)
        adam.step()
        with torch.no_grad():
            for variable, changed in zip(variables, after(step, variables), strict=True):
                variable.copy_(changed)
    losses = parts.losses(objective, variables)
    watch.see(losses, steepness)
    found = _lower(found if keep == "lowest" else unmet, variables, losses, living)
    return Found(found.variables, found.losses, why_lost(found.losses, [watch]))


def quasi_newton(
    start: Variables, objective: Objective, *, steps: int, history: int = 100, misfit: Objective | None = None
) -> Found:
    """The lowest iterates of L-BFGS with a strong-Wolfe line search, each restart by itself; `misfit` as in `descend`."""
    watches = [Watch() for _ in start[0]]
    results = [
        _quasi_newton_once(tuple(part[i : i + 1] for part in start), objective, steps, history, misfit, watch)
        for i, watch in enumerate(watches)
    ]
    variables = tuple(torch.cat(parts) for parts in zip(*(result.variables for result in results), strict=True))
    losses = torch.cat([result.losses for result in results])
    return Found(variables, losses, why_lost(losses, watches))


def _quasi_newton_once(
    start: Variables, objective: Objective, steps: int, history: int, misfit: Objective | None, watch: Watch
) -> Found:
    variables = tuple(part.clone().requires_grad_() for part in start)
    solver = torch.optim.LBFGS(
        variables,
        max_iter=steps,
        history_size=history,
        line_search_fn="strong_wolfe",
        tolerance_grad=0,
        tolerance_change=0,
    )
    lowest = [Found(start, torch.full((1,), math.inf, device=start[0].device))]

    def closure() -> Tensor:
        losses = objective(variables)
        lowest.append(_lower(lowest.pop(), variables, losses, torch.zeros(1, dtype=torch.long, device=losses.device)))
        slopes = slopes_of(losses, variables)
        watch.see(losses, lambda: slopes[0] if misfit is None else slopes_of(misfit(variables), variables)[0])
        for variable, slope in zip(variables, slopes, strict=True):
            variable.grad = slope
        return losses.sum().detach()

    solver.step(closure)
    return lowest[0]


def _lower(found: Found, variables: Variables, losses: Tensor, living: Tensor) -> Found:
    """`found`, of all restarts, improved by the `variables` of the `living` ones wherever their loss is lower; a loss that is
    not a number never is."""
    met = losses.new_full(found.losses.shape, math.inf).index_copy(0, living, losses.detach())
    better = met < found.losses
    kept = tuple(
        torch.where(better.view(-1, *[1] * (new.dim() - 1)), old.index_copy(0, living, new.detach()), old)
        for new, old in zip(variables, found.variables, strict=True)
    )
    return Found(kept, torch.where(better, met, found.losses))


def _selected(adam: torch.optim.Adam, kept: Tensor) -> Variables:
    """The restarts [kept] of Adam's variables, which go on with their own moments, as all that it has from now on."""
    former = adam.param_groups[0]["params"]
    selected = tuple(variable[kept] for variable in former)
    for old, new in zip(former, selected, strict=True):
        moments = adam.state.pop(old)
        adam.state[new] = {name: part[kept] if part.dim() else part for name, part in moments.items()}
    adam.param_groups[0]["params"] = list(selected)
    return selected
