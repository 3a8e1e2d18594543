"""What a defense costs: a federated training under it, by the very rounds that the attacks look into."""

import copy
import hashlib
import json
import time
from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn

from seethrough.common.attention import plain_attention
from seethrough.common.computing import computing_device
from seethrough.defenses import Batch, Defense, Guarantee, NotApplicableError, Update
from seethrough.defenses._base import weighted_mean
from seethrough.defenses.guarantees.statement import composed
from seethrough.defenses.parts.mixture import of_its_kind
from seethrough.federation.client import DivergedError, batchnorm_layers
from seethrough.federation.rounds import simulate_round
from seethrough.federation.server import Server
from seethrough.reports.row import Claim
from seethrough.reports.row import Utility as Measured

from .batches import client_shares, shuffled
from .case import LEARNED, SCHEMA, broadcast_model, content_of, divided, origins_of, written_out
from .data import Images, spread
from .randomness import drawing_from, stream
from .specification.schema import Setting, Utility
from .trial import claim_of


@dataclass(frozen=True)
class Training:
    """What decides the numbers of one training, apart from the code and the libraries."""

    seed: int
    repeat: int
    setting: Setting
    defense: Defense
    utility: Utility


@dataclass(frozen=True)
class Trained:
    """What one training measured."""

    utility: Measured
    claim: Claim | None  # of all its rounds together
    unclaimed: str  # why there is none


@dataclass(frozen=True, eq=False)
class _Run:
    """A whole training at one rate of the server."""

    rate: float
    model: nn.Module
    sent: int
    seconds: float


def key_of_training(training: Training, environment: str) -> str:
    """SHA-256 of everything that decides the training's numbers, its time apart; names do not enter it."""
    setting = training.setting
    decisive = {
        "schema": SCHEMA,
        "training": True,
        "environment": environment,
        "seed": training.seed,
        "repeat": training.repeat,
        "setting": written_out(setting, "name"),
        "content": content_of(setting, training.seed),
        "defense": repr(training.defense),
        "utility": written_out(training.utility, "repeats"),
        "origins": origins_of(setting, training.defense),
    }
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()


def run_training(training: Training) -> Trained:
    """One federated training and what it came to.

    Raises: NotApplicableError, if the combination cannot be trained; DivergedError, if no rate of the server kept the
    weights finite.
    """
    setting, plan = training.setting, training.utility
    images, parts = divided(setting, training.seed)
    tuning, test = _held_out(images, parts.held_out, tuned=len(plan.server_lr) > 1)
    shares = dealt(setting, training.seed, training.repeat, plan.clients)
    start = broadcast_model(setting, training.seed, training.repeat)
    run = _best(training, start, images, shares, tuning)
    times = _appearances(plan.rounds, min(len(share) for share in shares) // setting.batch_size)
    guarantee, unclaimed = _guarantee(training, start, times)
    measured = Measured(
        accuracy=accuracy(run.model, test),
        floor=accuracy(start, test),
        tested=len(test),
        rounds=plan.rounds,
        clients=plan.clients,
        sent=run.sent,
        seconds=run.seconds,
        server_lr=run.rate,
        server_optimizer=plan.server_optimizer,
        tried=len(plan.server_lr),
    )
    return Trained(measured, claim_of(guarantee), unclaimed)


def dealt(setting: Setting, seed: int, repeat: int, clients: int) -> tuple[Tensor, ...]:
    """For each client, the positions of its images in the data set: by the setting's partition, else in equal parts.

    Raises: NotApplicableError, if too many a client has too few for a batch.
    """
    images, parts = divided(setting, seed)
    order = shuffled(parts.private, stream(seed, "utility", "deal", repeat))
    if setting.partition is not None:
        labels, rng = images.labels[order], stream(seed, "utility", "partition", repeat)
        groups = None if images.groups is None else images.groups[order]
        return tuple(order[share] for share in client_shares(setting, labels, groups, rng, clients))
    if images.groups is not None:
        return _dealt_by_group(setting, order, images.groups[order], clients, stream(seed, "utility", "groups", repeat))
    each = len(order) // clients
    if each < setting.batch_size:
        raise NotApplicableError(
            f"{len(order)} private images leave each of {clients} clients {each}, fewer than a batch of {setting.batch_size}"
        )
    return order[: each * clients].split(each)


def _dealt_by_group(
    setting: Setting, order: Tensor, groups: Tensor, clients: int, rng: Generator
) -> tuple[Tensor, ...]:
    owners = spread(groups, torch.full((clients,), len(order) / clients), rng)
    shares = tuple(order[owners == client] for client in range(clients))
    least = min(len(share) for share in shares)
    if least < setting.batch_size:
        raise NotApplicableError(
            f"{len(order)} private images, dealt to {clients} clients in whole groups, leave one of them {least}, fewer than "
            f"a batch of {setting.batch_size}"
        )
    return shares


@torch.no_grad()
def accuracy(model: nn.Module, batch: Batch) -> float:
    """The share of the batch that the model, in eval mode, classifies rightly."""
    device = computing_device()
    judged = copy.deepcopy(model).to(device).eval()
    right = [
        judged(inputs.to(device)).argmax(dim=1).cpu() == labels
        for inputs, labels in zip(batch.inputs.split(500), batch.labels.split(500), strict=True)
    ]
    return float(torch.cat(right).double().mean())


def _held_out(images: Images, held_out: Tensor, tuned: bool) -> tuple[Batch, Batch]:
    """What the server's rate is chosen by, and what is reported: disjoint where there is a choice."""
    first, second = (
        (held_out[: len(held_out) // 2], held_out[len(held_out) // 2 :]) if tuned else (held_out[:0], held_out)
    )
    if not len(second) or (tuned and not len(first)):
        raise NotApplicableError(f"the splits hold out {len(held_out)} images, too few to tell an accuracy")
    return images.batch(first), images.batch(second)


def _best(training: Training, start: nn.Module, images: Images, shares: tuple[Tensor, ...], tuning: Batch) -> _Run:
    runs: list[_Run] = []
    for rate in training.utility.server_lr:
        try:
            runs.append(_run(training, start, images, shares, rate))
        except DivergedError as error:
            problem = error
    if not runs:
        raise problem
    return max(runs, key=lambda run: accuracy(run.model, tuning)) if len(runs) > 1 else runs[0]


def _run(training: Training, start: nn.Module, images: Images, shares: tuple[Tensor, ...], rate: float) -> _Run:
    plan = training.utility
    server = Server(start, plan.server_optimizer, rate)
    began = time.perf_counter()
    for number in range(plan.rounds):
        batches = tuple(
            images.batch(_drawn(training, client, shares[client], number)) for client in range(plan.clients)
        )
        try:
            mean = _round(training, server.model, batches, rate, number)
            server.move(mean)
        except DivergedError as error:
            raise DivergedError(f"round {number + 1} at a server_lr of {rate:g}: {error}") from error
    seconds = (time.perf_counter() - began) / plan.rounds
    sent = sum(share * own.bytes_sent(mean) for share, own in training.defense.kinds())
    return _Run(rate, server.model, round(sent), seconds)


def _drawn(training: Training, client: int, share: Tensor, number: int) -> Tensor:
    """The client's batch of a round: one part after another of its share, which is shuffled anew before each pass.

    What does not fill a batch is left out of the pass.
    """
    size = training.setting.batch_size
    turn, place = divmod(number, len(share) // size)
    shuffled = torch.randperm(
        len(share), generator=stream(training.seed, "utility", "pass", training.repeat, client, turn)
    )
    return share[shuffled[place * size : (place + 1) * size]]


def _appearances(rounds: int, batches: int) -> int:
    """In how many rounds an example takes part at most, if a pass over its client's share has `batches` rounds."""
    return -(-rounds // batches)


def _round(training: Training, model: nn.Module, batches: tuple[Batch, ...], rate: float, number: int) -> Update:
    """The mean of one round's updates, of clients in cohorts where the defense wants them so."""
    defense, path = training.defense, (training.repeat, f"{rate}", number)
    size = len(batches) if defense.cohort() == 1 else defense.cohort()
    means = []
    for first in range(0, len(batches), size):
        cohort = batches[first : first + size]
        senders = (stream(training.seed, "utility", "client", *path, first + place) for place in range(len(cohort)))
        streams = (*senders, stream(training.seed, "utility", "aggregation", *path, first))
        chance = stream(training.seed, "utility", "chance", *path, first)  # what dropout draws
        with drawing_from(chance), plain_attention():
            numbers = tuple(range(first, first + len(cohort)))
            played = simulate_round(model, cohort, training.setting.local, defense, streams, clients=numbers)
            means.append(played.aggregate.mean)
    return weighted_mean(tuple(means))


def _guarantee(training: Training, model: nn.Module, times: int) -> tuple[Guarantee | None, str]:
    """The guarantee of all rounds at all rates that were tried, or none and the reason."""
    setting, plan = training.setting, training.utility
    guarantee = training.defense.of(0).guarantee(setting.local, setting.batch_size)
    if guarantee is None:
        return None, training.defense.of(0).why_unclaimed()
    if setting.weights.learns_from() == "private":
        return None, LEARNED
    if setting.mode == "train" and batchnorm_layers(model):
        return None, "the BatchNorm statistics of each batch are sent in the clear beside the update"
    tried, each = len(plan.server_lr), plan.rounds if guarantee.unit == "client" else times
    return of_its_kind(composed(guarantee, plan.rounds * tried, each * tried), training.defense, plan.clients), ""
