"""Plane sweeps, against plain torch in double precision and against a scene whose depth is known."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
import torch

from recon.ops import sweep as ops
from recon.ops.sweep import correlations, examples, reference

EXAMPLES = list(examples())


@pytest.fixture(autouse=True)
def _kernels(kernels: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ops, "native", kernels)


@pytest.mark.parametrize("case", range(len(EXAMPLES)))
def test_against_reference(case: int) -> None:
    found, true = correlations(**EXAMPLES[case]), reference(**EXAMPLES[case])
    assert found.shape == true.shape
    seen = true > -1
    agree = (found > -1) == seen  # on the border of a picture or of a hole either may be
    assert float(agree.float().mean()) > 0.99
    both = seen & (found > -1)
    close = torch.isclose(found.double()[both], true[both], atol=2e-3, rtol=0)
    assert not len(close) or float(close.float().mean()) > 0.99
    if EXAMPLES[case]["grey"].numel() > 1000:
        assert 0.5 < float(seen.float().mean()) < 1, "the case shows something, and what is not seen"


@pytest.mark.parametrize("case", [0, 1])
def test_it_agrees_best_at_its_true_depth(case: int) -> None:
    """The wall z = 0 is seen from z = -3: of many planes that of inverse depth 1/3."""
    example = EXAMPLES[case] | {"planes": 21, "step": 0.01}
    example["start"] = torch.full_like(example["grey"], 1 / 3 - 0.1)
    example["valid"] = [torch.ones_like(v) for v in example["valid"]]
    best, plane = correlations(**example).max(0)
    assert float(best[10:-10, 10:-10].median()) > 0.95
    assert float((plane == 10)[10:-10, 10:-10].float().mean()) > 0.9


def test_threads_change_no_bit(threads: Any) -> None:
    def at(count: int) -> torch.Tensor:
        threads(count)
        return correlations(**EXAMPLES[0])

    one = at(1)
    assert torch.equal(at(2), one)
    assert torch.equal(at(3), one)


def test_bad_arguments_are_named() -> None:
    example = EXAMPLES[0]
    for change, word in (({"window": 4}, "window"), ({"window": 17}, "window"), ({"texture": 0.0}, "texture"),
                         ({"planes": 0}, "planes"), ({"start": torch.zeros(2, 2)}, "start"),
                         ({"grey": example["grey"].double()}, "grey"), ({"maps": example["maps"][:1]}, "maps"),
                         ({"valid": [v[:2] for v in example["valid"]]}, "valid"),
                         ({"others": [o.double() for o in example["others"]]}, "others")):
        with pytest.raises((TypeError, ValueError), match=word):
            correlations(**(example | change))
