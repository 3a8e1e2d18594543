"""Differences between any two settings, threats, defenses or attacks of one audit that differ in nothing else, batch by batch.

    seethrough run benchmarks/fedavg.yaml --out results/fedavg
    python benchmarks/differences.py results/fedavg [--along threat] [--metric psnr]

Trials of one number attack the same batch, or batches of which one is the start of the other, in the same network: each study
says which. For each pair: n, both means, the mean of the differences with its 95 % interval, as the reports make it, and the p
of the exact test that turns the signs of the differences in all ways, two-sided and of this pair alone.
"""

from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import typer

from seethrough.reports.findings.intervals import over_batches

FIELDS = ("setting", "threat", "defense", "attack")
MOST = 20  # batches whose signs are turned in all ways


def sign_flip_p(differences: np.ndarray) -> float:
    """How often the mean lies as far from zero, over all ways to turn the signs of the differences.

    Raises: ValueError, for more than 20 of them.
    """
    if len(differences) > MOST:
        raise ValueError(f"found {len(differences)} differences; allowed: at most {MOST}")
    sums = np.zeros(1)
    for value in differences:
        sums = np.concatenate([sums + value, sums - value])
    found = abs(differences.sum())
    return float((np.abs(sums) >= found * (1 - 1e-9)).mean())


def pairs(rows: pd.DataFrame, along: str) -> Iterator[tuple[str, str, str, pd.DataFrame]]:
    """What two cells share, what each has of `along`, and their values by trial, in two columns."""
    rest = [field for field in FIELDS if field != along]
    for shared, group in rows.groupby(rest, sort=False):
        values = group.pivot_table(index="trial", columns=along, values="value")[list(dict.fromkeys(group[along]))]
        for one, other in combinations(values.columns, 2):
            both = values[[one, other]].dropna()
            if len(both):
                yield ", ".join(shared), one, other, both


def main(folder: Path, along: str = "setting", metric: str = "psnr") -> None:
    """Print a line for each pair."""
    rows = pd.read_csv(folder / "results.csv").query("metric == @metric and status == 'ok'")
    before = ""
    for shared, one, other, both in pairs(rows, along):
        if shared != before:
            print(shared)
            before = shared
        first, second = both[one].to_numpy(), both[other].to_numpy()
        gain = over_batches((first - second).tolist())
        spread = "" if gain.low is None else f"[{gain.low:+.3f}, {gain.high:+.3f}]"
        line = f"  {one} - {other}: n {gain.n}, {first.mean():.3f} - {second.mean():.3f} = {gain.mean:+.3f} {spread}"
        print(line, f"p {sign_flip_p(first - second):.5f}")


if __name__ == "__main__":
    typer.run(main)
