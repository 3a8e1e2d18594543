"""Ctrl-C, a request to end, a terminal that is closed and a reader that goes away: the run ends at once, and can go on.

It was seen to fail where an interrupt reached the command before or after its run, which then ended in a traceback.
"""

import pytest


def rounds(quick: int) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("rounds", [quick, pytest.param(100, marks=pytest.mark.slow)])


WAYS = {
    "Ctrl-C": ("SIGINT", 1, True),
    "Ctrl-C twice": ("SIGINT", 2, True),
    "SIGTERM": ("SIGTERM", 1, False),
    "SIGHUP": ("SIGHUP", 1, True),
}


@pytest.mark.parametrize("way", WAYS)
@rounds(2)
def test_a_signal_ends_the_run_and_its_workers_without_a_traceback(experiment, measured, rounds, way):
    found = experiment("interruptions.signals", *WAYS[way], rounds, 7)
    assert found["rounds"] >= rounds and found.get("exit code 0", 0) < rounds
    measured(rounds, f"{way}: {endings(found)}")


@rounds(2)
def test_a_reader_that_goes_away_ends_the_run_without_a_traceback(experiment, measured, rounds):
    found = experiment("interruptions.closed_pipes", rounds, 7)
    assert found["rounds"] >= rounds and found.get("exit code 0", 0) < rounds
    measured(rounds, f"closed pipe: {endings(found)}")


def endings(found: dict[str, float]) -> str:
    codes = ", ".join(f"{name} {found[name]} times" for name in sorted(found) if name.startswith("exit code"))
    return f"{codes}; over after at most {found['slowest']} s"
