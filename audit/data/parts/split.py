"""The three parts of a data set, with nobody on two sides and no copy of a private image outside."""

from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor

from .._base import Images
from .copies import copies, repeated
from .partition import spread


@dataclass(frozen=True)
class Copies:
    """How many images of one part are copies of private ones."""

    exact: int
    near: int  # and not exact


@dataclass(frozen=True, eq=False)
class Split:
    """Three disjoint parts of a data set, as indices into it."""

    private: Tensor  # the clients' own
    public: Tensor  # what anyone may have: auxiliary data, blind guesses, the model's former training
    held_out: Tensor  # what nobody trained on
    repeated: int = 0  # private images that repeat another private one exactly
    in_public: Copies = Copies(0, 0)
    in_held_out: Copies = Copies(0, 0)
    dropped: bool = False  # whether those copies were taken out

    def outside(self) -> bool:
        """Whether copies of private images were found outside."""
        return any(copies != Copies(0, 0) for copies in (self.in_public, self.in_held_out))

    def said(self) -> str:
        """What stands there twice, in words."""
        found = [
            f"{copies.exact} exact and {copies.near} near {place}"
            for place, copies in (("among the public", self.in_public), ("among the held out", self.in_held_out))
            if copies != Copies(0, 0)
        ]
        inside = f"{self.repeated} private ones repeat another exactly" if self.repeated else ""
        if not found:
            return "; ".join(filter(None, ("copies of private images: none found outside the private split", inside)))
        kept = "taken out" if self.dropped else "left in, so that leaks and floors are too high"
        return "; ".join(filter(None, (f"copies of private images: {', '.join(found)}, all {kept}", inside)))


def split(images: Images, private: float, public: float, drop_copies: bool, rng: Generator) -> Split:
    """A random division of `images` into shares `private` and `public`, the rest being held out.

    Whole groups go to one part, so that shares are met as nearly as the groups allow. Copies of private images, exact or
    near, are counted in the other parts, and taken out of them where `drop_copies`.
    """
    if images.groups is None:
        parts = _divided(len(images), private, public, rng)
    else:
        parts = _divided_by_group(images.groups, private, public, rng)
    return _without_copies(images, parts, drop_copies)


def _divided(count: int, private: float, public: float, rng: Generator) -> Split:
    order = torch.randperm(count, generator=rng)
    first, second = round(private * count), round((private + public) * count)
    return Split(order[:first], order[first:second], order[second:])


def _divided_by_group(groups: Tensor, private: float, public: float, rng: Generator) -> Split:
    wanted = torch.tensor([private, public, max(0.0, 1 - private - public)]) * len(groups)
    owners, order = spread(groups, wanted, rng), torch.randperm(len(groups), generator=rng)
    return Split(order[owners[order] == 0], order[owners[order] == 1], order[owners[order] == 2])


def _without_copies(images: Images, parts: Split, drop: bool) -> Split:
    own, other = images.pixels[parts.private], torch.cat([parts.public, parts.held_out])
    exact, near = copies(images.pixels[other], own)
    ends = [len(parts.public), len(parts.held_out)]
    counted = (
        Copies(int(e.sum()), int((n & ~e).sum())) for e, n in zip(exact.split(ends), near.split(ends), strict=True)
    )
    in_public, in_held_out = counted
    if drop:
        kept_public, kept_held_out = (~near).split(ends)
        parts = replace(parts, public=parts.public[kept_public], held_out=parts.held_out[kept_held_out])
    return replace(
        parts, repeated=repeated(own), in_public=in_public, in_held_out=in_held_out, dropped=drop and bool(near.any())
    )
