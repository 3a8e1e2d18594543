"""Batches, splits, weights and keys."""

import pytest
import torch

from seethrough.attacks.label_minimum import LabelMinimum
from seethrough.attacks.label_sign import LabelSign
from seethrough.audit.batches import draw_batches
from seethrough.audit.case import Case, broadcast_model, divided, key_of, public_batch
from seethrough.audit.data import deal
from seethrough.audit.data.digits import Digits
from seethrough.audit.data.parts.partition import dirichlet
from seethrough.audit.metrics.psnr import PSNR
from seethrough.audit.metrics.ssim import SSIM
from seethrough.audit.models.convnet import ConvNet
from seethrough.audit.models.lenet import LeNet
from seethrough.audit.randomness import stream
from seethrough.audit.specification.schema import Partition, Setting, Splits
from seethrough.audit.threat import ThreatModel
from seethrough.audit.weights.random import Random
from seethrough.audit.weights.train import Train
from seethrough.defenses import NoDefense, NotApplicableError
from seethrough.defenses.clipping import Clipping
from seethrough.recipes import Recipe

SETTING = Setting(name="s", data=Digits(), model=LeNet(), batch_size=4, labels="unique")


def case(**changes) -> Case:
    facts = {"seed": 0, "trial": 0, "setting": SETTING, "threat": ThreatModel(name="t"), "defense": NoDefense()}
    facts |= {"attack": LabelSign(), "metrics": (PSNR(),)}
    return Case(**(facts | changes))


def other(**changes) -> Setting:
    return SETTING.model_copy(update=changes)


def test_private_public_and_held_out_images_are_disjoint_and_complete():
    images, parts = divided(SETTING, seed=0)
    together = torch.cat([parts.private, parts.public, parts.held_out])
    assert sorted(together.tolist()) == list(range(len(images)))
    assert [round(len(part) / len(images), 2) for part in (parts.private, parts.public, parts.held_out)] == [
        0.4,
        0.4,
        0.2,
    ]


def test_the_seed_draws_the_splits():
    assert torch.equal(divided(SETTING, 1)[1].private, divided(SETTING, 1)[1].private)
    assert not torch.equal(divided(SETTING, 1)[1].private, divided(SETTING, 2)[1].private)


def test_the_victims_batch_is_the_same_whatever_the_cohort_and_a_smaller_one_starts_a_larger():
    alone = draw_batches(SETTING, 0, 3, clients=1, same_labels=False)
    cohort = draw_batches(SETTING, 0, 3, clients=4, same_labels=True)
    assert torch.equal(alone.victim.inputs, cohort.victim.inputs)
    small = draw_batches(other(batch_size=2), 0, 3, clients=1, same_labels=False)
    assert torch.equal(small.victim.inputs, alone.victim.inputs[:2])


def test_victim_decoy_and_others_share_no_image():
    drawn = draw_batches(SETTING, 0, 0, clients=5, same_labels=False)
    inputs = torch.cat([drawn.victim.inputs, drawn.decoy.inputs, *(batch.inputs for batch in drawn.others)])
    assert len({image.numpy().tobytes() for image in inputs}) == 4 * 6


def test_batches_are_private():
    public = {image.numpy().tobytes() for image in public_batch(SETTING, 0).inputs}
    drawn = draw_batches(SETTING, 0, 0, clients=3, same_labels=False)
    assert not public & {i.numpy().tobytes() for b in (drawn.victim, drawn.decoy, *drawn.others) for i in b.inputs}


def test_unique_labels_are_unique():
    for trial in range(10):
        drawn = draw_batches(other(batch_size=10), 0, trial, clients=1, same_labels=False)
        assert len(set(drawn.victim.labels.tolist())) == 10


def test_batches_of_unique_labels_lack_classes_independently_of_each_other():
    everyone = set(range(10))
    lacking = []
    for trial in range(300):
        batches = draw_batches(other(batch_size=8), 0, trial, 2, same_labels=False)
        lacking.append([everyone - set(b.labels.tolist()) for b in (batches.victim, batches.decoy, *batches.others)])
    for first, second in ((0, 1), (0, 2), (1, 2)):
        shared = [len(row[first] & row[second]) for row in lacking]  # of 2 and 2 among 10: 0.4 by chance, variance 0.36
        assert abs(sum(shared) / len(shared) - 0.4) < 4 * (0.36 / len(shared)) ** 0.5


def test_a_decoy_has_the_victims_labels_where_the_attacker_knows_them():
    drawn = draw_batches(other(labels="random"), 0, 0, clients=1, same_labels=True)
    assert torch.equal(drawn.decoy.labels, drawn.victim.labels)
    assert not torch.equal(drawn.decoy.inputs, drawn.victim.inputs)


def test_a_private_split_that_is_too_small_is_said_in_words():
    with pytest.raises(NotApplicableError, match="too small"):
        draw_batches(other(labels="random", batch_size=500), 0, 0, clients=1, same_labels=False)


def skewed(alpha: float = 0.15, **changes) -> Setting:
    return other(
        **({"labels": "random", "batch_size": 8, "partition": Partition(dirichlet=alpha, clients=5)} | changes)
    )


def owners_of(setting: Setting, trial: int) -> dict[bytes, int]:
    """The client of each private image, dealt again as the trial deals them."""
    images, parts = divided(setting, 0)
    order = parts.private[torch.randperm(len(parts.private), generator=stream(0, "batches", trial))]
    owners = deal(images.labels[order], setting.partition.rule, 5, stream(0, "partition", trial))
    pixels = images.batch(order).inputs
    return {image.numpy().tobytes(): int(owner) for image, owner in zip(pixels, owners, strict=True)}


def test_every_example_is_dealt_to_one_client_and_shares_even_out_as_alpha_grows():
    labels = torch.arange(10).repeat_interleave(100)
    even, uneven = (deal(labels, dirichlet(alpha), 4, torch.Generator().manual_seed(0)) for alpha in (1e5, 0.05))
    counts = [torch.bincount(labels * 4 + owners, minlength=40).view(10, 4) for owners in (even, uneven)]
    assert all(count.sum(1).eq(100).all() for count in counts)
    assert (counts[0] - 25).abs().max() <= 2
    assert (counts[1].amax(1) > 60).float().mean() >= 0.8


def test_a_clients_share_of_a_class_has_the_mean_and_variance_of_its_dirichlet():
    labels, alpha, clients = torch.zeros(1000, dtype=torch.int64), 0.5, 4
    shares = torch.stack(
        [
            torch.bincount(deal(labels, dirichlet(alpha), clients, torch.Generator().manual_seed(s)), minlength=4)
            for s in range(600)
        ]
    ).double() / len(labels)
    expected = (1 / clients) * (1 - 1 / clients) / (clients * alpha + 1)
    assert shares.mean(0) == pytest.approx([0.25] * 4, abs=0.03)
    assert shares.var(0) == pytest.approx([expected] * 4, rel=0.15)


def test_under_a_partition_every_batch_is_another_clients():
    for trial in range(4):
        drawn = draw_batches(skewed(), 0, trial, clients=3, same_labels=False)
        owners = owners_of(skewed(), trial)
        clients = [
            {owners[i.numpy().tobytes()] for i in batch.inputs} for batch in (drawn.victim, drawn.decoy, *drawn.others)
        ]
        assert all(len(client) == 1 for client in clients)
        assert len(set().union(*clients)) == 4


def test_a_decoy_of_the_victims_labels_comes_from_other_clients_where_these_have_them():
    gathered = 0
    for trial in range(6):
        drawn = draw_batches(skewed(), 0, trial, clients=1, same_labels=True)
        owners = owners_of(skewed(), trial)
        victim = owners[drawn.victim.inputs[0].numpy().tobytes()]
        images, parts = divided(skewed(), 0)
        private = images.batch(parts.private)
        kept = [owners[image.numpy().tobytes()] != victim for image in private.inputs]
        common = torch.bincount(private.labels[torch.tensor(kept)], minlength=10) >= 8
        assert torch.equal(drawn.decoy.labels, drawn.victim.labels)
        for image, label in zip(drawn.decoy.inputs, drawn.decoy.labels, strict=True):
            if common[label]:
                assert owners[image.numpy().tobytes()] != victim
                gathered += 1
    assert gathered > 10


def test_a_partition_skews_batches_and_repeats_by_seed():
    def dominant(setting: Setting) -> float:
        drawn = [draw_batches(setting, 0, trial, clients=1, same_labels=False).victim.labels for trial in range(10)]
        return sum(torch.bincount(labels).max().item() for labels in drawn) / (10 * setting.batch_size)

    assert dominant(skewed()) > 1.3 * dominant(skewed(partition=None))
    first, again, another = (draw_batches(skewed(), seed, 0, 1, False).victim.inputs for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, another)


def test_a_partition_that_leaves_too_few_clients_a_batch_is_said_in_words():
    with pytest.raises(NotApplicableError, match=r"leaves \d of 5 clients 300 examples with random labels"):
        draw_batches(skewed(batch_size=300), 0, 0, clients=1, same_labels=False)


def test_random_weights_differ_by_trial_and_repeat_by_seed():
    first, again, second = (broadcast_model(SETTING, 0, trial) for trial in (0, 0, 1))
    assert torch.equal(first[0].weight, again[0].weight)
    assert not torch.equal(first[0].weight, second[0].weight)


def test_weights_do_not_depend_on_what_was_drawn_before():
    broadcast_model.cache_clear()
    torch.rand(17)
    first = broadcast_model(SETTING, 5, 0)[0].weight.clone()
    broadcast_model.cache_clear()
    assert torch.equal(first, broadcast_model(SETTING, 5, 0)[0].weight)


def test_random_weights_with_batchnorm_get_statistics_from_public_images():
    setting = other(model=ConvNet(width=4, batchnorm=True))
    layer = broadcast_model(setting, 0, 0)[1]
    features = broadcast_model(setting, 0, 0)[0](public_batch(setting, 0).inputs[:500])
    assert torch.allclose(layer.running_mean, features.mean(dim=(0, 2, 3)), atol=1e-4)
    bare = broadcast_model(setting.model_copy(update={"weights": Random(batchnorm_images=0)}), 0, 0)[1]
    assert bare.running_mean.eq(0).all()


def test_trained_weights_classify_held_out_digits_and_come_from_the_cache_the_second_time(monkeypatch):
    setting = other(model=ConvNet(width=8), weights=Train(epochs=10, lr=3e-3))
    model = broadcast_model(setting, 0, 0)
    images, parts = divided(setting, 0)
    batch = images.batch(parts.held_out)
    assert (model(batch.inputs).argmax(1) == batch.labels).float().mean() > 0.85
    broadcast_model.cache_clear()
    monkeypatch.setattr(Train, "_trained", lambda *_: pytest.fail("trained again"))
    again = broadcast_model(setting, 0, 1)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


DECISIVE = {
    "seed": case(seed=1),
    "trial": case(trial=1),
    "batch size": case(setting=other(batch_size=3)),
    "labels": case(setting=other(labels="random")),
    "data": case(setting=other(data=Digits(size=32))),
    "splits": case(setting=other(splits=Splits(private=0.3))),
    "partition": case(setting=other(partition=Partition(dirichlet=0.5))),
    "partition's alpha": case(setting=other(partition=Partition(dirichlet=0.6))),
    "clients": case(setting=other(partition=Partition(dirichlet=0.5, clients=3))),
    "public images": case(setting=other(splits=Splits(public_at_most=10))),
    "model": case(setting=other(model=LeNet(width=6))),
    "weights": case(setting=other(weights=Train(epochs=1))),
    "mode": case(setting=other(mode="train")),
    "recipe": case(setting=other(local=Recipe(lr=0.2))),
    "grants": case(threat=ThreatModel(name="t", grants=("count",))),
    "batchnorm": case(threat=ThreatModel(name="t", batchnorm="exact")),
    "defense": case(defense=Clipping(max_norm=1.0)),
    "defense's parameter": case(defense=Clipping(max_norm=2.0)),
    "attack": case(attack=LabelMinimum()),
    "metrics": case(metrics=(PSNR(), SSIM())),
    "metric's parameter": case(metrics=(PSNR(cap=50.0),)),
}


def test_whatever_decides_a_number_changes_the_key():
    keys = {name: key_of(changed, "env") for name, changed in DECISIVE.items()} | {"none": key_of(case(), "env")}
    keys["environment"] = key_of(case(), "another env")
    assert len(set(keys.values())) == len(keys)


def test_the_content_of_an_attacks_files_changes_the_key(monkeypatch):
    before = key_of(case(), "env")
    monkeypatch.setattr(LabelSign, "facts", lambda attack, space: "another file")
    assert key_of(case(), "env") != before


def test_names_and_the_order_of_grants_do_not_change_the_key():
    renamed = case(
        setting=other(name="another"),
        threat=ThreatModel(name="u", grants=("public", "past", "count", "recipe", "participants", "defense")),
    )
    assert key_of(renamed, "env") == key_of(case(), "env")
