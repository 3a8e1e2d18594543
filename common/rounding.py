"""Numbers that must not look better than they are."""

import math


def upward(epsilon: float) -> str:
    """`epsilon` to three decimals, never rounded in favor of the claim."""
    return f"{math.ceil(epsilon * 1000) / 1000:.3f}" if math.isfinite(epsilon) else "∞"
