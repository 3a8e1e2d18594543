"""One trial on recorded updates: nobody is played, and the truth may not be known.

A defense that combines clients takes the one under attack and those recorded after it. The decoy control is the same attack on
what clients of public images, trained from the same weights by the same recipe, would have left with the server.
"""

import torch
from torch import Tensor

from seethrough.common.attention import plain_attention
from seethrough.common.spelling import label_of
from seethrough.defenses import Batch, NotApplicableError, Update
from seethrough.federation.client import batchnorm_layers
from seethrough.federation.rounds import Round, released, simulate_round
from seethrough.reports.row import FoundLabels, Pictures, Score

from .case import Case, public_batch, received, round_streams, why_unsearchable
from .counting import counted_labels
from .explained import explained, public_examples
from .judging import Judged, scored
from .randomness import drawing_from, stream
from .recordings.cohort import Member, rounds_of
from .recordings.statistics import batch_statistics_of
from .recordings.withheld import came_too_late
from .scoring import Claimed, Scene, Trial, all_of, blind_guessers, claimed_by, joined
from .trial import Outcome, attack_on, pictures

SWAPPED = 19  # public batches that reconstructions are also scored against
NO_TRUTH = "the recording holds no truth to compare with"
UNCLAIMED = "the update was recorded, and what protected it is not known"


def run_recorded_trial(case: Case, device: torch.device) -> Outcome:
    """The scores of one attack on one client's recorded update, or on a sum that it is in.

    Raises: NotApplicableError, if the combination cannot be run.
    """
    with plain_attention(), drawing_from(stream(case.seed, "chance", case.trial)):  # what dropout draws
        return _recorded_trial(case, device)


def _recorded_trial(case: Case, device: torch.device) -> Outcome:
    if case.attack.recovers_images and (reason := why_unsearchable(case.setting, case.seed)):
        raise NotApplicableError(reason)
    if came_too_late(case.defense):
        raise NotApplicableError("the update was recorded, so no defense can act within the training before it")
    members = rounds_of(case.setting, case.trial, case.defense.cohort())
    truths = tuple(each.recording.truth for each in members[-1])
    known = tuple(truth for truth in truths if truth is not None)
    if len(known) < len(truths):
        known = ()
    if "labels" in case.threat.grants and not known:
        raise NotApplicableError("the threat model grants the labels, and the recording holds no truth")
    rounds = tuple(played_back(case, each, known, number) for number, each in enumerate(members))
    returned = attack_on(case, rounds, device)
    misled = attack_on(case, _decoys(case, rounds, known), device, shrinks=False)
    found, decoy = claimed_by(returned), claimed_by(misled)
    scores, counts = [explained(case, rounds, device)], None
    if known:
        judged = _judged(case, rounds[-1])
        scores += [scored(metric, judged, returned, misled, rounds[-1].aggregate.note) for metric in case.metrics]
        counts = counted_labels(judged, returned, case.setting.data.load().name_of)
    else:
        scores += [Score(label_of(metric), metric.better, "unavailable", note=NO_TRUTH) for metric in case.metrics]
    shown = found.matched_with(known[0]) if known else found
    labels = None if known else _found_labels(case, members[-1][0].recording.facts.client, returned.labels)
    return Outcome(tuple(scores), None, UNCLAIMED, None, _side_by_side(known, shown, decoy), labels, counts)


def played_back(case: Case, members: tuple[Member, ...], truths: tuple[Batch, ...], number: int = 0) -> Round:
    """A round of these clients as the server has it, their updates released and combined through the defense on trial."""
    got = [received(case.setting, case.seed, each.client, each.place) for each in members]
    statistics = [batch_statistics_of(each, case.setting) for each in got]
    if case.threat.batchnorm == "exact" and batchnorm_layers(got[0].model) and not all(statistics):
        raise NotApplicableError(
            "statistics of the very batch can be told only from buffers that were sent after one step"
        )
    *clients, server = round_streams(case.seed, case.trial, range(len(members)), "attack", members[0].place)
    updates = tuple(
        Update(each.step, case.setting.batch_size, found) for each, found in zip(got, statistics, strict=True)
    )
    numbers = tuple(range(len(members)))
    sent = released(case.defense, numbers, updates, tuple(clients))
    behind = truths or (_UNKNOWN,) * len(members)
    combined = case.defense.aggregate(sent, server)
    return Round(got[0].model, behind, combined, (None,) * len(members), numbers, number)


_UNKNOWN = Batch(torch.zeros(0), torch.zeros(0, dtype=torch.long))


def _decoys(case: Case, rounds: tuple[Round, ...], truths: tuple[Batch, ...]) -> tuple[Round, ...]:
    """The same rounds of clients whose examples are public, of the truth's classes where the attacker is told these."""
    rng, clients = stream(case.seed, "decoy", case.trial), case.defense.cohort()
    told = [each.labels for each in truths] if "labels" in case.threat.grants else [None] * clients
    batches = tuple(public_examples(case, rng, labels) for labels in told)
    return tuple(
        simulate_round(
            each.model,
            batches,
            case.setting.local,
            case.defense,
            round_streams(case.seed, case.trial, range(clients), "decoy", number),
            number,
        )
        for number, each in enumerate(rounds)
    )


def _judged(case: Case, last: Round) -> Judged:
    behind = last.victims()
    return Judged(_trial(case, last, last.batches[:1]), _trial(case, last, behind) if len(behind) > 1 else None)


def _trial(case: Case, last: Round, truths: tuple[Batch, ...]) -> Trial:
    """What reconstructions of `truths` are held against, where the server reads the last round."""
    public, granted, behind = public_batch(case.setting, case.seed), "labels" in case.threat.grants, last.victims()
    others = _of_like_labels(case, truths) if granted else _of_other_clients(case, len(truths))
    whole = joined(behind)
    blind = blind_guessers(public, len(whole), whole.labels if granted else None)
    scene = Scene(last.model, public.inputs)
    return Trial(joined(truths), others, blind, all_of(behind), granted, not granted, scene)


def _of_like_labels(case: Case, truths: tuple[Batch, ...]) -> tuple[Batch, ...]:
    """Public batches of the labels that the attacker is told; they stand for the client's own if they are of its kind."""
    streams = (stream(case.seed, "swapped", case.trial, number) for number in range(SWAPPED))
    return tuple(joined(tuple(public_examples(case, rng, each.labels) for each in truths)) for rng in streams)


def _of_other_clients(case: Case, clients: int) -> tuple[Batch, ...]:
    """The truths of the recorded clients after the one under attack, around to the one before it: had updates told nothing,
    any of them might as well have been its own. Public batches might not: their labels are mixed otherwise. None where the
    truth of some client is not known, or of another size, and of sums of several."""
    number, cohort = case.setting.clients, case.defense.cohort()
    if cohort > 1:  # sums of clients overlap, so that not every order of them is as likely
        return ()
    try:
        members = [rounds_of(case.setting, (case.trial + step) % number, cohort)[-1] for step in range(number)]
    except NotApplicableError:
        return ()
    truths = [tuple(each.recording.truth for each in last[:clients]) for last in members]
    if any(each is None for batches in truths for each in batches):
        return ()
    found = [joined(tuple(each for each in batches if each is not None)) for batches in truths]
    return tuple(found[1:]) if len({len(each) for each in found}) == 1 else ()


def _side_by_side(truths: tuple[Batch, ...], found: Claimed, decoy: Claimed) -> Pictures | None:
    if found.inputs is None or decoy.inputs is None:
        return None
    return Pictures(pictures(truths[0].inputs) if truths else (), pictures(found.inputs), pictures(decoy.inputs))


def _found_labels(case: Case, client: str, labels: Tensor | None) -> FoundLabels | None:
    if labels is None:
        return None
    name_of, (classes, counts) = case.setting.data.load().name_of, labels.unique(return_counts=True)
    return FoundLabels(
        client, tuple((name_of(each), count) for each, count in zip(classes.tolist(), counts.tolist(), strict=True))
    )
