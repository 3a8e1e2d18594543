"""Misconfigured privacy is found, each kind by a sentence of its own; what is well configured is left in peace."""

import json
import re

import numpy as np
import pytest
import yaml
from opacus.accountants import RDPAccountant

from seethrough.audit.checks.lint import FOR_PHOTOGRAPHS, FOR_SMALL_IMAGES, lint
from seethrough.audit.specification.schema import AuditSpec

GOOD = {"dp_sgd": {"noise_multiplier": 1.0, "max_grad_norm": 1.0}}
PRIVATE = {"client_dp": {"noise_multiplier": 1.0, "max_norm": 0.1}}


def findings(
    *defenses,
    batchnorm="running",
    batch_size=8,
    local=None,
    fix=False,
    model=None,
    attacks=("label_sign",),
    trials=1,
    **more,
) -> list[str]:
    chosen = model or {"convnet": {"width": 4, "batchnorm": True}}
    setting = {"name": "digits", "data": "digits", "model": chosen, "batch_size": batch_size, "fix_batchnorm": fix}
    spec = {
        "name": "a",
        "trials": trials,
        "settings": [setting | more | ({"local": local} if local else {})],
        "threats": [{"name": "server", "batchnorm": batchnorm}],
        "defenses": list(defenses),
        "attacks": list(attacks),
        "metrics": ["label_accuracy"],
    }
    return list(lint(AuditSpec.model_validate_json(json.dumps(spec))))


def only(found: list[str]) -> str:
    (sentence,) = found
    assert sentence.endswith(".") and ".." not in sentence
    return sentence


@pytest.mark.parametrize(
    "defense",
    [
        "none",
        GOOD,
        PRIVATE,
        [{"clipping": {"max_norm": 0.1}}, {"gaussian_noise": {"std": 0.1}}],
        [{"clipping": {"max_norm": 0.1}}, {"gaussian_noise": {"std": 0.1}}, "secure_aggregation"],
        {"dp_sgd": {"noise_multiplier": 2.0, "max_grad_norm": 1.0, "sampling": "poisson", "sample_rate": 0.35}},
        "secure_aggregation",
    ],
)
def test_what_is_well_configured_is_left_in_peace(defense):
    assert findings(defense, batch_size=100) == []


def colored_images(folder, side):
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (60, side, side, 3), dtype=np.uint8)
    np.savez(folder / "colored.npz", images=pictures, labels=np.arange(60) % 4)
    return {"npz": str(folder / "colored.npz")}


@pytest.fixture
def colored(tmp_path):
    return colored_images(tmp_path, 16)


def test_trials_that_attack_the_same_images_again(colored):
    few = {"data": colored, "splits": {"private": 0.1, "public": 0.5}, "batch_size": 2, "labels": "random"}
    assert "6 trials of 2 images attack 6 different ones, drawn from 6 private ones" in only(
        findings("none", **few, trials=6)
    )
    assert findings("none", **few, trials=1) == []
    assert findings("none", trials=6) == []


def test_what_trained_networks_give_away_to_other_searches(colored):
    trained = {"weights": {"train": {"epochs": 1}}, "batch_size": 1, "attacks": ["gradinversion"]}
    assert "in natural colors too" in only(findings("none", **trained, data=colored))
    assert "least sure of" in only(findings("none", **trained | {"batch_size": 2}))  # gray
    natural = {"gradinversion": {"falloff": 0.3, "least_sure": True}}
    assert findings("none", **trained | {"batch_size": 2, "attacks": ["gradinversion", natural]}, data=colored) == []
    assert findings("none", **trained | {"weights": "random", "batch_size": 2}, data=colored) == []
    assert findings("none", **trained | {"attacks": ["inverting_gradients"]}, data=colored) == []


@pytest.mark.parametrize(("side", "settings"), [(95, FOR_SMALL_IMAGES), (96, FOR_PHOTOGRAPHS)])
def test_a_search_in_natural_colors_is_named_for_the_size_of_the_images(side, settings, tmp_path):
    model = {"model": {"convnet": {"width": 4}}, "weights": {"train": {"epochs": 1}}, "batch_size": 1}
    asked = {**model, "attacks": ["gradinversion"], "data": colored_images(tmp_path, side)}
    assert only(findings("none", **asked)).endswith(f"add gradinversion: {{{settings}}}.")
    named = {"gradinversion": yaml.safe_load(f"{{{settings}}}")}
    assert findings("none", **asked | {"attacks": [named]}) == []


@pytest.mark.parametrize(
    "defense",
    [
        {"clipping": {"max_norm": 0.1}},
        {"dp_sgd": {"noise_multiplier": 0.0, "max_grad_norm": 1.0}},
        [{"clipping": {"max_norm": 0.1}}, "secure_aggregation"],
    ],
)
def test_clipping_without_noise(defense):
    assert "clips without noise" in only(findings(defense))


def test_noise_without_clipping():
    assert "adds noise without clipping" in only(findings({"gaussian_noise": {"std": 0.1}}))


def test_noise_that_does_not_follow_the_clipping():
    backward = [{"gaussian_noise": {"std": 0.1}}, {"clipping": {"max_norm": 0.1}}]
    assert "not right before the noise" in only(findings(backward))


@pytest.mark.parametrize(("std", "said"), [(0.01, "only 0.05 times as large"), (40.0, "it is 200 times as large")])
def test_noise_that_does_not_fit_the_clipping_norm(std, said):
    chain = [{"clipping": {"max_norm": 0.2}}, {"gaussian_noise": {"std": std}}]
    found = findings(chain)
    assert said in found[0] and "does not fit its clipping norm" in found[0]
    assert said in findings({"client_dp": {"noise_multiplier": std / 0.2, "max_norm": 0.2}})[0]


def test_an_epsilon_that_promises_nothing():
    assert "next to nothing" in only(findings({"dp_sgd": {"noise_multiplier": 0.1, "max_grad_norm": 1.0}}))


def test_a_delta_that_may_give_an_example_away():
    loose = {"dp_sgd": {"noise_multiplier": 1.0, "max_grad_norm": 1.0, "delta": 0.2}}
    assert "choose a delta far below" in only(findings(loose))
    assert findings(loose, batch_size=4) == []


def test_poisson_claimed_but_shuffled_names_the_epsilon_that_would_be_claimed_and_the_real_one():
    shuffled = {"dp_sgd": {"noise_multiplier": 1.0, "max_grad_norm": 1.0, "sample_rate": 0.25}}
    sentence = only(findings(shuffled, local={"steps": 4, "batch_size": 2}))
    assert "not Poisson samples" in sentence
    told = RDPAccountant()
    for _ in range(4):
        told.step(noise_multiplier=1.0, sample_rate=0.25)
    hoped = float(re.findall(r"an epsilon of ([\d.]+)", sentence)[0])
    assert hoped == pytest.approx(told.get_epsilon(1e-5), rel=0.01)
    assert hoped < 4.9 and "where it is 4.729" in sentence


def test_poisson_samples_within_slices():
    sampled = {"dp_sgd": {"noise_multiplier": 1.0, "max_grad_norm": 1.0, "sampling": "poisson", "sample_rate": 0.45}}
    assert "within fixed slices of 50" in only(findings(sampled, batch_size=100, local={"steps": 2, "batch_size": 50}))


@pytest.mark.parametrize(
    ("rate", "size", "by"),
    [(0.25, 8, ("2", "1")), (0.125, 8, ("1", "0")), (0.1, 3, ("0", "0")), (0.1, 100, ("10", "9"))],
)
def test_a_batch_so_small_that_the_floor_of_its_expected_size_tells_neighbors_apart(rate, size, by):
    sampled = {"dp_sgd": {"noise_multiplier": 1.0, "max_grad_norm": 1.0, "sampling": "poisson", "sample_rate": rate}}
    sentence = only(findings(sampled, batch_size=size))
    assert f"would divide by {by[0]}, and by {by[1]} for a neighbor" in sentence and "571 and 819" in sentence


def test_a_batch_large_enough_that_the_floor_hardly_matters_is_left_in_peace():
    sampled = {"dp_sgd": {"noise_multiplier": 1.0, "max_grad_norm": 1.0, "sampling": "poisson", "sample_rate": 0.5}}
    assert findings(sampled, batch_size=200) == []


@pytest.mark.parametrize("noisy", [GOOD, {"client_dp": {"noise_multiplier": 1.0, "max_norm": 0.1}}])
def test_batchnorm_statistics_in_the_clear_beside_noisy_gradients(noisy):
    assert "BatchNorm statistics of the batch sent in the clear" in only(findings(noisy, batchnorm="exact"))
    assert findings(noisy, batchnorm="exact", fix=True) == []
    assert findings(noisy, batchnorm="exact", model={"convnet": {"width": 4}}) == []
    assert findings("none", batchnorm="exact") == []


def test_batchnorm_statistics_that_an_earlier_round_moved_into_the_model():
    assert "sent in the clear" in only(findings(PRIVATE, batch_size=100, mode="train", rounds=2))
    assert findings(PRIVATE, batch_size=100, mode="train", rounds=2, batchnorm="hidden") == []
    assert findings(PRIVATE, batch_size=100, mode="train") == findings(PRIVATE, batch_size=100, rounds=2) == []


def test_an_epsilon_that_many_rounds_add_up_to_nothing():
    assert findings(PRIVATE, batch_size=100) == []
    assert "promises next to nothing" in only(findings(PRIVATE, batch_size=100, rounds=100))


@pytest.mark.parametrize(
    ("clipping_range", "words"),
    [
        (1e7, "100% of the updates' coordinates are rounded to zero"),
        (1e5, "% of the updates' coordinates are rounded to zero"),
        (1e-5, "% of the updates' coordinates are cut off"),
        (0.5, ""),
    ],
)
def test_a_range_that_secure_aggregation_cannot_use_is_named_before_the_run(clipping_range, words):
    found = " ".join(
        findings([{"clipping": {"max_norm": 1.0}}, {"secure_aggregation": {"clipping_range": clipping_range}}])
    )
    assert (words in found) if words else ("coordinate" not in found)
