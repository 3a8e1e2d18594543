"""In what precision clients train and attacks search."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch

Precision = Literal["float32", "tf32", "float64"]


def dtype_of(precision: Precision) -> torch.dtype:
    """The type of weights and images."""
    return torch.float64 if precision == "float64" else torch.float32


@contextmanager
def computing_in(precision: Precision) -> Iterator[None]:
    """Within it, what torch makes has that type, and products of float32 are exact to float32, which on CUDA they are not by
    themselves: there convolutions round to TF32 (10 bits of mantissa), unless they are told otherwise."""
    of_all: Any = torch.backends
    dtype, products = torch.get_default_dtype(), of_all.fp32_precision
    torch.set_default_dtype(dtype_of(precision))
    of_all.fp32_precision = "tf32" if precision == "tf32" else "ieee"
    try:
        yield
    finally:
        torch.set_default_dtype(dtype)
        of_all.fp32_precision = products
