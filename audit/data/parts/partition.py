"""Who holds what: clients whose data are not alike. Groups, as of one patient's images, stay whole.

Names and meaning are those of flwr-datasets' partitioners, written anew; what is left over there, nobody holds. Departs from
them: Dirichlet shares are neither balanced nor drawn again where a client gets few examples; clients who may hold more classes
than there are hold all.
"""

from collections.abc import Callable
from typing import Literal, TypeAlias

import numpy as np
import torch
from torch import Generator, Tensor

Rule: TypeAlias = Callable[[Tensor, int, Generator], Tensor]
"""Labels int64 [n] and a number of clients to the client in [0, clients) that holds each example, -1 for none: int64 [n]."""
Sizes = Literal["iid", "linear", "square", "exponential"]
NOBODY = -1


def deal(labels: Tensor, rule: Rule, clients: int, rng: Generator, groups: Tensor | None = None) -> Tensor:
    """The client that each example goes to by the rule, for `labels` int64 [n]; with `groups` int64 [n] the one that its whole
    group goes to, as an example of the class that most of its own are of, the groups being in random order."""
    if groups is None:
        return rule(labels, clients, rng)
    names, members = groups.unique(return_inverse=True)
    order = torch.randperm(len(names), generator=rng)
    common = torch.stack([labels[members == number].mode().values for number in order.tolist()])
    return rule(common, clients, rng)[order.argsort()][members]


def dirichlet(alpha: float) -> Rule:
    """Of each class, client c gets the next share_c of the examples in their order, with shares ~ Dirichlet(alpha, ..., alpha)
    (Yurochkin, Agarwal, Ghosh, Greenewald, Hoang, Khazaeni, ICML 2019, arXiv:1905.12022, section 4)."""

    def rule(labels: Tensor, clients: int, rng: Generator) -> Tensor:
        draws = np.random.default_rng(rng.initial_seed())
        owners = torch.empty_like(labels)
        for label in labels.unique():
            members = (labels == label).nonzero().flatten()
            owners[members] = _by_share(len(members), draws.dirichlet(np.full(clients, alpha)))
        return owners

    return rule


def pathological(classes: int) -> Rule:
    """Each client holds `classes` classes, drawn for each by itself, and of each class an equal part among those who hold it
    (Li, Diao, Chen, He, ICDE 2022, arXiv:2102.02079)."""

    def rule(labels: Tensor, clients: int, rng: Generator) -> Tensor:
        present = labels.unique()
        held = torch.stack([torch.randperm(len(present), generator=rng)[:classes] for _ in range(clients)])
        owners = torch.full_like(labels, NOBODY)
        for place, label in enumerate(present):
            holders = (held == place).any(dim=1).nonzero().flatten()
            if len(holders):
                members = (labels == label).nonzero().flatten()
                owners[members] = holders[_by_share(len(members), np.full(len(holders), 1 / len(holders)))]
        return owners

    return rule


def shards(number: int) -> Rule:
    """The examples sorted by class and cut into equal shards, of which each client gets `number`, drawn from all
    (McMahan, Moore, Ramage, Hampson, Aguera y Arcas, AISTATS 2017, arXiv:1602.05629, section 3)."""

    def rule(labels: Tensor, clients: int, rng: Generator) -> Tensor:
        size = len(labels) // (clients * number)
        shard = torch.arange(len(labels)) // max(1, size)
        dealt = torch.randperm(clients * number, generator=rng) // number
        owners = torch.full_like(labels, NOBODY)
        whole = shard < clients * number
        owners[labels.argsort(stable=True)[whole]] = dealt[shard[whole]]
        return owners

    return rule


def by_size(sizes: Sizes) -> Rule:
    """Clients of one mix of classes: of one size, or that of client c in proportion to c, c^2 or e^c, c from 1."""

    def rule(labels: Tensor, clients: int, rng: Generator) -> Tensor:
        numbers = np.arange(1, clients + 1, dtype=float)
        weights = {
            "iid": np.ones(clients),
            "linear": numbers,
            "square": numbers**2,
            "exponential": np.exp(numbers - clients),
        }[sizes]
        return _by_share(len(labels), weights / weights.sum())[torch.randperm(len(labels), generator=rng)]

    return rule


def spread(groups: Tensor, wanted: Tensor, rng: Generator) -> Tensor:
    """The part in [0, k) that each example goes to, int64 [n]: whole groups (int64 [n]), in random order, each to the part
    that lacks most of the examples `wanted` [k]."""
    names, members, counts = groups.unique(return_inverse=True, return_counts=True)
    owners, lacking = torch.empty_like(names), wanted.double().clone()
    for number in torch.randperm(len(names), generator=rng).tolist():
        owners[number] = lacking.argmax()
        lacking[owners[number]] -= counts[number]
    return owners[members]


def _by_share(count: int, shares: np.ndarray) -> Tensor:
    """The part that each of `count` positions falls into, one part after another, each as long as its share of them."""
    ends = torch.from_numpy((shares.cumsum()[:-1] * count).round()).long()
    return torch.bucketize(torch.arange(count), ends, right=True)
