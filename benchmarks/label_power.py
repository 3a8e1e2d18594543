"""How often an audit finds that labels leak, by how much leaks and by its batches: rows that are drawn, no attack.

    python benchmarks/label_power.py

Batches of two labels of ten classes, all as common. The attacker knows each label with some probability and else guesses; so
its gain over the best blind guesser is known. Said to leak: both tests, the first one alone, and at Bonferroni's level for the
132 numbers of the default audit, below which the test of all together does not go.
"""

import numpy as np

from seethrough.reports.findings.evidence import ALPHA, evidence_of
from seethrough.reports.row import Guess, Score

CLASSES, BATCH, OTHERS, AUDITS, NUMBERS = 10, 2, 19, 200, 132


def accuracy(found: np.ndarray, truth: np.ndarray) -> float:
    """The share of labels that are right, in any order."""
    return sum(min((found == each).sum(), (truth == each).sum()) for each in set(truth.tolist())) / BATCH


def score(known: float, rng: np.random.Generator) -> Score:
    """One batch, attacked by somebody who knows each label with that probability."""
    truth, *others = (rng.choice(CLASSES, BATCH, replace=False) for _ in range(1 + OTHERS))
    found = np.where(rng.random(BATCH) < known, truth, rng.integers(0, CLASSES, BATCH))
    guess = Guess("two classes", accuracy(np.arange(BATCH), truth))
    return Score(
        *("label_accuracy", "higher", "ok"),
        value=accuracy(found, truth),
        guesses=(guess,),
        swapped=tuple(accuracy(found, each) for each in others),
        perfect=1.0,
        perfect_swapped=tuple(accuracy(truth, each) for each in others),
        share=True,
        low=0.0,
        high=1.0,
        n=BATCH,
    )


def main() -> None:
    rng = np.random.default_rng(0)
    print(
        "| labels known | gain over the guesser | batches | called a leak, alone | among 132 numbers |\n|---|---|---|---|---|"
    )
    for known in (0.0, 0.15, 0.25, 0.5):
        gain = np.mean([(one := score(known, rng)).value - one.guesses[0].value for _ in range(4_000)])
        for batches in (6, 40, 100, 200):
            found = [evidence_of([score(known, rng) for _ in range(batches)]) for _ in range(AUDITS)]
            alone = np.mean([each.tells and each.helps for each in found])
            among = np.mean([each.alone <= ALPHA / NUMBERS and each.helps for each in found])
            print(f"| {known:.0%} | {gain:+.3f} | {batches} | {alone:.1%} | {among:.1%} |", flush=True)


if __name__ == "__main__":
    main()
