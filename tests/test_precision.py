"""In what precision a setting's clients train and its attacks search."""

import pytest
import torch
import torch.nn.functional as F

import seethrough
from seethrough.attacks.label_counts import LabelCounts
from seethrough.audit.batches import draw_batches
from seethrough.audit.case import Case, broadcast_model, key_of
from seethrough.audit.data.digits import Digits
from seethrough.audit.device import device_for
from seethrough.audit.models.convnet import ConvNet
from seethrough.audit.plan import make_plan
from seethrough.audit.precision import computing_in
from seethrough.audit.specification.schema import Setting
from seethrough.audit.threat import ThreatModel
from seethrough.audit.trial import _played, view_for
from seethrough.common.errors import InputError
from seethrough.defenses import NoDefense
from seethrough.recipes import Recipe

SEARCHES = ("dlg", "inverting_gradients", "gradinversion", "layerwise_cosine")


def setting(precision: str) -> Setting:
    return Setting(
        name="s", data=Digits(), model=ConvNet(width=4), batch_size=2, local=Recipe(lr=0.1), precision=precision
    )


def case(precision: str) -> Case:
    return Case(0, 0, setting(precision), ThreatModel(name="t"), NoDefense(), LabelCounts(), ())


def test_clients_and_attackers_of_double_precision_are_of_it_throughout():
    played, wanted = case("float64"), torch.float64
    held = draw_batches(played.setting, 0, 0, clients=1, same_labels=False)
    with computing_in("float64"):
        view = view_for(
            played,
            _played(played, broadcast_model(played.setting, 0, 0), (held.victim,), "attack"),
            torch.device("cpu"),
        )
    tensors = [*view.model.parameters(), *view.update.values(), view.public.inputs]
    assert {tensor.dtype for tensor in tensors} == {wanted}
    model = broadcast_model(played.setting, 0, 0)
    loss = F.cross_entropy(model(held.victim.inputs), held.victim.labels)
    for (name, _), slope in zip(
        model.named_parameters(), torch.autograd.grad(loss, list(model.parameters())), strict=True
    ):
        torch.testing.assert_close(view.update[name], -0.1 * slope, rtol=1e-12, atol=1e-15)


def test_images_and_weights_are_those_of_single_precision_but_for_rounding():
    once, twice = (
        draw_batches(setting(each), 0, 0, clients=1, same_labels=False).victim for each in ("float32", "float64")
    )
    assert torch.equal(once.labels, twice.labels) and torch.allclose(once.inputs, twice.inputs.float(), atol=1e-7)
    single, double = (broadcast_model(setting(each), 0, 0).state_dict() for each in ("float32", "float64"))
    assert all(torch.equal(part, double[name].float()) for name, part in single.items())


def test_the_precision_enters_the_key():
    assert key_of(case("float32"), "here") != key_of(case("float64"), "here")


ATTACKS = ["label_counts", *({name: {"steps": 2}} for name in SEARCHES), {"latent_prior": {"steps": 2, "epochs": 1}}]
DEFENSES = [
    {"dp_sgd": {"noise_multiplier": 0.01, "max_grad_norm": 1.0}},
    {"secure_aggregation": {"clients": 2}},
    {"quantization": {"bits": 8}},
]


@pytest.mark.parametrize(
    ("defenses", "attacks"), [(["none"], ATTACKS), (DEFENSES, ATTACKS[:2])], ids=["attacks", "defenses"]
)
def test_every_attack_and_defense_computes_in_double_precision_and_scores_as_it_does_in_single(
    defenses: list, attacks: list, tmp_path
):
    spec = {
        "name": "both",
        "trials": 1,
        "settings": [
            {"name": each, "data": "digits", "model": {"convnet": {"width": 4}}, "batch_size": 2, "precision": each}
            for each in ("float32", "float64")
        ],
        "threats": [{"name": "server", "grants": ["count", "recipe", "defense", "public"]}],
        "defenses": defenses,
        "attacks": attacks,
        "metrics": [
            "label_accuracy",
            "psnr",
            "ssim",
            "identifiability",
            "psnr_shrunk",
            "cohort_labels",
            "cohort_distance",
        ],
        "utility": {"rounds": 1, "clients": 2, "repeats": 1},
    }
    cells = seethrough.audit(spec, tmp_path, workers=1, quiet=True).cells
    assert {cell.status for cell in cells} == {"ok"}, {cell.note for cell in cells}


def test_products_are_exact_to_the_precision_and_what_was_set_before_comes_back():
    before = torch.backends.fp32_precision, torch.get_default_dtype()
    for precision, products, dtype in (
        ("float32", "ieee", torch.float32),
        ("tf32", "tf32", torch.float32),
        ("float64", "ieee", torch.float64),
    ):
        with pytest.raises(ZeroDivisionError), computing_in(precision):
            found = (torch.backends.cuda.matmul.fp32_precision, torch.backends.cudnn.conv.fp32_precision)
            assert found == (products, products) and torch.zeros(1).dtype == dtype
            raise ZeroDivisionError
        assert (torch.backends.fp32_precision, torch.get_default_dtype()) == before


def test_tf32_is_refused_where_there_is_no_gpu():
    spec = seethrough.spec(
        name="t",
        trials=1,
        settings=[{"name": "s", "data": "digits", "model": "convnet", "batch_size": 2, "precision": "tf32"}],
        threats=[{"name": "server"}],
        defenses=["none"],
        attacks=["label_sign"],
        metrics=["label_accuracy"],
    )
    with pytest.raises(
        InputError, match=r"settings\[0\].precision: found tf32 on a cpu; allowed there: float32, float64\."
    ):
        make_plan(spec, device_for("cpu"), 1)
