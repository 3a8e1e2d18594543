"""Whole runs are killed at random instants; what they leave, and what a second run makes of it.

It was seen to fail where a slow disk got cells written in place, and where a resumed run left the temporary files of the
killed one.
"""

import pytest


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("kills", [10, pytest.param(500, marks=pytest.mark.slow)])
def test_runs_killed_at_random_instants_end_as_undisturbed_ones_do(experiment, measured, kills, workers):
    found = experiment("campaign.campaign", kills, workers, 20 + workers)
    assert found["kills"] == kills
    assert found["lost"] + found["temporaries"] > 0, "no kill hit a run at work: the campaign tested nothing"
    measured(
        kills,
        f"{kills} kills of {found['runs']} runs with {workers} worker{'s' * (workers > 1)}: {found['lost']} cells under way "
        f"computed once more, {found['temporaries']} temporary files removed; nothing else lost, doubled or changed",
    )
