"""Clients who drop out of rounds and come back: who is left, what the server makes of it, what is counted."""

import json
from collections import Counter
from typing import Any

import pytest
import torch
from torch import Generator, nn

from seethrough.attacks.label_counts import LabelCounts
from seethrough.audit.batches import draw_batches
from seethrough.audit.case import Case, broadcast_model, claimed
from seethrough.audit.checks.lint import lint
from seethrough.audit.metrics.label_accuracy import LabelAccuracy
from seethrough.audit.specification.schema import AuditSpec, Setting
from seethrough.audit.threat import ThreatModel
from seethrough.audit.trial import _played, run_trial, view_for
from seethrough.audit.turns import turns, visits
from seethrough.common.errors import InputError
from seethrough.defenses import AbortedError, Batch, Chain, Defense, NoDefense
from seethrough.defenses.client_dp import ClientDP
from seethrough.defenses.dp_sgd import DPSGD
from seethrough.defenses.guarantees.statement import composed
from seethrough.defenses.secure_aggregation import SecureAggregation
from seethrough.defenses.top_k import TopK
from seethrough.federation.rounds import Round, Turn, simulate_rounds
from seethrough.federation.server import Server
from seethrough.recipes import Recipe

CPU = torch.device("cpu")
DIGITS = {"name": "digits", "data": {"digits": {"size": 8}}, "model": {"convnet": {"width": 4}}, "batch_size": 2}
PHONES = {"clients": 12, "per_round": 6, "dropouts": 0.4}


def setting(**changes: Any) -> Setting:
    return Setting.model_validate_json(json.dumps(DIGITS | {"population": PHONES, "rounds": 12} | changes))


def case(at: Setting, defense: Defense, trial: int = 0) -> Case:
    grants = ("count", "recipe", "defense", "public", "participants", "past")
    return Case(0, trial, at, ThreatModel(name="s", grants=grants), defense, LabelCounts(), (LabelAccuracy(),))


def played(each: Case) -> tuple[Round, ...]:
    held = draw_batches(each.setting, 0, each.trial, 12, False)
    return _played(each, broadcast_model(each.setting, 0, each.trial), (held.victim, *held.others), "attack")


def sent(at: Setting, trial: int = 0, cohort: int = 1) -> list[tuple[int, ...]]:
    return [tuple(visit.client for visit in present) for present in visits(at, 0, trial, cohort)]


def test_each_client_drops_out_as_often_as_it_is_said_to_and_comes_back():
    drawn, at = setting(population=PHONES | {"dropouts": 0}), setting()
    appearances: Counter[int] = Counter()
    there = arrived = 0
    for trial in range(20):
        for all_drawn, left in zip(sent(drawn, trial)[:-1], sent(at, trial)[:-1], strict=True):
            assert set(left) <= set(all_drawn)
            there, arrived = there + len(all_drawn), arrived + len(left)
            appearances.update(left)
        assert sent(at, trial)[-1][0] == 0  # who is attacked is in the last round
    assert arrived / there == pytest.approx(0.6, abs=4 * (0.24 / there) ** 0.5)
    assert min(appearances[client] for client in range(12)) > 1


def test_a_number_of_dropouts_is_that_number_in_every_round():
    assert {len(clients) for clients in sent(setting(population=PHONES | {"dropouts": 2}))} == {4}


def test_the_same_clients_drop_out_for_every_defense_and_more_of_them_at_a_higher_rate():
    at, more = setting(), setting(population=PHONES | {"dropouts": 0.6})
    assert sent(at, cohort=1) == sent(at, cohort=6)
    assert all(set(few) <= set(many) for many, few in zip(sent(at), sent(more), strict=True))
    planned = [
        [each.clients for each in turns(at, 0, 0, defense, (Batch(torch.zeros(2), torch.zeros(2)),) * 12, "attack")]
        for defense in (NoDefense(), TopK(share=0.5), SecureAggregation(clients=6))
    ]
    assert planned[0] == planned[1] == planned[2]


def test_a_client_that_dropped_out_trains_on_the_same_batch_when_it_comes_back():
    seen: Counter[int] = Counter()
    for present in visits(setting(), 0, 0, 1):
        assert [visit.before for visit in present] == [seen[visit.client] for visit in present]
        seen.update(visit.client for visit in present)


def a_turn(number: int, clients: tuple[int, ...]) -> Turn:
    batch = Batch(torch.eye(2), torch.tensor([0, 1]))
    rngs = tuple(Generator().manual_seed(10 * number + place) for place in range(len(clients) + 1))
    return Turn(clients, (batch,) * len(clients), rngs, number)


def test_a_round_with_too_few_left_gives_no_sum_and_leaves_the_model_as_it_was():
    planned = (a_turn(0, (0, 1, 2)), a_turn(1, (0, 2)), a_turn(2, ()), a_turn(3, (0, 1, 2)))
    model, defense = nn.Linear(2, 2), SecureAggregation(clients=4)  # whose threshold is 3
    rounds = simulate_rounds(Server(model), planned, Recipe(lr=0.5), defense)
    assert [each.number for each in rounds] == [0, 3]
    without = simulate_rounds(Server(model), (planned[0], planned[3]), Recipe(lr=0.5), defense)
    assert torch.equal(rounds[-1].model.weight, without[-1].model.weight)
    assert not torch.equal(rounds[-1].model.weight, model.weight)
    with pytest.raises(AbortedError, match="2 of 4 clients stayed"):
        simulate_rounds(Server(model), planned[:2], Recipe(), defense)


def test_the_view_and_the_report_say_how_many_rounds_gave_nothing():
    at = setting(population=PHONES | {"dropouts": 0.5})
    summed = SecureAggregation(clients=6)
    trial = next(trial for trial in range(20) if len(sent(at, trial)[-1]) >= 4)
    each = case(at, summed, trial)
    rounds, expected = played(each), sum(len(left) < 4 for left in sent(at, trial))
    view = view_for(each, rounds, CPU)
    assert expected > 0 and view.aborted == expected and len(rounds) == 12 - expected
    assert view.sums is not None
    assert [one.members for one in view.sums] == [left for left in sent(at, trial) if len(left) >= 4]
    assert f"{expected} of 12 rounds gave the server nothing" in run_trial(each, CPU).scores[0].note


def test_epsilon_counts_the_rounds_that_the_server_could_read_the_client_in():
    """Of those that the client sent an update in, the ones whose sum was opened, which four of six make."""
    at = setting(population=PHONES | {"dropouts": 0.5})
    defense = Chain((ClientDP(noise_multiplier=1.0, max_norm=1.0), SecureAggregation(clients=6)))
    trial = next(trial for trial in range(20) if len(sent(at, trial)[-1]) >= 4)
    opened = [len(left) >= 4 and 0 in left for left in sent(at, trial)]
    assert 1 < sum(opened) < sum(0 in left for left in sent(at, trial))
    claim = run_trial(case(at, defense, trial), CPU).claim
    one = defense.guarantee(at.local, 2)
    assert claim is not None and one is not None
    assert claim.epsilon == composed(one, 12, sum(opened)).epsilon


def test_an_example_spends_once_in_every_pass_that_was_read():
    at, defense = setting(holds=8), DPSGD(noise_multiplier=1.0, max_grad_norm=1.0)
    one = defense.guarantee(at.local, 2)
    assert one is not None
    for read, passes in (((0, 1, 2, 3), 1), ((0, 4), 2), ((1, 2, 9), 2), ((0,), 1)):  # four batches make a pass
        found = claimed(defense, at, read)
        assert found is not None and found.epsilon == composed(one, 12, passes).epsilon


def test_without_secure_aggregation_an_early_departure_is_not_in_the_mean():
    at = setting(population=PHONES | {"dropouts": 2})
    rounds = played(case(at, NoDefense()))
    assert {len(each.aggregate.seen) for each in rounds} == {4}
    assert [each.clients for each in rounds] == sent(at)


def findings(dropouts: float, threshold: int | None = None) -> list[str]:
    spec = {
        "name": "a",
        "trials": 1,
        "settings": [DIGITS | {"population": PHONES | {"dropouts": dropouts}}],
        "threats": [{"name": "server"}],
        "defenses": [{"secure_aggregation": {"clients": 6, "reconstruction_threshold": threshold}}],
        "attacks": ["label_sign"],
        "metrics": ["label_accuracy"],
    }
    return [each for each in lint(AuditSpec.model_validate_json(json.dumps(spec))) if "drop out" in each]


def test_a_threshold_that_dropouts_fall_below_is_named_before_the_run():
    """Of five others two or fewer arrive with a probability of 10 * .6^2 * .4^3 + 5 * .6 * .4^4 + .4^5 = 0.317 at a rate of
    0.4, and then fewer than four are left."""
    assert "32% of the attacked rounds leave fewer than its threshold of 4" in findings(0.4)[0]
    assert "100% of the attacked rounds" in findings(3)[0]
    assert findings(0.05) == findings(2) == findings(0.4, threshold=1) == []


@pytest.mark.parametrize("dropouts", [1.5, 6, 7, -0.1])
def test_dropouts_that_cannot_be_are_refused(dropouts: float):
    with pytest.raises((ValueError, InputError), match=r"dropouts"):
        setting(population=PHONES | {"dropouts": dropouts})


def test_what_secure_aggregation_once_called_dropouts_is_answered_with_their_place():
    spec = {"name": "a", "trials": 1, "threats": [{"name": "s"}], "attacks": ["label_sign"], "metrics": ["psnr"]}
    spec |= {"defenses": [{"secure_aggregation": {"clients": 4, "dropped_before_masking": 1}}]}
    spec |= {"settings": [DIGITS]}
    with pytest.raises(ValueError, match=r"population.dropouts of the setting`, as dropped_before_masking is called"):
        AuditSpec.model_validate_json(json.dumps(spec))


def test_the_method_says_who_drops_out():
    at = setting()
    assert at.population is not None
    assert at.population.said() == "6 of 12 clients, drawn anew, each of whom drops out with probability 0.4"
    two = setting(population=PHONES | {"dropouts": 2}).population
    assert two is not None and two.said().endswith("2 of whom drop out before they send anything")
