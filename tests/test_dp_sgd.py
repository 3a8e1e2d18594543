"""DP-SGD against slow loops, replay on neighbors, and the exact Gaussian mechanism."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from opacus.grad_sample import GradSampleModule
from pydantic import ValidationError
from scipy import stats
from torch import Generator, Tensor, nn

from seethrough.defenses import Batch, MeanGradient, NotApplicableError, Params
from seethrough.defenses.dp_sgd import DPSGD
from seethrough.defenses.parts.per_sample import per_sample_gradients
from seethrough.recipes.losses.cross_entropy import CrossEntropy

SIDE, CLASSES = 8, 5


class Residual(nn.Module):
    """A residual block that works in place, as torchvision's do, with a scalar parameter and a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(4, 4, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.relu = nn.ReLU(inplace=True)
        self.gain = nn.Parameter(torch.tensor(0.7))
        self.register_buffer("shift", torch.tensor([0.1, -0.2, 0.3, 0.0]).view(4, 1, 1))

    def forward(self, features: Tensor) -> Tensor:
        out = self.norm(self.convolution(features))
        out += features
        return self.relu(out) * self.gain + self.shift


def convnet(inplace: bool) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.ReLU(inplace=inplace),
        nn.Conv2d(4, 6, 3, stride=2),
        nn.ReLU(inplace=inplace),
        nn.Flatten(),
        nn.Linear(54, CLASSES),
    )


def lenet() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, stride=2, padding=2),
        nn.Sigmoid(),
        nn.Conv2d(6, 6, 5, padding=2),
        nn.Sigmoid(),
        nn.Flatten(),
        nn.Linear(96, CLASSES),
    )


def batchnorm_net() -> nn.Module:
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(inplace=True),
        Residual(),
        nn.Dropout(0.5),
        nn.Flatten(),
        nn.Linear(4 * SIDE**2, CLASSES),
        nn.BatchNorm1d(CLASSES, affine=False),
    )
    rng = seeded(5)
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d | nn.BatchNorm1d):
            layer.running_mean = 0.2 * torch.randn(layer.num_features, generator=rng)
            layer.running_var = 0.5 + torch.rand(layer.num_features, generator=rng)
    return model.eval()


def built(name: str) -> nn.Module:
    model = {
        "convnet": lambda: convnet(inplace=False),
        "convnet in place": lambda: convnet(inplace=True),
        "lenet": lenet,
        "lenet in eval mode": lambda: lenet().eval(),
        "batchnorm in eval mode": batchnorm_net,
    }[name]()
    return weighted(model)


def weighted(model: nn.Module) -> nn.Module:
    """`model` with weights that are the same in every run."""
    rng = seeded(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.4 * torch.randn(parameter.shape, generator=rng))
    return model


MODELS = ["convnet", "convnet in place", "lenet", "lenet in eval mode", "batchnorm in eval mode"]


def seeded(seed: int) -> Generator:
    return Generator().manual_seed(seed)


def a_batch(size: int = 6, seed: int = 0) -> Batch:
    rng = seeded(seed)
    inputs = torch.rand((size, 1, SIDE, SIDE), generator=rng)
    return Batch(inputs, torch.randint(CLASSES, (size,), generator=rng))


def without(batch: Batch, place: int) -> Batch:
    kept = [i for i in range(len(batch)) if i != place]
    return Batch(batch.inputs[kept], batch.labels[kept])


class Never(MeanGradient):
    def __call__(self, model: nn.Module, batch: Batch, rng: Generator) -> Params:
        raise AssertionError("DP-SGD clips before the sum, so it has no use for a summed gradient")


never_called = Never(CrossEntropy())


def loop(model: nn.Module, batch: Batch) -> list[Params]:
    """Each example's gradient, one backward pass at a time."""
    found: list[Params] = []
    for image, label in zip(batch.inputs, batch.labels, strict=True):
        names, parameters = zip(*model.named_parameters(), strict=True)
        loss = F.cross_entropy(model(image[None]), label[None])
        found.append(dict(zip(names, torch.autograd.grad(loss, parameters), strict=True)))
    return found


def flat(params: Params) -> Tensor:
    return torch.cat([part.flatten() for part in params.values()])


def private(model: nn.Module, batch: Batch, noise: float, norm: float, seed: int = 0) -> Tensor:
    defense = DPSGD(noise_multiplier=noise, max_grad_norm=norm)
    return flat(defense.train(never_called)(model, batch, seeded(seed)))


@pytest.mark.parametrize("name", MODELS)
def test_per_sample_gradients_are_those_of_a_loop_over_single_examples(name: str):
    model, batch = built(name), a_batch()
    found, expected = per_sample_gradients(model, batch, CrossEntropy()), loop(model, batch)
    assert list(found) == [parameter for parameter, _ in model.named_parameters()]
    for parameter, samples in found.items():
        slow = torch.stack([one[parameter] for one in expected])
        assert slow.abs().max() > 1e-4, f"{parameter} is not tested by this batch"
        assert torch.allclose(samples, slow, rtol=1e-4, atol=1e-6), parameter


@pytest.mark.filterwarnings("ignore:Full backward hook is firing")
@pytest.mark.parametrize("name", ["convnet", "lenet"])
def test_per_sample_gradients_are_those_of_opacus_hooks(name: str):
    model, batch = built(name), a_batch()
    hooked = GradSampleModule(copy.deepcopy(model))
    F.cross_entropy(hooked(batch.inputs), batch.labels).backward()
    expected = {parameter: tensor.grad_sample for parameter, tensor in hooked._module.named_parameters()}
    for parameter, samples in per_sample_gradients(model, batch, CrossEntropy()).items():
        assert torch.allclose(samples, expected[parameter], rtol=1e-4, atol=1e-6), parameter


@pytest.mark.parametrize("name", MODELS)
def test_without_noise_the_gradient_is_the_mean_of_clipped_per_sample_gradients(name: str):
    model, batch = built(name), a_batch()
    singles = [flat(one) for one in loop(model, batch)]
    norms = sorted(single.norm().item() for single in singles)
    norm = (norms[2] + norms[3]) / 2  # half of the examples are clipped
    clipped = [single * min(1.0, norm / single.norm().item()) for single in singles]
    assert torch.allclose(private(model, batch, 0.0, norm), torch.stack(clipped).mean(dim=0), rtol=0.0, atol=1e-5)
    batchwise = torch.stack(singles).mean(dim=0)
    assert not torch.allclose(private(model, batch, 0.0, norm), batchwise, rtol=0.0, atol=1e-4)


def test_each_example_is_clipped_by_itself_in_a_case_worked_by_hand():
    model = nn.Sequential(nn.Flatten(), nn.Linear(2, 2, bias=False))
    nn.init.zeros_(model[1].weight)
    batch = Batch(torch.tensor([[[[30.0, 40.0]]], [[[0.3, 0.4]]]]), torch.tensor([0, 0]))
    # Both classes have probability 1/2: the gradients are (-1/2, 1/2) times x, of norms 50 / sqrt 2 and 0.5 / sqrt 2.
    long, short = torch.tensor([[-0.6, -0.8], [0.6, 0.8]]) / math.sqrt(2), torch.tensor([[-0.15, -0.2], [0.15, 0.2]])
    found = DPSGD(noise_multiplier=0.0, max_grad_norm=1.0).train(never_called)(model, batch, seeded(0))
    assert torch.allclose(found["1.weight"], (long + short) / 2, atol=1e-5)


def test_the_noise_has_the_claimed_variance_and_is_independent():
    noise, norm, draws, batch = 1.7, 0.4, 300, a_batch(4)
    model = weighted(nn.Sequential(nn.Flatten(), nn.Linear(SIDE**2, CLASSES)))
    defense, rng = DPSGD(noise_multiplier=noise, max_grad_norm=norm).train(never_called), seeded(21)
    middle = private(model, batch, 0.0, norm)
    excess = torch.stack([flat(defense(model, batch, rng)) - middle for _ in range(draws)])
    standard = (excess * len(batch) / (noise * norm)).double()
    each = stats.chi2.sf(standard.square().sum(dim=0).numpy(), draws)
    whole = stats.chi2.sf(standard.square().sum().item(), standard.numel())
    between_coordinates = stats.chi2.sf(standard.sum(dim=1).square().sum().item() / standard.shape[1], draws)
    between_draws = stats.chi2.sf(standard.sum(dim=0).square().sum().item() / draws, standard.shape[1])
    for chance in (whole, between_coordinates, between_draws):
        assert 1e-3 < chance < 1 - 1e-3
    assert 1e-3 / len(each) < each.min() and each.max() < 1 - 1e-3 / len(each)
    assert stats.kstest(standard.flatten().numpy(), "norm").pvalue > 1e-3


def test_the_same_stream_gives_the_same_noise_and_goes_on_to_other_noise():
    model, batch = built("convnet"), a_batch()
    assert torch.equal(private(model, batch, 1.0, 1.0, seed=3), private(model, batch, 1.0, 1.0, seed=3))
    assert not torch.equal(private(model, batch, 1.0, 1.0, seed=3), private(model, batch, 1.0, 1.0, seed=4))
    gradient, rng = DPSGD(noise_multiplier=1.0, max_grad_norm=1.0).train(never_called), seeded(3)
    assert not torch.equal(flat(gradient(model, batch, rng)), flat(gradient(model, batch, rng)))


@pytest.mark.parametrize("name", MODELS)
def test_the_model_that_is_handed_in_is_left_as_it_was(name: str):
    model = built(name)
    model.get_parameter(next(iter(dict(model.named_parameters())))).requires_grad_(False)
    before = copy.deepcopy(model)
    private(model, a_batch(), 1.0, 1.0)
    assert model.state_dict().keys() == before.state_dict().keys()
    assert all(torch.equal(value, before.state_dict()[name]) for name, value in model.state_dict().items())
    assert [layer.training for layer in model.modules()] == [layer.training for layer in before.modules()]
    assert [vars(layer).keys() for layer in model.modules()] == [vars(layer).keys() for layer in before.modules()]
    for parameter, old in zip(model.parameters(), before.parameters(), strict=True):
        assert parameter.grad is None and not hasattr(parameter, "grad_sample")
        assert parameter.requires_grad == old.requires_grad


def test_the_mode_of_the_model_is_respected():
    model = weighted(nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(SIDE**2, CLASSES))).eval()
    expected = torch.stack([flat(one) for one in loop(model, a_batch())]).mean(dim=0)
    assert torch.allclose(private(model, a_batch(), 0.0, 1e6), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("layer", "named"),
    [
        (nn.BatchNorm2d(1), "BatchNorm layer `0` .* use eval mode"),
        (nn.BatchNorm2d(1, track_running_stats=False).eval(), "BatchNorm layer `0`"),
        (nn.Sequential(nn.Identity(), nn.BatchNorm2d(1, affine=False)), "BatchNorm layer `0.1`"),
        (nn.Dropout(0.1), "dropout layer `0`"),
    ],
)
def test_a_layer_that_mixes_examples_or_draws_is_refused_by_name(layer: nn.Module, named: str):
    model = nn.Sequential(layer, nn.Flatten(), nn.Linear(SIDE**2, CLASSES))
    with pytest.raises(NotApplicableError, match=named):
        private(model, a_batch(), 1.0, 1.0)


@pytest.mark.parametrize(
    "wrong",
    [{"noise_multiplier": -0.1}, {"max_grad_norm": 0.0}, {"delta": 0.0}, {"delta": 1.0}, {"accountant": "gdp"},
     {"noise_multiplier": float("nan")}, {"max_grad_norm": float("inf")}],
)  # fmt: skip
def test_parameters_out_of_range_are_refused_by_name(wrong: dict[str, object]):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        DPSGD(**{"noise_multiplier": 1.0, "max_grad_norm": 1.0, **wrong})  # type: ignore[arg-type]
