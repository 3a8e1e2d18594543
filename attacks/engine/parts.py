"""Restarts in parts that fit into memory."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from seethrough.common.memory import is_out_of_memory

from .no_gradient import Variables, slopes_of

Objective = Callable[[Variables], Tensor]  # -> losses [restarts]
Found = TypeVar("Found")


@dataclass(eq=False)
class Parts:
    """Evaluates an objective on so many restarts at once, and on fewer after memory did not suffice."""

    at_once: int

    def losses(self, objective: Objective, variables: Variables) -> Tensor:
        """The losses [restarts], with nothing kept to differentiate them."""
        with torch.no_grad():
            return torch.cat(self._each(objective, variables))

    def slopes(self, objective: Objective, variables: Variables) -> tuple[Tensor, Variables]:
        """The losses [restarts], and their gradients by the variables."""

        def of_part(part: Variables) -> tuple[Tensor, Variables]:
            leaves = tuple(variable.detach().requires_grad_() for variable in part)
            losses = objective(leaves)
            return losses.detach(), slopes_of(losses, leaves)

        losses, slopes = zip(*self._each(of_part, variables), strict=True)
        return torch.cat(losses), tuple(torch.cat(each) for each in zip(*slopes, strict=True))

    def _each(self, function: Callable[[Variables], Found], variables: Variables) -> list[Found]:
        while True:
            try:
                return [function(part) for part in self._split(variables)]
            except RuntimeError as error:
                if not is_out_of_memory(error) or self.at_once == 1:
                    raise
            self.at_once = (min(self.at_once, len(variables[0])) + 1) // 2
            if variables[0].is_cuda:
                torch.cuda.empty_cache()

    def _split(self, variables: Variables) -> Iterator[Variables]:
        return zip(*(variable.split(self.at_once) for variable in variables), strict=True)
