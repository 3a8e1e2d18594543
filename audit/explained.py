"""How well images that were found in a recorded update explain it: evidence that needs no truth.

The attack is shown a random half of the update's coordinates, and its images are asked to predict the other half: `explained`
is the cosine of their step with the recorded one on coordinates that the attacker did not see. Steps of public images that
were given the labels which the attack found are predicted likewise. If the images have nothing to do with the update, and
public images are of the client's very kind, it is one more of these, so its rank among them is a p-value.
"""

import dataclasses
from collections.abc import Iterator

import torch
from torch import Generator, Tensor, nn

from seethrough.attacks.parts.simulated_client import simulated_client
from seethrough.defenses import Batch, Chain, NotApplicableError, Params
from seethrough.defenses.parts.withheld import Withheld
from seethrough.federation.client import DivergedError
from seethrough.federation.rounds import Round, simulate_round
from seethrough.reports.row import EXPLAINED, Score

from .case import Case, public_batch, round_streams
from .data.parts.synthetic import Synthetic
from .randomness import stream
from .recordings.withheld import cosine_of, half_of
from .trial import view_for

DECOYS = 39  # steps of public batches; the smallest p-value is 1 / 40


def explained(case: Case, rounds: tuple[Round, ...], device: torch.device) -> Score:
    """How well images found from half of the update predict the other half, beside how well they predict others' steps."""
    if not case.attack.recovers_images:
        return Score(EXPLAINED, "higher", "n/a", note="this attack recovers no images, whose step could be compared")
    view = dataclasses.replace(view_for(case, rounds, device), past=None)
    shown = half_of(view.update, stream(case.seed, "halves", case.trial))
    known = Withheld() if view.defense is None else Chain((view.defense, Withheld()))
    half = dataclasses.replace(view, update={n: p * shown[n] for n, p in view.update.items()}, defense=known)
    try:
        found = case.attack.reconstruct(half, stream(case.seed, "attack", case.trial))
    except NotApplicableError as error:
        return Score(EXPLAINED, "higher", "n/a", note=str(error))
    except Exception as error:
        return Score(EXPLAINED, "higher", "failed", note=f"{type(error).__name__}: {' '.join(str(error).split())}")
    if found.inputs is None or found.labels is None:
        return Score(
            EXPLAINED, "higher", "n/a", note="this attack claims no images with labels, whose step could be compared"
        )
    with torch.no_grad():
        predicted = simulated_client(view)(found.inputs, found.labels)
    hidden = {name: ~mask for name, mask in shown.items()}
    own = cosine_of(predicted, view.update, hidden)
    if isinstance(case.setting.data, Synthetic):
        note = (
            f"a cosine of {own:.3f}, and no public images of the client's kind to hold it against: name some as `data`"
        )
        return Score(EXPLAINED, "higher", "unavailable", note=note)
    steps = _steps_of_others(case, rounds[-1].model, found.labels.cpu())
    others = [cosine_of(predicted, step, hidden) for step in steps]
    better = sum(own > other for other in others)
    return Score(
        metric=EXPLAINED,
        better="higher",
        status="ok",
        value=own,
        worst=own,
        swapped=tuple(others),
        perfect=1.0,
        perfect_swapped=tuple(others),
        low=-1.0,
        high=1.0,
        n=len(found.labels),
        note=f"the images explain this update better than {better} of {len(others)} others",
    )


def public_examples(case: Case, rng: Generator, labels: Tensor | None) -> Batch:
    """Public images drawn at random, as many as a client holds; of these classes, where they are given and there are such."""
    public, size = public_batch(case.setting, case.seed), case.setting.batch_size
    if labels is None:
        return _at(public, torch.randint(len(public), (size,), generator=rng))
    places = []
    for label in labels.tolist():
        of_class = (public.labels == label).nonzero().flatten()
        pool = of_class if len(of_class) else torch.arange(len(public))
        places.append(int(pool[torch.randint(len(pool), (1,), generator=rng)]))
    return Batch(public.inputs[places], labels.clone())


def _at(batch: Batch, places: Tensor) -> Batch:
    return Batch(batch.inputs[places], batch.labels[places])


def _steps_of_others(case: Case, model: nn.Module, labels: Tensor) -> Iterator[Params]:
    """What the server would read of clients who hold public images of these classes."""
    clients = case.defense.cohort()
    for number in range(DECOYS):
        rng = stream(case.seed, "explained", case.trial, number)
        batches = tuple(public_examples(case, rng, part) for part in labels.tensor_split(clients))
        streams = round_streams(case.seed, case.trial, range(clients), f"explained {number}", 0)
        try:
            yield simulate_round(model, batches, case.setting.local, case.defense, streams).read().step
        except DivergedError:
            continue
