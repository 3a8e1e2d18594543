"""How examples are dealt to clients: by the rules of flwr-datasets."""

import pytest
import torch
from torch import Generator, Tensor

from seethrough.audit.data.parts.partition import by_size, deal, dirichlet, pathological, shards
from seethrough.audit.specification.clients import Partition


def seeded(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


LABELS = torch.randint(10, (2000,), generator=seeded(9))


def classes_of(owners: Tensor, client: int) -> set[int]:
    return set(LABELS[owners == client].tolist())


@pytest.mark.parametrize("classes", [1, 2, 5])
def test_pathological_clients_hold_so_many_classes_and_equal_parts_of_each(classes: int):
    owners = deal(LABELS, pathological(classes), 8, seeded())
    held = [classes_of(owners, client) for client in range(8)]
    assert [len(each) for each in held] == [classes] * 8
    for label in range(10):
        holders = [client for client in range(8) if label in held[client]]
        counts = torch.bincount(owners[(label == LABELS) & (owners >= 0)], minlength=8)[holders].tolist()
        assert not holders or (max(counts) - min(counts) <= 1 and sum(counts) == int((label == LABELS).sum()))
        assert holders or bool((owners[label == LABELS] == -1).all())


def test_classes_are_drawn_anew_for_each_client_and_deal():
    held = [
        frozenset(classes_of(deal(LABELS, pathological(2), 8, seeded(seed)), c)) for seed in range(3) for c in range(8)
    ]
    assert len(set(held)) > 12


@pytest.mark.parametrize("number", [1, 2, 5])
def test_shards_are_equal_runs_of_the_examples_sorted_by_class(number: int):
    owners = deal(LABELS, shards(number), 8, seeded())
    counts = torch.bincount(owners[owners >= 0], minlength=8)
    assert counts.tolist() == [number * (2000 // (8 * number))] * 8
    in_order = owners[LABELS.argsort(stable=True)]
    runs = 1 + int((in_order[1:] != in_order[:-1]).sum())
    assert runs <= 8 * number + 1
    assert all(len(classes_of(owners, client)) <= 3 * number for client in range(8))


@pytest.mark.parametrize(
    ("sizes", "weights"),
    [
        ("iid", [1, 1, 1, 1]),
        ("linear", [1, 2, 3, 4]),
        ("square", [1, 4, 9, 16]),
        ("exponential", [1, 2.718, 7.389, 20.086]),
    ],
)
def test_sizes_grow_as_they_say_and_classes_stay_mixed(sizes: str, weights: list[float]):
    owners = deal(LABELS, by_size(sizes), 4, seeded())
    wanted = torch.tensor(weights) / sum(weights) * 2000
    assert (torch.bincount(owners, minlength=4) - wanted).abs().max() <= 1
    shares = torch.bincount(LABELS[owners == 3], minlength=10) / (owners == 3).sum()
    assert (shares - torch.bincount(LABELS, minlength=10) / 2000).abs().max() < 0.06


@pytest.mark.parametrize("rule", [dirichlet(0.3), pathological(2), shards(2), by_size("linear")])
def test_groups_stay_whole_whatever_the_rule(rule):
    groups = torch.arange(2000) // 7
    owners = deal(LABELS, rule, 5, seeded(), groups)
    assert all(len(owners[groups == group].unique()) == 1 for group in range(0, 286, 13))
    assert len(owners[owners >= 0].unique()) == 5


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"dirichlet": 0.3}, "Dirichlet(0.3)"),
        ({"pathological": 2}, "2 class(es) to each"),
        ({"shards": 3}, "3 shard(s)"),
        ({"sizes": "iid"}, "of one mix of classes"),
        ({"sizes": "square"}, "their sizes square in their number"),
    ],
)
def test_a_spec_names_one_rule_and_the_report_says_it(fields: dict, words: str):
    partition = Partition(**fields)
    assert words in partition.said()
    owners = partition.rule(LABELS, 4, seeded())
    assert owners.shape == LABELS.shape and int(owners.max()) == 3


@pytest.mark.parametrize("fields", [{}, {"dirichlet": 1.0, "sizes": "iid"}])
def test_none_or_two_rules_are_refused(fields: dict):
    with pytest.raises(ValueError, match="one of dirichlet, pathological, shards, sizes"):
        Partition(**fields)
