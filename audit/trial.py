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

from seethrough.attacks import Reconstruction, View
from seethrough.attacks.parts.contributors import told_apart
from seethrough.attacks.parts.rounds import remembered
from seethrough.common.attention import plain_attention
from seethrough.defenses import Batch, Guarantee, NoDefense, NotApplicableError
from seethrough.federation.rounds import Round, aborted, simulate_round, simulate_rounds
from seethrough.federation.server import Server
from seethrough.reports.row import Claim, FoundLabels, LabelCounts, Pictures, Recovery, Score

from .batches import draw_batches
from .case import LEARNED, Case, broadcast_model, claimed, everyone, public_batch, why_unsearchable
from .counting import counted_labels
from .judging import judged_against, scored
from .randomness import drawing_from, stream
from .recovery import recovery_of
from .scoring import Claimed, claimed_by
from .threat import view_of
from .turns import turns, visits, without_clients

SHOWN = 8  # images of a batch that a cell keeps as pictures
ZEROS = "the update is all zeros: nothing was sent that an attack could read"
RUINED = 0.1  # cosine of what is sent and the undefended update, below which it is said beside the scores


@dataclass(frozen=True)
class Outcome:
    """What one trial measured."""

    scores: tuple[Score, ...]
    claim: Claim | None
    unclaimed: str  # why there is no claim
    recovery: Recovery | None
    pictures: Pictures | None
    labels: FoundLabels | None = None  # where nothing scores them
    label_counts: LabelCounts | None = None  # where the truth is known


def run_trial(case: Case, device: torch.device) -> Outcome:
    """The scores of one attack on one batch. Raises: NotApplicableError, if the combination cannot be run."""
    with plain_attention():
        return _simulated_trial(case, device)


def _simulated_trial(case: Case, device: torch.device) -> Outcome:
    granted = "labels" in case.threat.grants
    if case.attack.recovers_images and (reason := why_unsearchable(case.setting, case.seed)):
        raise NotApplicableError(reason)
    clients = everyone(case.setting, case.defense.cohort())
    if reason := without_clients(case.defense, case.setting):
        raise NotApplicableError(reason)
    held = draw_batches(case.setting, case.seed, case.trial, clients, same_labels=granted)
    model = broadcast_model(case.setting, case.seed, case.trial)
    simulated, control = (
        _played(case, model, (first, *held.others), name)
        for first, name in ((held.victim, "attack"), (held.decoy, "decoy"))
    )
    truth, places = simulated[-1].batches[0], simulated[-1].places()
    returned, misled = attack_on(case, simulated, device), attack_on(case, control, device, shrinks=False)
    found, decoy = claimed_by(returned), claimed_by(misled)
    judged = judged_against(
        case.setting,
        case.seed,
        case.trial,
        case.defense.cohort(),
        places,
        tuple(each.number for each in simulated if each.members() == simulated[-1].members()),
        returned.isolated,
        same_labels=granted,
    )
    guarantee, unclaimed = _guarantee(case, model, simulated)
    said = (returned.note, _aborted(simulated), simulated[-1].aggregate.note, _ruined(case, simulated[-1]))
    note = "; ".join(filter(None, said))
    shown, shown_decoy = (claim.matched_with(truth) for claim in (found, decoy))
    return Outcome(
        scores=tuple(scored(metric, judged, returned, misled, note) for metric in case.metrics),
        claim=claim_of(guarantee),
        unclaimed=unclaimed,
        recovery=recovery_of(case, truth, shown, returned, guarantee),
        pictures=_side_by_side(truth, shown, shown_decoy),
        label_counts=counted_labels(judged, returned, case.setting.data.load().name_of),
    )


def _ruined(case: Case, last: Round) -> str:
    """That the defense leaves next to nothing of the update to train on, where it does; measured on the clients themselves."""
    if type(case.defense) is NoDefense:
        return ""
    with drawing_from(stream(case.seed, "chance", case.trial)):
        undefended = simulate_round(
            last.model, last.victims(), case.setting.local, NoDefense(), (torch.Generator(),) * (len(last.places()) + 1)
        )
    sent, whole = (
        torch.cat([part.flatten() for part in step.values()])
        for step in (last.read().step, undefended.aggregate.mean.step)
    )
    alike = float(torch.cosine_similarity(sent.double(), whole.double(), dim=0))
    return f"what is sent has a cosine of {alike:.3f} with the undefended update" if alike < RUINED else ""


def _played(case: Case, model: nn.Module, held: tuple[Batch, ...], control: str) -> tuple[Round, ...]:
    server = Server(model, case.setting.server_optimizer, case.setting.server_lr)
    planned = turns(case.setting, case.seed, case.trial, case.defense, held, control)
    with drawing_from(stream(case.seed, "chance", case.trial, control)):  # what dropout draws
        return simulate_rounds(server, planned, case.setting.local, case.defense)


def view_for(case: Case, simulated: tuple[Round, ...], device: torch.device) -> View:
    """What the case's attacker sees of these rounds."""
    space, threat = case.setting.data.load().space, case.threat
    if not case.setting.knows_recipe:
        threat = threat.without("recipe")
    public = public_batch(case.setting, case.seed)
    return view_of(threat, simulated, case.setting.local, case.defense, space, public, device, fresh=case.setting.fresh)


def attack_on(
    case: Case, simulated: tuple[Round, ...], device: torch.device, shrinks: bool | None = None
) -> Reconstruction:
    """What the case's attack makes of these rounds; with `shrunk` images, if it `shrinks` (None: if a metric wants them), and
    with what it makes of every earlier round, if a metric wants that. On the CPU."""
    view = view_for(case, simulated, device)
    view.need(*case.attack.needs)
    alone, note = told_apart(view)
    scored = {metric.of for metric in case.metrics}
    judged = "history" in scored and len(simulated[-1].places()) == 1  # what sums tell of earlier rounds is not scored
    earlier = tuple(_reconstructed(case, each, False) for each in remembered(alone)) if judged else ()
    whole = _reconstructed(case, view, False) if alone is not view and "cohort" in scored else None
    wanted = any(metric.compares == "shrunk" for metric in case.metrics) if shrinks is None else shrinks
    found = _reconstructed(case, alone, wanted)
    return dataclasses.replace(found, history=earlier, whole=whole, isolated=alone is not view, note=note)


def _reconstructed(case: Case, view: View, shrinks: bool) -> Reconstruction:
    if not any(
        part.any() for step in (view.update, *(seen.update for seen in view.past or ())) for part in step.values()
    ):
        raise NotApplicableError(ZEROS)
    rng = stream(case.seed, "attack", case.trial)
    with drawing_from(stream(case.seed, "attack's chance", case.trial)):
        found = case.attack.reconstruct(view, rng)
        found = case.attack.shrunk(found, view, rng) if shrinks else found
    inputs, labels, shrunk = (_on_cpu(tensor) for tensor in (found.inputs, found.labels, found.shrunk))
    return dataclasses.replace(found, inputs=inputs, labels=labels, shrunk=shrunk)


def _on_cpu(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.detach().cpu()


def _aborted(simulated: tuple[Round, ...]) -> str:
    """How many rounds gave the server nothing, if any."""
    missing = aborted(simulated)
    whole = len(simulated) + missing
    return f"{missing} of {whole} rounds gave the server nothing: too few clients were left in them" if missing else ""


def _guarantee(case: Case, model: nn.Module, simulated: tuple[Round, ...]) -> tuple[Guarantee | None, str]:
    """The defense's guarantee for the rounds that the server could read the client's part of, or none and the reason."""
    present = visits(case.setting, case.seed, case.trial, case.defense.cohort())
    read = [present[each.number][0].before for each in simulated if each.clients[0] == 0]
    guarantee = claimed(case.defense, case.setting, read)
    if guarantee is None:
        return None, case.defense.of(0).why_unclaimed()
    if case.setting.weights.learns_from() == "private":
        return None, LEARNED
    if case.threat.shows_batch_statistics(model, case.setting.rounds):
        return None, "the BatchNorm statistics of the batch are sent in the clear beside the update"
    return guarantee, ""


def claim_of(guarantee: Guarantee | None) -> Claim | None:
    """The guarantee as reports read it."""
    if guarantee is None:
        return None
    stated = (guarantee.statement, guarantee.unit, guarantee.adjacency, guarantee.noise)
    return Claim(guarantee.epsilon, guarantee.delta, *stated)


def _side_by_side(truth: Batch, found: Claimed, decoy: Claimed) -> Pictures | None:
    if found.inputs is None or decoy.inputs is None:
        return None
    return Pictures(pictures(truth.inputs), pictures(found.inputs), pictures(decoy.inputs))


def pictures(inputs: Tensor) -> tuple[str, ...]:
    """The first images of [n, channels, height, width] in [0, 1] as base64-encoded PNG; what is not a number is black."""
    return tuple(_png(image) for image in visible(inputs[:SHOWN]).nan_to_num(0.0).clamp(0, 1))


def visible(inputs: Tensor) -> Tensor:
    """Images [n, 1 or 3, height, width] of images of any channels: of two their mean, of more than three the first three."""
    return inputs.mean(dim=1, keepdim=True) if inputs.shape[1] == 2 else inputs[:, :3]


def _png(image: Tensor) -> str:
    levels = (image * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    picture = Image.fromarray(np.ascontiguousarray(levels[..., 0] if levels.shape[2] == 1 else levels))
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return base64.b64encode(buffer.getvalue()).decode()
