"""One trial on a recorded update: nobody is played, and the truth may not be known.

Three attacks are made. On the update itself; on that of public images trained from the same weights by the same recipe (the
decoy control); and on a random half of the update's coordinates, whose images are then asked to predict the other half: that
is `explained`, the cosine of their step with the recorded one on coordinates that the attacker did not see. Steps of public
images that were given the labels which the attack found are predicted likewise. If the images have nothing to do with the
update, and public images are of the client's very kind, it is one more of these, so its rank among them is a p-value.
"""

import dataclasses
from collections.abc import Iterator

import torch
from torch import Generator, Tensor, nn

from seethrough.attacks.parts.simulated_client import simulated_client
from seethrough.common.attention import plain_attention
from seethrough.common.spelling import label_of
from seethrough.defenses import Batch, Chain, NotApplicableError, Params, Update
from seethrough.reports.row import EXPLAINED, Pictures, Score

from .case import Case, public_batch, received, round_streams, why_unsearchable
from .client import DivergedError, Round, batchnorm_layers, simulate_round
from .data.parts.synthetic import Synthetic
from .randomness import drawing_from, stream
from .recordings.settings import attacked
from .recordings.statistics import batch_statistics_of
from .recordings.withheld import Withheld, came_too_late, cosine_of, half_of
from .scoring import Claimed, Scene, Trial, all_of, blind_guessers, claimed_by, score
from .trial import Outcome, attack_on, pictures, view_for

DECOYS = 39  # steps of public batches; the smallest p-value is 1 / 40
SWAPPED = 19  # public batches that reconstructions are also scored against
NO_TRUTH = "the recording holds no truth to compare with"
UNCLAIMED = "the update was recorded, and what protected it is not known"


def run_recorded_trial(case: Case, device: torch.device) -> Outcome:
    """The scores of one attack on one client's recorded update.

    Raises: NotApplicableError, if the combination cannot be run.
    """
    with plain_attention(), drawing_from(stream(case.seed, "chance", case.trial)):  # what dropout draws
        return _recorded_trial(case, device)


def _recorded_trial(case: Case, device: torch.device) -> Outcome:
    if case.attack.recovers_images and (reason := why_unsearchable(case.setting, case.seed)):
        raise NotApplicableError(reason)
    truth = attacked(case.setting, case.trial)[-1].truth
    rounds = _recorded(case, truth)
    if "labels" in case.threat.grants and truth is None:
        raise NotApplicableError("the threat model grants the labels, and the recording holds no truth")
    wanted = any(metric.compares == "shrunk" for metric in case.metrics)
    returned = attack_on(case, rounds, device, wanted)
    found, decoy = claimed_by(returned), claimed_by(attack_on(case, _decoys(case, rounds, truth), device))
    scores = [_explained(case, rounds, device)]
    if truth is None:
        said = f"{NO_TRUTH}{_labels_in_words(returned.labels)}"
        scores += [Score(label_of(metric), metric.better, "n/a", note=said) for metric in case.metrics]
    else:
        trial = _trial(case, rounds[-1], truth)
        scores += [
            score(metric, trial, found, decoy)
            if metric.of == "client"
            else Score(label_of(metric), metric.better, "n/a", note="the update is one client's, not a sum")
            for metric in case.metrics
        ]
    shown = found if truth is None else found.matched_with(truth)
    return Outcome(tuple(scores), None, UNCLAIMED, None, _side_by_side(truth, shown, decoy))


def _recorded(case: Case, truth: Batch | None) -> tuple[Round, ...]:
    """The rounds of the client as the server has them, each update released through the defense on trial."""
    if came_too_late(case.defense):
        raise NotApplicableError("the update was recorded, so no defense can act before it or on others' updates")
    found = []
    for number in range(len(attacked(case.setting, case.trial))):
        got = received(case.setting, case.seed, case.trial, number)
        statistics = batch_statistics_of(got, case.setting)
        if case.threat.batchnorm == "exact" and batchnorm_layers(got.model) and not statistics:
            raise NotApplicableError(
                "statistics of the very batch can be told only from buffers that were sent after one step"
            )
        update = Update(got.step, case.setting.batch_size, statistics)
        client, server = round_streams(case.seed, case.trial, 1, "attack", number)
        sent = case.defense.cohort_step((update,), (client,))
        behind = truth if truth is not None else Batch(torch.zeros(0), torch.zeros(0, dtype=torch.long))
        found.append(Round(got.model, (behind,), case.defense.aggregate(sent, server), (None,)))
    return tuple(found)


def _decoys(case: Case, rounds: tuple[Round, ...], truth: Batch | None) -> tuple[Round, ...]:
    """The same rounds of a client whose examples are public, of the truth's classes where the attacker is told these."""
    labels = truth.labels if truth is not None and "labels" in case.threat.grants else None
    batch = _public(case, stream(case.seed, "decoy", case.trial), labels)
    return tuple(
        simulate_round(
            each.model,
            (batch,),
            case.setting.local,
            case.defense,
            round_streams(case.seed, case.trial, 1, "decoy", number),
        )
        for number, each in enumerate(rounds)
    )


def _public(case: Case, rng: Generator, labels: Tensor | None) -> Batch:
    """Public images drawn at random, of these classes where they are given and there are such."""
    public, size = public_batch(case.setting, case.seed), case.setting.batch_size
    if labels is None:
        return _at(public, torch.randint(len(public), (size,), generator=rng))
    places = []
    for label in labels.tolist():
        of_class = (public.labels == label).nonzero().flatten()
        pool = of_class if len(of_class) else torch.arange(len(public))
        places.append(int(pool[torch.randint(len(pool), (1,), generator=rng)]))
    return Batch(public.inputs[places], labels.clone())


def _at(batch: Batch, places: Tensor) -> Batch:
    return Batch(batch.inputs[places], batch.labels[places])


def _explained(case: Case, rounds: tuple[Round, ...], device: torch.device) -> Score:
    """How well images found from half of the update predict the other half, beside how well they predict others' steps."""
    if not case.attack.recovers_images:
        return Score(EXPLAINED, "higher", "n/a", note="this attack recovers no images, whose step could be compared")
    view = dataclasses.replace(view_for(case, rounds, device), past=None)
    shown = half_of(view.update, stream(case.seed, "halves", case.trial))
    known = Withheld() if view.defense is None else Chain((view.defense, Withheld()))
    half = dataclasses.replace(view, update={n: p * shown[n] for n, p in view.update.items()}, defense=known)
    try:
        found = case.attack.reconstruct(half, stream(case.seed, "attack", case.trial))
    except NotApplicableError as error:
        return Score(EXPLAINED, "higher", "n/a", note=str(error))
    except Exception as error:
        return Score(EXPLAINED, "higher", "failed", note=f"{type(error).__name__}: {' '.join(str(error).split())}")
    if found.inputs is None or found.labels is None:
        return Score(
            EXPLAINED, "higher", "n/a", note="this attack claims no images with labels, whose step could be compared"
        )
    with torch.no_grad():
        predicted = simulated_client(view)(found.inputs, found.labels)
    hidden = {name: ~mask for name, mask in shown.items()}
    own = cosine_of(predicted, view.update, hidden)
    if isinstance(case.setting.data, Synthetic):
        note = (
            f"a cosine of {own:.3f}, and no public images of the client's kind to hold it against: name some as `data`"
        )
        return Score(EXPLAINED, "higher", "unavailable", note=note)
    others = [
        cosine_of(predicted, step, hidden) for step in _steps_of_others(case, rounds[-1].model, found.labels.cpu())
    ]
    better = sum(own > other for other in others)
    return Score(
        metric=EXPLAINED,
        better="higher",
        status="ok",
        value=own,
        worst=own,
        swapped=tuple(others),
        perfect=1.0,
        perfect_swapped=tuple(others),
        low=-1.0,
        high=1.0,
        n=case.setting.batch_size,
        note=f"the images explain this update better than {better} of {len(others)} others",
    )


def _steps_of_others(case: Case, model: nn.Module, labels: Tensor) -> Iterator[Params]:
    """What the server would read of clients who hold public images of these classes."""
    for number in range(DECOYS):
        batch = _public(case, stream(case.seed, "explained", case.trial, number), labels)
        streams = round_streams(case.seed, case.trial, 1, f"explained {number}", 0)
        try:
            yield simulate_round(model, (batch,), case.setting.local, case.defense, streams).read().step
        except DivergedError:
            continue


def _trial(case: Case, last: Round, truth: Batch) -> Trial:
    public, granted = public_batch(case.setting, case.seed), "labels" in case.threat.grants
    labels = truth.labels if granted else None
    others = tuple(_public(case, stream(case.seed, "swapped", case.trial, number), labels) for number in range(SWAPPED))
    blind = blind_guessers(public, len(truth), labels)
    return Trial(truth, others, blind, all_of((truth,)), granted, Scene(last.model, public.inputs))


def _side_by_side(truth: Batch | None, found: Claimed, decoy: Claimed) -> Pictures | None:
    if found.inputs is None or decoy.inputs is None:
        return None
    return Pictures(() if truth is None else pictures(truth.inputs), pictures(found.inputs), pictures(decoy.inputs))


def _labels_in_words(labels: Tensor | None) -> str:
    if labels is None:
        return ""
    classes, counts = labels.unique(return_counts=True)
    told = ", ".join(
        f"{count} of class {label}" for label, count in zip(classes.tolist(), counts.tolist(), strict=True)
    )
    return f"; the attack found {told}"
