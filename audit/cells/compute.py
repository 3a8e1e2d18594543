"""The cell at a place: what a worker process runs."""

from dataclasses import dataclass, replace

import torch

from seethrough.common.computing import computing_on
from seethrough.reports.row import Cell, Place

from ..case import Case, key_of
from ..precision import computing_in
from ..recorded_trial import run_recorded_trial
from ..trial import run_trial
from ..utility import Training, key_of_training, run_training


class ChangedError(Exception):
    """What decides a cell's numbers is not what its key stands for."""


@dataclass(frozen=True)
class Computation:
    """A function from a place to its cell, fit to be sent to another process."""

    cases: dict[str, Case | Training]  # by key
    device: str
    code: str
    environment: str = ""  # as it enters the keys; empty: keys are not checked

    def __call__(self, place: Place) -> Cell:
        """The measured cell. Raises: NotApplicableError, if the combination cannot be run; whatever breaks in it."""
        case = self.cases[place.key]
        if self.environment and self._key(case) != place.key:
            raise ChangedError(
                "the data, the model, its weights or its code have changed since the audit was planned; run it again"
            )
        common = Cell(key=place.key, status="ok", seed=case.seed, code=self.code)
        device = torch.device(self.device)
        if isinstance(case, Training):
            with computing_in(case.setting.precision), computing_on(device):
                trained = run_training(case)
            return replace(common, claim=trained.claim, unclaimed=trained.unclaimed, utility=trained.utility)
        run = run_recorded_trial if case.setting.recording else run_trial
        with computing_in(case.setting.precision), computing_on(device):
            outcome = run(case, device)
        return replace(
            common,
            scores=outcome.scores,
            claim=outcome.claim,
            unclaimed=outcome.unclaimed,
            recovery=outcome.recovery,
            pictures=outcome.pictures,
            labels=outcome.labels,
            label_counts=outcome.label_counts,
        )

    def _key(self, case: Case | Training) -> str:
        return key_of(case, self.environment) if isinstance(case, Case) else key_of_training(case, self.environment)
