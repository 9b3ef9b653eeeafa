"""Losses named on the command line are added to any method."""

from __future__ import annotations

import pytest

from recon.app import catalogue
from recon.app.commands.fit import read_arguments
from recon.app.extra_losses import named_losses
from recon.errors import InputError
from recon.losses.s3im import S3im
from recon.losses.total_variation import TotalVariation


def test_names_are_found_in_any_spelling() -> None:
    words = ["--losses.s3im.weight", "1", "--losses.total-variation.points=8", "--losses.s3im.kernel", "4", "--steps"]
    assert named_losses(words) == ["s3im", "total_variation"]


def test_every_loss_can_be_built_from_its_name() -> None:
    known = catalogue.losses()
    assert {"s3im", "total_variation", "distortion", "opacity_entropy", "opacity_sparsity"} <= set(known)


def test_a_loss_is_added_with_its_settings() -> None:
    _, request = read_arguments(["scene", "--method", "dvgo", "--losses.s3im.weight", "0.25",
                                 "--losses.total-variation.points", "64"])
    assert request.system is not None
    assert request.system.losses["s3im"] == S3im(weight=0.25)
    assert request.system.losses["total_variation"] == TotalVariation(points=64)
    assert "colour" in request.system.losses


def test_an_unknown_loss_is_an_unknown_option() -> None:
    with pytest.raises(InputError, match="losses"):
        read_arguments(["scene", "--method", "dvgo", "--losses.nonsense.weight", "1"])
