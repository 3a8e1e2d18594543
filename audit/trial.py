"""One trial, as data flows through it: batches, clients, rounds under a defense, a View, an attack, scores.

Everything happens twice with the same streams: for the victim's batch, and for the decoy that takes its place.
"""

import base64
import dataclasses
import io
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from attacks import Reconstruction
from audit._stream import stream
from audit.case import Case, broadcast_model, claimed, draw_batches, public_batch, round_streams
from audit.client import Round, play_rounds
from audit.recovery import recovery_of
from audit.scoring import Guess, Scene, blind_guesses, guess_from, score
from audit.threat import view_of
from defenses import Batch, Guarantee
from reports._row import Claim, Pictures, Recovery, Score

SHOWN = 8  # images of a batch that a cell keeps as pictures


@dataclass(frozen=True)
class Outcome:
    """What one trial measured."""

    scores: tuple[Score, ...]
    claim: Claim | None
    unclaimed: str  # why there is no claim
    recovery: Recovery | None
    pictures: Pictures | None


def run_trial(case: Case, device: torch.device) -> Outcome:
    """The scores of one attack on one batch. Raises: NotApplicableError, if the combination cannot be run."""
    granted = "labels" in case.threat.grants
    batches = draw_batches(case.setting, case.seed, case.trial, case.defense.cohort(), same_labels=granted)
    model = broadcast_model(case.setting, case.seed, case.trial)
    played, control = (
        _played(case, model, (first, *batches.others), name)
        for first, name in ((batches.victim, "attack"), (batches.decoy, "decoy"))
    )
    returned = _attacked(case, played, device)
    found, decoy = (guess_from(batches.victim, one) for one in (returned, _attacked(case, control, device)))
    guarantee, unclaimed = _guarantee(case, model)
    size = sum(len(batch) for batch in played[-1].victims())
    public = public_batch(case.setting, case.seed)
    blind, scene = blind_guesses(batches.victim, public, size), Scene(model, public.inputs)
    scores = tuple(score(metric, batches.victim, found, decoy, blind, granted, scene) for metric in case.metrics)
    return Outcome(
        scores=tuple(
            dataclasses.replace(one, note="; ".join(filter(None, (one.note, played[-1].aggregate.note))))
            for one in scores
        ),
        claim=claim_of(guarantee),
        unclaimed=unclaimed,
        recovery=recovery_of(case, batches.victim, found, returned, guarantee),
        pictures=_side_by_side(batches.victim, found, decoy),
    )


def _played(case: Case, model: nn.Module, batches: tuple[Batch, ...], control: str) -> tuple[Round, ...]:
    clients, rounds = case.defense.cohort(), range(case.setting.rounds)
    streams = tuple(round_streams(case.seed, case.trial, clients, control, number) for number in rounds)
    return play_rounds(model, batches, case.setting.local, case.defense, streams)


def _attacked(case: Case, played: tuple[Round, ...], device: torch.device) -> Reconstruction:
    space = case.setting.data.load().space
    public = public_batch(case.setting, case.seed)
    view = view_of(case.threat, played, case.setting.local, case.defense, space, public, device)
    view.need(*case.attack.needs)
    found = case.attack.reconstruct(view, stream(case.seed, "attack", case.trial))
    return dataclasses.replace(found, inputs=_on_cpu(found.inputs), labels=_on_cpu(found.labels))


def _on_cpu(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.detach().cpu()


def _guarantee(case: Case, model: nn.Module) -> tuple[Guarantee | None, str]:
    """The defense's guarantee, or none and the reason."""
    guarantee = claimed(case.defense, case.setting)
    if guarantee is None:
        return None, case.defense.why_unclaimed()
    if case.threat.shows_batch_statistics(model, case.setting.rounds):
        return None, "the BatchNorm statistics of the batch are sent in the clear beside the update"
    return guarantee, ""


def claim_of(guarantee: Guarantee | None) -> Claim | None:
    """The guarantee as reports read it."""
    if guarantee is None:
        return None
    stated = (guarantee.statement, guarantee.unit, guarantee.adjacency, guarantee.noise)
    return Claim(guarantee.epsilon, guarantee.delta, *stated)


def _side_by_side(truth: Batch, found: Guess, decoy: Guess) -> Pictures | None:
    if found.inputs is None or decoy.inputs is None:
        return None
    return Pictures(pictures(truth.inputs), pictures(found.inputs), pictures(decoy.inputs))


def pictures(inputs: Tensor) -> tuple[str, ...]:
    """The first images of [n, channels, height, width] in [0, 1] as base64-encoded PNG; what is not a number is black."""
    return tuple(_png(image) for image in inputs[:SHOWN].nan_to_num(0.0).clamp(0, 1))


def _png(image: Tensor) -> str:
    levels = (image * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    picture = Image.fromarray(np.ascontiguousarray(levels[..., 0] if levels.shape[2] == 1 else levels))
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return base64.b64encode(buffer.getvalue()).decode()
