"""Attention that can be differentiated as often as an attack wants it."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel


@contextmanager
def plain_attention() -> Iterator[None]:
    """Within, attention is computed by matrix products: its fused kernels have no second derivative, and the fast path of
    `nn.MultiheadAttention` and `nn.TransformerEncoderLayer` has none at all."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
