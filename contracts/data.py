"""What every source of images owes, whoever wrote it."""

import pytest
import torch

from seethrough.audit.data import Data

from .entries import built


@pytest.fixture
def source(data_name: str, request: pytest.FixtureRequest) -> Data:
    return built("data", data_name, request.module)


def test_a_source_yields_labeled_images_of_one_shape_in_range(source: Data) -> None:
    images = source.load()
    assert images.pixels.dim() == 4 and len(images.pixels) == len(images.labels) > 0
    assert images.pixels.dtype in (torch.uint8, torch.float32)
    if images.pixels.dtype == torch.float32:
        assert images.pixels.isfinite().all() and images.pixels.min() >= 0 and images.pixels.max() <= 1
    assert images.labels.dtype == torch.int64 and images.labels.dim() == 1
    assert images.labels.min() >= 0 and images.labels.max() < images.classes
    if images.groups is not None:
        assert images.groups.dtype == torch.int64 and images.groups.shape == images.labels.shape


def test_a_source_yields_the_same_images_each_time(source: Data) -> None:
    assert source.load().fingerprint == source.load().fingerprint


def test_loading_leaves_the_global_random_stream_alone(source: Data) -> None:
    before = torch.get_rng_state()
    source.load()
    assert torch.equal(before, torch.get_rng_state())
