"""Batches, splits, weights and keys."""

import pytest
import torch

from attacks.label_minimum import LabelMinimum
from attacks.label_sign import LabelSign
from audit.case import Case, broadcast_model, divided, draw_batches, key_of, public_batch
from audit.data.digits import Digits
from audit.metrics.psnr import PSNR
from audit.metrics.ssim import SSIM
from audit.models.convnet import ConvNet
from audit.models.lenet import LeNet
from audit.spec import Setting, Splits
from audit.threat import ThreatModel
from audit.weights.random import Random
from audit.weights.train import Train
from defenses import NoDefense, NotApplicableError, Recipe
from defenses.clipping import Clipping

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


def test_a_decoy_has_the_victims_labels_where_the_attacker_knows_them():
    drawn = draw_batches(other(labels="random"), 0, 0, clients=1, same_labels=True)
    assert torch.equal(drawn.decoy.labels, drawn.victim.labels)
    assert not torch.equal(drawn.decoy.inputs, drawn.victim.inputs)


def test_a_private_split_that_is_too_small_is_said_in_words():
    with pytest.raises(NotApplicableError, match="too small"):
        draw_batches(other(labels="random", batch_size=500), 0, 0, clients=1, same_labels=False)


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


def test_names_and_the_order_of_grants_do_not_change_the_key():
    renamed = case(
        setting=other(name="another"),
        threat=ThreatModel(name="u", grants=("public", "count", "recipe", "participants", "defense")),
    )
    assert key_of(renamed, "env") == key_of(case(), "env")
