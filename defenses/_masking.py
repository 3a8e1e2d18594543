"""Pairwise masks on the ring of integers modulo a power of two: each hides a message, and their sum is zero."""

import hashlib
import itertools

import numpy as np
import torch
from torch import Generator, Tensor

SEED_BYTES = 32


def pairwise_seeds(clients: int, rng: Generator) -> dict[tuple[int, int], bytes]:
    """A secret of 32 bytes for each pair of clients (first < second), as their key agreement would leave them."""
    pairs = list(itertools.combinations(range(clients), 2))
    drawn = torch.randint(256, (len(pairs), SEED_BYTES), generator=rng, dtype=torch.uint8)
    return {pair: seed.numpy().tobytes() for pair, seed in zip(pairs, drawn, strict=True)}


def masked(messages: tuple[Tensor, ...], seeds: dict[tuple[int, int], bytes], modulus: int) -> tuple[Tensor, ...]:
    """Each message (int64 [size], 0 to modulus - 1) under its masks.

    The first of a pair adds the mask that both know, the second subtracts it (Bonawitz et al., CCS 2017, section 4,
    without self-masks).
    """
    hidden = list(messages)
    for (first, second), seed in seeds.items():
        mask = expanded(seed, len(messages[first]), modulus)
        hidden[first] = (hidden[first] + mask) & (modulus - 1)  # the remainder, as the modulus is a power of two
        hidden[second] = (hidden[second] - mask) & (modulus - 1)
    return tuple(hidden)


def expanded(seed: bytes, size: int, modulus: int) -> Tensor:
    """`size` numbers (int64) uniform on 0 to modulus - 1, a power of two, by SHAKE-256 from the seed."""
    words = np.frombuffer(hashlib.shake_256(seed).digest(8 * size), dtype="<u8")
    return torch.from_numpy((words & np.uint64(modulus - 1)).astype(np.int64))
