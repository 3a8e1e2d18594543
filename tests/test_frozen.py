"""Models of which only a part trains: that part is what clients send, what DP-SGD noises, and what attackers match."""

import json
import math

import pytest
import torch
from torch import nn

from seethrough.attacks import Attack, Space, View
from seethrough.attacks.inverting_gradients import InvertingGradients
from seethrough.attacks.label_counts import LabelCounts
from seethrough.attacks.label_sign import LabelSign
from seethrough.attacks.parts.simulated_client import simulated_client
from seethrough.audit.case import Case
from seethrough.audit.data.digits import Digits
from seethrough.audit.metrics.label_accuracy import LabelAccuracy
from seethrough.audit.metrics.psnr import PSNR
from seethrough.audit.specification.kinds import entries_of
from seethrough.audit.specification.schema import Setting, Utility
from seethrough.audit.threat import ThreatModel
from seethrough.audit.trial import run_trial
from seethrough.audit.utility import Training, run_training
from seethrough.defenses import Batch, Defense, NoDefense, NotApplicableError
from seethrough.defenses.dp_sgd import DPSGD
from seethrough.federation.client import local_update, mean_gradient
from seethrough.recipes import Recipe
from tests.parameters import built

CPU = torch.device("cpu")


class Adapter(nn.Module):
    """A frozen linear layer with a low-rank part that trains."""

    def __init__(self, inside: int, outside: int, rank: int = 4) -> None:
        super().__init__()
        self.frozen = nn.Linear(inside, outside).requires_grad_(False)
        self.down, self.up = nn.Linear(inside, rank, bias=False), nn.Linear(rank, outside, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.frozen(x) + self.up(self.down(x))


def frozen_body(shape, classes):
    body = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), 32), nn.ReLU()).requires_grad_(False)
    return nn.Sequential(body, nn.Linear(32, classes))


def frozen_head(shape, classes):
    head = nn.Linear(32, classes).requires_grad_(False)
    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), 32), nn.ReLU(), head)


def adapted(shape, classes):
    return nn.Sequential(nn.Flatten(), Adapter(math.prod(shape), 32), nn.ReLU(), Adapter(32, classes))


def with_unused(shape, classes):
    model = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), classes))
    model.register_parameter("unused", nn.Parameter(torch.ones(3)))
    return model


SENT = {
    "frozen_body": {"1.weight", "1.bias"},
    "frozen_head": {"1.weight", "1.bias"},
    "adapted": {"1.down.weight", "1.up.weight", "3.down.weight", "3.up.weight"},
    "with_unused": {"1.weight", "1.bias", "unused"},
}


def model_of(name: str) -> nn.Module:
    torch.manual_seed(0)
    return globals()[name]((1, 8, 8), 10).eval()


def a_batch() -> Batch:
    return Digits(size=8).load().batch(torch.tensor([3, 14, 15, 92]))


def setting_of(name: str, batch_size: int = 2) -> Setting:
    fields = {
        "name": name,
        "data": {"digits": {"size": 8}},
        "model": f"tests.test_frozen:{name}",
        "batch_size": batch_size,
    }
    return Setting.model_validate_json(json.dumps(fields))


@pytest.mark.parametrize("name", SENT)
@pytest.mark.parametrize(
    "defense", [NoDefense(), DPSGD(noise_multiplier=0.0, max_grad_norm=1e6)], ids=["none", "dp_sgd"]
)
def test_only_what_trains_is_sent_and_it_is_what_a_plain_loop_changes(name: str, defense: Defense):
    model, batch = model_of(name), a_batch()
    update = local_update(model, batch, Recipe(lr=0.1), defense.train(mean_gradient), torch.Generator().manual_seed(0))
    assert set(update.step) == SENT[name]
    before = {key: value.clone() for key, value in model.named_parameters()}
    optimizer = torch.optim.SGD([each for each in model.parameters() if each.requires_grad], lr=0.1)
    nn.functional.cross_entropy(model(batch.inputs), batch.labels).backward()
    optimizer.step()
    for key, value in model.named_parameters():
        changed = update.step.get(key, torch.zeros_like(value))
        assert torch.allclose(value - before[key], changed, atol=1e-6), key


@pytest.mark.parametrize("name", SENT)
@pytest.mark.parametrize("steps", [1, 3])
def test_the_attackers_replay_is_the_clients_step(name: str, steps: int):
    model, batch, recipe = model_of(name), a_batch(), Recipe(steps=steps, lr=0.1)
    update = local_update(model, batch, recipe, mean_gradient, torch.Generator())
    view = View(model, update.step, Space((1, 8, 8), 10), count=4, recipe=recipe)
    replayed = simulated_client(view)(batch.inputs, batch.labels)
    assert replayed.keys() == update.step.keys()
    assert all(torch.allclose(replayed[key], part, atol=1e-6) for key, part in update.step.items())


@pytest.mark.parametrize("name", ["frozen_body", "adapted"])
@pytest.mark.parametrize(
    "defense", [n for n in entries_of("defenses").entries if n not in ("secure_aggregation", "adaptive_clipping")]
)
def test_every_defense_and_a_search_run_on_what_trains(name: str, defense: str):
    """Undefended it failed, and under DP-SGD gradients of frozen layers were sent and held for safe."""
    case = Case(0, 0, setting_of(name), ThreatModel(name="t"), built(defense), InvertingGradients(steps=3), (PSNR(),))
    (score,) = run_trial(case, CPU).scores
    assert score.status == "ok", score.note


def test_a_head_alone_gives_its_labels_away_and_a_frozen_one_only_to_who_plays_the_client():
    def case(name: str, attack: Attack) -> Case:
        return Case(0, 0, setting_of(name), ThreatModel(name="t"), NoDefense(), attack, (LabelAccuracy(),))

    for attack in (LabelSign(), LabelCounts()):
        (score,) = run_trial(case("frozen_body", attack), CPU).scores
        assert score.value == 1.0
    with pytest.raises(NotApplicableError, match="classifier \\(`3`\\) does not train"):
        run_trial(case("frozen_head", LabelSign()), CPU)
    (score,) = run_trial(case("frozen_head", LabelCounts()), CPU).scores
    assert score.value == 1.0


def test_a_federated_training_moves_only_what_trains():
    plan = Utility(rounds=2, clients=2, repeats=1)
    found = run_training(Training(0, 0, setting_of("adapted"), NoDefense(), plan)).utility
    assert found.sent == 4 * (64 * 4 + 4 * 32 + 32 * 4 + 4 * 10)
