"""What the reconstructions of one trial are held against: the truth, guessers, and what might as well have been drawn."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from torch import Tensor

from seethrough.attacks import Reconstruction
from seethrough.common.spelling import label_of
from seethrough.defenses import Batch, NotApplicableError
from seethrough.reports.row import Score

from .batches import draw_batches, swapped_batches
from .case import broadcast_model, everyone, public_batch
from .metrics import Metric
from .scoring import Claimed, Scene, Trial, all_of, blind_guessers, claimed_by, claimed_by_all, joined, score
from .specification.schema import Setting
from .turns import Visit, trained_on, visits

SWAPPED = 19  # private batches that every reconstruction is also scored against


@dataclass(frozen=True, eq=False)
class Judged:
    """What reconstructions of one trial are held against: one client's batch, the batches of all in a sum, and all batches
    that the client trained on from the first round to the last one."""

    client: Trial
    cohort: Trial | None  # None where the server reads one client alone
    history: Trial | None = None  # None where there is but one batch


@lru_cache(maxsize=64)
def judged_against(
    setting: Setting,
    seed: int,
    trial: int,
    cohort: int,
    places: tuple[int, ...],
    remembered: tuple[int, ...],
    isolated: bool,
    same_labels: bool,
) -> Judged:
    """What reconstructions are held against where the defense combines `cohort` clients, and the server reads the mean of
    those at `places` of the last round, the first of whom is under attack, and was told apart from the others if it was
    `isolated`; and where it reads of the client alone, what this sent in the rounds `remembered`, which end with the last.
    One object for all attacks."""
    scene = Scene(broadcast_model(setting, seed, trial), public_batch(setting, seed).inputs)
    present = visits(setting, seed, trial, cohort)
    last = present[-1]
    behind = tuple(last[place] for place in places)
    before = tuple(present[number][0] for number in remembered)

    def against(readable: tuple[Visit, ...], true: tuple[Visit, ...]) -> Trial:
        clients = everyone(setting, cohort)
        return dataclasses.replace(
            trial_without_model(setting, seed, trial, clients, readable, true, same_labels), scene=scene
        )

    several = setting.fresh and len(before) > 1 and len(behind) == 1
    return Judged(
        client=against(last[:1] if isolated else behind, last[:1]),
        cohort=against(behind, behind) if len(behind) > 1 else None,
        history=against(before, before) if several else None,
    )


def trial_without_model(
    setting: Setting,
    seed: int,
    trial: int,
    clients: int,
    readable: tuple[Visit, ...],
    true: tuple[Visit, ...],
    same_labels: bool,
) -> Trial:
    """The truth, which is what the clients of the visits `true` trained on, the guessers and the batches to swap, where the
    server reads what those of `readable` did, of so many clients in all."""
    drawn = draw_batches(setting, seed, trial, clients, same_labels)
    held = (drawn.victim, *drawn.others)

    def trained(visited: tuple[Visit, ...], holding: Callable[[int], Batch]) -> tuple[Batch, ...]:
        return tuple(trained_on(setting, seed, trial, holding(each.client), each) for each in visited)

    behind = trained(readable, held.__getitem__)
    holders = tuple(dict.fromkeys(each.client for each in readable))
    wanted = tuple(held[client].labels if same_labels else None for client in holders)
    swapped = [found for number in range(SWAPPED) if (found := _swapped(setting, seed, trial, number, wanted))]
    others = tuple(joined(trained(true, dict(zip(holders, found, strict=True)).__getitem__)) for found in swapped)
    whole = joined(behind)
    blind = blind_guessers(public_batch(setting, seed), len(whole), whole.labels if same_labels else None)
    return Trial(joined(trained(true, held.__getitem__)), others, blind, all_of(behind), same_labels)


def _swapped(
    setting: Setting, seed: int, trial: int, number: int, wanted: tuple[Tensor | None, ...]
) -> tuple[Batch, ...]:
    """What as many clients might have held instead, or nothing where this deal leaves too few of them enough."""
    try:
        return swapped_batches(setting, seed, trial, number, wanted)
    except NotApplicableError:
        return ()


CLAIMS: dict[str, Callable[[Reconstruction], Claimed]] = {
    "client": claimed_by,
    "cohort": lambda found: claimed_by(found.whole or found),
    "history": claimed_by_all,
}
ABSENT = {
    "cohort": "the server reads one client's update, not a sum",
    "history": "there are not several rounds of one client, each with examples of its own",
}


def scored(metric: Metric, judged: Judged, found: Reconstruction, decoy: Reconstruction, note: str) -> Score:
    """One metric of one cell; `note` is said beside a number."""
    trial: Trial | None = getattr(judged, metric.of)
    if trial is None:
        return Score(label_of(metric), metric.better, "n/a", note=ABSENT[metric.of])
    one = score(metric, trial, *(CLAIMS[metric.of](each) for each in (found, decoy)))
    if one.status != "ok":
        return one  # what it says is why there is no number
    return dataclasses.replace(one, note="; ".join(filter(None, (one.note, note))))
