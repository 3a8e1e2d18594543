"""The labels of a trial, class by class: what was true, what was found, and what the public proportions say."""

from collections.abc import Callable

import torch

from seethrough.attacks import Reconstruction
from seethrough.reports.row import ClassCount, LabelCounts

from .judging import Judged
from .scoring import PROPORTIONS, claimed_by


def counted_labels(judged: Judged, found: Reconstruction, name_of: Callable[[int], str]) -> LabelCounts | None:
    """Of all clients in the sum that the server reads, unless the attacked one was told apart from them; None where labels
    are granted or none were found. `name_of` names a class."""
    whole = found.whole or found
    is_of_all = judged.cohort is not None and not whole.isolated
    trial = judged.cohort if judged.cohort is not None and is_of_all else judged.client
    claim = claimed_by(whole if is_of_all else found)
    guess = next((each for each in trial.blind if each.name == PROPORTIONS), None)
    if trial.granted or claim.labels is None or guess is None or guess.labels is None:
        return None
    columns = [labels.tolist() for labels in (trial.truth.labels, claim.labels, guess.labels)]
    classes = torch.cat([trial.truth.labels, claim.labels, guess.labels]).unique().tolist()
    rows = [ClassCount(each, name_of(each), *(column.count(each) for column in columns)) for each in classes]
    return LabelCounts("cohort" if is_of_all else "client", PROPORTIONS, tuple(rows))
