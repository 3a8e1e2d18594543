"""What an attacker who knows the defense makes of it.

Knowing a defense is having `View.defense`: everything here leaves a view without it as it was, so an attacker who ignores
the defense is the same attack on `unaware(view)`.
"""

import dataclasses
import math
from collections.abc import Callable

import torch

from seethrough.defenses import Params, parts_of
from seethrough.defenses.parts.withheld import Withheld
from seethrough.recipes.replay import Slopes

from .._base import View
from .image_priors import total_variation
from .rounds import observed, rounds_of, stack_rounds


def unaware(view: View) -> View:
    """The view of an attacker who does not reckon with the defense, but knows what it leaves out itself."""
    left_out = () if view.defense is None else [part for part in parts_of(view.defense) if isinstance(part, Withheld)]
    return dataclasses.replace(view, defense=left_out[0] if left_out else None)


def clients_behind(view: View) -> int:
    """How many clients the attacker takes the update for a mean of: one, unless it knows defense and number."""
    return 1 if view.defense is None else view.participants or 1


def as_computed(view: View, slopes: Slopes) -> Slopes:
    """The gradient as a client computes it whose undefended gradient would be `slopes`."""
    return slopes if view.defense is None else view.defense.expected_gradient(slopes)


def as_seen(view: View, step: Params) -> Params:
    """What would be seen of one client's undefended `step`."""
    return step if view.defense is None else view.defense.expected(step, view.update)


def hides_length(view: View) -> bool:
    """Whether the defense surely changed the length of the observed update: one twice as long would look the same."""
    if view.defense is None or clients_behind(view) > 1:
        return False
    longer = view.defense.expected({name: 2 * part for name, part in view.update.items()}, view.update)
    return all(torch.allclose(longer[name], part, rtol=1e-3, atol=0.0) for name, part in view.update.items())


def keeps_direction(view: View) -> bool:
    """Whether the defense, as far as it is known, at most changes the length of a step."""
    if noise_variances(view):
        return False
    fixed = torch.Generator().manual_seed(0)
    step = {name: torch.randn(part.shape, generator=fixed).to(part) for name, part in view.update.items()}
    seen = as_seen(view, step)
    before, after = (torch.cat([each[name].flatten() for name in step]) for each in (step, seen))
    return float(torch.cosine_similarity(before, after, dim=0)) > SAME_DIRECTION


def most_telling(view: View) -> View:
    """The view of what is to be matched where several rounds were of the same examples.

    Where the defense is known to change no more than a step's length, every round tells all by itself, and the first is
    matched: the more a model has fitted the examples, the less its steps say of them. Else all rounds are, over which noise
    and what was left out wear off."""
    exact = view.defense is not None and keeps_direction(view)
    return rounds_of(view)[0] if exact else view


def noise_variances(view: View) -> Params:
    """The known variance of the noise on each tensor of what was observed, a scalar by name; empty where none is known."""
    return stack_rounds([_noise_variances(each) for each in rounds_of(view)])


def _noise_variances(view: View) -> Params:
    if view.defense is None:
        return {}
    clients = clients_behind(view)
    known = view.defense.noise(view.update, view.recipe, view.count and view.count // clients)
    least = min(known.values(), default=None)
    return {} if least is None else {name: known.get(name, least) / clients for name in view.update}


def whitening(view: View) -> Callable[[Params], Params]:
    """Weighs each tensor of a step by its known noise, so that a distance trusts it the less, the noisier it is.

    By the root of the noise's standard deviation, half of the way to noise that is equal everywhere: all of the way, tensors
    of small slopes would lead the search, which cost 2 dB under quantization. Without noise a step stays as it is.
    """
    variances = noise_variances(view)
    if not variances:
        return lambda step: step
    mean = torch.stack(list(variances.values())).mean()
    weights = {name: (mean / variance) ** 0.25 for name, variance in variances.items()}
    return lambda step: {name: part * weights[name] for name, part in step.items()}


def evidence(view: View) -> float:
    """How many nats of likelihood one unit of cosine distance to the whitened update is worth; infinite without noise.

    With noise of variance 1, ||o - s||^2 / 2 falls by ||s|| ||o|| for each unit of <s, o> / (||s|| ||o||), and of ||o||^2 the
    number of coordinates is noise.
    """
    variances = noise_variances(view)
    if not variances:
        return math.inf
    seen = sum(float((part.square() / variances[name]).sum()) for name, part in observed(view).items())
    return math.sqrt(seen * max(seen - _size(view), LEAST_SIGNAL * seen))


def standardized_evidence(view: View, variances: Params) -> float:
    """The same for one unit of standardized distance: half a nat for each coordinate, if `variances` are the noise's."""
    noise = noise_variances(view)
    if not noise:
        return math.inf
    shares = [part.numel() * float(noise[name] / variances[name]) for name, part in observed(view).items()]
    return _size(view) ** 2 / sum(shares) / 2


def smoothness(view: View, images: int) -> float:
    """How many nats a unit of total variation takes off the prior probability of so many images.

    Where neighbors differ by a Laplace distribution, as much as in public images on average, each pixel's difference counts
    in proportion to that average (a Bayes-optimal attacker, Balunovic et al., ICLR 2022, arXiv:2111.04706).
    """
    typical = TYPICAL_VARIATION if view.public is None else float(total_variation(view.public.inputs))
    return NATS_PER_PIXEL * images * math.prod(view.space.shape) / max(typical, SMALLEST_VARIATION)


def _size(view: View) -> int:
    return sum(part.numel() for part in observed(view).values())


SAME_DIRECTION = 1 - 1e-5  # cosine; rounding alone leaves less of a difference
NATS_PER_PIXEL = 0.5  # a pixel has two differences, and neither is independent; 0.3 to 1 did about as well
LEAST_SIGNAL = 0.01  # share of the update's square length that is taken for signal where noise seems to be all of it
TYPICAL_VARIATION = 0.1  # total variation of photographs of 28 to 64 pixels
SMALLEST_VARIATION = 1e-3
