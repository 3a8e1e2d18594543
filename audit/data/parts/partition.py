"""Who holds what. Clients whose data are not alike: class by class, shares drawn from a Dirichlet distribution (Yurochkin,
Agarwal, Ghosh, Greenewald, Hoang, Khazaeni, ICML 2019, arXiv:1905.12022, section 4). Groups, as of one patient's images, stay
whole."""

import numpy as np
import torch
from torch import Generator, Tensor


def deal(labels: Tensor, alpha: float, clients: int, rng: Generator, groups: Tensor | None = None) -> Tensor:
    """The client in [0, clients) that each example goes to, int64 [n], for `labels` int64 [n].

    Of each class, client c gets the next share_c of the examples in their order, with shares ~ Dirichlet(alpha, ..., alpha).
    With `groups` int64 [n] so many of its groups, in random order; a group's class is that of most of its examples.
    """
    if groups is not None:
        names, members = groups.unique(return_inverse=True)
        order = torch.randperm(len(names), generator=rng)
        common = torch.stack([labels[members == number].mode().values for number in order.tolist()])
        return deal(common, alpha, clients, rng)[order.argsort()][members]
    draws = np.random.default_rng(rng.initial_seed())
    owners = torch.empty_like(labels)
    for label in labels.unique():
        members = (labels == label).nonzero().flatten()
        shares = draws.dirichlet(np.full(clients, alpha))
        ends = torch.from_numpy((shares.cumsum()[:-1] * len(members)).round()).long()
        owners[members] = torch.bucketize(torch.arange(len(members)), ends, right=True)
    return owners


def spread(groups: Tensor, wanted: Tensor, rng: Generator) -> Tensor:
    """The part in [0, k) that each example goes to, int64 [n]: whole groups (int64 [n]), in random order, each to the part
    that lacks most of the examples `wanted` [k]."""
    names, members, counts = groups.unique(return_inverse=True, return_counts=True)
    owners, lacking = torch.empty_like(names), wanted.double().clone()
    for number in torch.randperm(len(names), generator=rng).tolist():
        owners[number] = lacking.argmax()
        lacking[owners[number]] -= counts[number]
    return owners[members]
