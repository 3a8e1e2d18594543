"""Several rounds of the same clients: what attackers make of them together, and what is claimed of them."""

import dataclasses
import json
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from seethrough.attacks import Seen, Space, View
from seethrough.attacks.dlg import DLG
from seethrough.attacks.gradinversion import GradInversion
from seethrough.attacks.inverting_gradients import InvertingGradients
from seethrough.attacks.labels.counts import count_classes
from seethrough.attacks.parts.adaptive import evidence, most_telling, noise_variances
from seethrough.attacks.parts.rounds import observed, rounds_of, stack_rounds
from seethrough.attacks.parts.simulated_client import observed_gradient, simulated_client
from seethrough.audit.case import Case, key_of, round_streams
from seethrough.audit.data.digits import Digits
from seethrough.audit.metrics.psnr import PSNR
from seethrough.audit.models.convnet import ConvNet
from seethrough.audit.plan import make_plan
from seethrough.audit.randomness import drawing_from
from seethrough.audit.scoring import claimed_by
from seethrough.audit.specification.file import load_spec
from seethrough.audit.specification.schema import Setting
from seethrough.audit.threat import ThreatModel
from seethrough.audit.trial import run_trial
from seethrough.defenses import Batch, Defense, NoDefense
from seethrough.defenses._mechanism import GaussianMechanism
from seethrough.defenses.client_dp import ClientDP
from seethrough.defenses.clipping import Clipping
from seethrough.defenses.gaussian_noise import GaussianNoise
from seethrough.defenses.guarantees.accounting import gaussian_epsilon
from seethrough.federation.rounds import Turn, simulate_rounds
from seethrough.federation.server import Server
from seethrough.recipes import Recipe

SPACE, RECIPE, CPU = Space((1, 14, 14), 10), Recipe(lr=0.1), torch.device("cpu")


def seeded(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def a_batch(seed: int = 0, count: int = 2) -> Batch:
    images = Digits().load()
    batch = images.batch(torch.randperm(len(images), generator=seeded(seed))[:count])
    return Batch(F.avg_pool2d(batch.inputs, 2), batch.labels)


def a_view(rounds: int, defense: Defense | None = None, seed: int = 0) -> View:
    """What a server that forgets nothing has of one client after so many rounds."""
    defense = defense or NoDefense()
    with drawing_from(seeded(seed)):
        net = ConvNet(width=4).build(SPACE)
    rngs = [(seeded(100 + number), seeded(200 + number)) for number in range(rounds)]
    turns = [Turn((0,), (a_batch(seed),), each) for each in rngs]
    *past, last = simulate_rounds(Server(net), turns, RECIPE, defense)
    seen = tuple(Seen(old.model, old.read().step) for old in past)
    known = {"count": 2, "recipe": RECIPE, "defense": defense, "public": a_batch(999, 200), "participants": 1}
    return View(last.model, last.read().step, SPACE, past=seen, **known)


def forgetful(view: View) -> View:
    return dataclasses.replace(view, past=None)


def psnr(guess: Tensor | None, truth: Tensor) -> float:
    assert guess is not None
    return -10 * math.log10(float((guess - truth).square().mean()))


def test_one_round_is_what_it_was_without_a_past():
    view = a_view(1)
    assert view.past == () and len(rounds_of(view)) == 1
    assert observed(view) is view.update and stack_rounds([view.update]) is view.update


def test_rounds_are_told_apart_the_oldest_first():
    view = a_view(3)
    each = rounds_of(view)
    assert [one.past for one in each] == [None] * 3
    assert each[0].update is view.past[0].update and each[0].model is view.past[0].model
    assert each[2].update is view.update and each[2].model is view.model
    assert len(observed(view)) == 3 * len(view.update)


@pytest.mark.parametrize("defense", [NoDefense(), Clipping(max_norm=0.05)], ids=["none", "clipping"])
def test_the_true_batch_explains_every_round(defense: Defense):
    view, batch = a_view(3, defense), a_batch()
    step = simulated_client(view)(batch.inputs, batch.labels)
    assert step.keys() == observed(view).keys() == observed_gradient(view).keys()
    for name, part in observed(view).items():
        torch.testing.assert_close(step[name], part, rtol=1e-4, atol=1e-7)
    other = simulated_client(view)(a_batch(7).inputs, batch.labels)
    assert max(float((other[name] - part).abs().max()) for name, part in observed(view).items()) > 1e-3


def test_noise_is_known_for_every_round_and_evidence_grows_with_their_number():
    view = a_view(4, GaussianNoise(std=0.003))
    assert noise_variances(view).keys() == observed(view).keys()
    assert evidence(view) > 2 * evidence(forgetful(view))


SEARCHES: list[Any] = [DLG(steps=40), InvertingGradients(steps=80), GradInversion(steps=80, seeds=1)]


@pytest.mark.parametrize("attack", SEARCHES, ids=lambda one: type(one).__name__)
def test_noise_averages_out_over_rounds_that_the_attacker_remembers(attack: Any):
    gains = []
    for seed in range(2):
        view, truth = a_view(8, GaussianNoise(std=0.001), seed), a_batch(seed)
        granted = dataclasses.replace(view, labels=truth.labels.sort().values)
        remembering, forgetting = (
            psnr(claimed_by(attack.reconstruct(one, seeded())).matched_with(truth).inputs, truth.inputs)
            for one in (granted, forgetful(granted))
        )
        gains.append(remembering - forgetting)
    assert sum(gains) / 2 > 1.0, gains


@pytest.mark.parametrize("defense", [NoDefense(), Clipping(max_norm=0.05)], ids=["none", "clipping"])
@pytest.mark.parametrize("attack", SEARCHES, ids=lambda one: type(one).__name__)
def test_who_has_seen_more_rounds_never_does_worse(attack: Any, defense: Defense):
    once, often = a_view(1, defense), a_view(8, defense)
    found = [attack.reconstruct(view, seeded()).inputs for view in (once, often)]
    assert psnr(found[1], a_batch().inputs) >= psnr(found[0], a_batch().inputs) - 1e-3


def test_rounds_are_matched_together_where_they_are_not_exact_or_not_known_to_be():
    noisy, unknown = a_view(3, GaussianNoise(std=0.01)), dataclasses.replace(a_view(3), defense=None)
    assert most_telling(noisy) is noisy and most_telling(unknown) is unknown
    exact = a_view(3)
    assert most_telling(exact).update is exact.past[0].update and most_telling(exact).past is None


def test_labels_are_counted_over_all_rounds():
    right = {True: 0, False: 0}
    for seed in range(8):
        view, truth = a_view(8, GaussianNoise(std=0.8), seed), sorted(a_batch(seed).labels.tolist())
        for remembers in right:
            found = count_classes(view if remembers else forgetful(view)).labels().tolist()
            right[remembers] += sum(min(found.count(label), truth.count(label)) for label in set(truth))
    assert right[True] >= right[False] + 3, right


def a_case(
    rounds: int, defense: Defense, grants: tuple[str, ...] = ("count", "recipe", "past"), **changes: object
) -> Case:
    fields = {"name": "digits", "data": {"digits": {}}, "model": {"convnet": {}}, "batch_size": 1, "rounds": rounds}
    setting = Setting.model_validate_json(json.dumps(fields | changes))
    threat = ThreatModel(name="server", grants=grants)
    return Case(0, 0, setting, threat, defense, InvertingGradients(steps=20), (PSNR(),))


def test_every_round_of_every_client_has_a_stream_of_its_own():
    drawn = [
        float(torch.rand(1, generator=each))
        for control in ("attack", "decoy")
        for number in range(3)
        for each in round_streams(0, 0, range(2), control, number)
    ]
    assert len(set(drawn)) == len(drawn) == 18


def test_what_is_claimed_covers_every_round():
    private = ClientDP(noise_multiplier=2.0, max_norm=1.0)
    one, three = (run_trial(a_case(rounds, private), CPU) for rounds in (1, 3))
    assert one.claim.epsilon == gaussian_epsilon(GaussianMechanism(2.0), 1e-5, "rdp")
    assert three.claim.epsilon == gaussian_epsilon(GaussianMechanism(2.0, steps=3), 1e-5, "rdp")
    assert "all of 3 rounds, in at most 3" in three.claim.statement
    assert three.recovery.bound >= one.recovery.bound


def test_statistics_that_a_round_moved_into_the_model_void_the_claim():
    case = a_case(2, ClientDP(noise_multiplier=2.0, max_norm=1.0), model={"convnet": {"batchnorm": True}}, mode="train")
    seen = run_trial(case, CPU)
    assert seen.claim is None and "in the clear" in seen.unclaimed
    hidden = dataclasses.replace(case, threat=ThreatModel(name="server", grants=case.threat.grants, batchnorm="hidden"))
    assert run_trial(hidden, CPU).claim is not None


def test_the_number_of_rounds_decides_the_key_and_the_numbers():
    one, three = a_case(1, NoDefense()), a_case(3, NoDefense())
    assert key_of(one, "code") != key_of(three, "code")
    forgetful = a_case(3, NoDefense(), ("count", "recipe"))
    assert len({run_trial(case, CPU).scores[0].value for case in (one, three, forgetful)}) == 3


def test_a_report_says_in_how_many_rounds_clients_take_part():
    spec = load_spec("examples/rounds.yaml")
    settings = make_plan(spec, CPU, 1).manifest.settings
    told = [any("the same in each of" in fact for fact in setting.facts) for setting in settings]
    assert told == [False, True, True]
    assert any("unique labels, the same in each of 16 rounds" in fact for fact in settings[2].facts)
