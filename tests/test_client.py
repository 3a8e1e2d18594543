"""What a client sends, against a plain training loop."""

import copy
from itertools import combinations, pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from seethrough.attacks import Space
from seethrough.audit.models.convnet import ConvNet
from seethrough.audit.randomness import stream
from seethrough.defenses import Batch, NoDefense
from seethrough.defenses.gaussian_noise import GaussianNoise
from seethrough.federation.client import DivergedError, batch_statistics, local_update, mean_gradient
from seethrough.federation.rounds import Turn, simulate_round, simulate_rounds
from seethrough.federation.server import Server
from seethrough.recipes import Recipe


def setup(batchnorm: bool = False) -> tuple[nn.Module, Batch]:
    torch.manual_seed(0)
    model = ConvNet(width=4, batchnorm=batchnorm).build(Space((1, 12, 12), 5))
    return model, Batch(torch.rand(4, 1, 12, 12), torch.tensor([0, 1, 2, 3]))


@pytest.mark.parametrize("recipe", [Recipe(), Recipe(steps=3, lr=0.5), Recipe(steps=5, batch_size=2, lr=0.2)])
@pytest.mark.parametrize("batchnorm", [False, True])
def test_the_step_is_what_sgd_changes(recipe: Recipe, batchnorm: bool):
    model, batch = setup(batchnorm)
    update = local_update(model, batch, recipe, mean_gradient, stream(0))
    trained = copy.deepcopy(model)
    sgd = torch.optim.SGD(trained.parameters(), lr=recipe.lr)
    size = recipe.batch_size or 4
    for step in range(recipe.steps or 1):
        start = step * size % 4
        sgd.zero_grad()
        F.cross_entropy(trained(batch.inputs[start : start + size]), batch.labels[start : start + size]).backward()
        sgd.step()
    for name, before in model.named_parameters():
        difference = trained.get_parameter(name) - before
        assert torch.allclose(update.step[name], difference, atol=1e-6), name


def test_a_training_that_diverges_says_so_and_at_which_rate():
    with pytest.raises(DivergedError, match=r"not finite after 3 local steps at a local\.lr of 1e\+30"):
        local_update(*setup(), Recipe(steps=3, lr=1e30), mean_gradient, stream(0))


def test_training_leaves_the_broadcast_model_alone():
    model, batch = setup(batchnorm=True)
    before = copy.deepcopy(model.state_dict())
    simulate_round(model, (batch,), Recipe(steps=2), NoDefense(), (stream(0), stream(1)))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("train", [False, True], ids=["eval mode", "train mode"])
def test_each_round_starts_from_the_weights_that_the_last_one_left(train: bool):
    model, batch = setup(batchnorm=True)
    rngs = tuple((stream(number, 0), stream(number, 1)) for number in range(3))
    simulated = simulate_rounds(
        Server(model.train(train)),
        [Turn((0,), (batch,), each) for each in rngs],
        Recipe(lr=0.5),
        GaussianNoise(std=0.1),
    )
    assert len(simulated) == 3
    assert all(torch.equal(part, simulated[0].model.state_dict()[name]) for name, part in model.state_dict().items())
    for old, new in pairwise(simulated):
        for name, weight in old.model.named_parameters():
            assert torch.equal(new.model.get_parameter(name), weight + old.read().step[name])
        before, after = old.model[1].running_mean, new.model[1].running_mean
        assert torch.equal(before, after) != train
        if train:
            torch.testing.assert_close(after, 0.9 * before + 0.1 * old.read().buffers["1.running_mean"])
    plain = [
        simulate_round(each.model, (batch,), Recipe(lr=0.5), NoDefense(), rngs[0]).read().step for each in simulated
    ]
    noises = [each.read().step["0.bias"] - step["0.bias"] for each, step in zip(simulated, plain, strict=True)]
    assert not any(torch.allclose(left, right) for left, right in combinations(noises, 2))


def test_batch_statistics_are_the_mean_and_variance_at_the_layers_input():
    model, batch = setup(batchnorm=True)
    found = batch_statistics(model, batch.inputs)
    features = model[0](batch.inputs)
    assert torch.allclose(found["1.running_mean"], features.mean(dim=(0, 2, 3)), atol=1e-6)
    assert torch.allclose(found["1.running_var"], features.var(dim=(0, 2, 3), unbiased=False), atol=1e-6)
    assert set(found) == {f"{i}.running_{part}" for i in (1, 4, 7) for part in ("mean", "var")}


def test_without_a_secure_sum_the_server_reads_every_update():
    model, batch = setup()
    other = Batch(torch.rand(4, 1, 12, 12), torch.tensor([4, 4, 4, 4]))
    simulated = simulate_round(model, (batch, other), Recipe(), NoDefense(), (stream(0), stream(1), stream(2)))
    alone = local_update(model, batch, Recipe(), mean_gradient, stream(0))
    assert len(simulated.aggregate.seen) == 2
    assert all(torch.equal(simulated.aggregate.seen[0].step[name], alone.step[name]) for name in alone.step)
    assert simulated.aggregate.mean.count == 8
