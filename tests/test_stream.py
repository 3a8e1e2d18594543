"""Streams of randomness."""

import torch

from seethrough.audit.randomness import drawing_from, stream


def test_the_same_path_gives_the_same_stream():
    assert torch.equal(torch.randn(5, generator=stream(3, "a", 1)), torch.randn(5, generator=stream(3, "a", 1)))


def test_a_thousand_adjacent_seeds_and_paths_give_distinct_streams():
    starts = {stream(seed, "attack", trial).initial_seed() for seed in range(40) for trial in range(25)}
    assert len(starts) == 1000


def test_a_number_and_its_digits_and_a_split_path_are_different_paths():
    seeds = {
        stream(0, *path).initial_seed() for path in [("a", 1), ("a", "1"), ("a1",), ("a/1",), ("a", 1, 1), ("a", 11)]
    }
    assert len(seeds) == 6


def test_the_attackers_stream_coincides_with_no_clients_stream():
    attackers = {stream(0, "attack", trial).initial_seed() for trial in range(100)}
    clients = {
        stream(0, "clients", c, t, i).initial_seed() for c in ("attack", "decoy") for t in range(100) for i in range(4)
    }
    assert not attackers & clients
    assert len(clients) == 800


def test_drawing_from_a_stream_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    with drawing_from(stream(0, "x")):
        first = torch.rand(3)
    with drawing_from(stream(0, "x")):
        second = torch.rand(3)
    assert torch.equal(first, second)
    assert torch.equal(before, torch.get_rng_state())
