"""What every source of weights owes, whoever wrote it."""

import pytest

from seethrough.audit.weights import Weights

from .entries import built


@pytest.fixture
def state(weights_name: str, request: pytest.FixtureRequest) -> Weights:
    return built("weights", weights_name, request.module)


def test_weights_say_whether_the_network_knows_the_attacked_images(state: Weights) -> None:
    assert state.learns_from() in ("public", "private")
    assert state.members()
