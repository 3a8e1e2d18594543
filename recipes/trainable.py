"""Which of a model's parameters train: the only ones that a client changes, and so the only ones that it sends."""

from torch import nn


def trained(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that are not frozen (`requires_grad`), by name."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
