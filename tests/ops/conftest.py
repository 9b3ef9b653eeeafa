"""Kernels of every instruction set that was built and that this processor runs."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType

import pytest

from recon.ops import native as loader


def _built() -> list[ModuleType]:
    found = []
    for isa in loader.supported():
        try:
            found.append(loader.load(isa))
        except ImportError:
            continue
    return found


BUILT = _built()


@pytest.fixture(params=BUILT, ids=lambda m: m.instruction_set)
def kernels(request: pytest.FixtureRequest) -> ModuleType:
    return request.param


@pytest.fixture
def threads() -> Iterator[object]:
    """``threads(n)`` sets the threads of all modules; put back afterwards."""
    before = [m.get_threads() for m in BUILT]

    def set_all(n: int) -> None:
        for module in BUILT:
            module.set_threads(n)

    yield set_all
    for module, n in zip(BUILT, before):
        module.set_threads(n)
