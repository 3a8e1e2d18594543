"""What one client alone sent, of a sum of sparse updates.

Where clients send few coordinates, and tell in the clear which, a coordinate of the sum that only one of them sent is that
client's own: secure aggregation hides nothing there (named as an attack in arXiv:2508.04285, which lets sums be read only
where enough clients contribute).
"""

import dataclasses

import torch

from seethrough.defenses import Chain, Params
from seethrough.defenses.parts.withheld import Withheld

from .._base import IndexLists, View
from .batchnorm import are_running
from .isolation import isolated


def told_apart(view: View) -> tuple[View, str]:
    """The view of who has told the client under attack apart from the others in the sums, and how: over rounds, else within
    the last sum; as it was, and why, where that cannot be done."""
    alone, over_rounds = isolated(view)
    if alone is not view:
        return alone, over_rounds
    alone, within = sole_part(view)
    return alone, "; ".join(filter(None, (over_rounds, within)))


def sole_part(view: View) -> tuple[View, str]:
    """The view of who takes of the sum only what the client under attack alone sent, and how much that is; as it was, and why,
    where that is nothing, or where no index lists were sent.

    Updates are taken to be of as many examples each.
    """
    if view.lists is None:
        return view, ""
    own, clients = sole(view.lists), len(view.lists.sent)
    found = sum(int(mask.sum()) for mask in own.values())
    if not found:
        return view, f"none of the coordinates that the client sent was its own among {clients}: the sum is attacked"
    alone = dataclasses.replace(
        view,
        update={name: clients * part * own[name].to(part.device) for name, part in view.update.items()},
        count=None if view.count is None else view.count // clients,
        labels=view.lists.labels,
        buffers=view.buffers if are_running(view) else None,  # of the sum, not of the client
        defense=Withheld() if view.defense is None else Chain((view.defense, Withheld())),  # by the attacker itself
        participants=None if view.participants is None else 1,
        past=None,
        sums=None,
        lists=None,
    )
    sent = sum(int(mask.sum()) for mask in view.lists.sent[0].values())
    return (
        alone,
        f"of {sent} coordinates that the client sent, {found} were sent by no other of {clients}, and are attacked alone; the "
        "whole sum, which an attack without index lists looks at, may tell more of images",
    )


def sole(lists: IndexLists) -> Params:
    """For each tensor, where the client under attack sent something and no other client did (bool)."""
    first, *others = lists.sent
    return {
        name: mask & ~torch.stack([each[name] for each in others]).any(dim=0) if others else mask
        for name, mask in first.items()
    }
