"""One trial from end to end, on embedded and on real data."""

import base64
import io
import math
from dataclasses import replace

import pytest
import torch
from PIL import Image

from seethrough.attacks.dlg import DLG
from seethrough.attacks.gradinversion import GradInversion
from seethrough.attacks.inverting_gradients import InvertingGradients
from seethrough.attacks.label_minimum import LabelMinimum
from seethrough.audit.case import Case, broadcast_model
from seethrough.audit.data.digits import Digits
from seethrough.audit.data.npz import Npz
from seethrough.audit.data.torchvision import Torchvision
from seethrough.audit.judging import trial_without_model
from seethrough.audit.metrics.cohort_distance import CohortDistance
from seethrough.audit.metrics.cohort_labels import CohortLabels
from seethrough.audit.metrics.label_accuracy import LabelAccuracy
from seethrough.audit.metrics.label_histogram import LabelHistogram
from seethrough.audit.metrics.mean_image import MeanImage
from seethrough.audit.metrics.psnr import PSNR
from seethrough.audit.metrics.ssim import SSIM
from seethrough.audit.models.convnet import ConvNet
from seethrough.audit.models.lenet import LeNet
from seethrough.audit.models.resnet20 import ResNet20
from seethrough.audit.specification.clients import Partition, Population
from seethrough.audit.specification.schema import Setting
from seethrough.audit.threat import ThreatModel
from seethrough.audit.trial import run_trial
from seethrough.audit.turns import Visit
from seethrough.audit.weights.file import File
from seethrough.defenses import Chain, NoDefense, NotApplicableError
from seethrough.defenses.adaptive_clipping import AdaptiveClipping
from seethrough.defenses.clipping import Clipping
from seethrough.defenses.dp_sgd import DPSGD
from seethrough.defenses.gaussian_noise import GaussianNoise
from seethrough.defenses.secure_aggregation import SecureAggregation
from seethrough.reports import Score

CPU = torch.device("cpu")
THREAT = ThreatModel(name="t")
PRIVATE = DPSGD(noise_multiplier=1.0, max_grad_norm=1.0)


def case(setting=None, attack=None, defense=None, threat=THREAT, trial=0) -> Case:
    chosen = setting or Setting(name="s", data=Digits(), model=ConvNet(width=8), batch_size=2, labels="unique")
    metrics = (LabelAccuracy(), PSNR(), SSIM())
    return Case(0, trial, chosen, threat, defense or NoDefense(), attack or InvertingGradients(steps=40), metrics)


def best_guess(score: Score) -> float:
    return max(guess.value for guess in score.guesses)


def scores(one: Case) -> dict:
    return {score.metric: score for score in run_trial(one, CPU).scores}


def test_an_undefended_update_of_digits_leaks_over_its_floor():
    found = scores(case())
    assert found["label_accuracy"].value == 1.0
    assert found["psnr"].value > best_guess(found["psnr"]) + 3
    assert found["ssim"].value > best_guess(found["ssim"]) + 0.2
    assert all(
        len(score.swapped) == 19 and score.value > max(score.swapped) for score in (found["psnr"], found["ssim"])
    )


def test_batches_to_swap_are_drawn_as_the_true_one_is_and_repeat_its_labels_where_these_are_granted():
    setting = case().setting
    free = trial_without_model(setting, 0, 0, 1, (Visit(0, 0),), (Visit(0, 0),), same_labels=False)
    assert len(free.others) == 19 and len({other.inputs.numpy().tobytes() for other in free.others}) > 15
    assert all(len(other.labels.unique()) == 2 for other in free.others)  # `labels: unique`, as the setting says
    granted = trial_without_model(setting, 0, 0, 1, (Visit(0, 0),), (Visit(0, 0),), same_labels=True)
    assert all(torch.equal(other.labels.sort().values, granted.truth.labels.sort().values) for other in granted.others)
    assert torch.equal(granted.truth.inputs, free.truth.inputs)


def test_the_labels_of_a_sum_are_scored_as_those_of_the_cohort_and_say_nothing_of_one_client():
    summed = case(defense=SecureAggregation(clients=4, clipping_range=0.5), attack=LabelMinimum())
    found = scores(replace(summed, metrics=(LabelAccuracy(), CohortLabels())))
    assert found["cohort_labels"].n == 8 and found["cohort_labels"].perfect == 1.0
    assert found["cohort_labels"].value > best_guess(found["cohort_labels"])
    assert best_guess(found["label_accuracy"]) == 1.0  # eight guesses hold the victim's two labels anyway
    alone = scores(replace(case(attack=LabelMinimum()), metrics=(LabelAccuracy(), CohortLabels())))
    assert alone["cohort_labels"].status == "n/a" and "not a sum" in alone["cohort_labels"].note


def test_the_same_case_gives_the_same_numbers_and_another_trial_others():
    first, again, other = (run_trial(case(trial=trial), CPU) for trial in (0, 0, 1))
    assert first == again
    assert first.scores[1].value != other.scores[1].value


def test_dp_sgd_of_noise_1_leaves_the_attack_below_its_floor_and_states_its_guarantee():
    outcome = run_trial(case(defense=PRIVATE), CPU)
    assert all(score.value <= best_guess(score) for score in outcome.scores if score.metric != "label_accuracy")
    assert outcome.claim is not None and 4 < outcome.claim.epsilon < 5


def test_no_guarantee_is_claimed_where_the_batchs_statistics_are_sent_in_the_clear():
    setting = Setting(name="s", data=Digits(), model=ConvNet(width=4, batchnorm=True), batch_size=2)
    exact = ThreatModel(name="t", batchnorm="exact")
    quick = InvertingGradients(steps=1)
    assert run_trial(case(setting, quick, PRIVATE, exact), CPU).claim is None
    assert run_trial(case(setting, quick, PRIVATE), CPU).claim is not None


def test_under_secure_aggregation_the_attacker_reconstructs_the_whole_cohort():
    chain = Chain((Clipping(max_norm=1.0), SecureAggregation(clients=3, clipping_range=0.5)))
    found = scores(case(defense=chain))
    assert found["psnr"].n == 2
    assert found["psnr"].value > found["psnr"].decoy
    assert found["psnr"].value > max(found["psnr"].swapped)


def test_a_round_with_dropouts_says_so_beside_its_numbers_and_one_that_is_aborted_in_their_place():
    def with_dropouts(number: int, threshold: int) -> Case:
        there = Population(clients=3, per_round=3, dropouts=number)
        summed = SecureAggregation(clients=3, clipping_range=0.5, reconstruction_threshold=threshold)
        setting = case().setting.model_copy(update={"population": there})
        return case(setting, defense=summed, attack=LabelMinimum())

    found = scores(with_dropouts(1, 2))
    assert found["label_accuracy"].status == "ok"
    assert found["label_accuracy"].note == "2 of 3 clients' updates are in the sum"
    assert "hid nothing" in scores(with_dropouts(2, 1))["label_accuracy"].note
    with pytest.raises(NotApplicableError, match="the round was aborted: 1 of 3 clients"):
        run_trial(with_dropouts(2, 2), CPU)


def test_a_cohort_that_agrees_on_a_norm_is_still_read_one_by_one():
    found = scores(case(defense=AdaptiveClipping(clients=3), attack=LabelMinimum()))
    assert found["label_accuracy"].value == 1.0 and found["label_accuracy"].note == ""


def test_granted_labels_are_not_scored_and_the_decoy_shares_them():
    found = scores(case(threat=ThreatModel(name="t", grants=("count", "labels", "recipe"))))
    assert found["label_accuracy"].status == "n/a"
    assert found["psnr"].value > found["psnr"].decoy


def test_a_combination_that_cannot_be_run_says_why():
    setting = Setting(name="s", data=Digits(), model=ConvNet(width=4, batchnorm=True), batch_size=2, mode="train")
    with pytest.raises(NotApplicableError, match="BatchNorm"):
        run_trial(case(setting, defense=PRIVATE), CPU)


def test_metrics_look_through_the_attacked_model(monkeypatch):
    one, seen = replace(case(attack=InvertingGradients(steps=2)), metrics=(CohortDistance(),)), []
    monkeypatch.setattr(CohortDistance, "seen_by", lambda metric, model, public: seen.append(model) or metric.score)
    run_trial(one, CPU)
    assert seen == [broadcast_model(one.setting, 0, 0)]


def test_unlike_clients_give_away_which_classes_they_hold():
    setting = Setting(
        name="s", data=Digits(), model=ConvNet(width=8), batch_size=16, partition=Partition(dirichlet=0.15)
    )
    one = case(setting, InvertingGradients(steps=5))
    found = scores(replace(one, metrics=(LabelHistogram(), MeanImage(), CohortDistance())))
    assert {score.status for score in found.values()} == {"ok"} and {score.better for score in found.values()} == {
        "lower"
    }
    assert found["label_histogram"].value <= 0.5 * found["label_histogram"].decoy
    assert all(score.n == 16 and 10 < len(score.swapped) <= 19 for score in found.values())


def test_pictures_are_those_of_the_truth_the_reconstruction_and_the_decoy():
    shown = run_trial(case(), CPU).pictures
    assert [len(part) for part in (shown.original, shown.found, shown.decoy)] == [2, 2, 2]
    original, found, decoy = (
        torch.tensor(list(Image.open(io.BytesIO(base64.b64decode(part[0]))).tobytes())).double() / 255
        for part in (shown.original, shown.found, shown.decoy)
    )
    assert len(original) == 28 * 28
    assert (original - found).square().mean() < (original - decoy).square().mean()


def test_an_untrained_lenet_gives_mnist_digits_away(shared_data):
    setting = Setting(
        name="s", data=Torchvision(dataset="MNIST", root=str(shared_data)), model=LeNet(), batch_size=8, labels="unique"
    )
    assert scores(case(setting, LabelMinimum()))["label_accuracy"].value == 1.0
    alone = scores(case(setting.model_copy(update={"batch_size": 1}), DLG(steps=60)))
    assert alone["psnr"].value > 20 > best_guess(alone["psnr"])


@pytest.mark.parametrize("trained", [False, True])
def test_resnet20_on_cifar10_goes_through_every_stage(shared_data, trained):
    weights = {"weights": File(path=str(shared_data / "resnet20_cifar10.safetensors"))} if trained else {}
    data = Npz(file=str(shared_data / "cifar10_train2000.npz"))
    setting = Setting(name="s", data=data, model=ResNet20(), batch_size=2, labels="unique", **weights)
    for defense in (NoDefense(), PRIVATE):
        found = scores(case(setting, GradInversion(steps=3), defense))
        assert {score.status for score in found.values()} == {"ok"}
        assert all(math.isfinite(score.value) for score in found.values())


def test_an_update_that_rounds_to_zeros_is_not_attacked_and_says_why_and_one_that_is_cut_off_says_so():
    """A traceback, and a sum that nobody could train on counted as protection."""
    coarse = SecureAggregation(clients=3, clipping_range=1e7)
    for attack in (LabelMinimum(), InvertingGradients(steps=2)):
        with pytest.raises(NotApplicableError, match="the update is all zeros"):
            run_trial(case(defense=coarse, attack=attack), CPU)
    cut = scores(case(defense=SecureAggregation(clients=3, clipping_range=1e-5), attack=LabelMinimum()))
    assert "% of the updates' coordinates are cut off at a clipping_range of 1e-05" in cut["label_accuracy"].note


def test_a_defense_that_leaves_nothing_of_the_update_is_named_beside_its_scores():
    drowned = scores(case(defense=GaussianNoise(std=10.0), attack=LabelMinimum()))["label_accuracy"].note
    assert drowned.startswith("what is sent has a cosine of ") and drowned.endswith("with the undefended update")
    assert scores(case(defense=Clipping(max_norm=0.01), attack=LabelMinimum()))["label_accuracy"].note == ""


def test_where_there_is_no_number_only_the_reason_is_said():
    found = scores(replace(case(defense=GaussianNoise(std=10.0), attack=LabelMinimum()), metrics=(PSNR(),)))
    assert found["psnr"].status == "n/a" and found["psnr"].note == "this attack recovers no inputs"
