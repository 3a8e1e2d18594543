"""A classifier that is tuned to single classes or single features."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .probe import Probe


@dataclass(frozen=True, eq=False)
class Classifier:
    """The last layer with an output for each class."""

    name: str  # of its weight among the model's parameters
    weight: Tensor  # [classes, features]


def classifier_of(model: nn.Module, classes: int) -> Classifier | None:
    """The last linear layer or convolution of as many outputs as classes; None where there is none."""
    found = None
    for name, layer in model.named_modules():
        if isinstance(layer, nn.Linear | nn.Conv2d) and len(layer.weight) == classes:
            found = Classifier(f"{name}.weight" if name else "weight", layer.weight.detach().flatten(1))
    return found


@torch.no_grad()
def favored_class(probe: Probe, classifier: Classifier) -> float:
    """How much more one class's examples pass on to the layers below than any other's: the slopes of the loss in the
    features, (softmax - onehot) W, of every image under every label; their mean norms by label, the largest over the second.
    In [1, inf].

    Class fishing (Wen et al., ICML 2022, section 3) makes this large: the features' gradient is then of one class alone.
    """
    weight = classifier.weight.double()
    likely = torch.cat([probe.model(batch.inputs).double().softmax(dim=1) for batch in probe.batches()])
    found = []
    for label in range(probe.classes):
        pulled = likely.clone()
        pulled[:, label] -= 1
        found.append((pulled @ weight).norm(dim=1).mean())
    first, second = torch.stack(found).topk(2).values.tolist()
    return first / second if second > 0 else float("inf") if first > 0 else 1.0


def outstanding_row(classifier: Classifier) -> float:
    """The largest norm of a class's row over the median of them (the smaller one of two). In [1, inf]."""
    norms = classifier.weight.double().norm(dim=1)
    return float(norms.max() / norms.median()) if norms.max() > 0 else 1.0


def single_feature(classifier: Classifier) -> float:
    """The largest share of a row's squared norm that one feature has. In [1 / features, 1]."""
    squares = classifier.weight.double().square()
    return float((squares.amax(dim=1) / squares.sum(dim=1).clamp(min=1e-300)).max())
