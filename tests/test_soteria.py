"""Soteria against a slow Jacobian, and the attacker who leaves the pruned columns out."""

import pytest
import torch
from torch import Generator, Tensor, nn

from seethrough.audit.randomness import drawing_from
from seethrough.defenses import Batch, NotApplicableError
from seethrough.defenses.soteria import Soteria, reach
from seethrough.federation.client import mean_gradient


def seeded(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def a_net(train: bool = False) -> nn.Sequential:
    with drawing_from(seeded(3)):
        body = nn.Conv2d(1, 3, 3, stride=2), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten()
        return nn.Sequential(*body, nn.Linear(27, 4)).train(train)


def a_batch(count: int = 3) -> Batch:
    return Batch(torch.rand((count, 1, 8, 8), generator=seeded(5)), torch.arange(count) % 4)


def written_out(net: nn.Sequential, images: Tensor) -> Tensor:
    """|r_i| / ||dr_i/dx||, averaged over examples, by one Jacobian an example."""
    ratios = []
    for image in images:
        jacobian = torch.autograd.functional.jacobian(lambda x: net[:4](x[None])[0], image).flatten(1)
        features = net[:4](image[None])[0].detach()
        ratios.append(
            [float(abs(r) / j.norm()) if j.norm() > 0 else 0.0 for r, j in zip(features, jacobian, strict=True)]
        )
    return torch.tensor(ratios).mean(dim=0)


def test_the_reach_of_a_feature_is_its_size_over_the_length_of_its_slope():
    net, batch = a_net(), a_batch()
    assert torch.allclose(reach(net, "4", batch.inputs), written_out(net, batch.inputs), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("train", [False, True], ids=["eval mode", "train mode"])
def test_the_columns_of_largest_reach_and_nothing_else_are_sent_as_zeros(train: bool):
    net, batch = a_net(train), a_batch()
    buffers = [buffer.clone() for buffer in net.buffers()]
    most = reach(net, "4", batch.inputs).topk(14).indices
    assert all(torch.equal(old, new) for old, new in zip(buffers, net.buffers(), strict=True))
    sent = Soteria(pruned=0.5).train(mean_gradient)(net, batch, seeded())
    plain = mean_gradient(a_net(train), batch, seeded())
    expected = plain["4.weight"].clone()
    expected[:, most] = 0.0
    assert torch.equal(sent["4.weight"], expected)
    assert all(torch.equal(sent[name], part) for name, part in plain.items() if name != "4.weight")


def test_the_attacker_leaves_out_the_columns_in_which_nothing_was_seen():
    net, batch = a_net(), a_batch()
    plain, sent = (one(net, batch, seeded()) for one in (mean_gradient, Soteria().train(mean_gradient)))
    found = Soteria().expected(plain, sent)
    assert all(torch.equal(found[name], part) for name, part in sent.items())


def test_a_model_without_a_linear_layer_is_not_applicable():
    net = nn.Sequential(nn.Conv2d(1, 4, 8), nn.Flatten())
    with pytest.raises(NotApplicableError, match="no linear layer"):
        Soteria().train(mean_gradient)(net, a_batch(), seeded())
