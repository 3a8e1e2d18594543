"""The page in Chromium: nothing goes out, nothing sticks out, and nobody is shut out."""

import itertools
import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from seethrough.reports import Claim, Manifest, Pictures, write_reports
from tests.reports_samples import manifest, measured, place, png, score, utility, with_text

WIDTHS = ("360", "768", "1280", "1600")
CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)
PACKAGES = ("playwright-core@1", "axe-core@4")
LONG = "secure_aggregation(clients=4, clipping_range=0.5) + gaussian_noise(std=0.05)"
HOSTILE = [
    "<script>alert(1)</script>",
    "../../etc",
    "x" * 3_000,
    "🔒" * 40,
    "\u202eright to left",
    "\x1b[31mred",
    "a_b(c=1.0)",
]


@pytest.fixture(scope="session")
def browser(tmp_path_factory) -> Path:
    """A folder with what drives Chromium; the tests are skipped without it, or without Chromium."""
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed")
    if shutil.which("npm") is None:
        pytest.skip("no npm is installed")
    folder = tmp_path_factory.mktemp("browser")
    (folder / "package.json").write_text("{}")
    command = ["npm", "install", "--silent", "--no-audit", "--no-fund", *PACKAGES]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
    except subprocess.TimeoutExpired:
        pytest.skip("npm does not answer")
    if done.returncode:
        pytest.skip(f"npm could not install {' and '.join(PACKAGES)}: {done.stderr[-200:]}")
    return folder


def looked_at(page: Path, browser: Path) -> dict:
    script = shutil.copy(Path(__file__).with_name("look.mjs"), browser)
    command = ["node", str(script), str(CHROMIUM), str(page), *WIDTHS]
    done = subprocess.run(command, cwd=browser, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def everything() -> tuple[Manifest, list]:
    """An audit with all that a page can hold."""
    defenses = (
        "none",
        "random_update",
        "clipping(max_norm=0.05)",
        LONG,
        "dp_sgd(noise_multiplier=1.0, max_grad_norm=1.0)",
    )
    places = [
        place(trial, attack, defense)
        for defense in defenses
        for attack in ("label_sign", "inverting_gradients(steps=100)")
        for trial in range(6)
    ]
    shown = Pictures((png(1), png(2)), (png(3), png(4)), (png(5), png(6)))
    claim = Claim(
        4.7, 1e-5, "One example more or less changes little. " * 5, "example", "by one example", "by the client"
    )
    cells = [
        measured(
            at,
            score((0.8 if at.defense in ("none", LONG) else 0.0) + at.trial / 50),
            score(
                None, metric="lpips", status="unavailable", note="the weights of its backbone are not on this machine"
            ),
            pictures=shown,
            claim=claim if at.defense.startswith("dp") else None,
        )
        for at in places
    ]
    planned = manifest(places, ("ssim", "lpips"))
    trainings = [place(repeat, "training", defense, threat="") for defense in defenses for repeat in range(6)]
    cells += [measured(at, utility=utility(0.5 + at.trial / 20)) for at in trainings]
    return replace(planned, trainings=tuple(trainings), warnings=("clips without noise",), limits=("too few",)), cells


def hostile() -> tuple[Manifest, list]:
    numbers, names = itertools.count(), itertools.cycle(HOSTILE)
    return with_text(lambda: f"{next(names)} {next(numbers)}", png())


@pytest.mark.parametrize("audit", [everything, hostile])
def test_the_page_in_a_browser(audit, browser: Path, tmp_path: Path):
    write_reports(tmp_path, *audit())
    found = looked_at(tmp_path / "index.html", browser)
    assert found["console"] == [] and found["requests"] == []
    assert found["overflow"] == []
    assert [each for each in found["scrolled"] if each["width"] < 640] == []  # the tables that all read
    assert [each for each in found["violations"] if each["impact"] in ("serious", "critical")] == []
