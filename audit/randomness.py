"""Randomness: a stream of its own for every place that draws, a function of the seed and of the place's path alone."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Generator


def stream(seed: int, *path: str | int) -> Generator:
    """A CPU generator for `path`, which names what is drawn and for which trial; unequal paths never share a stream."""
    text = "/".join([str(seed), *(f"{type(part).__name__}:{part}" for part in path)])
    digest = hashlib.sha256(text.encode()).digest()
    return Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


@contextmanager
def drawing_from(rng: Generator) -> Iterator[None]:
    """Within, what can only draw from torch's global generator (layers' own initialization) draws from `rng` instead."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(rng.initial_seed())
        yield
