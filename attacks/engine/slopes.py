"""The gradient of a client's loss as a function that can be differentiated again."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import grad

from seethrough.defenses import Params
from seethrough.recipes.replay import Slopes

from .second_order import SecondOrder

Loss = Callable[[Params, Tensor, Tensor], Tensor]  # of weights, images and labels


def slopes_by_weights(loss: Loss) -> Slopes:
    """The gradient of `loss` by its weights: by autograd, which is faster, or by `torch.func` where its transforms work.

    Differentiable in weights, images and labels, where gradients are enabled and one of these requires its own.
    """
    transformed = grad(loss)

    def slopes(weights: Params, inputs: Tensor, labels: Tensor) -> Params:
        if torch._C._functorch.peek_interpreter_stack() is not None:
            return transformed(weights, inputs, labels)
        searched = any(tensor.requires_grad for tensor in (inputs, labels, *weights.values()))
        again = torch.is_grad_enabled() and searched
        with torch.enable_grad():
            leaves = {name: _branch(weight) for name, weight in weights.items()}
            if again:
                with SecondOrder():
                    value = loss(leaves, inputs.view_as(inputs), labels)
            else:
                value = loss(leaves, inputs.detach(), labels)
            found = torch.autograd.grad(value, tuple(leaves.values()), create_graph=again, materialize_grads=True)
        return dict(zip(leaves, found, strict=True))

    return slopes


def _branch(weight: Tensor) -> Tensor:
    """The weight as something to differentiate by, which is no leaf; joined to what it came from, where that is searched."""
    return (weight if weight.requires_grad else weight.detach().requires_grad_()).view_as(weight)
