"""What the sums have told of every client after every round, as a picture."""

import base64
import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from .rows import Participation

MOST = 400  # rows and columns of the picture; of what falls into one of them, the most is shown
STOPS = np.array([[247, 244, 235], [244, 201, 122], [217, 108, 53], [124, 26, 44]])  # none to all
ALONE = np.array([20, 20, 20])  # an update that is known


@dataclass(frozen=True)
class HeatMap:
    """Clients from top to bottom, those first who can be computed earliest; rounds from left to right."""

    uri: str
    height: int  # rows of pixels
    words: str  # instead of it, for who cannot see it


def heat_map(found: Participation) -> HeatMap:
    """The picture as a PNG in a `data:` URI."""
    places = {each.name: place for place, each in enumerate(found.clients)}
    order = [places[each.name] for each in found.ordered]
    shares = _pooled(_pooled(found.told.T[order], 0), 1)
    image = Image.fromarray(_colored(shares))
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    uri = f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    words = (
        f"Heat map of {len(found.clients)} clients by {found.rounds} rounds: the share of a client's update that the sums so "
        f"far tell, {len(found.alone)} of them wholly at the end"
    )
    return HeatMap(uri, len(shares), words)


def legend() -> tuple[tuple[str, str], ...]:
    """Colors and what they mean."""
    shares = np.array([[0.0, 0.25, 0.5, 0.75, 1.0]])
    colors = _colored(shares)[0]
    return tuple(
        ("#{:02x}{:02x}{:02x}".format(*color), "computable" if share == 1 else f"{share:.0%}")
        for color, share in zip(colors.tolist(), shares[0].tolist(), strict=True)
    )


def _pooled(shares: np.ndarray, axis: int) -> np.ndarray:
    count = shares.shape[axis]
    if count <= MOST:
        return shares
    starts = np.arange(MOST) * count // MOST
    return np.maximum.reduceat(shares, starts, axis=axis)


def _colored(shares: np.ndarray) -> np.ndarray:
    places = np.linspace(0, 1, len(STOPS))
    colors = np.stack([np.interp(shares, places, channel) for channel in STOPS.T], axis=-1)
    return np.where(shares[..., None] >= 1 - 1e-7, ALONE, colors).round().astype(np.uint8)
