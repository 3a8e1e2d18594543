"""The threat model: the only place that makes Views, by copying what is granted."""

import copy
from typing import Literal

import torch
from torch import Tensor, nn

from seethrough.attacks import IndexLists, Seen, Space, Sum, View
from seethrough.common.section import Name, Section
from seethrough.defenses import Batch, Defense, NotApplicableError, Params
from seethrough.federation.client import batchnorm_layers
from seethrough.federation.rounds import Round, aborted
from seethrough.recipes import Recipe
from seethrough.reports.row import Sight

CPU = torch.device("cpu")

Fact = Literal["count", "labels", "recipe", "order", "defense", "public", "participants", "past"]

MEANING: dict[Fact, str] = {
    "count": "the number of examples behind the update it reads",
    "labels": "the labels of those examples, in no order unless that is granted",
    "recipe": "how clients train: loss, optimizer, rates, batches and their number",
    "order": "in which order the client whose update it reads takes its examples",
    "defense": "which defense the clients use, with its parameters",
    "public": "public data of the same kind as the private data",
    "participants": "the number of clients behind the update it reads",
    "past": "what it read in earlier rounds, if there were any, who took part, and the models broadcast then",
}
SHORT: dict[Fact, str] = {
    "count": "number of examples",
    "labels": "labels",
    "recipe": "training recipe",
    "order": "order of examples",
    "defense": "the defense",
    "public": "public data",
    "participants": "number of clients",
    "past": "earlier rounds",
}
BATCHNORM = {
    "hidden": "no BatchNorm statistics (they stay with the clients)",
    "running": "the running BatchNorm statistics of the broadcast model",
    "exact": "the BatchNorm statistics of the very batch behind the update",
}


class ThreatModel(Section):
    """What an honest-but-curious server may use beside the model that it broadcast and the update that it reads."""

    name: Name
    grants: tuple[Fact, ...] = ("count", "recipe", "defense", "public", "participants", "past")
    batchnorm: Literal["hidden", "running", "exact"] = "running"

    def shows_batch_statistics(self, model: nn.Module, rounds: int) -> bool:
        """Whether it sees BatchNorm statistics of the clients' batches: as they are sent, or once an earlier round has moved
        the model's running ones."""
        moved = self.batchnorm == "running" and model.training and rounds > 1
        return (self.batchnorm == "exact" or moved) and bool(batchnorm_layers(model))

    def without(self, fact: Fact) -> "ThreatModel":
        """The same without a fact that there is not."""
        return self.model_copy(update={"grants": tuple(each for each in self.grants if each != fact)})

    def sight(self) -> Sight:
        """The same as `sentences`, in a word or two each."""
        shown = {"hidden": (), "running": ("running BatchNorm",), "exact": ("exact BatchNorm",)}[self.batchnorm]
        granted = (*(SHORT[fact] for fact in SHORT if fact in self.grants), *shown)
        withheld = (
            *(SHORT[fact] for fact in SHORT if fact not in self.grants),
            *(() if shown else ("BatchNorm",)),
        )
        return Sight(self.name, granted, withheld)

    def sentences(self) -> tuple[str, ...]:
        """What is granted and what is withheld, in words."""
        granted = [MEANING[fact] for fact in MEANING if fact in self.grants] + [BATCHNORM[self.batchnorm]]
        withheld = [MEANING[fact] for fact in MEANING if fact not in self.grants]
        return (
            "The server follows the protocol and is curious: it broadcasts the model, so it knows architecture and weights, "
            "and reads each client's update, or only the cohort's sum under secure aggregation.",
            f"It may also use: {'; '.join(granted)}.",
            f"Withheld from it: {'; '.join(withheld) or 'nothing of what seethrough can grant'}.",
        )


def view_of(
    threat: ThreatModel,
    simulated: tuple[Round, ...],
    recipe: Recipe,
    defense: Defense,
    space: Space,
    public: Batch,
    device: torch.device = CPU,
    fresh: bool = False,
) -> View:
    """What the attacker sees of the last round, every tensor a copy on `device`: the update of the first client if the server
    could read it, else the mean of the clients who are in the sum; and of the rounds before it, if that is granted: of the
    same clients, on other examples if those were `fresh`, or of sums that other clients were in. Where clients differ, the
    defense that it knows is that of the one under attack.

    Raises: NotApplicableError, if statistics are to be hidden that the clients' eval mode needs at the server.
    """
    *earlier, last = simulated
    read, victims = last.read(), last.victims()
    alike = [old for old in earlier if old.members() == last.members()]
    granted = set(threat.grants)
    return View(
        model=_broadcast(threat, last.model).to(device),
        update=_copied(read.step, device),
        space=space,
        count=read.count if "count" in granted else None,
        labels=_labels(last, "order" in granted).to(device) if "labels" in granted else None,
        buffers=_statistics(threat, last.model, read.buffers, device),
        recipe=recipe if "recipe" in granted else None,
        order=last.order() if "order" in granted else None,
        defense=defense.of(0) if "defense" in granted else None,
        public=_on(public, device) if "public" in granted else None,
        participants=len(victims) if "participants" in granted else None,
        past=tuple(_seen(threat, old, device, fresh) for old in alike) if "past" in granted else None,
        sums=tuple(_sum(each, "labels" in granted, device, fresh) for each in simulated)
        if "past" in granted and not last.aggregate.seen and len(alike) < len(earlier)
        else None,
        lists=_lists(last, "labels" in granted, device),
        aborted=aborted(simulated) if "past" in granted else None,
    )


def view_of_model(model: nn.Module, update: Params, space: Space) -> View:
    """What is seen by who is granted nothing beside the model and an update: to try a model out."""
    return View(model, update, space)


def _seen(threat: ThreatModel, simulated: Round, device: torch.device, fresh: bool) -> Seen:
    ordered, read = "order" in threat.grants, simulated.read()
    return Seen(
        _broadcast(threat, simulated.model).to(device),
        _copied(read.step, device),
        simulated.order() if ordered else None,
        fresh,
        _labels(simulated, ordered).to(device) if "labels" in threat.grants else None,
        _statistics(threat, simulated.model, read.buffers, device),
    )


def _sum(simulated: Round, labeled: bool, device: torch.device, fresh: bool) -> Sum:
    members = simulated.members()
    labels = simulated.batches[0].labels.sort().values.to(device) if labeled and members[0] == 0 else None
    return Sum(_copied(simulated.read().step, device), members, labels, fresh)


def _lists(last: Round, labeled: bool, device: torch.device) -> IndexLists | None:
    if not last.aggregate.sent:
        return None
    labels = last.batches[0].labels.sort().values.to(device) if labeled else None
    return IndexLists(tuple(_copied(each, device) for each in last.aggregate.sent), labels)


def _labels(last: Round, ordered: bool) -> Tensor:
    """Those of the examples behind the update, in their own order only if that is known and it is one client's."""
    labels = torch.cat([batch.labels for batch in last.victims()])
    return labels if ordered and last.order() is not None else labels.sort().values


def _broadcast(threat: ThreatModel, model: nn.Module) -> nn.Module:
    copied = copy.deepcopy(model)
    if threat.batchnorm == "hidden":
        for layer in batchnorm_layers(copied).values():
            if not copied.training:
                raise NotApplicableError(
                    "in eval mode the broadcast model computes with its running BatchNorm statistics, so they cannot be hidden"
                )
            layer.reset_running_stats()
    return copied


def _statistics(threat: ThreatModel, model: nn.Module, exact: Params, device: torch.device) -> Params | None:
    layers = batchnorm_layers(model)
    if not layers or threat.batchnorm == "hidden":
        return None
    kept = ("running_mean", "running_var")
    running = {f"{name}.{part}": getattr(layer, part) for name, layer in layers.items() for part in kept}
    return _copied(exact if threat.batchnorm == "exact" else running, device)


def _on(batch: Batch, device: torch.device) -> Batch:
    return Batch(_copy(batch.inputs, device), _copy(batch.labels, device))


def _copied(params: Params, device: torch.device) -> Params:
    return {name: _copy(tensor, device) for name, tensor in params.items()}


def _copy(tensor: Tensor, device: torch.device) -> Tensor:
    return tensor.detach().to(device, copy=True)
