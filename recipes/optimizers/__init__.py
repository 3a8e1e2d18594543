"""What turns gradients into steps: one file, one optimizer."""

from ._base import Optimizer, State, Tensors

__all__ = ["Optimizer", "State", "Tensors"]
