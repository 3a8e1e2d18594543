"""Images of one person: on one side of every division only."""

import numpy as np
import pytest
import torch
from PIL import Image

from seethrough.audit.batches import draw_batches, swapped_batches
from seethrough.audit.case import broadcast_model, divided
from seethrough.audit.data import deal, spread
from seethrough.audit.data.folder import Folder
from seethrough.audit.data.npz import Npz
from seethrough.audit.data.parts.partition import dirichlet
from seethrough.audit.models.lenet import LeNet
from seethrough.audit.randomness import stream
from seethrough.audit.specification.schema import Partition, Setting, Splits
from seethrough.audit.untrusted import UntrustedFileError
from seethrough.audit.utility import dealt
from seethrough.defenses import NotApplicableError

PEOPLE = 60


def npz(tmp_path, **changes) -> Npz:
    """240 images of 60 people, 1 to 7 each, two classes."""
    rng = np.random.default_rng(0)
    arrays = {
        "images": rng.integers(0, 256, (240, 8, 8), dtype=np.uint8),
        "labels": np.arange(240) % 2,
        "patient": np.concatenate([np.arange(PEOPLE), rng.integers(0, PEOPLE, 240 - PEOPLE)]) * 7 + 3,
    }
    np.savez(tmp_path / "people.npz", **(arrays | changes))
    return Npz(file=str(tmp_path / "people.npz"), group="patient")


def setting(tmp_path, **changes) -> Setting:
    facts = {"name": "s", "data": npz(tmp_path), "model": LeNet(), "batch_size": 4} | changes
    return Setting(**facts)


def people(images, chosen) -> set[int]:
    return set(images.groups[chosen].tolist())


def test_nobody_is_on_two_sides_of_the_splits_and_shares_are_met_nearly(tmp_path):
    for seed in range(20):
        images, parts = divided(setting(tmp_path), seed)
        sides = [people(images, part) for part in (parts.private, parts.public, parts.held_out)]
        assert sum(map(len, sides)) == len(set.union(*sides)) == PEOPLE
        assert [len(part) for part in (parts.private, parts.public, parts.held_out)] == pytest.approx(
            [96, 96, 48], abs=6
        )


def owners(images, batch) -> set[int]:
    known = {picture.numpy().tobytes(): int(group) for picture, group in zip(images.pixels, images.groups, strict=True)}
    return {known[(picture * 255).round().byte().numpy().tobytes()] for picture in batch.inputs}


@pytest.mark.parametrize("partition", [None, Partition(dirichlet=1.0, clients=5)])
def test_nobody_is_in_two_batches_of_a_trial(tmp_path, partition):
    at = setting(tmp_path, partition=partition)
    images, _ = divided(at, 0)
    for trial in range(5):
        drawn = draw_batches(at, 0, trial, clients=2, same_labels=False)
        swapped = swapped_batches(at, 0, trial, 0, (None, None))
        for batches in ((drawn.victim, drawn.decoy, *drawn.others), swapped):
            sides = [owners(images, batch) for batch in batches]
            assert sum(map(len, sides)) == len(set.union(*sides))


@pytest.mark.parametrize("partition", [None, Partition(dirichlet=1.0, clients=5)])
def test_a_person_is_one_clients_in_a_federated_training(tmp_path, partition):
    at = setting(tmp_path, partition=partition, splits=Splits(private=0.8, public=0.1))
    images, _ = divided(at, 0)
    sides = [people(images, share) for share in dealt(at, 0, 0, clients=3)]
    assert sum(map(len, sides)) == len(set.union(*sides))
    with pytest.raises(NotApplicableError, match=r"batch of 80|80 examples"):
        dealt(setting(tmp_path, partition=partition, batch_size=80), 0, 0, clients=3)


def test_a_group_is_dealt_by_the_class_of_most_of_its_examples():
    groups = torch.arange(200).repeat_interleave(5)
    labels = (groups % 2).clone()
    labels[::5] = 1 - labels[::5]
    apart = []
    for seed in range(10):
        found = deal(labels, dirichlet(0.1), 4, stream(seed), groups)
        assert all(len(found[groups == group].unique()) == 1 for group in range(200))
        shares = torch.stack([torch.bincount(found[groups % 2 == kind], minlength=4) for kind in (0, 1)]).double() / 500
        apart.append(float((shares[0] - shares[1]).abs().max()))
    assert sum(difference > 0.5 for difference in apart) >= 5  # at 0.1, classes go to different clients


def test_one_group_larger_than_its_share_leaves_the_rest_to_those_that_lack_most():
    groups = torch.tensor([0] * 50 + [1] * 5 + [2] * 5)
    parts = spread(groups, torch.tensor([24.0, 24.0, 12.0]), stream(0))
    assert sorted(len(parts[parts == part]) for part in range(3)) == [0, 10, 50]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"patient": np.arange(7)}, "allowed: one integer for each of the 240 images"),
        ({"patient": np.linspace(0, 1, 240)}, "float64"),
        ({"patient": np.zeros((240, 2), dtype=np.int64)}, "[240, 2]"),
    ],
)
def test_groups_that_do_not_fit_are_refused_by_name(tmp_path, changes, words):
    with pytest.raises(UntrustedFileError) as caught:
        npz(tmp_path, **changes).load()
    assert words in str(caught.value) and "people.npz" in str(caught.value)


def test_a_group_that_is_no_array_is_refused_with_those_that_are(tmp_path):
    with pytest.raises(UntrustedFileError, match="found arrays images, labels, patient, none of them person"):
        Npz(file=npz(tmp_path).file, group="person").load()


def test_medmnists_parts_bring_their_own_groups(tmp_path):
    arrays = {f"{part}_images": np.zeros((4, 8, 8), dtype=np.uint8) for part in ("train", "test")}
    arrays |= {f"{part}_labels": np.array([[0], [1], [0], [1]]) for part in ("train", "test")}
    np.savez(tmp_path / "m.npz", train_patient=np.array([5, 5, 9, 9]), test_patient=np.array([9, 9, 2, 2]), **arrays)
    assert Npz(file=str(tmp_path / "m.npz"), group="patient").load().groups.tolist() == [1, 1, 2, 2, 2, 2, 0, 0]


def folder(tmp_path, table: str) -> Folder:
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for number in range(2):
            Image.new("L", (8, 8), 20 * number).save(tmp_path / name / f"{number}.png")
    (tmp_path / "who.csv").write_text(table)
    return Folder(path=str(tmp_path), size=8, table=str(tmp_path / "who.csv"), group="owner")


ROWS = "file,owner\ncat/0.png,ann\ncat/1.png,bob\ndog/0.png,ann\ndog/1.png,cid\n"


def test_a_folders_groups_stand_in_a_table(tmp_path):
    assert folder(tmp_path, ROWS).load().groups.tolist() == [0, 1, 0, 2]


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (ROWS.replace("dog/1.png,cid\n", ""), "no owner for dog/1.png (1 such)"),
        (ROWS.replace("cid", ""), "no owner for dog/1.png"),
        (ROWS + "cat/0.png,bob\n", "cat/0.png more than once"),
        (ROWS.replace("owner", "person"), "a header that holds 'owner' once."),
        (ROWS.replace("bob", "bob,1"), "3 values in row 3"),
        ("", "columns none"),
    ],
)
def test_a_table_that_does_not_fit_is_refused_by_name(tmp_path, table, words):
    with pytest.raises(UntrustedFileError) as caught:
        folder(tmp_path, table).load()
    assert words in str(caught.value) and "who.csv" in str(caught.value)


def test_a_table_without_a_column_is_refused():
    with pytest.raises(ValueError, match="table and group, or neither"):
        Folder(path=".", table="who.csv")


def test_the_models_are_the_same_with_groups_and_without(tmp_path):
    grouped, single = setting(tmp_path), setting(tmp_path, data=Npz(file=npz(tmp_path).file))
    first, second = (
        torch.cat([p.flatten() for p in broadcast_model(at, 0, 0).parameters()]) for at in (grouped, single)
    )
    assert torch.equal(first, second)
    assert grouped.data.load().fingerprint != single.data.load().fingerprint
