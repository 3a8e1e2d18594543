"""DP-SGD's clipping by layers and Poisson sampling, client-level DP, chains, and GroupNorm for BatchNorm."""

import math

import pytest
import torch
from scipy import stats
from torch import nn

from seethrough.audit.case import broadcast_model, put_groupnorm
from seethrough.audit.data.digits import Digits
from seethrough.audit.models.convnet import ConvNet
from seethrough.audit.models.resnet20 import ResNet20
from seethrough.audit.specification.schema import Setting
from seethrough.audit.weights.train import Train
from seethrough.defenses import Batch, Chain, Defense, NoDefense, NotApplicableError, Update
from seethrough.defenses._base import GradFn
from seethrough.defenses.client_dp import ClientDP
from seethrough.defenses.clipping import Clipping, l2_norm
from seethrough.defenses.dp_sgd import DPSGD
from seethrough.defenses.gaussian_noise import GaussianNoise
from seethrough.defenses.guarantees.statement import client_guarantee
from seethrough.defenses.parts.per_sample import per_sample_gradients
from seethrough.defenses.secure_aggregation import SecureAggregation
from seethrough.federation.client import batchnorm_layers, local_update, mean_gradient
from seethrough.recipes import Recipe
from seethrough.recipes.losses.cross_entropy import CrossEntropy
from tests.test_dp_sgd import a_batch, built, flat, never_called, seeded

PRIVATE = DPSGD(noise_multiplier=1.0, max_grad_norm=1.0)
CLIP, NOISE = Clipping(max_norm=0.5), GaussianNoise(std=1.0)


@pytest.mark.parametrize("name", ["convnet", "batchnorm in eval mode"])
def test_clipping_by_layers_holds_every_parameter_to_its_share(name: str):
    model, batch, norm = built(name), a_batch(), 0.5
    samples = per_sample_gradients(model, batch, CrossEntropy())
    share = norm / math.sqrt(len(samples))
    defense = DPSGD(noise_multiplier=0.0, max_grad_norm=norm, clipping="per_layer")
    found = defense.train(never_called)(model, batch, seeded(0))
    for parameter, sample in samples.items():
        singles = [one * min(1.0, share / max(one.norm().item(), 1e-12)) for one in sample]
        assert torch.allclose(found[parameter], torch.stack(singles).mean(dim=0), atol=1e-5), parameter
    assert not torch.allclose(flat(found), flat(DPSGD(noise_multiplier=0.0, max_grad_norm=norm).train(never_called)(
        model, batch, seeded(0))), atol=1e-3)  # fmt: skip


def test_clipping_by_layers_adds_the_same_noise_as_clipping_at_once():
    model, batch = built("convnet"), a_batch()
    by_layer, at_once = (
        flat(DPSGD(noise_multiplier=1.0, max_grad_norm=0.5, clipping=how).train(never_called)(model, batch, seeded(3)))
        - flat(
            DPSGD(noise_multiplier=0.0, max_grad_norm=0.5, clipping=how).train(never_called)(model, batch, seeded(3))
        )
        for how in ("per_layer", "flat")
    )
    assert torch.allclose(by_layer, at_once, atol=1e-5)


def sampled(rate: float, noise: float = 0.0) -> DPSGD:
    return DPSGD(noise_multiplier=noise, max_grad_norm=0.5, sampling="poisson", sample_rate=rate)


def test_a_poisson_sample_is_each_example_by_its_own_draw_over_a_divisor_that_is_not_rounded():
    model, batch, rate = built("convnet"), a_batch(5), 0.3
    samples = per_sample_gradients(model, batch, CrossEntropy())
    singles = [flat({name: part[i] for name, part in samples.items()}) for i in range(len(batch))]
    clipped = torch.stack([one * min(1.0, 0.5 / one.norm().item()) for one in singles])
    basis, sizes = torch.linalg.pinv(clipped.T.double()), []
    gradient, rng = sampled(rate).train(never_called), seeded(7)
    for _ in range(150):
        found = flat(gradient(model, batch, rng)).double() * (rate * len(batch))  # 1.5: Opacus' loop would divide by 1
        taking = basis @ found
        assert torch.allclose(taking, taking.round(), atol=1e-3)
        sizes.append(taking.round().tolist())
    drawn = torch.tensor(sizes)
    assert set(drawn.flatten().tolist()) == {0.0, 1.0}
    for example in range(5):
        assert stats.binomtest(int(drawn[:, example].sum()), 150, rate).pvalue > 1e-3
    counts = torch.bincount(drawn.sum(dim=1).long(), minlength=6).double()
    expected = torch.tensor(stats.binom.pmf(range(6), 5, rate)) * 150
    assert stats.chi2.sf(((counts[:4] - expected[:4]) ** 2 / expected[:4]).sum().item(), 3) > 1e-3
    assert counts[0] > 0, "the empty sample was among them"


def test_an_empty_poisson_sample_sends_noise_alone():
    model, batch = built("convnet"), a_batch(2)
    found = flat(sampled(1e-6, noise=1.0).train(never_called)(model, batch, seeded(0))) * 2e-6
    assert stats.kstest((found / 0.5).tolist(), "norm").pvalue > 1e-3


def test_a_rate_amplifies_nothing_while_the_batches_are_fixed():
    fixed = DPSGD(noise_multiplier=1.0, max_grad_norm=1.0, sample_rate=0.1)
    assert fixed.guarantee(Recipe(), 8) == PRIVATE.guarantee(Recipe(), 8)
    poisson = DPSGD(noise_multiplier=1.0, max_grad_norm=1.0, sampling="poisson", sample_rate=0.1)
    assert poisson.guarantee(Recipe(), 8).epsilon < PRIVATE.guarantee(Recipe(), 8).epsilon
    assert "Poisson" in poisson.guarantee(Recipe(), 8).statement
    model, batch = built("convnet"), a_batch()
    same = [flat(each.train(never_called)(model, batch, seeded(1))) for each in (fixed, PRIVATE)]
    assert torch.equal(*same)


def test_several_local_steps_are_noised_each_and_composed():
    model, batch, recipe = built("convnet"), a_batch(6), Recipe(steps=3, batch_size=2, lr=0.1)
    step = local_update(model, batch, recipe, PRIVATE.train(mean_gradient), seeded(0)).step
    slow, rng = {name: torch.zeros_like(part) for name, part in step.items()}, seeded(0)
    local = built("convnet")
    for (part,) in recipe.order(6):
        slope = PRIVATE.train(never_called)(local, Batch(batch.inputs[part], batch.labels[part]), rng)
        slow = {name: slow[name] - 0.1 * slope[name] for name in slow}
        with torch.no_grad():
            for name, parameter in local.named_parameters():
                parameter.sub_(0.1 * slope[name])
    assert torch.allclose(flat(step), flat(slow), atol=1e-5)
    twice = PRIVATE.guarantee(Recipe(steps=6, batch_size=2), 6)
    assert twice.mechanism.steps == 2 and "2 noised steps in one observed round" in twice.statement


def an_update(length: float, seed: int = 0) -> Update:
    step = {"a": torch.randn((4, 3), generator=seeded(seed)), "b": torch.randn(5, generator=seeded(seed + 1))}
    scale = length / l2_norm(step).item()
    return Update({name: part * scale for name, part in step.items()}, 3, {})


@pytest.mark.parametrize("length", [0.1, 1.0, 1e6, float("nan"), float("inf")])
def test_client_dp_moves_by_at_most_the_clipping_norm_when_a_client_comes_or_goes(length: float):
    defense = ClientDP(noise_multiplier=2.0, max_norm=0.5)
    present, absent, other = (
        flat(defense.release(each, seeded(5)).step)
        for each in (an_update(length), an_update(0.0), an_update(length, seed=9))
    )
    assert present.isfinite().all()
    assert (present - absent).norm() <= 0.5 * (1 + 1e-5)
    assert (present - other).norm() <= 1.0 * (1 + 1e-5)
    if 1 <= length < math.inf:
        assert (present - absent).norm() == pytest.approx(0.5, rel=1e-4)


def test_client_dp_adds_the_noise_that_it_claims():
    defense, rng = ClientDP(noise_multiplier=2.0, max_norm=0.5), seeded(1)
    noise = torch.stack([flat(defense.release(an_update(0.0), rng).step) for _ in range(300)])
    assert stats.kstest(noise.flatten().tolist(), "norm", args=(0, 1.0)).pvalue > 1e-3
    assert 1e-3 < stats.chi2.sf(noise.double().square().sum().item(), noise.numel()) < 1 - 1e-3


def test_client_dp_speaks_of_clients_and_takes_whatever_local_training_does():
    defense = ClientDP(noise_multiplier=2.0, max_norm=0.5)
    found = defense.guarantee(Recipe(), 8)
    assert found.unit == "client" and found == defense.guarantee(Recipe(steps=50), 1000)
    assert "For one client" in found.statement and "whose update then counts as zero" in found.adjacency
    assert "before anything is sent" in found.noise and "against the server" in found.noise


def test_noise_right_after_clipping_is_recognized_as_client_level_dp():
    expected = client_guarantee(2.0, 1e-5, "rdp")
    assert Chain((CLIP, NOISE)).guarantee(Recipe(), 8) == expected
    assert Chain((CLIP, SecureAggregation(clients=3), NOISE)).guarantee(Recipe(), 8) == expected
    assert Chain((CLIP, NOISE, CLIP)).guarantee(Recipe(), 8) == expected, "what comes after the noise adds nothing"
    assert ClientDP(noise_multiplier=2.0, max_norm=0.5).guarantee(Recipe(), 8) == expected


def test_a_chain_gives_the_reasons_of_those_parts_that_have_one():
    hidden = SecureAggregation(clients=3)
    assert Chain((NOISE, hidden)).why_unclaimed() == NOISE.why_unclaimed()
    assert Chain((hidden,)).why_unclaimed() == hidden.why_unclaimed() == NoDefense().why_unclaimed()


class Doubling(Defense):
    """Sends twice the update."""

    def release(self, update: Update, rng) -> Update:
        return Update({name: 2 * part for name, part in update.step.items()}, update.count, update.buffers)


@pytest.mark.parametrize("parts", [(CLIP,), (NOISE,), (NOISE, CLIP), (CLIP, Doubling(), NOISE), (Doubling(), NOISE)])
def test_any_other_order_of_clipping_and_noise_claims_nothing_and_says_why(parts):
    chain = Chain(parts)
    assert chain.guarantee(Recipe(), 8) is None
    assert "without" in chain.why_unclaimed()


class Recomputing(Defense):
    """Takes the gradient of the examples anew, whatever was handed to it."""

    def train(self, grad: GradFn) -> GradFn:
        return lambda model, batch, rng: mean_gradient(model, batch, rng)


def test_no_part_of_a_chain_can_compute_the_gradient_anew_beside_dp_sgd():
    for parts in ((PRIVATE, Recomputing()), (Recomputing(), PRIVATE)):
        with pytest.raises(ValueError, match="one part of a chain may define `train`"):
            Chain(parts)
    assert Chain((PRIVATE, CLIP)).guarantee(Recipe(), 8) == PRIVATE.guarantee(Recipe(), 8)


def test_groupnorm_takes_the_place_of_batchnorm_on_request_and_dp_sgd_then_runs_in_train_mode():
    kept = Setting(name="s", data=Digits(), model=ConvNet(width=8, batchnorm=True), batch_size=4, mode="train")
    fixed = kept.model_copy(update={"fix_batchnorm": True})
    batch = Digits().load().batch(torch.arange(4))
    with pytest.raises(NotApplicableError, match="set fix_batchnorm: true in the setting, which puts GroupNorm"):
        PRIVATE.train(mean_gradient)(broadcast_model(kept, 0, 0), batch, seeded(0))
    model = broadcast_model(fixed, 0, 0)
    assert not batchnorm_layers(model)
    assert sum(isinstance(layer, nn.GroupNorm) for layer in model.modules()) == len(
        batchnorm_layers(broadcast_model(kept, 0, 0))
    )
    assert all(part.isfinite().all() for part in PRIVATE.train(mean_gradient)(model, batch, seeded(0)).values())


def test_a_fixed_model_gives_each_example_a_gradient_of_its_own_and_can_be_trained():
    model = ResNet20().build(Digits().load().space)
    put_groupnorm(model)
    batch = Digits().load().batch(torch.arange(3))
    alone = per_sample_gradients(model, Batch(batch.inputs[:1], batch.labels[:1]), CrossEntropy())
    together = per_sample_gradients(model, batch, CrossEntropy())
    assert all(torch.allclose(alone[name][0], together[name][0], rtol=1e-3, atol=1e-5) for name in alone)
    setting = Setting(name="s", data=Digits(), model=ConvNet(width=4, batchnorm=True), batch_size=2, fix_batchnorm=True,
                      weights=Train(epochs=1))  # fmt: skip
    assert not batchnorm_layers(broadcast_model(setting, 0, 0))
