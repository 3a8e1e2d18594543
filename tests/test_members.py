"""Networks that were trained on the images that are attacked, and ones that were not."""

import safetensors.torch
import torch

from seethrough.attacks.label_minimum import LabelMinimum
from seethrough.audit.case import LEARNED, Case, broadcast_model, divided, public_batch
from seethrough.audit.data.digits import Digits
from seethrough.audit.metrics.label_accuracy import LabelAccuracy
from seethrough.audit.models.convnet import ConvNet
from seethrough.audit.plan import make_plan
from seethrough.audit.specification.schema import AuditSpec, Setting
from seethrough.audit.threat import ThreatModel
from seethrough.audit.trial import run_trial
from seethrough.audit.weights.file import File
from seethrough.audit.weights.random import Random
from seethrough.audit.weights.train import Train
from seethrough.defenses.dp_sgd import DPSGD

CPU = torch.device("cpu")
SETTING = Setting(name="s", data=Digits(size=8), model=ConvNet(width=8), batch_size=4)


def at(**weights) -> Setting:
    return SETTING.model_copy(update={"weights": Train(epochs=30, lr=3e-3, **weights)})


def right(model, batch) -> float:
    return float((model(batch.inputs).argmax(dim=1) == batch.labels).double().mean())


def test_a_network_trained_on_private_images_knows_them_better_than_one_that_was_not():
    images, parts = divided(SETTING, 0)
    private = images.batch(parts.private)
    member, stranger = (broadcast_model(at(on=on), 0, 0) for on in ("private", "public"))
    assert right(member, private) > right(stranger, private)
    assert right(stranger, public_batch(SETTING, 0)) > right(member, public_batch(SETTING, 0))


def test_the_setting_says_whether_the_attacked_images_are_members(tmp_path):
    safetensors.torch.save_file(
        ConvNet(width=8).build(Digits(size=8).load().space)[1].state_dict(), tmp_path / "w.safetensors"
    )
    path = str(tmp_path / "w.safetensors")
    for weights, words in (
        (Random(), "untrained"),
        (Train(), "no members of its training set"),
        (Train(on="private"), "the attacked images are members of its training set"),
        (File(path=path), "not known whether the attacked images are members"),
        (File(path=path, trained_on="private images"), "members of its training set, as the spec states"),
        (File(path=path, trained_on="other images"), "no members of its training set, as the spec states"),
    ):
        assert words in weights.members()


def test_the_page_is_told(tmp_path):
    text = """{"name": "a", "trials": 1, "threats": [{"name": "t"}], "defenses": ["none"], "attacks": ["label_sign"],
      "metrics": ["label_accuracy"], "settings": [{"name": "s", "data": "digits", "model": "lenet", "batch_size": 2,
      "weights": {"train": {"epochs": 1, "on": "private"}}}]}"""
    manifest = make_plan(AuditSpec.model_validate_json(text), CPU, 1).manifest
    assert any("the attacked images are members" in fact for fact in manifest.settings[0].facts)


def test_no_privacy_is_claimed_where_the_broadcast_weights_learned_the_private_images():
    for weights, claims in ((Train(epochs=1, on="private"), False), (Train(epochs=1), True)):
        case = Case(
            seed=0,
            trial=0,
            setting=SETTING.model_copy(update={"weights": weights}),
            threat=ThreatModel(name="t"),
            defense=DPSGD(noise_multiplier=1.0, max_grad_norm=1.0),
            attack=LabelMinimum(),
            metrics=(LabelAccuracy(),),
        )
        outcome = run_trial(case, CPU)
        assert (outcome.claim is not None) == claims
        assert outcome.unclaimed == ("" if claims else LEARNED)
