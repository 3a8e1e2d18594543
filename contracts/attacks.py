"""What every attack owes, whoever wrote it."""

import copy
import dataclasses
from contextlib import suppress
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from seethrough.attacks import Attack, NotGrantedError, Reconstruction, Seen, Space, View
from seethrough.attacks.parts.simulated_client import simulated_client
from seethrough.defenses import Batch, NoDefense, Params
from seethrough.recipes import Recipe

from .entries import built, seeded

FACTS = ("count", "labels", "buffers", "recipe", "order", "defense", "public", "participants", "past")
SPACE = Space((3, 8, 8), 4)
COUNT = 3


@pytest.fixture
def attack(attack_name: str, request: pytest.FixtureRequest) -> Attack:
    return built("attacks", attack_name, request.module)


def attacked_model(train: bool = False, seed: int = 7) -> nn.Sequential:
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(64, SPACE.classes),
    )
    rng = seeded(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=rng))
    return model.train(train)


def a_view(train: bool = False, recipe: Recipe = Recipe(steps=1, lr=0.1)) -> View:  # noqa: B008
    """A view in which every fact is granted."""
    model = attacked_model(train)
    rng = seeded(1)
    inputs, labels = torch.rand((COUNT, *SPACE.shape), generator=rng), torch.tensor([0, 2, 3])

    def sent(broadcast: nn.Module) -> Params:
        bare = View(broadcast, dict(broadcast.named_parameters()), SPACE, recipe=recipe)
        return {name: step.detach() for name, step in simulated_client(bare)(inputs, labels).items()}

    older = attacked_model(train, seed=8)
    return View(
        model=model,
        update=sent(model),
        space=SPACE,
        count=COUNT,
        labels=labels,
        buffers={f"1.{part}": getattr(model[1], part).clone() for part in ("running_mean", "running_var")},
        recipe=recipe,
        defense=NoDefense(),
        public=Batch(torch.rand((24, *SPACE.shape), generator=rng), torch.arange(24) % SPACE.classes),
        participants=1,
        past=(Seen(older, sent(older)),),
    )


def tensors_of(view: View) -> list[Tensor]:
    """Every tensor that the view holds, in a fixed order."""
    public = [view.public.inputs, view.public.labels] if view.public else []
    return [
        *view.model.state_dict().values(),
        *view.update.values(),
        *(view.buffers or {}).values(),
        *([] if view.labels is None else [view.labels]),
        *public,
        *(tensor for old in view.past or () for tensor in (*old.model.state_dict().values(), *old.update.values())),
    ]


def check_claim(claim: Reconstruction, view: View) -> None:
    assert claim.inputs is not None or claim.labels is not None
    if claim.inputs is not None:
        assert claim.inputs.dtype == torch.float32
        assert tuple(claim.inputs.shape) == (COUNT, *SPACE.shape)
        assert claim.inputs.isfinite().all()
        assert claim.inputs.min() >= 0
        assert claim.inputs.max() <= 1
        assert not claim.inputs.requires_grad
    if claim.labels is not None:
        assert claim.labels.dtype == torch.int64
        assert tuple(claim.labels.shape) == (COUNT,)
        assert claim.labels.min() >= 0
        assert claim.labels.max() < SPACE.classes
    assert isinstance(claim.loss, float)
    assert claim.loss == claim.loss


def same_claim(left: Reconstruction, right: Reconstruction) -> bool:
    return left.loss == right.loss and equal(left.inputs, right.inputs) and equal(left.labels, right.labels)


def equal(left: Tensor | None, right: Tensor | None) -> bool:
    return left is right if left is None or right is None else torch.equal(left, right)


@pytest.mark.parametrize("train", [False, True], ids=["eval mode", "train mode"])
def test_a_claim_has_the_promised_shape_type_and_range(attack: Attack, train: bool) -> None:
    view = a_view(train)
    check_claim(attack.reconstruct(view, seeded()), view)


@pytest.mark.parametrize("fact", FACTS)
def test_an_attack_refuses_for_want_of_a_fact_only_where_it_says_that_it_needs_it(attack: Attack, fact: str) -> None:
    withheld: dict[str, Any] = {fact: None}
    view = dataclasses.replace(a_view(), **withheld)
    refusals = (NotGrantedError,) if fact in attack.needs else ()
    with suppress(*refusals):
        check_claim(attack.reconstruct(view, seeded()), view)


def test_an_attack_does_with_nothing_but_what_it_needs(attack: Attack) -> None:
    withheld: dict[str, Any] = {fact: None for fact in FACTS if fact not in attack.needs}
    view = dataclasses.replace(a_view(train=True), **withheld)
    check_claim(attack.reconstruct(view, seeded()), view)


def test_an_attack_replays_several_local_steps(attack: Attack) -> None:
    view = a_view(recipe=Recipe(steps=3, batch_size=1, lr=0.05))
    check_claim(attack.reconstruct(view, seeded()), view)


def test_needs_name_facts_of_a_view(attack: Attack) -> None:
    assert set(attack.needs) <= set(FACTS)


def test_the_same_stream_gives_the_same_claim(attack: Attack) -> None:
    assert same_claim(attack.reconstruct(a_view(), seeded(3)), attack.reconstruct(a_view(), seeded(3)))


@pytest.mark.parametrize("train", [False, True], ids=["eval mode", "train mode"])
def test_the_view_is_left_as_it_was(attack: Attack, train: bool) -> None:
    view = a_view(train)
    before = copy.deepcopy(tensors_of(view))
    hooks = [len(module._forward_pre_hooks) + len(module._forward_hooks) for module in view.model.modules()]
    attack.reconstruct(view, seeded())
    assert all(torch.equal(old, new) for old, new in zip(before, tensors_of(view), strict=True))
    assert [len(m._forward_pre_hooks) + len(m._forward_hooks) for m in view.model.modules()] == hooks
    assert all(module.training == train for module in view.model.modules())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in view.model.parameters())


def test_the_global_random_stream_is_left_alone(attack: Attack) -> None:
    view, before = a_view(), torch.get_rng_state()
    attack.reconstruct(view, seeded())
    assert torch.equal(before, torch.get_rng_state())


def negative(step: Params) -> Params:
    return {name: -part for name, part in step.items()}


def test_an_attack_reads_the_update(attack: Attack) -> None:
    view = a_view()
    past = tuple(Seen(seen.model, negative(seen.update)) for seen in view.past or ())
    opposite = dataclasses.replace(view, update=negative(view.update), past=past, labels=None)
    withheld = dataclasses.replace(view, labels=None)
    assert not same_claim(attack.reconstruct(withheld, seeded()), attack.reconstruct(opposite, seeded()))


def test_an_attack_is_a_frozen_value_that_prints_its_parameters(attack: Attack) -> None:
    value: Any = attack
    entry: Any = type(attack)
    names = [field.name for field in dataclasses.fields(entry)]
    assert all(f"{name}=" in repr(attack) for name in names)
    assert attack == copy.deepcopy(attack)
    with pytest.raises(dataclasses.FrozenInstanceError):
        value.needs = ()
    with pytest.raises(ValidationError, match="no_such_parameter"):
        entry(no_such_parameter=1)


def test_parameters_out_of_range_or_of_another_type_are_refused(attack: Attack) -> None:
    entry: Any = type(attack)
    for field in dataclasses.fields(entry):
        if isinstance(getattr(attack, field.name), int | float) and not isinstance(getattr(attack, field.name), bool):
            with pytest.raises(ValidationError, match=field.name):
                entry(**{field.name: -1})
        with pytest.raises(ValidationError, match=field.name):
            entry(**{field.name: [None]})
