"""The engine of all searches: what is computed in another way is the same but for rounding."""

import copy
import warnings
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad
from torch.utils.checkpoint import checkpoint

from seethrough.attacks import Space, View
from seethrough.attacks.engine.search import descend
from seethrough.attacks.engine.second_order import SecondOrder
from seethrough.attacks.engine.side_by_side import at_once, side_by_side
from seethrough.attacks.engine.slopes import slopes_by_weights
from seethrough.attacks.parts.distances import cosine
from seethrough.attacks.parts.image_priors import total_variation
from seethrough.attacks.parts.simulated_client import simulated_client
from seethrough.audit.models.convnet import ConvNet
from seethrough.defenses import Batch
from seethrough.federation.client import local_update, mean_gradient
from seethrough.recipes import Recipe
from seethrough.recipes.optimizers.sgd import Sgd
from seethrough.recipes.replay import replayed

CLASSES = 3
CONVOLUTIONS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "plain": (lambda: nn.Conv2d(4, 6, 3), (4, 9, 9)),
    "1 dimension": (lambda: nn.Conv1d(4, 6, 3, padding=1), (4, 9)),
    "3 dimensions": (lambda: nn.Conv3d(2, 4, 3, stride=(1, 2, 1)), (2, 5, 6, 5)),
    "strided and padded": (lambda: nn.Conv2d(4, 6, 3, stride=2, padding=1), (4, 9, 8)),
    "uneven": (lambda: nn.Conv2d(4, 6, (3, 1), stride=(1, 2), padding=(2, 0)), (4, 7, 9)),
    "dilated": (lambda: nn.Conv2d(4, 6, 3, dilation=2, padding=2), (4, 9, 9)),
    "in groups": (lambda: nn.Conv2d(4, 6, 3, groups=2), (4, 8, 8)),
    "depthwise": (lambda: nn.Conv2d(4, 8, 3, groups=4, padding=1), (4, 8, 8)),
    "padded to the same": (lambda: nn.Conv2d(4, 6, 3, padding="same"), (4, 8, 8)),
    "padded by reflection": (lambda: nn.Conv2d(4, 6, 3, padding=1, padding_mode="reflect"), (4, 8, 8)),
    "without bias": (lambda: nn.Conv2d(4, 6, 3, bias=False), (4, 8, 8)),
    "transposed": (lambda: nn.ConvTranspose2d(4, 6, 3, stride=2), (4, 5, 5)),
}
NORMS: dict[str, Callable[[], nn.Module]] = {
    "BatchNorm": lambda: _spoken(nn.BatchNorm2d(6)),
    "BatchNorm without scale": lambda: _spoken(nn.BatchNorm2d(6, affine=False)),
    "BatchNorm of the batch": lambda: nn.BatchNorm2d(6, track_running_stats=False),
    "GroupNorm": lambda: nn.GroupNorm(2, 6),
}


def _spoken(norm: nn.BatchNorm2d) -> nn.Module:
    """With statistics that are not those of the start."""
    assert norm.running_mean is not None and norm.running_var is not None
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2)
    return norm


def network(first: nn.Module, *more: nn.Module) -> nn.Module:
    """Convolution, nonlinearity, a sum over all places, classifier; in eval mode and float64."""
    channels = int(getattr(first, "out_channels"))  # noqa: B009

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.more = first, nn.Sequential(*more)
            self.last = nn.Linear(channels, CLASSES)

        def forward(self, images: Tensor) -> Tensor:
            return self.last(torch.tanh(self.more(self.first(images))).flatten(2).mean(2))

    return Net().double().eval()


def loss_of(model: nn.Module) -> Callable[[dict[str, Tensor], Tensor, Tensor], Tensor]:
    return lambda weights, images, labels: F.cross_entropy(functional_call(model, weights, (images,)), labels)


def twice(slopes: Callable[..., dict[str, Tensor]], model: nn.Module, shape: tuple[int, ...]) -> list[Tensor]:
    """Slopes of a batch of 2, and what a random direction of theirs is by images, soft labels and weights."""
    rng = torch.Generator().manual_seed(1)
    images = torch.rand(2, *shape, generator=rng, dtype=torch.float64, requires_grad=True)
    labels = torch.rand(2, CLASSES, generator=rng, dtype=torch.float64, requires_grad=True)
    weights = {name: part.detach().clone().requires_grad_() for name, part in model.named_parameters()}
    found = slopes(weights, images, labels)
    along = sum((part * torch.randn(part.shape, generator=rng, dtype=part.dtype)).sum() for part in found.values())
    assert isinstance(along, Tensor)
    return [*found.values(), *torch.autograd.grad(along, [images, labels, *weights.values()])]


def alike(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(torch.allclose(a, b, rtol=1e-9, atol=1e-12) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("kind", CONVOLUTIONS)
def test_a_convolutions_gradient_is_differentiated_as_torch_does(kind: str):
    torch.manual_seed(0)
    make, shape = CONVOLUTIONS[kind]
    model = network(make())
    assert alike(twice(slopes_by_weights(loss_of(model)), model, shape), twice(grad(loss_of(model)), model, shape))


@pytest.mark.parametrize("kind", NORMS)
def test_a_norms_gradient_is_differentiated_as_torch_does(kind: str):
    torch.manual_seed(0)
    model = network(nn.Conv2d(4, 6, 3), NORMS[kind]())
    assert alike(
        twice(slopes_by_weights(loss_of(model)), model, (4, 8, 8)), twice(grad(loss_of(model)), model, (4, 8, 8))
    )


def test_a_function_of_the_users_that_names_its_arguments_is_understood():
    torch.manual_seed(0)
    images, weight = torch.rand(2, 4, 8, 8), torch.rand(6, 4, 3, 3)
    with SecondOrder():
        named = F.conv2d(weight=weight, input=images, padding=1, stride=(2, 2))
        single = F.conv2d(images[0], weight)
    assert torch.equal(named, F.conv2d(images, weight, padding=1, stride=2))
    assert torch.equal(single, F.conv2d(images[0], weight))


def test_weights_that_do_not_train_have_no_part_in_it():
    torch.manual_seed(0)
    model = network(nn.Conv2d(4, 6, 3), nn.Conv2d(6, 6, 3, groups=6))
    sent = {name: part.detach() for name, part in model.named_parameters() if not name.startswith("first")}
    pixels = [torch.rand(2, 4, 8, 8, dtype=torch.float64, requires_grad=True)]
    pixels.append(pixels[0].detach().clone().requires_grad_())
    found = []
    for slopes, images in zip((slopes_by_weights(loss_of(model)), grad(loss_of(model))), pixels, strict=True):
        step = slopes(sent, images, torch.tensor([0, 2]))
        assert list(step) == list(sent)
        found.append(torch.autograd.grad(torch.stack([part.square().sum() for part in step.values()]).sum(), images)[0])
    assert torch.allclose(found[0], found[1], rtol=1e-9, atol=1e-12)


def test_several_steps_are_replayed_the_same():
    torch.manual_seed(0)
    model = network(nn.Conv2d(4, 6, 3, padding=1), _spoken(nn.BatchNorm2d(6)), nn.Conv2d(6, 6, 3, groups=3))
    recipe = Recipe(steps=3, batch_size=2, lr=0.3, optimizer=Sgd(momentum=0.9))
    weights = {name: part.detach() for name, part in model.named_parameters()}
    found = []
    for slopes in (slopes_by_weights(loss_of(model)), grad(loss_of(model))):
        images = torch.rand(4, 4, 8, 8, generator=torch.Generator().manual_seed(0)).double().requires_grad_()
        step = replayed(recipe, recipe.order(4), weights, slopes, images, torch.tensor([0, 1, 2, 1]))
        value = torch.stack([part.square().sum() for part in step.values()]).sum()
        found.append([*step.values(), torch.autograd.grad(value, images)[0]])
    assert alike(*found)


def test_nothing_is_kept_for_a_derivative_that_nobody_asks_for():
    model = network(nn.Conv2d(4, 6, 3))
    slopes = slopes_by_weights(loss_of(model))
    weights = {name: part.detach() for name, part in model.named_parameters()}
    images = torch.rand(2, 4, 8, 8).double()
    assert not any(part.requires_grad for part in slopes(weights, images, torch.tensor([0, 1])).values())
    with torch.no_grad():
        step = slopes(weights, images.clone().requires_grad_(), torch.tensor([0, 1]))
    assert not any(part.requires_grad for part in step.values())


def view_in_double() -> View:
    torch.manual_seed(0)
    model = ConvNet(width=4, batchnorm=True).build(Space((1, 16, 16), 4)).double().eval()
    batch = Batch(torch.rand(2, 1, 16, 16).double(), torch.tensor([1, 3]))
    step = local_update(model, batch, Recipe(), mean_gradient, torch.Generator()).step
    return View(model, step, Space((1, 16, 16), 4), count=2, labels=batch.labels, recipe=Recipe())


def test_twenty_steps_end_in_the_same_place_however_they_are_computed():
    """Alone by the layers' own kernels, or batched by torch.func.vmap: the same trajectory to 1e-4, here to rounding."""
    view = view_in_double()
    client = simulated_client(view)

    def loss(images: Tensor) -> Tensor:
        return cosine(view.update)(client(images, view.labels)) + 1e-2 * total_variation(images)

    start = torch.rand(3, 2, 1, 16, 16, generator=torch.Generator().manual_seed(1)).double()

    def search(begin: Tensor) -> tuple[Tensor, Tensor]:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # one is raised where vmap falls back to a loop
            found = descend((begin,), side_by_side(loss), steps=20, lr=0.05)
        return found.variables[0], found.losses

    batched, losses = search(start)
    alone = [search(start[i : i + 1]) for i in range(3)]
    assert torch.allclose(batched, torch.cat([images for images, _ in alone]), rtol=0, atol=1e-8)
    assert torch.allclose(losses, torch.cat([each for _, each in alone]), rtol=0, atol=1e-10)


def test_a_repetition_is_the_same_to_the_last_bit():
    view = copy.deepcopy(view_in_double())
    client = simulated_client(view)

    def search() -> Tensor:
        start = torch.rand(1, 2, 1, 16, 16, generator=torch.Generator().manual_seed(1)).double()
        loss = side_by_side(lambda images: cosine(view.update)(client(images, view.labels)))
        return descend((start,), loss, steps=5, lr=0.05).variables[0]

    assert torch.equal(search(), search())


def test_what_does_not_fit_into_memory_is_tried_with_less_at_once():
    tried = []

    def objective(variables: tuple[Tensor, ...]) -> Tensor:
        tried.append(len(variables[0]))
        if len(variables[0]) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return variables[0].square().flatten(1).sum(1)

    start = torch.rand(5, 3, generator=torch.Generator().manual_seed(0))
    found = descend((start,), objective, steps=3, lr=0.1)
    assert tried[:5] == [5, 3, 2, 2, 1] and max(tried[2:]) == 2, "once found, the number stays"
    assert torch.equal(found.variables[0], descend((start,), objective, steps=3, lr=0.1, at_once=1).variables[0])


def test_where_a_single_restart_does_not_fit_nothing_is_made_up():
    def objective(variables: tuple[Tensor, ...]) -> Tensor:
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")

    with pytest.raises(RuntimeError, match="allocate memory"):
        descend((torch.rand(4, 3),), objective, steps=3, lr=0.1)


@pytest.mark.parametrize(("restarts", "size", "expected"), [(1, 9, 1), (2, 9, 1), (4, 9, 4), (4, 2 * 10**6, 1)])
def test_restarts_are_batched_where_that_pays(restarts: int, size: int, expected: int):
    assert at_once(restarts, {"w": torch.zeros(size)}) == expected


def test_a_checkpointed_model_is_differentiated_as_torch_does():
    """Its layers are computed again outside of the mode; the cosine of the truth's own step had been 1.1 from it."""
    torch.manual_seed(0)

    class Checkpointed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Conv2d(4, 6, 3), nn.ReLU(), _spoken(nn.BatchNorm2d(6)))
            self.last = nn.Linear(6, CLASSES)

        def forward(self, images: Tensor) -> Tensor:
            return self.last(checkpoint(self.body, images, use_reentrant=False).flatten(2).mean(2))

    model = Checkpointed().double().eval()
    weights = {name: part.detach().requires_grad_() for name, part in model.named_parameters()}
    images, labels = torch.rand(2, 4, 8, 8).double(), torch.tensor([0, 2])
    loss = loss_of(model)(weights, images, labels)
    expected = torch.autograd.grad(loss, list(weights.values()))
    found = slopes_by_weights(loss_of(model))(weights, images.clone().requires_grad_(), labels)
    assert alike(list(found.values()), list(expected))


def test_what_these_kernels_do_not_cover_is_left_to_torch():
    mean, variance, scale = torch.zeros(4), torch.ones(4), torch.rand(4, requires_grad=True)
    images = torch.rand(2, 4, 3, 3, requires_grad=True)
    with SecondOrder():
        shifted = F.batch_norm(images * 1, mean, variance, None, scale * 1)
        empty = F.batch_norm(torch.zeros(0, 4, 3, 3) * scale.view(1, -1, 1, 1), mean, variance, scale * 1, scale * 1)
    assert torch.autograd.grad(shifted.sum(), scale)[0].tolist() == [18.0] * 4
    assert torch.autograd.grad(empty.sum(), scale)[0].tolist() == [0.0] * 4
