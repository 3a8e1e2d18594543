"""Run one of the studies in benchmarks/studies, or go on with it, and print its table beside published figures.

    python benchmarks/study.py ablation [--tune]

The images are those of the reporting half; with --tune those of the other one, for choosing settings, and a seed of its own.
Cells that are finished are not computed again. Settings that need ../shared/data, where that is absent, run on scikit-learn's
digits with random weights, and the table says so. LPIPS needs its backbone: TORCH_HOME=../shared/torch_home.
"""

import argparse
import csv
import json
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from statistics import fmean

import yaml

from seethrough.audit.specification.kinds import entries_of
from seethrough.reports.findings.intervals import Estimate, over_batches, value_of
from seethrough.reports.row import Guess, Score

HERE = Path(__file__).parent
TUNING_SEED = 0
LABEL = {"psnr": "PSNR, dB", "ssim": "SSIM", "label_accuracy": "labels"}
Rows = list[dict[str, str]]


def main() -> None:
    studies = sorted(path.stem for path in (HERE / "studies").glob("*.yaml"))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", choices=studies)
    parser.add_argument("--out", type=Path, default=Path("results"), help="folder that holds a folder for each study")
    parser.add_argument("--tune", action="store_true", help="attack the images on which settings may be chosen")
    parser.add_argument("--workers", default="0")
    options = parser.parse_args()
    out = options.out / (f"{options.study}-tuning" if options.tune else options.study)
    out.mkdir(parents=True, exist_ok=True)
    spec, replaced = _spec(HERE / "studies" / f"{options.study}.yaml", out, options.tune)
    command = [
        "-c",
        "from seethrough.audit.cli import main; main()",
        "run",
        spec,
        "--out",
        out / "audit",
        "--workers",
        options.workers,
    ]
    code = subprocess.run([sys.executable, *map(str, command)]).returncode
    if code:
        sys.exit(code)
    with (out / "audit" / "results.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    table = "\n".join(_table(rows))
    published = yaml.safe_load((HERE / "published.yaml").read_text(encoding="utf-8"))[options.study]
    notes = [f"published: {line}" for line in published] + ["digits stand in for CIFAR-10"] * replaced
    text = f"{table}\n\n" + "\n".join(f"- {note}" for note in notes) + "\n"
    (out / "table.md").write_text(text, encoding="utf-8")
    print(text)


def _spec(path: Path, out: Path, tune: bool = False) -> tuple[Path, bool]:
    """The spec to run, and whether digits stand in for data that is absent."""
    spec = yaml.safe_load(path.read_text(encoding="utf-8"))
    spec["seed"] = TUNING_SEED if tune else spec["seed"]
    absent = [setting for setting in spec["settings"] if not all(Path(name).exists() for name in _files(setting))]
    for setting in absent:
        setting.update(data="digits", weights="random")
        setting.pop("splits", None)
    if tune:  # where all images are reported, there are too few to choose settings on
        spec["settings"] = [each for each in spec["settings"] if each.get("splits", {}).get("attacked") != "all"]
    for setting in spec["settings"]:
        setting["splits"] = {"attacked": "tuning" if tune else "reporting"} | setting.get("splits", {})
    if not spec["settings"]:
        sys.exit(f"{path}: reports on all of its images, so that none are left to choose settings on")
    written = out / "spec.yaml"
    written.write_text(json.dumps(spec, indent=2), encoding="utf-8")  # YAML without aliases, as specs are read
    return written, bool(absent)


def _files(setting: dict) -> Iterator[str]:
    """The files that a setting names."""
    for part, key in ((setting.get("data"), "npz"), (setting.get("weights"), "file")):
        if isinstance(part, dict) and key in part:
            yield part[key]


def _table(rows: Rows) -> Iterator[str]:
    """A Markdown line for each attack in each setting: every metric with its interval and floor, and what the first metric
    gained over the line before it, trial by trial."""
    metrics = list(dict.fromkeys(row["metric"] for row in rows if row["status"] == "ok"))
    lines = list(dict.fromkeys((row["setting"], row["threat"], row["defense"], row["attack"]) for row in rows))
    several = [place for place in range(3) if len({line[place] for line in lines}) > 1]
    heads = ["setting", "attack", "n", *(LABEL.get(name, name) + " (floor)" for name in metrics), "gain in the first"]
    yield "| " + " | ".join(heads) + " |"
    yield "|" + "---|" * (4 + len(metrics))
    gains = {
        after: _gain(rows, metrics[0], before, after) for before, after in pairwise(lines) if before[:3] == after[:3]
    }
    for line in lines:
        cells = [_measured(rows, line, metric) for metric in metrics]
        count = len(_scores(rows, line, metrics[0]))
        named = "; ".join(line[place] for place in several) or line[0]
        yield "| " + " | ".join([named, line[3], str(count), *cells, gains.get(line, "")]) + " |"


def _measured(rows: Rows, line: tuple[str, ...], metric: str) -> str:
    scores = list(_scores(rows, line, metric).values())
    estimate = value_of(scores)
    if estimate is None:
        return next((row["status"] for row in rows if _of(row, line, metric)), "not planned")
    return f"{_stated(estimate)} ({fmean(guess.value for score in scores for guess in score.guesses):.2f})"


def _gain(rows: Rows, metric: str, before: tuple[str, ...], after: tuple[str, ...]) -> str:
    first, second = (_scores(rows, line, metric) for line in (before, after))
    paired = [second[trial].value - first[trial].value for trial in second if trial in first]
    return _stated(over_batches(paired)) if paired else ""


def _scores(rows: Rows, line: tuple[str, ...], metric: str) -> dict[str, Score]:
    """The scores of a line that have a number, by trial."""
    return {row["trial"]: _score(row) for row in rows if _of(row, line, metric) and row["status"] == "ok"}


def _score(row: dict[str, str]) -> Score:
    metric = entries_of("metrics").entries[row["metric"].partition("(")[0]]
    low, high = metric().limits()
    return Score(
        metric=row["metric"],
        better=row["better"],
        status="ok",
        value=float(row["value"]),
        low=low,
        high=high,
        share=metric.share,
        guesses=(Guess(row["guesser"], float(row["floor"])),),
        n=int(row["n"]),
    )


def _of(row: dict[str, str], line: tuple[str, ...], metric: str) -> bool:
    return (row["setting"], row["threat"], row["defense"], row["attack"], row["metric"]) == (*line, metric)


def _stated(estimate: Estimate) -> str:
    seen = f" ({estimate.least:.2f} to {estimate.most:.2f})" if estimate.n > 1 else ""
    spread = seen if estimate.low is None else f" [{estimate.low:.2f}, {estimate.high:.2f}]"
    return f"{estimate.mean:.2f}{spread}"


if __name__ == "__main__":
    main()
