"""Rounds of a changing set of clients: who is in them, on what they train, what is isolated from sums, what is remembered."""

import dataclasses
import json
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from torch import Generator, Tensor

from seethrough.attacks import Reconstruction, Space, Sum, View
from seethrough.attacks.inverting_gradients import InvertingGradients
from seethrough.attacks.label_counts import LabelCounts
from seethrough.attacks.parts.isolation import isolated, isolation
from seethrough.attacks.parts.rounds import remembered, rounds_of
from seethrough.audit.batches import draw_batches
from seethrough.audit.case import Case, broadcast_model
from seethrough.audit.metrics.cohort_labels import CohortLabels
from seethrough.audit.metrics.history_histogram import HistoryHistogram
from seethrough.audit.metrics.history_mean_image import HistoryMeanImage
from seethrough.audit.metrics.label_accuracy import LabelAccuracy
from seethrough.audit.metrics.psnr_shrunk import ShrunkPSNR
from seethrough.audit.specification.schema import Setting
from seethrough.audit.threat import ThreatModel
from seethrough.audit.trial import _played, attack_on, run_trial, view_for
from seethrough.audit.turns import Visit, trained_on, visits
from seethrough.common.errors import InputError
from seethrough.defenses import Chain, Defense, NoDefense, NotApplicableError
from seethrough.defenses.client_dp import ClientDP
from seethrough.defenses.gaussian_noise import GaussianNoise
from seethrough.defenses.secure_aggregation import SecureAggregation
from seethrough.federation.participation import Scheme, separate

CPU = torch.device("cpu")


def setting(**changes: Any) -> Setting:
    fields = {"name": "digits", "data": {"digits": {"size": 8}}, "model": {"convnet": {"width": 4}}, "batch_size": 2}
    return Setting.model_validate_json(json.dumps(fields | changes))


def case(at: Setting, defense: Defense | None = None, trial: int = 0, metrics: tuple[Any, ...] = ()) -> Case:
    grants = ("count", "recipe", "defense", "public", "participants", "past")
    threat = ThreatModel(name="server", grants=grants)
    return Case(0, trial, at, threat, defense or NoDefense(), LabelCounts(), metrics or (LabelAccuracy(),))


def view_of(each: Case) -> tuple[View, Any]:
    held = draw_batches(each.setting, 0, each.trial, population_of(each.setting), False)
    model = broadcast_model(each.setting, 0, each.trial)
    rounds = _played(each, model, (held.victim, *held.others), "attack")
    return view_for(each, rounds, CPU), rounds


def population_of(at: Setting) -> int:
    return 1 if at.population is None else at.population.clients


def test_so_many_clients_take_part_and_the_one_under_attack_in_the_last_round():
    at = setting(population={"clients": 9, "per_round": 3}, rounds=60)
    seen: Counter[int] = Counter()
    for present in visits(at, 0, 0, 1):
        numbers = [visit.client for visit in present]
        assert len(set(numbers)) == 3 and (0 not in numbers or numbers[0] == 0)
        assert [visit.before for visit in present] == [seen[number] for number in numbers]
        seen.update(numbers)
    assert visits(at, 0, 0, 1)[-1][0].client == 0
    assert all(8 <= seen[number] <= 34 for number in range(9))  # 20 expected, by four deviations
    assert visits(at, 0, 0, 1) == visits(at, 0, 0, 3) != visits(at, 0, 1, 1)


def test_a_defense_that_combines_another_number_of_clients_is_refused():
    with pytest.raises(NotApplicableError, match=r"combines 4 clients, and population.per_round is 3"):
        visits(setting(population={"clients": 9, "per_round": 3}), 0, 0, 4)


def test_clients_train_on_all_they_hold_before_they_see_anything_twice():
    at = setting(holds=6, rounds=6)
    held = draw_batches(at, 0, 0, 1, False).victim
    assert len(held) == 6
    batches = [trained_on(at, 0, 0, held, Visit(0, before)) for before in range(6)]
    for first in (0, 3):
        together = torch.cat([batch.inputs for batch in batches[first : first + 3]]).flatten(1)
        assert (torch.cdist(together, held.inputs.flatten(1)) < 1e-6).sum(dim=0).tolist() == [1] * 6
    assert not torch.equal(batches[0].inputs, batches[3].inputs)
    same = setting(rounds=3)
    batch = draw_batches(same, 0, 0, 1, False).victim
    assert trained_on(same, 0, 0, batch, Visit(0, 2)) is batch


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"holds": 3}, "whole batches of 2"),
        ({"holds": 4, "labels": "unique"}, "labels: random"),
        ({"population": {"clients": 4, "per_round": 5}}, "at most its clients"),
    ],
)
def test_what_cannot_be_is_refused(fields: dict[str, Any], words: str):
    with pytest.raises((ValueError, InputError), match=words):
        setting(**fields)


def test_the_server_knows_the_sums_of_all_rounds_and_who_was_in_them():
    at = setting(population={"clients": 6, "per_round": 3}, rounds=5)
    view, rounds = view_of(case(at, SecureAggregation(clients=3)))
    assert view.sums is not None and view.past == ()
    assert [each.members for each in view.sums] == [tuple(v.client for v in present) for present in visits(at, 0, 0, 3)]
    assert all(torch.equal(view.sums[-1].update[name], part) for name, part in view.update.items())
    forgetful = dataclasses.replace(
        case(at, SecureAggregation(clients=3)), threat=ThreatModel(name="s", grants=("count",))
    )
    assert view_for(forgetful, rounds, CPU).sums is None


def test_in_the_clear_only_the_rounds_of_the_client_itself_are_its_past():
    at = setting(population={"clients": 6, "per_round": 3}, rounds=8)
    view, rounds = view_of(case(at))
    with_it = [each for each in rounds if each.clients[0] == 0]
    assert view.sums is None and 1 < len(with_it) < 8
    assert len(view.past or ()) == len(with_it) - 1


def a_sum(members: tuple[int, ...], own: Tensor, drift: Tensor) -> Sum:
    chosen = list(members)
    return Sum({"w": (own[chosen] + drift[chosen]).mean(dim=0)}, members)


def sums_of(
    drift: float, rounds: int, clients: int = 10, size: int = 4, seed: int = 0
) -> tuple[tuple[Sum, ...], Tensor]:
    rng = Generator().manual_seed(seed)
    own = 3.0 + torch.randn((clients, 2000), generator=rng)
    found = []
    for number in range(rounds):
        members = torch.randperm(clients, generator=rng)[:size].sort().values.tolist()
        members = [0, *members[1:]] if number == rounds - 1 else members
        found.append(a_sum(tuple(members), own, drift * torch.randn((clients, 2000), generator=rng)))
    return tuple(found), own[0]


@pytest.mark.parametrize("drift", [0.1, 1.0, 3.0])
def test_the_drift_is_read_off_the_sums(drift: float):
    sums, _ = sums_of(drift, 30)
    assert isolation(sums).rho == pytest.approx(drift, rel=0.3)


@pytest.mark.parametrize("drift", [0.0, 0.3, 1.0])
def test_what_is_told_is_the_share_of_the_clients_own_part_that_is_right(drift: float):
    sums, own = sums_of(drift, 24)
    found = isolation(sums)
    guess = torch.stack(
        [weight * each.update["w"].double() for weight, each in zip(found.weights, sums, strict=True)]
    ).sum(0)
    own_part = own.double() - 3.0
    explained = 1 - float(((guess - own) ** 2).mean() / own_part.square().mean())
    assert explained == pytest.approx(found.told, abs=0.08)


@pytest.mark.parametrize(("clients", "rounds", "size"), [(6, 6, 3), (10, 10, 4)])
def test_what_all_have_in_common_is_not_taken_for_known(clients: int, rounds: int, size: int):
    """With few rounds it is learned from them too, and what is told of a client is less than if it were known."""
    differences = []
    for seed in range(30):
        sums, own = sums_of(0.05, rounds, clients, size, seed)
        found = isolation(sums)
        guess = torch.stack([w * each.update["w"].double() for w, each in zip(found.weights, sums, strict=True)]).sum(0)
        part = own.double() - 3.0
        differences.append(found.told - (1 - float((guess - part - 3.0).square().mean() / part.square().mean())))
    assert abs(sum(differences) / 30) < 0.02


def test_a_client_is_isolated_when_the_participation_audit_says_so():
    plan = Scheme("number", clients=10, rounds=40, per_round=4).drawn(3)
    own = torch.randn((10, 500), generator=Generator().manual_seed(1))
    after = int(separate(plan).first[0]) + 1
    assert 5 < after < 30
    rows = [tuple(np.flatnonzero(row).tolist()) for row in plan.taken.toarray()]
    sums = [a_sum(row, own, torch.zeros_like(own)) for row in rows]
    told = [isolation(tuple(sums[:rounds])).told for rounds in range(2, 40) if any(0 in row for row in rows[:rounds])]
    earliest = 2 + next(place for place, share in enumerate(told) if share > 1 - 1e-4)
    assert abs(earliest - after) <= 1  # the mean of all, which is estimated too, may help or cost a round


def test_the_isolated_update_is_that_of_the_client_and_the_view_is_of_one():
    at = setting(population={"clients": 8, "per_round": 3}, rounds=30, server_lr=0.01, local={"lr": 0.01})
    each = case(at, SecureAggregation(clients=3))
    view, rounds = view_of(each)
    alone, note = isolated(view)
    assert (
        "computed from the sums of 30 rounds" in note
        and alone.sums is None
        and alone.participants == 1
        and alone.count == 2
    )
    plain = view_for(each, (dataclasses.replace(rounds[-1], aggregate=plain_aggregate(each, rounds[-1])),), CPU)
    ours, true, sent = (torch.cat([p.flatten() for p in v.update.values()]) for v in (alone, plain, view))
    assert torch.cosine_similarity(ours, true, dim=0) > 0.99 > 0.8 > torch.cosine_similarity(sent, true, dim=0)


def plain_aggregate(each: Case, last: Any) -> Any:
    from seethrough.federation.rounds import simulate_round

    streams = (Generator(),) * (len(last.batches) + 1)
    return simulate_round(last.model, last.batches, each.setting.local, NoDefense(), streams).aggregate


def test_an_isolated_view_holds_nothing_of_the_cohort():
    """Rounds of the very same clients were once taken for the client's own past, and the labels of all for its own."""
    at = setting(population={"clients": 4, "per_round": 3}, rounds=16, local={"lr": 0.01})
    each = case(at, SecureAggregation(clients=3))
    granted = ThreatModel(name="s", grants=("count", "labels", "recipe", "defense", "public", "participants", "past"))
    view, rounds = view_of(dataclasses.replace(each, threat=granted))
    assert view.past and len(view.labels) == 6
    alone, _ = isolated(view)
    assert alone.past is None and alone.count == 2
    assert torch.equal(alone.labels, rounds[-1].batches[0].labels.sort().values)


def test_noise_in_a_combination_of_sums_is_reckoned_as_it_is():
    at = setting(population={"clients": 6, "per_round": 3}, rounds=40, local={"lr": 0.01}, server_lr=0.01)
    noisy = Chain((GaussianNoise(std=1e-4), SecureAggregation(clients=3)))
    (clean, _), (seen, _) = (view_of(case(at, each)) for each in (SecureAggregation(clients=3), noisy))
    plain = dataclasses.replace(clean, sums=seen.sums)  # whose model is that of the noisy rounds
    alone, _ = isolated(plain)
    reckoned = float(
        next(
            iter(
                dataclasses.replace(alone, defense=isolated(seen)[0].defense)
                .defense.noise(alone.update, alone.recipe, 2)
                .values()
            )
        )
    )
    weights = isolation(seen.sums).weights
    noises = [
        sum(
            float(w) * (a.update[name] - b.update[name]) for w, a, b in zip(weights, seen.sums, clean.sums, strict=True)
        )
        for name in clean.update
    ]
    measured = float(torch.cat([part.flatten() for part in noises]).square().mean())
    assert reckoned == pytest.approx(measured, rel=0.3)


def test_sums_of_other_examples_are_not_combined():
    at = setting(population={"clients": 8, "per_round": 3}, rounds=12, holds=4)
    view, _ = view_of(case(at, SecureAggregation(clients=3)))
    same, note = isolated(view)
    assert same is view and "other examples" in note


def test_a_common_trend_is_not_taken_for_drift():
    sums, own = sums_of(0.05, 30)
    falling = tuple(
        Sum({"w": each.update["w"] + 6.0 * (1 - number / 29)}, each.members) for number, each in enumerate(sums)
    )
    found = isolation(falling)
    guess = sum(float(weight) * each.update["w"].double() for weight, each in zip(found.weights, falling, strict=True))
    assert found.told > 0.95
    assert float((guess - own.double()).square().mean()) < 0.05 * float((own - 3.0).square().mean())


def test_each_round_of_other_examples_is_attacked_with_its_own_labels():
    at = setting(holds=8, rounds=4)
    granted = ThreatModel(name="s", grants=("count", "labels", "recipe", "defense", "public", "past"))
    view, rounds = view_of(dataclasses.replace(case(at), threat=granted))
    for each, played in zip(remembered(view), rounds, strict=False):
        assert torch.equal(each.labels, played.batches[0].labels.sort().values)


def test_sums_that_tell_too_little_are_left_as_they_are_and_said_to():
    at = setting(population={"clients": 8, "per_round": 3}, rounds=5)
    view, _ = view_of(case(at, SecureAggregation(clients=3)))
    same, note = isolated(view)
    assert same is view and "less than 80%" in note


def test_one_client_s_labels_come_out_of_sums_once_it_is_isolated():
    """What secure aggregation hides in one round, it does not hide over thirty; what it hides is seen by who has the labels of
    all in the sum, and cannot tell whose they are."""
    metrics = (LabelAccuracy(), CohortLabels())
    at = setting(population={"clients": 8, "per_round": 3}, rounds=30, local={"lr": 0.01})
    found = [run_trial(case(at, SecureAggregation(clients=3), trial, metrics), CPU).scores for trial in range(4)]
    for own, cohort in found:
        assert "computed from" in own.note and (own.n, cohort.n) == (2, 6)
        assert own.value == own.perfect == 1.0 and own.perfect > sum(own.perfect_swapped) / 19 + 0.3
        assert (cohort.value or 0.0) > 0.8
    hidden = run_trial(
        case(setting(population={"clients": 8, "per_round": 3}), SecureAggregation(clients=3)), CPU
    ).scores[0]
    assert "computed from" not in hidden.note


def test_rounds_of_other_examples_are_remembered_but_not_matched_together():
    view, _ = view_of(case(setting(holds=6, rounds=4)))
    assert view.fresh and len(view.past or ()) == 3
    assert len(rounds_of(view)) == 1 and rounds_of(view)[0].update is view.update
    assert [each.update for each in remembered(view)] == [seen.update for seen in view.past or ()]
    same, _ = view_of(case(setting(rounds=4)))
    assert not same.fresh and len(rounds_of(same)) == 4 and remembered(same) == ()


def test_what_is_found_over_rounds_is_held_against_all_that_the_client_trained_on():
    at = setting(holds=8, rounds=4)
    each = case(at, metrics=(HistoryHistogram(), HistoryMeanImage(), LabelAccuracy()))
    found = run_trial(each, CPU)
    histogram, mean, labels = found.scores
    assert histogram.n == 8 and labels.n == 2 and mean.status == "n/a"
    assert histogram.value == pytest.approx(0.0, abs=0.13) and len(histogram.swapped) == 19
    assert 0.3 < sum(histogram.swapped) / 19 < 0.8
    once = run_trial(case(setting(rounds=4), metrics=(HistoryHistogram(),)), CPU).scores[0]
    assert once.status == "n/a" and "several rounds" in once.note


def test_pictures_are_shrunk_by_the_round_at_hand_where_others_were_of_other_examples():
    each = case(setting(holds=4, rounds=3), GaussianNoise(std=0.001), metrics=(ShrunkPSNR(),))
    found = run_trial(dataclasses.replace(each, attack=InvertingGradients(steps=3)), CPU).scores[0]
    assert found.status == "ok", found.note


def test_what_an_attacker_forgets_is_no_history():
    each = case(setting(holds=8, rounds=4), metrics=(HistoryHistogram(),))
    forgetful = dataclasses.replace(each, threat=ThreatModel(name="s", grants=("count", "recipe", "defense", "public")))
    remembering, forgetting = (run_trial(one, CPU).scores[0].value or 0.0 for one in (each, forgetful))
    assert remembering < forgetting
    found = attack_on(forgetful, view_of(forgetful)[1], CPU)
    assert isinstance(found, Reconstruction) and found.history == ()


def test_a_client_is_charged_for_the_rounds_that_it_was_in():
    private = ClientDP(noise_multiplier=2.0, max_norm=1.0)
    at = setting(population={"clients": 6, "per_round": 2}, rounds=12)
    times = sum(visit.client == 0 for present in visits(at, 0, 0, 1) for visit in present)
    claim = run_trial(case(at, private), CPU).claim
    assert claim is not None and 1 < times < 12
    assert f"all of 12 rounds, in at most {times} of which one client takes part" in claim.statement


def test_who_takes_part_decides_nothing_that_it_should_not():
    """Space, model and the client's batch stay the same, whoever else is there."""
    alone, crowd = setting(), setting(population={"clients": 6, "per_round": 2}, rounds=3)
    mine = [draw_batches(at, 0, 0, population_of(at), False).victim.inputs for at in (alone, crowd)]
    assert torch.equal(*mine)
    assert Space((1, 8, 8), 10) == alone.data.load().space


def test_who_takes_part_beside_the_attacked_client_is_drawn_evenly():
    few = setting(population={"clients": 4, "per_round": 2}, rounds=1)
    beside = Counter(visits(few, 0, trial, 2)[-1][1].client for trial in range(900))
    assert set(beside) == {1, 2, 3} and min(beside.values()) > 240, beside
