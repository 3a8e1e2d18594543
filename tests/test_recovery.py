"""Images recovered, beside what a blind guesser gets and what the guarantee allows; and what happens when it is passed."""

import csv
import math

import numpy as np
import pytest
import torch
from scipy import stats

from seethrough.attacks import Reconstruction
from seethrough.attacks.inverting_gradients import InvertingGradients
from seethrough.audit.case import Case, divided, public_batch
from seethrough.audit.cli import audits
from seethrough.audit.data.digits import Digits
from seethrough.audit.models.convnet import ConvNet
from seethrough.audit.recovery import allowed, blind_recovery, error_at, recovery_of
from seethrough.audit.scoring import Claimed
from seethrough.audit.specification.schema import Setting
from seethrough.audit.threat import ThreatModel
from seethrough.defenses import Batch, Guarantee, NoDefense
from seethrough.defenses._mechanism import GaussianMechanism
from seethrough.defenses.dp_sgd import DPSGD
from seethrough.defenses.guarantees.bound import gaussian_bound
from seethrough.reports import Claim, Recovery
from seethrough.reports.findings.recoveries import interval_of_mean, recoveries, refutation
from tests.reports_samples import manifest, measured, place

SETTING = Setting(name="s", data=Digits(), model=ConvNet(width=8), batch_size=2)
CASE = Case(0, 0, SETTING, ThreatModel(name="t"), NoDefense(), InvertingGradients(), ())


def found(batch: Batch, noise: float) -> tuple[Claimed, Reconstruction]:
    images = batch.inputs + noise
    return Claimed(images, None), Reconstruction(images, None, 0.0)


def a_claim(epsilon: float, mechanism: GaussianMechanism | None) -> Guarantee:
    return Guarantee(epsilon, 1e-5, "example", "a", "s", "o", "said.", mechanism=mechanism)


def test_an_image_counts_as_recovered_from_the_declared_psnr_on():
    batch = Batch(torch.full((3, 1, 28, 28), 0.5), torch.tensor([0, 1, 2]))
    guess, returned = found(batch, 0.0)
    guess.inputs[1] += 0.0999  # just above 20 dB
    guess.inputs[2] += 0.1001  # just below
    result = recovery_of(CASE, batch, guess, returned, None)
    assert (result.recovered, result.images, result.guesses, result.threshold) == (2, 3, 3, 20.0)
    assert result.bound is None


def test_an_attack_without_images_has_no_recovery():
    batch = Batch(torch.rand((2, 1, 28, 28)), torch.tensor([0, 1]))
    assert recovery_of(CASE, batch, Claimed(None, batch.labels), Reconstruction(None, batch.labels, 0.0), None) is None


def test_the_bound_is_that_of_the_claimed_mechanism_at_the_blind_guessers_limit():
    batch = Batch(torch.rand((2, 1, 28, 28)), torch.tensor([0, 1]))
    blind = blind_recovery(SETTING, 0, 2, False, 20.0)
    gaussian = recovery_of(CASE, batch, *found(batch, 0.0), a_claim(1.0, GaussianMechanism(2.0, 4)))
    assert gaussian.kappa == blind.limit and gaussian.bound == gaussian_bound(blind.limit, 1.0)
    other = recovery_of(CASE, batch, *found(batch, 0.0), a_claim(1.0, None))
    assert other.bound == pytest.approx(math.e * blind.limit + 1e-5)
    assert allowed(a_claim(80.0, None), 0.5).value == 1.0


def test_the_blind_guesser_is_as_good_as_a_search_over_public_images_and_has_a_confidence_limit():
    images, parts = divided(SETTING, 0)
    private, public = images.batch(parts.private).inputs.flatten(1), public_batch(SETTING, 0).inputs.flatten(1)
    near = (torch.cdist(public.double(), private.double()).square() / 784) <= error_at(17.0)
    blind = blind_recovery(SETTING, 0, 1, False, 17.0)
    assert 0.7 * int(near.sum(dim=1).max()) <= blind.recovered <= blind.targets == len(private)
    assert blind.recovered > 20
    # Clopper-Pearson by its definition: at the limit, so few hits would be a rare event, one of three sets being tried.
    assert stats.binom.cdf(blind.recovered, blind.targets, blind.limit) == pytest.approx(0.025 / 3, rel=1e-6)


def test_more_guesses_known_classes_and_a_lower_threshold_recover_more_blindly():
    rates = [blind_recovery(SETTING, 0, guesses, False, 20.0).recovered for guesses in (1, 4, 32)]
    assert rates == sorted(rates) and rates[0] < rates[-1]
    assert blind_recovery(SETTING, 0, 2, True, 20.0).recovered > blind_recovery(SETTING, 0, 2, False, 20.0).recovered
    assert blind_recovery(SETTING, 0, 2, False, 15.0).recovered > blind_recovery(SETTING, 0, 2, False, 20.0).recovered


def test_the_class_of_a_target_is_granted_to_the_guesser_where_the_attacker_may_know_it():
    batch = Batch(torch.rand((2, 1, 28, 28)), torch.tensor([0, 1]))
    plain = recovery_of(CASE, batch, *found(batch, 0.0), None)
    granted = Case(0, 0, SETTING, ThreatModel(name="t", grants=("labels",)), NoDefense(), InvertingGradients(), ())
    unique = Case(0, 0, SETTING.model_copy(update={"labels": "unique"}), *list(vars(CASE).values())[3:])
    for case in (granted, unique):
        assert recovery_of(case, batch, *found(batch, 0.0), None).kappa > plain.kappa


@pytest.mark.parametrize("batches", [1, 2, 4, 12])
def test_with_one_image_a_batch_the_interval_is_no_narrower_than_clopper_pearsons(batches: int):
    for hits in range(batches + 1):
        low, high = interval_of_mean(hits / batches, batches, 0.025)
        exact = stats.binomtest(hits, batches).proportion_ci(0.95, method="exact")
        assert low <= exact.low + 1e-9 and exact.high - 1e-9 <= high
        if hits == batches:
            assert low == pytest.approx(exact.low)


def test_the_interval_covers_rates_of_batches_whose_images_depend_on_each_other():
    rng, n, doubt = np.random.default_rng(0), 6, 0.025
    for expected in (0.1, 0.5, 0.9):
        below = above = 0
        for whole in rng.random((2000, n)) < expected:  # all images of a batch come back, or none
            low, high = interval_of_mean(float(whole.mean()), n, doubt)
            below, above = below + (expected < low), above + (expected > high)
        assert max(below, above) <= 2000 * doubt + 3 * math.sqrt(2000 * doubt)


def cells(recovered: int, bound: float | None, trials: int = 8):
    at = [place(trial, defense="dp") for trial in range(trials)]
    claim = Claim(1.0, 1e-5, "said", "example", "add one", "each client")
    one = Recovery(20.0, recovered, 4, 4, 3, 700, 0.01, bound, "by hand")
    return manifest(at), [measured(each, claim=claim if bound else None, recovery=one) for each in at]


@pytest.mark.parametrize(
    ("recovered", "bound", "verdict"),
    [
        (4, 0.2, "refuted"),
        (1, 0.2, "not refuted"),
        (0, 0.2, "not refuted"),
        (4, 0.999, "vacuous"),
        (4, None, "no bound"),
    ],
)
def test_a_guarantee_is_refuted_if_even_the_lower_limit_exceeds_its_bound(recovered, bound, verdict):
    (row,) = recoveries(*cells(recovered, bound))
    assert row.verdict == verdict
    sentence = refutation(recoveries(*cells(recovered, bound)))
    assert bool(sentence) == (verdict == "refuted")
    if sentence:
        assert f"at least {row.low:.3f}, where the guarantee allows {bound:.3f}" in sentence and "dp" in sentence


def test_few_batches_refute_nothing_that_chance_could_explain():
    assert recoveries(*cells(4, 0.2, trials=2))[0].verdict == "no power"
    assert recoveries(*cells(4, 0.2, trials=3))[0].verdict == "refuted"


@pytest.mark.parametrize("bound", [0.0, 0.05, 0.2, 0.5, 0.714, 0.9])
def test_a_bound_that_no_attack_could_have_refuted_is_not_called_unrefuted(bound: float):
    needs = recoveries(*cells(0, bound, trials=1))[0].needs
    for batches in {max(1, needs - 1), needs, needs + 1}:
        (perfect,), (poor,) = recoveries(*cells(4, bound, batches)), recoveries(*cells(0, bound, batches))
        could = batches >= needs
        assert (perfect.verdict == "refuted") == could
        assert poor.verdict == ("not refuted" if could else "no power")
        assert (f"below {needs} batch" in poor.said) == (not could)


def test_the_referees_four_batches_could_not_have_refuted_what_eleven_can():
    assert recoveries(*cells(0, 0.714, trials=4))[0].said == "no power: could not be refuted below 11 batches"


SPEC = """
name: a client that forgets its noise
trials: 6
recovered_psnr: 18
settings: [{name: digits, data: digits, model: {convnet: {width: 8}}, batch_size: 1}]
threats: [{name: curious, grants: [count, recipe]}]
defenses: [{dp_sgd: {noise_multiplier: 4.0, max_grad_norm: 1.0}}]
attacks: [{inverting_gradients: {steps: 60}}]
metrics: [psnr]
"""


def run(folder) -> None:
    (folder / "spec.yaml").write_text(SPEC)
    audits.run(folder / "spec.yaml", folder / "out", workers=1, threads=1, device="cpu", retry_failed=False)


@pytest.fixture
def forked(monkeypatch):
    """Workers that inherit what a test breaks."""
    monkeypatch.setattr("seethrough.audit.run.afresh", lambda gpu: "fork")


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_client_that_forgets_its_noise_makes_the_run_fail_loudly_and_keeps_the_results(
    tmp_path, monkeypatch, capsys, forked
):
    monkeypatch.setattr(DPSGD, "train", lambda self, grad: grad)
    with pytest.raises(SystemExit) as stopped:
        run(tmp_path)
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert stopped.value.code == 3
    assert said.startswith("1 guarantee refuted by what was measured: inverting_gradients(steps=60) through dp_sgd")
    assert len(list((tmp_path / "out/cells").glob("*.json"))) == 6
    assert "Refuted." in (tmp_path / "out/index.html").read_text()
    assert "refuted by what was measured" in (tmp_path / "out/results.md").read_text()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_with_its_noise_the_same_run_is_done_and_states_what_the_bound_rests_on(tmp_path, capsys, forked):
    run(tmp_path)
    page = (tmp_path / "out/index.html").read_text()
    assert "exact Gaussian formula" in page and "Unit: one example." in page and "each client adds its own" in page
    assert "<td>not refuted</td>" in page and "Refuted." not in page
    with (tmp_path / "out/results.csv").open(newline="") as file:
        (first, *_) = csv.DictReader(file)
    assert (first["images"], float(first["recovered"]) <= 1) == ("1", True)
    assert 0 < float(first["kappa"]) < float(first["bound"]) == gaussian_bound(float(first["kappa"]), 4.0)
