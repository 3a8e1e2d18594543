"""Adaptive against plain attackers, batch by batch, from the results of an audit that ran both.

    seethrough run benchmarks/adaptive.yaml --out results/adaptive
    python benchmarks/paired.py results/adaptive [--metric psnr]

For each defense and attack: the means over batches of the attacker who knows the defense and of the one who ignores it, and
the mean of their differences with its 95 % interval, as the reports make it (none where all differences are equal).
"recovered" is that difference as a share of what the defense hid from the one who ignores it, where the audit has the same
attack without a defense.
"""

from pathlib import Path

import pandas as pd
import typer

from seethrough.reports.findings.intervals import over_batches

PLAIN = "adaptive=False"


def without_plain(attack: str) -> str:
    """The attack's name as it stands when it is adaptive."""
    name, _, parameters = attack.rstrip(")").partition("(")
    kept = [part for part in parameters.split(", ") if part and part != PLAIN]
    return f"{name}({', '.join(kept)})" if kept else name


def main(folder: Path, metric: str = "psnr") -> None:
    """Print one row for each defense and attack."""
    rows = pd.read_csv(folder / "results.csv").query("metric == @metric and status == 'ok'")
    rows = rows.assign(plain=rows.attack.str.contains(PLAIN), attack=rows.attack.map(without_plain))
    values = rows.pivot_table(index=["defense", "attack", "trial"], columns="plain", values="value").dropna()
    print(f"{'defense':44} {'attack':32} {'n':>3} {'adaptive':>9} {'plain':>8} {'difference':>26}  recovered")
    for (defense, attack), pairs in values.groupby(level=["defense", "attack"], sort=False):
        aware, plain = pairs[False].to_numpy(), pairs[True].to_numpy()
        gain = over_batches((aware - plain).tolist())
        spread = "" if gain.low is None else f"[{gain.low:+6.2f}, {gain.high:+6.2f}]"
        line = f"{defense:44} {attack:32} {len(aware):3d} {aware.mean():9.2f} {plain.mean():8.2f}"
        line += f" {gain.mean:+9.2f} {spread:16}"
        open_ = rows.query("defense == 'none' and attack == @attack and not plain").value.mean()
        hidden = open_ - plain.mean()
        print(line, f"  {gain.mean / hidden:.0%} of {hidden:.2f}" if hidden > 0 and defense != "none" else "")


if __name__ == "__main__":
    typer.run(main)
