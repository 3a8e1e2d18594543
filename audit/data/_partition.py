"""Clients whose data are not alike: class by class, shares drawn from a Dirichlet distribution (Yurochkin, Agarwal, Ghosh,
Greenewald, Hoang, Khazaeni, ICML 2019, arXiv:1905.12022, section 4)."""

import numpy as np
import torch
from torch import Generator, Tensor


def deal(labels: Tensor, alpha: float, clients: int, rng: Generator) -> Tensor:
    """The client in [0, clients) that each example goes to, int64 [n], for `labels` int64 [n].

    Of each class, client c gets the next share_c of the examples in their order, with shares ~ Dirichlet(alpha, ..., alpha).
    """
    draws = np.random.default_rng(rng.initial_seed())
    owners = torch.empty_like(labels)
    for label in labels.unique():
        members = (labels == label).nonzero().flatten()
        shares = draws.dirichlet(np.full(clients, alpha))
        ends = torch.from_numpy((shares.cumsum()[:-1] * len(members)).round()).long()
        owners[members] = torch.bucketize(torch.arange(len(members)), ends, right=True)
    return owners
