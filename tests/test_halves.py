"""Settings are chosen on one half of the private images and judged on the other, whatever the seed."""

import json

import numpy as np

from seethrough.audit.batches import draw_batches, swapped_batches
from seethrough.audit.case import attackable, divided
from seethrough.audit.data import tuning_half
from seethrough.audit.data.digits import Digits
from seethrough.audit.manifest import described
from seethrough.audit.specification.schema import Setting


def setting(half: str, data: object = "digits", **fields) -> Setting:
    given = {"name": "s", "data": data, "model": "lenet", "batch_size": 4, "splits": {"attacked": half}}
    return Setting.model_validate_json(json.dumps({**given, **fields}))


def drawn(half: str, seed: int) -> set[bytes]:
    """Every image that a trial reads, by its bytes."""
    batches = draw_batches(setting(half), seed, 0, 3, same_labels=False)
    swapped = [batch for number in range(3) for batch in swapped_batches(setting(half), seed, 0, number, (None,))]
    return {
        image.numpy().tobytes()
        for batch in (batches.victim, batches.decoy, *batches.others, *swapped)
        for image in batch.inputs
    }


def test_no_image_is_tuned_on_and_reported_whatever_the_seeds():
    tuned = set().union(*(drawn("tuning", seed) for seed in range(4)))
    assert len(tuned) > 60
    assert not any(tuned & drawn("reporting", seed) for seed in range(4))


def test_the_halves_make_the_private_split_and_are_about_equal():
    whole = set(attackable(setting("all"), 0).tolist())
    halves = [set(attackable(setting(half), 0).tolist()) for half in ("tuning", "reporting")]
    assert whole == set(divided(setting("all"), 0)[1].private.tolist()) == halves[0] | halves[1]
    assert not halves[0] & halves[1]
    assert abs(len(halves[0]) - len(halves[1])) < 0.2 * len(whole)


def test_an_image_stays_in_its_half_in_another_order_and_a_group_is_not_divided(tmp_path):
    images = Digits().load()
    half = tuning_half(images)
    assert tuning_half(Digits().load()).equal(half)
    groups = np.repeat(np.arange(60), 3)
    pixels = np.random.default_rng(0).integers(0, 256, (180, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "d.npz", images=pixels, labels=np.arange(180) % 3, patient=groups)
    grouped = setting("all", {"npz": {"file": str(tmp_path / "d.npz"), "group": "patient"}}).data.load()
    assert all(len(set(part.tolist())) == 1 for part in tuning_half(grouped).view(60, 3))


def test_the_page_says_which_half_is_attacked():
    [fact, *_] = described(setting("tuning"), 0).facts
    assert f"of which the {len(attackable(setting('tuning'), 0))} of the tuning half are attacked" in fact
