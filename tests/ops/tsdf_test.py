"""Fusion of depth pictures, against plain torch."""

from __future__ import annotations

from types import ModuleType

import pytest
import torch

from recon.ops import tsdf as ops
from recon.ops.tsdf import Volume, examples, fuse_depth_, reference


@pytest.fixture(autouse=True)
def _kernels(kernels: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ops, "native", kernels)


def test_against_reference_twice_over() -> None:
    for example in examples():
        volume: Volume = example["volume"]
        for _ in range(2):
            distance, weight = reference(volume, example["depth"], example["camera"],
                                         truncation=example["truncation"])
            fuse_depth_(**example)
            assert weight.max() > 0
            agree = volume.weight == weight  # a voxel on the edge of a pixel or of the truncation may round either way
            assert agree.float().mean() > 0.99
            torch.testing.assert_close(volume.distance[agree], distance[agree], rtol=1e-4, atol=1e-4)
        assert (volume.colour_weight > 0).any()
        assert (volume.colour[volume.colour_weight > 0] <= 1).all()


def test_nan_depth_says_nothing() -> None:
    example = next(examples())
    example["depth"] = torch.full_like(example["depth"], torch.nan)
    fuse_depth_(**example)
    assert (example["volume"].weight == 0).all()


def test_bad_arguments_are_named() -> None:
    example = next(examples())
    for change, word in (({"truncation": 0.0}, "truncation"), ({"depth": torch.zeros(2, 2)}, "depth"),
                         ({"rgb": example["rgb"].double()}, "rgb")):
        with pytest.raises((TypeError, ValueError), match=word):
            fuse_depth_(**(example | change))
