"""The cell at a place: what a worker process runs."""

from dataclasses import dataclass, replace

import torch

from audit.case import Case
from audit.trial import run_trial
from audit.utility import Training, run_training
from reports._row import Cell, Place


@dataclass(frozen=True)
class Computation:
    """A function from a place to its cell, fit to be sent to another process."""

    cases: dict[str, Case | Training]  # by key
    device: str
    code: str

    def __call__(self, place: Place) -> Cell:
        """The measured cell. Raises: NotApplicableError, if the combination cannot be run; whatever breaks in it."""
        case = self.cases[place.key]
        common = Cell(key=place.key, status="ok", seed=case.seed, code=self.code)
        if isinstance(case, Training):
            trained = run_training(case)
            return replace(common, claim=trained.claim, unclaimed=trained.unclaimed, utility=trained.utility)
        outcome = run_trial(case, torch.device(self.device))
        return replace(
            common,
            scores=outcome.scores,
            claim=outcome.claim,
            unclaimed=outcome.unclaimed,
            recovery=outcome.recovery,
            pictures=outcome.pictures,
        )
