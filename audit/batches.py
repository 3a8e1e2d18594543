"""Which batches are attacked, which take their place in controls, and which might as well have been drawn."""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from seethrough.defenses import Batch, NotApplicableError

from .case import attackable
from .data import Images, deal
from .randomness import stream
from .specification.schema import Setting


@dataclass(frozen=True, eq=False)
class Batches:
    """What clients hold: disjoint parts of the private split."""

    victim: Batch  # of the client under attack
    decoy: Batch  # what takes its place in the control
    others: tuple[Batch, ...]  # of all other clients


def draw_batches(setting: Setting, seed: int, trial: int, clients: int, same_labels: bool) -> Batches:
    """The batches of one trial, no two of them of one group; the decoy repeats the victim's labels where `same_labels`.

    A trial's victim is the same for every threat, defense and attack, and without a partition a smaller batch is the start
    of a larger one. With a partition every batch is another client's; a decoy that must repeat the victim's labels is
    gathered from all clients but the victim, or where these have too few of a class, from all.

    Raises: NotApplicableError, if the private split or too many a client's share has too few images.
    """
    images = setting.images()
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
    images = setting.images()
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
    owners = deal(labels, setting.partition.rule, setting.partition.clients, rng, groups)
    able = []
    for client in torch.randperm(setting.partition.clients, generator=rng).tolist():
        own = labels[owners == client]
        if len(own.unique() if setting.labels == "unique" else own) >= setting.held:
            able.append(owners == client)
    if len(able) < needed:
        raise NotApplicableError(
            f"the partition leaves {len(able)} of {setting.partition.clients} clients {setting.held} examples with "
            f"{setting.labels} labels, and {needed} clients are needed (those who take part or may, and one for the decoy)"
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
    left, label_at = free.tolist(), labels.tolist()
    if wanted is not None:
        chosen = []
        for label in wanted.tolist():
            chosen += [i for i in left if label_at[i] == label and i not in chosen][:1]
    elif setting.labels == "unique":
        first: dict[int, int] = {}
        for i in left:
            first.setdefault(label_at[i], i)
        chosen = list(first.values())[: setting.held]
    else:
        chosen = left[: setting.held]
    if len(chosen) < setting.held:
        raise NotApplicableError(
            f"the private split of {len(labels)} images is too small for the victim's batch, the decoy's and those of the "
            f"rest of the clients, of {setting.held} each with {setting.labels} labels"
        )
    return torch.tensor(chosen)
