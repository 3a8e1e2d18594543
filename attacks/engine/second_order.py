"""Layers whose gradient is differentiated by the kernels of a training step.

torch differentiates a convolution's gradient by convolutions with kernels as large as the image, group by group. The same
numbers come from two forward passes and one backward pass of the layer itself: with u and v the cotangents of its gradients
by input x and weight w, and g the gradient of its output, they are conv(u, w) + conv(x, v) for g and the gradient of
conv(., v) for x.
BatchNorm by known statistics, a scale and a shift, is differentiated by its own kernels likewise.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import FunctionCtx
from torch.overrides import TorchFunctionMode

CONVOLUTIONS = {F.conv1d: 1, F.conv2d: 2, F.conv3d: 3}  # to the number of their spatial dimensions


class SecondOrder(TorchFunctionMode):
    """Within, layers compute what they always do, and their gradients' derivatives in less time.

    Under autograd alone, not under the transforms of `torch.func`; what is differentiated must not be a leaf.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        named = dict(kwargs or {})
        if func in CONVOLUTIONS and _is_plain(args, named):
            return _convolution(func, CONVOLUTIONS[func], *args, **named)
        if func is F.batch_norm and _is_plain(args, named):
            return _batch_norm(*args, **named)
        return func(*args, **named)


def _is_plain(args: Sequence[Any], named: Mapping[str, Any]) -> bool:
    """Whether these kernels may take torch's place: not within a checkpoint, which computes the layers again outside of this
    mode, nor under autocast, nor for complex numbers or no examples at all."""
    if torch._C._autograd._top_saved_tensors_default_hooks(False) is not None or torch.is_autocast_enabled("cpu"):
        return False
    first = args[0] if args else named["input"]
    return not torch.is_autocast_enabled("cuda") and first.numel() > 0 and not first.is_complex()


def _convolution(
    convolve: Callable[..., Tensor],
    dimensions: int,
    input: Tensor,  # torch's own names: users may write them out
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    if isinstance(padding, str) or input.dim() != dimensions + 2:
        return convolve(input, weight, bias, stride, padding, dilation, groups)
    sizes = [_spread(size, dimensions) for size in (stride, padding, dilation)]
    return _Convolution.apply(input, weight, bias, (convolve, *sizes, groups))


def _spread(size: Any, dimensions: int) -> tuple[int, ...]:
    given = (size,) if isinstance(size, int) else tuple(size)
    return given * dimensions if len(given) == 1 else given


class _Convolution(Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor | None, how: tuple[Any, ...]) -> Tensor:
        ctx.save_for_backward(inputs, weight)
        ctx.how = how
        convolve, *sizes = how
        return convolve(inputs, weight, bias, *sizes)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        by_inputs, by_weight, by_bias = _wanted(ctx, 3)
        gradients = (None, None)
        if by_inputs or by_weight:
            gradients = _ConvolutionGradient.apply(slope, *ctx.saved_tensors, ctx.how, (by_inputs, by_weight))
        return *gradients, slope.sum([0, *range(2, slope.dim())]) if by_bias else None, None


class _ConvolutionGradient(Function):
    @staticmethod
    def forward(
        ctx: Any, slope: Tensor, inputs: Tensor, weight: Tensor, how: tuple[Any, ...], wanted: tuple[bool, bool]
    ) -> tuple[Tensor | None, Tensor | None]:
        ctx.save_for_backward(slope, inputs, weight)
        ctx.how = how
        ctx.set_materialize_grads(False)
        return _gradient(slope, inputs, weight, how, wanted)

    @staticmethod
    def backward(ctx: Any, by_inputs: Tensor | None, by_weight: Tensor | None) -> tuple[Tensor | None, ...]:
        slope, inputs, weight = ctx.saved_tensors
        convolve, *sizes = ctx.how
        of_slope, of_inputs, of_weight = _wanted(ctx, 3)
        found: list[Tensor | None] = [None, None, None]
        if of_slope:
            parts = [(by_inputs, weight), (inputs, by_weight)]
            terms = [
                convolve(one, other, None, *sizes) for one, other in parts if one is not None and other is not None
            ]
            found[0] = sum(terms[1:], start=terms[0]) if terms else None
        if of_inputs and by_weight is not None:
            found[1] = _gradient(slope, inputs, by_weight, ctx.how, (True, False))[0]
        if of_weight and by_inputs is not None:
            found[2] = _gradient(slope, by_inputs, weight, ctx.how, (False, True))[1]
        return *found, None, None


def _gradient(
    slope: Tensor, inputs: Tensor, weight: Tensor, how: tuple[Any, ...], wanted: tuple[bool, bool]
) -> tuple[Tensor | None, Tensor | None]:
    """The gradients of a convolution by its input and its weight, as far as wanted."""
    _, stride, padding, dilation, groups = how
    sizes = (stride, padding, dilation, False, [0] * len(stride), groups)
    by_inputs, by_weight, _ = torch.ops.aten.convolution_backward(slope, inputs, weight, None, *sizes, [*wanted, False])
    return by_inputs, by_weight


def _wanted(ctx: FunctionCtx, count: int) -> list[bool]:
    """Which of the first inputs' gradients the backward pass at hand has a use for; autograd tells functions in Python only
    which ones require a gradient at all."""
    nodes = iter(ctx.next_functions)  # type: ignore[attr-defined]
    found = []
    for required in ctx.needs_input_grad[:count]:  # type: ignore[attr-defined]
        node = next(nodes, (None, 0))[0]
        found.append(required and node is not None and (_is_leaf(node) or torch._C._will_engine_execute_node(node)))
    return found


def _is_leaf(node: Any) -> bool:
    return hasattr(node, "variable")


def _batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    if training or running_mean is None or running_var is None or (weight is None) != (bias is None):
        return F.batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)
    return _Norm.apply(input, weight, bias, running_mean, running_var, eps)


class _Norm(Function):
    """BatchNorm by known statistics."""

    @staticmethod
    def forward(
        ctx: Any, inputs: Tensor, weight: Tensor | None, bias: Tensor | None, mean: Tensor, variance: Tensor, eps: float
    ) -> Tensor:
        ctx.save_for_backward(inputs, weight, mean, variance)
        ctx.eps = eps
        return F.batch_norm(inputs, mean, variance, weight, bias, False, 0.0, eps)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        wanted = _wanted(ctx, 3)
        if not any(wanted):
            return (None,) * 6
        return *_NormGradient.apply(slope, *ctx.saved_tensors, ctx.eps, wanted), None, None, None


class _NormGradient(Function):
    @staticmethod
    def forward(
        ctx: Any,
        slope: Tensor,
        inputs: Tensor,
        weight: Tensor | None,
        mean: Tensor,
        variance: Tensor,
        eps: float,
        wanted: list[bool],
    ) -> tuple[Tensor | None, ...]:
        ctx.save_for_backward(slope, inputs, weight, mean, variance)
        ctx.eps = eps
        ctx.set_materialize_grads(False)
        statistics = (mean, variance, None, None, False, eps)
        found = torch.ops.aten.native_batch_norm_backward(slope, inputs, weight, *statistics, wanted)
        return tuple(part if asked else None for part, asked in zip(found, wanted, strict=True))

    @staticmethod
    def backward(
        ctx: Any, by_inputs: Tensor | None, by_weight: Tensor | None, by_bias: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        slope, inputs, weight, mean, variance = ctx.saved_tensors
        channels = (1, -1) + (1,) * (inputs.dim() - 2)
        scale = (variance + ctx.eps).rsqrt()
        of_slope, of_inputs, of_weight = _wanted(ctx, 3)
        found: list[Tensor | None] = [None, None, None]
        if of_slope:
            nothing = torch.zeros_like(mean)
            moved = (nothing if by_weight is None else by_weight, nothing if by_bias is None else by_bias)
            along = F.batch_norm(inputs, mean, variance, *moved, False, 0.0, ctx.eps)
            if by_inputs is not None:
                along.addcmul_(by_inputs, (scale if weight is None else scale * weight).view(channels))
            found[0] = along
        if of_inputs and by_weight is not None:
            found[1] = slope * (by_weight * scale).view(channels)
        if of_weight and by_inputs is not None:
            found[2] = (slope * by_inputs).sum([0, *range(2, inputs.dim())]) * scale
        return *found, None, None, None, None
