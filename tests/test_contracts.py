"""The contracts, on entries of our own; and what the house asks of its own attacks beyond them."""

import dataclasses
import re
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import seethrough.contracts
from seethrough.attacks import Attack
from seethrough.attacks.label_minimum import LabelMinimum
from seethrough.attacks.label_sign import LabelSign
from seethrough.audit.specification.kinds import KINDS, entries_of
from seethrough.contracts import *  # noqa: F403
from seethrough.contracts.attacks import SPACE, a_view, equal, same_claim
from seethrough.contracts.entries import built, seeded
from seethrough.defenses import NotApplicableError
from tests import parameters
from tests.parameters import PARAMETERS

BUILT_IN = True
LEFT_OUT = {"data": ("torchvision",)}  # which downloads
SOURCE = re.compile(r"arXiv:\d{4}\.\d{4,5}|\b(NeurIPS|ICLR|ICML|CVPR|TIFS|TMLR) \d{4}")


def test_an_attack_that_searches_images_starts_elsewhere_on_another_stream(attack: Attack):
    first, second = attack.reconstruct(a_view(), seeded(3)), attack.reconstruct(a_view(), seeded(4))
    if first.inputs is None:
        assert same_claim(first, second)
    else:
        assert not equal(first.inputs, second.inputs)


def test_a_model_without_a_linear_classifier_has_its_labels_recovered_by_plays_or_not_at_all(attack: Attack):
    model = nn.Sequential(nn.Conv2d(3, SPACE.classes, 8), nn.Flatten())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.1 * torch.randn(parameter.shape, generator=seeded(2)))
    update = {name: torch.ones_like(parameter) for name, parameter in model.named_parameters()}
    view = dataclasses.replace(a_view(), model=model, update=update, labels=None, buffers=None, past=None)
    if isinstance(attack, (LabelSign, LabelMinimum)):
        with pytest.raises(NotApplicableError, match="no linear layer"):
            attack.reconstruct(view, seeded())
    else:
        labels = attack.reconstruct(view, seeded()).labels
        assert labels is not None and labels.shape == (view.count,)


def test_every_attack_on_pixels_takes_its_labels_from_the_one_rule(attack: Attack, monkeypatch: pytest.MonkeyPatch):
    if not attack.recovers_images:
        pytest.skip("an attack on labels alone has a rule of its own")
    if hasattr(attack, "joint_labels"):
        attack = dataclasses.replace(attack, joint_labels=False)
    told = torch.tensor([1, 1, 3])
    monkeypatch.setattr("seethrough.attacks.labels.rules.by_counts", lambda view: told)
    claim = attack.reconstruct(dataclasses.replace(a_view(), labels=None, past=None), seeded())
    assert claim.labels.sort().values.tolist() == told.tolist()


def test_an_attack_names_its_source(attack: Attack):
    assert SOURCE.search(sys.modules[type(attack).__module__].__doc__ or "")
    said = type(attack).__doc__ or ""
    assert said and not said.startswith(f"{type(attack).__name__}(")


@pytest.mark.parametrize("kind", KINDS)
def test_one_file_is_one_entry_and_every_entry_has_a_line_of_its_own(kind: str):
    room = Path(KINDS[kind][0].__file__ or "").resolve().parent
    files = {path.stem for path in room.glob("*.py") if not path.name.startswith("_")}
    ours = {name for name, cls in entries_of(kind).entries.items() if cls not in entries_of(kind).origins}
    assert files == ours
    assert all((cls.__doc__ or "").strip() for cls in entries_of(kind).entries.values())


def test_every_contract_is_run_here():
    modules = [sys.modules[f"seethrough.contracts.{kind}"] for kind in seethrough.contracts.CONTRACTS]
    written = [name for module in modules for name in vars(module) if name.startswith("test_")]
    assert len(written) == len(set(written)), "two contracts of one name: the latter would hide the former"
    assert set(written) <= set(globals())


def test_parameters_belong_to_entries():
    for kind, given in PARAMETERS.items():
        assert set(given) <= set(entries_of(kind).entries)


def test_an_entry_without_values_for_its_required_parameters_fails_by_name(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delitem(PARAMETERS["defenses"], "dp_sgd")
    with pytest.raises(pytest.fail.Exception, match="give `dp_sgd` small values of noise_multiplier, max_grad_norm"):
        built("defenses", "dp_sgd", parameters)
