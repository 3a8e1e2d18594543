"""What every defense owes, whoever wrote it."""

import dataclasses
import inspect
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from seethrough.defenses import Aggregate, Batch, Chain, Defense, MeanGradient, Update
from seethrough.defenses.random_update import RandomUpdate
from seethrough.recipes import Recipe
from seethrough.recipes.losses.cross_entropy import CrossEntropy

from .entries import built, seeded


def given(defense: Defense) -> dict[str, Any]:
    """The defense's parameters with their values."""
    return {field.name: getattr(defense, field.name) for field in dataclasses.fields(defense)}  # type: ignore[arg-type]


@pytest.fixture
def defense(defense_name: str, request: pytest.FixtureRequest) -> Defense:
    return built("defenses", defense_name, request.module)


def tiny_model() -> nn.Module:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=seeded(len(parameter))))
    return model


def tiny_batch(seed: int = 0) -> Batch:
    return Batch(torch.rand((3, 1, 4, 4), generator=seeded(seed)), torch.tensor([0, 2, 1]))


plain_gradient = MeanGradient(CrossEntropy())


def an_update(seed: int = 0, count: int = 3) -> Update:
    rng = seeded(seed)
    step = {"layer.weight": torch.randn((4, 3), generator=rng), "layer.bias": torch.randn(4, generator=rng)}
    buffers = {"norm.running_mean": torch.randn(4, generator=rng), "norm.running_var": torch.rand(4, generator=rng)}
    return Update(step, count, buffers)


def a_cohort(defense: Defense) -> tuple[Update, ...]:
    return tuple(an_update(seed, count=seed + 1) for seed in range(defense.cohort()))


def tensors(update: Update) -> Iterator[tuple[str, Tensor]]:
    yield from update.step.items()
    yield from update.buffers.items()


def same(left: Update, right: Update) -> bool:
    pairs = zip(tensors(left), tensors(right), strict=True)
    return left.count == right.count and all(a == b and torch.equal(x, y) for (a, x), (b, y) in pairs)


def same_aggregate(left: Aggregate, right: Aggregate) -> bool:
    seen = zip(left.seen, right.seen, strict=True)
    masked = zip(left.masked, right.masked, strict=True)
    return same(left.mean, right.mean) and all(same(*p) for p in seen) and all(torch.equal(*p) for p in masked)


def alike(left: Update, right: Update) -> bool:
    """Whether names, shapes and dtypes agree."""
    return [(n, t.shape, t.dtype) for n, t in tensors(left)] == [(n, t.shape, t.dtype) for n, t in tensors(right)]


def test_it_says_in_one_sentence_what_it_does(defense: Defense) -> None:
    first = inspect.cleandoc(type(defense).__dict__["__doc__"]).split("\n")[0]
    assert first[0].isupper() and first.endswith(".") and ". " not in first


def test_it_is_frozen(defense: Defense) -> None:
    names = list(given(defense))
    for name in names or ["anything"]:
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(defense, name, 1)


def test_its_repr_shows_its_parameters(defense: Defense) -> None:
    shown = [f"{name}={getattr(defense, name)!r}" for name in list(given(defense))]
    assert repr(defense) == f"{type(defense).__name__}({', '.join(shown)})"


def test_equal_parameters_make_an_equal_defense(defense: Defense) -> None:
    again = dataclasses.replace(defense)  # type: ignore[type-var]
    assert again == defense
    assert hash(again) == hash(defense)


def test_an_unknown_parameter_of_a_defense_is_refused(defense: Defense) -> None:
    with pytest.raises((ValidationError, TypeError), match="no_such_parameter"):
        type(defense)(**{**given(defense), "no_such_parameter": 1})


def test_text_is_not_taken_for_a_number(defense: Defense) -> None:
    for name in given(defense):
        with pytest.raises(ValidationError, match=name):
            type(defense)(**{**given(defense), name: "1"})


def test_release_keeps_names_shapes_dtypes_and_count(defense: Defense) -> None:
    released = defense.release(an_update(), seeded())
    assert alike(released, an_update())
    assert released.count == an_update().count


def test_release_works_in_double_precision(defense: Defense) -> None:
    double = dataclasses.replace(an_update(), step={name: part.double() for name, part in an_update().step.items()})
    assert alike(defense.release(double, seeded()), double)


def test_release_leaves_its_argument_alone(defense: Defense) -> None:
    update = an_update()
    defense.release(update, seeded())
    assert same(update, an_update()), "`release` changed the update that it was given; it must return another one"


def test_release_is_a_function_of_the_update_and_the_stream(defense: Defense) -> None:
    assert same(defense.release(an_update(), seeded(7)), defense.release(an_update(), seeded(7)))


def test_only_the_stream_that_it_is_given_is_drawn_from(defense: Defense) -> None:
    model = tiny_model()
    before = torch.get_rng_state()
    defense.release(an_update(), seeded())
    defense.aggregate(a_cohort(defense), seeded())
    defense.train(plain_gradient)(model, tiny_batch(), seeded())
    assert torch.equal(torch.get_rng_state(), before)


def test_aggregate_leaves_its_arguments_alone(defense: Defense) -> None:
    updates = a_cohort(defense)
    defense.aggregate(updates, seeded())
    assert all(same(*pair) for pair in zip(updates, a_cohort(defense), strict=True))


def test_the_cohort_step_is_release_unless_the_clients_agree_on_something(defense: Defense) -> None:
    updates = a_cohort(defense)
    found = defense.cohort_step(updates, tuple(seeded(place) for place in range(len(updates))))
    assert all(alike(*pair) and pair[0].count == pair[1].count for pair in zip(found, updates, strict=True))
    if type(defense).cohort_step is Defense.cohort_step:
        alone = [defense.release(update, seeded(place)) for place, update in enumerate(updates)]
        assert all(same(*pair) for pair in zip(found, alone, strict=True))


def test_what_is_expected_of_the_true_step_is_what_is_seen_but_for_the_noise(defense: Defense) -> None:
    if type(defense).train is not Defense.train:
        pytest.skip("what it does to the gradient is not seen here")
    if isinstance(defense, RandomUpdate):
        pytest.skip("a control, which no attacker reckons with")
    wrong = []
    for place in range(40):
        updates = tuple(an_update(1000 * place + i) for i in range(defense.cohort()))
        seen = defense.cohort_step(updates, tuple(seeded(place) for _ in updates))[0].step
        expected, variances = defense.expected(updates[0].step, seen), defense.noise(seen, Recipe(), 3)
        for name, part in seen.items():
            error = (part - expected[name]).square()
            wrong.append((error / variances[name]).mean() if name in variances else 1 + error.mean())
    found = torch.stack(wrong).mean()  # less than 1 where what is expected already tells of the rounding
    assert 0.4 < found < 1.2, (
        "`expected` and `noise` do not say what `release` does to a step: override them, so that an attacker who knows the "
        f"defense can reckon with it (mean squared error over the variance told: {found:.2f}, wanted: about 1)"
    )


def test_what_is_expected_has_finite_slopes_and_can_be_batched(defense: Defense) -> None:
    updates = a_cohort(defense)
    seen = defense.cohort_step(updates, tuple(seeded() for _ in updates))[0].step
    for scale in (0.0, 1.0):
        steps = {name: torch.stack([scale * part, part / 3]).requires_grad_() for name, part in updates[0].step.items()}
        together = torch.vmap(lambda step: defense.expected(step, seen))(steps)
        alone = defense.expected({name: part[1] for name, part in steps.items()}, seen)
        assert {name: (part.shape[1:], part.dtype) for name, part in together.items()} == {
            name: (part.shape, part.dtype) for name, part in seen.items()
        }
        assert all(torch.allclose(together[name][1], part, atol=1e-6) for name, part in alone.items())
        slopes = torch.autograd.grad(
            torch.stack([part.sum() for part in together.values()]).sum(), list(steps.values())
        )
        assert all(slope.isfinite().all() for slope in slopes)


def test_aggregate_is_a_function_of_the_updates_and_the_stream(defense: Defense) -> None:
    first, second = (defense.aggregate(a_cohort(defense), seeded(7)) for _ in range(2))
    assert same_aggregate(first, second)


def test_the_mean_is_shaped_like_an_update_and_counts_the_whole_cohort(defense: Defense) -> None:
    updates = a_cohort(defense)
    mean = defense.aggregate(updates, seeded()).mean
    assert alike(mean, updates[0])
    assert mean.count == sum(update.count for update in updates)


def test_every_message_was_either_read_or_masked(defense: Defense) -> None:
    aggregate = defense.aggregate(a_cohort(defense), seeded())
    assert len(aggregate.seen) + len(aggregate.masked) == defense.cohort()


def test_train_gives_a_gradient_for_exactly_the_models_parameters(defense: Defense) -> None:
    model = tiny_model()
    found = defense.train(plain_gradient)(model, tiny_batch(), seeded())
    expected = {name: (parameter.shape, parameter.dtype) for name, parameter in model.named_parameters()}
    assert {name: (part.shape, part.dtype) for name, part in found.items()} == expected
    assert not any(part.requires_grad for part in found.values())


def test_train_is_a_function_of_model_batch_and_stream(defense: Defense) -> None:
    first, second = (defense.train(plain_gradient)(tiny_model(), tiny_batch(), seeded(7)) for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_train_leaves_model_and_batch_alone(defense: Defense) -> None:
    model, batch = tiny_model(), tiny_batch()
    defense.train(plain_gradient)(model, batch, seeded())
    assert all(torch.equal(value, tiny_model().state_dict()[name]) for name, value in model.state_dict().items())
    assert torch.equal(batch.inputs, tiny_batch().inputs) and torch.equal(batch.labels, tiny_batch().labels)


def test_a_claim_is_whole(defense: Defense) -> None:
    claimed = defense.guarantee(Recipe(steps=2), 3)
    if claimed is not None:
        assert claimed.epsilon > 0 and 0 < claimed.delta < 1
        assert claimed.unit in ("example", "client")
        assert claimed.adjacency and claimed.sampling and claimed.accountant and claimed.statement.endswith(".")


def test_a_chain_of_one_is_its_part(defense: Defense) -> None:
    chain, updates = Chain((defense,)), a_cohort(defense)
    ours, theirs = (d.train(plain_gradient)(tiny_model(), tiny_batch(), seeded(3)) for d in (chain, defense))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert same(chain.release(an_update(), seeded(3)), defense.release(an_update(), seeded(3)))
    assert same_aggregate(chain.aggregate(updates, seeded(3)), defense.aggregate(updates, seeded(3)))
    assert chain.cohort() == defense.cohort()
    assert chain.guarantee(Recipe(), 3) == defense.guarantee(Recipe(), 3)
