"""The broadcast model as the attacker plays it: the same function of images as the clients', but repeatable, and fit to be
differentiated twice and batched by `torch.func.vmap`."""

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm
from torch.overrides import TorchFunctionMode

from seethrough.common.attention import plain_attention


def played_model(model: nn.Module) -> nn.Module:
    """A copy that computes the same outputs, by attention that has a second derivative.

    In train mode it leaves the statistics of its normalization layers alone, and has the mean of what chance does in the place
    of chance: clients' dropout masks cannot be known, and their mean is what gradients through them have in common.
    """
    copied = copy.deepcopy(model)
    for layer in copied.modules():
        if isinstance(layer, (_BatchNorm, _InstanceNorm)) and layer.training:
            layer.running_mean = layer.running_var = layer.num_batches_tracked = None
            layer.track_running_stats = False
        if isinstance(layer, nn.RNNBase):
            layer.dropout = 0.0  # between its layers, inside of torch
        if isinstance(layer, nn.RReLU):
            layer.eval()
    forward, drawn = copied.forward, copied.training

    def played(*arguments: Any, **named: Any) -> Any:
        with plain_attention():
            if not drawn:
                return forward(*arguments, **named)
            with WithoutChance():
                return forward(*arguments, **named)

    copied.forward = played
    return copied


class WithoutChance(TorchFunctionMode):
    """Within, dropout and stochastic depth have their mean in their place, whether layers or functions ask for them."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        named = dict(kwargs or {})
        if func in DROPOUTS:
            return args[0] if args else named["input"]
        if func is F.multi_head_attention_forward:
            return func(*args, **{**named, "training": False})
        if func is F.scaled_dot_product_attention:
            query, key, value, *rest = args
            named = {
                **dict(zip(("attn_mask", "dropout_p", "is_causal"), rest, strict=False)),
                **named,
                "dropout_p": 0.0,
            }
            return func(query, key, value, **named)
        if func is Tensor.bernoulli_:
            return _mean_of(*args, **named)
        return func(*args, **named)


def _mean_of(drawn: Tensor, p: Tensor | float = 0.5, **others: Any) -> Tensor:
    return drawn.copy_(p) if isinstance(p, Tensor) else drawn.fill_(p)


DROPOUTS = {
    F.dropout,
    F.dropout1d,
    F.dropout2d,
    F.dropout3d,
    F.alpha_dropout,
    F.feature_alpha_dropout,
    torch.dropout,
    torch.feature_dropout,
    torch.alpha_dropout,
    torch.feature_alpha_dropout,
}
