"""Drop: which primitives a picture leaves out at random."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Drop:
    """A random ``share`` of the primitives, chosen by ``seed``; those that stay get denser, so that the mean stays.

    Source: Park et al., "DropGaussian", CVPR 2025, arXiv 2504.00773.
    """

    share: float
    seed: int

    @property
    def gain(self) -> float:
        """Factor of the opacity of those that stay."""
        return 1.0 / (1.0 - self.share)
