"""One place in the grid, with everything that decides its numbers, and the material that it is made of."""

import hashlib
import json
from dataclasses import dataclass
from functools import cache

import torch
from torch import Generator, Tensor, nn

from seethrough.attacks import Attack
from seethrough.common.section import Section
from seethrough.defenses import Batch, Defense, Guarantee, NotApplicableError
from seethrough.defenses.guarantees.statement import composed

from .client import batchnorm_layers
from .data import Images, Split, deal, split, tuning_half
from .metrics import Metric
from .models.parts.fingerprint import fingerprint
from .models.parts.outputs import give_logits
from .models.parts.searchable import unsearchable
from .randomness import drawing_from, stream
from .recordings.read import Received, fitted_to
from .recordings.settings import attacked as recorded_rounds
from .recordings.settings import split_of
from .specification.kinds import origins
from .specification.schema import Setting
from .threat import ThreatModel

PROBED = 8  # images
LEARNED = "the broadcast weights themselves were trained on the private images, without noise"
SCHEMA = 2  # raised whenever the same key would otherwise stand for other numbers


@dataclass(frozen=True)
class Case:
    """What decides the numbers of a cell, apart from the code and the libraries."""

    seed: int
    trial: int
    setting: Setting
    threat: ThreatModel
    defense: Defense
    attack: Attack
    metrics: tuple[Metric, ...]
    recovered_psnr: float = 20.0


def key_of(case: Case, environment: str) -> str:
    """SHA-256 of everything that decides the case's numbers; the names that the spec gives to things do not enter it."""
    setting = case.setting
    decisive = {
        "schema": SCHEMA,
        "environment": environment,
        "seed": case.seed,
        "trial": case.trial,
        "setting": written_out(setting, "name"),
        "content": content_of(setting, case.seed),
        "threat": [sorted(case.threat.grants), case.threat.batchnorm],
        "defense": repr(case.defense),
        "attack": f"{case.attack!r} {case.attack.facts(setting.data.load().space)}",
        "metrics": [_identity(metric) for metric in case.metrics],
        "recovered_psnr": case.recovered_psnr,
        "origins": origins_of(setting, case.defense, case.attack, *case.metrics),
    }
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()


def origins_of(setting: Setting, *others: object) -> list[str]:
    """The packages, versions and code of the entries that are not ours."""
    return [str(origin) for origin in origins((setting.data, setting.model, setting.weights, *others))]


def written_out(section: Section, without: str) -> list[str]:
    """Every field of a section of the spec but `without`, the one that decides no number."""
    return [f"{field}={getattr(section, field)!r}" for field in type(section).model_fields if field != without]


def claimed(defense: Defense, setting: Setting) -> Guarantee | None:
    """The defense's guarantee for a client's part in all rounds of the setting; None claims nothing."""
    guarantee = defense.guarantee(setting.local, setting.batch_size)
    if guarantee is None or setting.rounds == 1:
        return guarantee
    return composed(guarantee, setting.rounds, setting.rounds)


@cache
def content_of(setting: Setting, seed: int) -> tuple[str, ...]:
    """What the setting's data, model and weights hold, by their hashes. The model's is that of the module as it is built and
    broadcast, whatever files its code stands in; of a user's own, the code too.

    Raises: ValueError, for a model that cannot be audited.
    """
    model, batch = broadcast_model(setting, seed, 0), probe_batch(setting, seed)
    known = fingerprint(model, batch), setting.model.facts()
    return setting.data.load().fingerprint, *known, setting.weights.facts(), setting.local.loss.facts()


@cache
def why_unsearchable(setting: Setting, seed: int) -> str:
    """Why no attack can search the pixels of the setting's model; empty where it can."""
    return unsearchable(broadcast_model(setting, seed, 0), probe_batch(setting, seed))


def probe_batch(setting: Setting, seed: int) -> Batch:
    """A few public images, on which a model is tried out and known again."""
    public = public_batch(setting, seed)
    return Batch(public.inputs[:PROBED], public.labels[:PROBED])


@cache
def _identity(metric: Metric) -> str:
    return f"{metric!r} {metric.facts()}"


def divided(setting: Setting, seed: int) -> tuple[Images, Split]:
    """The setting's images and their division, the same for every trial."""
    images = setting.data.load()
    shares = setting.splits
    if setting.recording:
        return images, _split_of(setting)
    return images, _split(images, shares.private, shares.public, shares.copies == "drop", seed)


@cache
def _split(images: Images, private: float, public: float, drop_copies: bool, seed: int) -> Split:
    return split(images, private, public, drop_copies, stream(seed, "splits"))


@cache
def _split_of(setting: Setting) -> Split:
    return split_of(setting)


@cache
def attackable(setting: Setting, seed: int) -> Tensor:
    """Which private images batches are drawn from, as indices."""
    images, parts = divided(setting, seed)
    if setting.splits.attacked == "all":
        return parts.private
    return parts.private[tuning_half(images)[parts.private] == (setting.splits.attacked == "tuning")]


@cache
def public_batch(setting: Setting, seed: int) -> Batch:
    """The public images, at most as many as the setting uses."""
    images, parts = divided(setting, seed)
    return images.batch(parts.public[: setting.splits.public_at_most])


@cache
def _private_batch(setting: Setting, seed: int) -> Batch:
    images, parts = divided(setting, seed)
    return images.batch(parts.private)


@cache
def broadcast_model(setting: Setting, seed: int, trial: int) -> nn.Module:
    """The model as it is broadcast: trained weights are the same for every trial, random ones are drawn for each.

    Raises: ValueError, if the architecture cannot take the data; UntrustedFileError, if a weights file does not fit.
    """
    if setting.recording:
        return received(setting, seed, trial, -1).model
    model = built_model(setting, seed, 0 if setting.weights.needs_training() else trial)
    source = _private_batch if setting.weights.learns_from() == "private" else public_batch
    setting.weights.put_into(model, lambda: source(setting, seed), stream(seed, "training"))
    return model.train(setting.mode == "train")


@cache
def received(setting: Setting, seed: int, client: int, number: int) -> Received:
    """The recording of a client's round, by its number from 0 or from the end, fitted to the setting's model in its mode.

    Raises: UntrustedFileError, naming what does not fit.
    """
    model = built_model(setting, seed, 0)
    found = fitted_to(model, recorded_rounds(setting, client)[number])
    model.train(setting.mode == "train")
    return found


def built_model(setting: Setting, seed: int, number: int) -> nn.Module:
    """The model with its layers' own initialization, anew at each call. Raises: ValueError, as `broadcast_model` does."""
    with drawing_from(stream(seed, "weights", number)):
        space = setting.data.load().space
        model = setting.model.build(space)
        give_logits(model, space.classes)
        if setting.fix_batchnorm:
            put_groupnorm(model)
    return model


def put_groupnorm(model: nn.Module) -> None:
    """Put in the place of every BatchNorm layer what Opacus' validator does: GroupNorm, which sees one example alone."""
    from opacus.validators import ModuleValidator  # slow to import, and wanted only here

    for name, layer in batchnorm_layers(model).items():
        if type(layer) in ModuleValidator.FIXERS:  # a layer of the user's own stays, and DP-SGD refuses it by name
            model.set_submodule(name, ModuleValidator.FIXERS[type(layer)](layer))


@dataclass(frozen=True, eq=False)
class Batches:
    """Disjoint batches out of the private split."""

    victim: Batch  # the truth that reconstructions are held against
    decoy: Batch  # what takes the victim's place in the control
    others: tuple[Batch, ...]  # the rest of the cohort


def draw_batches(setting: Setting, seed: int, trial: int, clients: int, same_labels: bool) -> Batches:
    """The batches of one trial, no two of them of one group; the decoy repeats the victim's labels where `same_labels`.

    A trial's victim is the same for every threat, defense and attack, and without a partition a smaller batch is the start
    of a larger one. With a partition every batch is another client's; a decoy that must repeat the victim's labels is
    gathered from all clients but the victim, or where these have too few of a class, from all.

    Raises: NotApplicableError, if the private split or too many a client's share has too few images.
    """
    images = setting.data.load()
    order = shuffled(attackable(setting, seed), stream(seed, "batches", trial))
    labels, groups = images.labels[order], _groups(images, order)
    free = torch.ones(len(order), dtype=torch.bool)
    shares = client_shares(setting, labels, groups, stream(seed, "partition", trial), clients + 1)

    def take(number: int, share: Tensor, wanted: Tensor | None) -> Batch:
        scan = _scan(len(order), number, stream(seed, "batches", trial, number))
        chosen = _choose(labels, scan[(free & share)[scan]], setting, wanted)
        _take(free, chosen, groups)
        return images.batch(order[chosen])

    victim = take(0, shares[0], None)
    decoy = take(1, _elsewhere(labels, victim, shares[0]), victim.labels) if same_labels else take(1, shares[1], None)
    return Batches(victim, decoy, tuple(take(number, share, None) for number, share in enumerate(shares[2:], start=2)))


def swapped_batches(
    setting: Setting, seed: int, trial: int, number: int, wanted: tuple[Tensor | None, ...]
) -> tuple[Batch, ...]:
    """Batches that might as well have been those of the trial: drawn as `draw_batches` draws clients' batches, one for each of
    `wanted`, which holds the labels that they must repeat (int64 [n]) or None. By a stream of their own for each `number`, and
    without regard to the trial's, so that all of them and the true ones are exchangeable.

    Raises: NotApplicableError, as `draw_batches` does.
    """
    images = setting.data.load()
    order = shuffled(attackable(setting, seed), stream(seed, "swapped batches", trial, number))
    labels, groups = images.labels[order], _groups(images, order)
    free = torch.ones(len(order), dtype=torch.bool)
    shares = client_shares(setting, labels, groups, stream(seed, "swapped partition", trial, number), len(wanted))
    found = []
    for place, (share, repeated) in enumerate(zip(shares, wanted, strict=True)):
        scan = _scan(len(order), place, stream(seed, "swapped batches", trial, number, place))
        allowed = free if repeated is not None else free & share
        chosen = _choose(labels, scan[allowed[scan]], setting, repeated)
        _take(free, chosen, groups)
        found.append(images.batch(order[chosen]))
    return tuple(found)


def shuffled(indices: Tensor, rng: Generator) -> Tensor:
    """The indices in random order."""
    return indices[torch.randperm(len(indices), generator=rng)]


def client_shares(setting: Setting, labels: Tensor, groups: Tensor | None, rng: Generator, needed: int) -> list[Tensor]:
    """For each of `needed` clients, which of the private examples it may draw its batch from (bool [n]): those of its own
    under a partition, dealt anew for each trial so that intervals cover the deal too; else any. A group is one client's."""
    if setting.partition is None:
        return [torch.ones(len(labels), dtype=torch.bool)] * needed
    owners = deal(labels, setting.partition.dirichlet, setting.partition.clients, rng, groups)
    able = []
    for client in torch.randperm(setting.partition.clients, generator=rng).tolist():
        own = labels[owners == client]
        if len(own.unique() if setting.labels == "unique" else own) >= setting.batch_size:
            able.append(owners == client)
    if len(able) < needed:
        raise NotApplicableError(
            f"the partition leaves {len(able)} of {setting.partition.clients} clients a batch of {setting.batch_size} with "
            f"{setting.labels} labels, and {needed} are needed (for an attack: the victim, the decoy, the rest of the cohort)"
        )
    return able[:needed]


def _groups(images: Images, order: Tensor) -> Tensor | None:
    return None if images.groups is None else images.groups[order]


def _take(free: Tensor, chosen: Tensor, groups: Tensor | None) -> None:
    """Nobody else may have the chosen ones any more, nor others of their groups."""
    free[chosen if groups is None else torch.isin(groups, groups[chosen])] = False


def _elsewhere(labels: Tensor, victim: Batch, own: Tensor) -> Tensor:
    """Which examples [n] may stand in for the victim's: those outside its `own` share, and all of classes too rare there."""
    if own.all():
        return own
    classes = int(labels.max()) + 1
    left = torch.bincount(labels[~own], minlength=classes)
    rare = left < torch.bincount(victim.labels, minlength=classes)
    return ~own | rare[labels]


def _scan(count: int, number: int, rng: Generator) -> Tensor:
    """In which order a batch is looked for: the first in the order that there is, each other in one of its own. In a shared
    one, batches of unique labels would lack the same classes, those that come late."""
    return torch.randperm(count, generator=rng) if number else torch.arange(count)


def _choose(labels: Tensor, free: Tensor, setting: Setting, wanted: Tensor | None) -> Tensor:
    """The first of the `free` positions that make a batch: of the wanted labels, of distinct ones, or of any."""
    left = free.tolist()
    if wanted is not None:
        chosen = []
        for label in wanted.tolist():
            chosen += [i for i in left if labels[i] == label and i not in chosen][:1]
    elif setting.labels == "unique":
        first: dict[int, int] = {}
        for i in left:
            first.setdefault(int(labels[i]), i)
        chosen = list(first.values())[: setting.batch_size]
    else:
        chosen = left[: setting.batch_size]
    if len(chosen) < setting.batch_size:
        raise NotApplicableError(
            f"the private split of {len(labels)} images is too small for the victim's batch, the decoy's and those of the "
            f"rest of the cohort, of {setting.batch_size} each with {setting.labels} labels"
        )
    return torch.tensor(chosen)


def round_streams(seed: int, trial: int, clients: int, control: str, number: int) -> tuple[Generator, ...]:
    """For one round, a stream for each client, and one for combining their updates; another set for the control."""
    later = (number,) if number else ()
    senders = (stream(seed, "clients", control, trial, client, *later) for client in range(clients))
    return (*senders, stream(seed, "aggregation", control, trial, *later))
