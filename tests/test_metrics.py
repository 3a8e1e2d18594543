"""Scores against independent versions and hand-computed cases."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import sqrtm
from scipy.optimize import linear_sum_assignment
from sklearn.datasets import load_sample_image
from torch import Generator, nn

from seethrough.attacks import Reconstruction, Space
from seethrough.audit.metrics import MetricNotApplicableError
from seethrough.audit.metrics._features import _squeezenet, features
from seethrough.audit.metrics.cohort_distance import CohortDistance, frechet
from seethrough.audit.metrics.identifiability import Identifiability
from seethrough.audit.metrics.label_accuracy import LabelAccuracy
from seethrough.audit.metrics.label_histogram import LabelHistogram
from seethrough.audit.metrics.lpips import LPIPS
from seethrough.audit.metrics.mean_image import MeanImage
from seethrough.audit.metrics.psnr import PSNR
from seethrough.audit.metrics.ssim import SSIM
from seethrough.audit.models.convnet import ConvNet
from seethrough.audit.scoring import Claimed, Scene, Trial, blind_guessers, claimed_by, matched, score
from seethrough.defenses import Batch
from tests.conftest import SHARED


def batch(n: int = 3, shape=(1, 28, 28), seed: int = 0, classes: int = 10) -> Batch:
    rng = torch.Generator().manual_seed(seed)
    return Batch(torch.rand(n, *shape, generator=rng), torch.randint(0, classes, (n,), generator=rng))


def a_trial(truth: Batch, *blind: Claimed, others: tuple[Batch, ...] = (), **changes: object) -> Trial:
    return Trial(truth, others, blind, Claimed(truth.inputs, truth.labels, truth.inputs), **changes)  # type: ignore[arg-type]


def test_psnr_is_minus_ten_log_ten_of_the_mean_squared_error_image_by_image():
    truth = batch()
    found = truth.inputs + torch.tensor([0.1, 0.01, 0.5]).view(3, 1, 1, 1)
    assert PSNR().score(truth.inputs, found) == pytest.approx([20, 40, -20 * math.log10(0.5)], abs=1e-3)


def test_psnr_of_an_exact_copy_is_the_cap():
    truth = batch()
    assert PSNR(cap=55.0).score(truth.inputs, truth.inputs).tolist() == [55.0] * 3


def test_ssim_equals_the_formula_written_out_for_constant_images():
    truth = Batch(torch.full((1, 1, 9, 9), 0.5), torch.zeros(1, dtype=torch.int64))
    value = SSIM().score(truth.inputs, torch.full((1, 1, 9, 9), 0.25))[0]
    c1 = 0.01**2
    assert value == pytest.approx((2 * 0.5 * 0.25 + c1) / (0.5**2 + 0.25**2 + c1), abs=1e-9)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=12), st.lists(st.integers(0, 4), min_size=1, max_size=12))
def test_label_accuracy_is_the_overlap_of_the_multisets(true: list[int], guessed: list[int]):
    truth = Batch(torch.zeros(len(true), 1, 8, 8), torch.tensor(true))
    value = LabelAccuracy().score(truth.labels, torch.tensor(guessed)).mean()
    overlap = sum(min(true.count(c), guessed.count(c)) for c in range(5))
    assert value == pytest.approx(overlap / len(true))


@given(st.lists(st.integers(0, 4), min_size=1, max_size=12), st.lists(st.integers(0, 4), min_size=1, max_size=12))
def test_the_histogram_error_is_the_largest_difference_in_probability_of_any_set_of_classes(true, guessed):
    value = LabelHistogram().score(torch.tensor(true), torch.tensor(guessed))
    sets = ([c for c in range(5) if pattern >> c & 1] for pattern in range(32))
    gaps = [sum(true.count(c) / len(true) - guessed.count(c) / len(guessed) for c in chosen) for chosen in sets]
    assert value.tolist() == [pytest.approx(max(gaps))]


def test_the_public_proportions_are_a_blind_guess_of_the_histogram():
    truth = Batch(torch.zeros(4, 1, 8, 8), torch.tensor([0, 0, 0, 1]))
    public = Batch(torch.zeros(100, 1, 8, 8), torch.tensor([0] * 75 + [1] * 25))
    wrong = Claimed(None, torch.tensor([2, 2, 2, 2]))
    trial = a_trial(truth, *blind_guessers(public, 4, None))
    row = score(LabelHistogram(), trial, Claimed(None, truth.labels), wrong)
    assert (row.value, row.decoy, row.perfect, row.n) == (0, 1, 0, 4)
    assert {guess.name: guess.value for guess in row.guesses} == {
        "the commonest public class": 0.25,
        "public proportions": 0,
    }


def test_the_mean_image_is_compared_whatever_the_order_of_the_images():
    truth = batch(4).inputs
    assert MeanImage().score(truth, truth.flip(0)) == pytest.approx([0], abs=1e-7)
    assert MeanImage().score(truth, truth + torch.tensor([0.1, 0.3, 0.0, 0.0]).view(4, 1, 1, 1)) == pytest.approx([0.1])


@pytest.mark.parametrize("sizes", [(5, 5), (40, 30)])
def test_the_frechet_distance_is_that_of_its_formula_with_a_matrix_square_root(sizes):
    draws = np.random.default_rng(0)
    first, second = (draws.normal(size=(n, 6)) @ draws.normal(size=(6, 6)) + draws.normal(size=6) for n in sizes)
    covariances = [np.cov(rows, rowvar=False, bias=True) for rows in (first, second)]
    shift = np.square(first.mean(0) - second.mean(0)).sum()
    expected = shift + np.trace(covariances[0] + covariances[1] - 2 * sqrtm(covariances[0] @ covariances[1]).real)
    assert frechet(first, second) == pytest.approx(expected, rel=1e-4)


def test_the_cohort_distance_is_taken_on_what_the_attacked_models_classifier_reads():
    truth, found = batch(6), batch(6, seed=1)
    torch.manual_seed(0)
    model = ConvNet(width=4).build(Space((1, 28, 28), 10)).train()
    read = model[:-1](truth.inputs), model[:-1](found.inputs)
    assert torch.equal(features(model, truth.inputs), read[0])
    guess = Claimed(found.inputs, None)
    scene = Scene(model, truth.inputs)
    row = score(CohortDistance(), a_trial(truth, guess, scene=scene), guess, Claimed(truth.inputs, None))
    matched_read = model[:-1](matched(truth.inputs, found.inputs))
    assert row.value == pytest.approx(CohortDistance().score(read[0], matched_read)[0])
    assert row.decoy == pytest.approx(0, abs=1e-6) and row.better == "lower"
    assert model.training


def test_a_cohort_that_is_not_a_number_has_no_distance():
    truth = batch(2)
    broken = Claimed(torch.full_like(truth.inputs, math.nan), None)
    row = score(CohortDistance(), a_trial(truth), broken, Claimed(truth.inputs, None))
    assert row.status == "nan"


def test_matching_undoes_a_permutation_and_uses_no_image_twice():
    truth = batch(6).inputs
    order = torch.randperm(6, generator=torch.Generator().manual_seed(1))
    assert torch.equal(matched(truth, truth[order]), truth)
    duplicates = matched(truth, torch.cat([truth[:1], truth[:1] + 0.01, truth[2:]]))
    assert len({image.sum().item() for image in duplicates}) == 6


def test_matching_takes_the_best_of_more_images_than_the_batch_has():
    truth = batch(3).inputs
    assert torch.equal(matched(truth, torch.cat([batch(5, seed=9).inputs, truth.flip(0)])), truth)


def test_matching_minimizes_the_summed_squared_error():
    truth, found = batch(5).inputs, batch(5, seed=3).inputs
    errors = [[float((a - b).square().sum()) for b in found] for a in truth]
    _, columns = linear_sum_assignment(np.array(errors))
    assert torch.equal(matched(truth, found), found[torch.tensor(columns)])


def test_a_reconstruction_that_is_not_a_number_is_a_state_and_never_a_number():
    truth = batch(2)
    broken = Reconstruction(torch.full_like(truth.inputs, math.nan), None, 0.0)
    row = score(PSNR(), a_trial(truth), claimed_by(broken), Claimed(truth.inputs, None))
    assert row.status == "nan"
    assert row.value is None and row.guesses == ()


def test_every_guesser_stands_by_itself_and_none_is_chosen_with_the_truth():
    truth = batch(4)
    near, far = (Claimed(truth.inputs + gap, None, name=str(gap)) for gap in (0.1, 0.5))
    row = score(PSNR(), a_trial(truth, near, far), Claimed(truth.inputs, None), far)
    assert [(guess.name, round(guess.value, 3)) for guess in row.guesses] == [("0.1", 20.0), ("0.5", 6.021)]
    assert row.decoy == pytest.approx(6.021, abs=1e-3) and row.value == row.perfect == 60.0


def test_a_reconstruction_is_also_held_against_other_batches_and_matched_with_each_of_them():
    truth, other = batch(4), batch(4, seed=7)
    found = Claimed(other.inputs.flip(0), None)
    row = score(PSNR(), a_trial(truth, others=(other, truth)), found, found)
    assert row.swapped == (60.0, pytest.approx(row.value))
    assert row.perfect_swapped == (pytest.approx(row.value), 60.0)


def test_the_trouble_of_one_metric_is_a_reason_and_not_an_exception():
    class Troubled(PSNR):
        def score(self, truth, found):
            raise MetricNotApplicableError("pictures are too small")

    truth = batch(2)
    row = score(Troubled(), a_trial(truth), Claimed(truth.inputs, None), Claimed(truth.inputs, None))
    assert (row.status, row.note) == ("n/a", "pictures are too small")


def test_the_worst_case_is_the_image_that_leaked_most():
    truth = batch(2)
    found = Claimed(truth.inputs + torch.tensor([0.1, 0.5]).view(2, 1, 1, 1), None)
    assert score(PSNR(), a_trial(truth), found, found).worst == pytest.approx(20, abs=1e-3)


def test_labels_that_were_granted_are_not_scored():
    truth = batch(2)
    guess = Claimed(None, truth.labels)
    assert score(LabelAccuracy(), a_trial(truth, granted=True), guess, guess).status == "n/a"


def test_an_attack_that_recovers_no_images_gets_no_psnr():
    truth = batch(2)
    guess = Claimed(None, truth.labels)
    assert score(PSNR(), a_trial(truth), guess, guess).status == "n/a"


def test_blind_guessers_hand_in_as_many_examples_as_are_read_and_look_only_at_public_data():
    public = batch(50, seed=5)
    guessers = blind_guessers(public, 4, None)
    assert all(len(each.labels if each.inputs is None else each.inputs) == 4 for each in guessers)
    assert torch.allclose(guessers[0].inputs[0], public.inputs.mean(0))
    assert len({each.name for each in guessers}) == len(guessers)


def test_who_is_granted_labels_is_held_against_the_mean_public_image_of_each_class():
    public, labels = batch(50, seed=5), torch.tensor([3, 3, 11])
    (guess,) = [each for each in blind_guessers(public, 3, labels) if each.name.endswith("of each class")]
    assert torch.allclose(guess.inputs[0], public.inputs[public.labels == 3].mean(0))
    assert torch.allclose(guess.inputs[2], public.inputs.mean(0), atol=1e-6)  # no public image has that class


def test_lpips_without_its_weights_is_unavailable_and_says_how_to_get_them(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    truth = batch(2)
    guess = Claimed(truth.inputs, None)
    row = score(LPIPS(net="vgg"), a_trial(truth), guess, guess)
    assert row.status == "unavailable"
    assert "vgg16-397923af.pth" in row.note and "TORCH_HOME" in row.note


def with_backbones(monkeypatch) -> None:
    if not (SHARED / "torch_home").is_dir():
        pytest.skip("needs ../shared/torch_home")
    monkeypatch.setenv("TORCH_HOME", str(SHARED / "torch_home"))


def test_lpips_equals_the_package_on_images_of_64_pixels(monkeypatch):
    with_backbones(monkeypatch)
    torch.manual_seed(0)
    first, second = torch.rand(2, 3, 64, 64) * 2 - 1, torch.rand(2, 3, 64, 64) * 2 - 1
    truth = Batch((first + 1) / 2, torch.zeros(2, dtype=torch.int64))
    values = LPIPS(net="squeeze").score(truth.inputs, (second + 1) / 2)
    assert values == pytest.approx([0.1040, 0.0921], abs=1e-4)


def gallery_case(found_like: str) -> tuple[Batch, Claimed, Scene]:
    truth, public = batch(4), batch(300, seed=5)
    images = truth.inputs if found_like == "truth" else batch(4, seed=9).inputs
    noisy = (images + 0.05 * torch.randn(images.shape, generator=torch.Generator().manual_seed(1))).clamp(0, 1)
    return truth, Claimed(noisy, None), Scene(torch.nn.Flatten(), public.inputs)


@pytest.mark.parametrize("likeness", ["pixels", "features", "squeezenet"])
def test_a_good_reconstruction_identifies_its_original_and_one_of_other_images_does_not(likeness, monkeypatch):
    if likeness == "squeezenet":
        with_backbones(monkeypatch)
    for found_like, expected in (("truth", 1.0), ("others", 0.0)):
        truth, guess, scene = gallery_case(found_like)
        others = Claimed(batch(4, seed=11).inputs, None)
        row = score(Identifiability(likeness=likeness), a_trial(truth, others, scene=scene), guess, others)
        assert row.value == expected


def test_who_is_recognized_by_what_is_seen_need_not_be_by_pixels(monkeypatch):
    """Turned around and grayed, a picture is far from itself in pixels and near to it for a network of ImageNet."""
    with_backbones(monkeypatch)
    images = torch.from_numpy(np.stack([load_sample_image(name)[:420, :420] for name in ("china.jpg", "flower.jpg")]))
    truth = images.permute(0, 3, 1, 2).float() / 255
    public = torch.cat(
        [torch.full((2, 3, 420, 420), 0.5), torch.rand(2, 3, 420, 420, generator=Generator().manual_seed(0))]
    )
    found = 0.5 + 0.3 * (truth.flip(3) - 0.5)
    seen = {
        each: Identifiability(likeness=each).seen_by(nn.Flatten(), public)(truth, found)
        for each in ("pixels", "squeezenet")
    }
    assert seen["pixels"].mean() < 1 and seen["squeezenet"].tolist() == [1.0, 1.0]


def test_a_likeness_whose_network_is_not_there_is_unavailable_and_no_other_is_taken(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    _squeezenet.cache_clear()
    truth, guess, scene = gallery_case("truth")
    row = score(Identifiability(likeness="squeezenet"), a_trial(truth, scene=scene), guess, guess)
    assert row.status == "unavailable" and "squeezenet1_1-b8a52dc0.pth" in row.note and row.value is None
    assert Identifiability(likeness="squeezenet").facts() == "unavailable" and Identifiability().facts() == ""


def test_identifiability_is_the_rank_one_rate_that_a_slow_search_finds():
    truth, _, scene = gallery_case("truth")
    found = truth.inputs * 0.5 + 0.5 * batch(4, seed=2).inputs
    gallery = [*truth.inputs, *scene.public[-16:]]
    expected = [
        int(min(range(20), key=lambda k: float((image - gallery[k]).square().sum())) == i)
        for i, image in enumerate(found)
    ]
    values = Identifiability(gallery=20).seen_by(scene.model, scene.public)(truth.inputs, found)
    assert values.tolist() == expected
    assert sum(expected) > 0


def test_guesses_that_cannot_be_told_apart_identify_nobody():
    truth = batch(3).inputs
    same = truth[:1].expand_as(truth)
    assert Identifiability().score(same, same).tolist() == [0.0, 0.0, 0.0]


def test_identifiability_states_its_gallery_and_what_chance_finds_is_measured_not_supposed():
    """Unrelated images hit far more often than one over the gallery, once they are matched."""
    truth, guess, scene = gallery_case("truth")
    row = score(Identifiability(gallery=50), a_trial(truth, scene=scene), guess, guess)
    assert row.note == "50 images in the gallery of identifiability"
    hits = []
    for seed in range(60):
        others = tuple(batch(16, seed=1000 + 10 * seed + k) for k in range(5))
        unrelated = Claimed(batch(16, seed=seed).inputs, None)
        row = score(
            Identifiability(), a_trial(batch(16, seed=500 + seed), others=others, scene=scene), unrelated, unrelated
        )
        hits += row.swapped
    assert np.mean(hits) > 0.03  # the page used to say 1 %
