"""The CUDA drivers on the executor: compiled once, run on the processor."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from pretend import UNORDERED, InsideOut, Pretended, arrived, read_by_host
from torch.utils._pytree import tree_flatten, tree_unflatten

from recon.ops import cuda
from recon.strategies import mcmc

EXECUTOR = Path(__file__).resolve().parents[1] / "executor"


def _load(path: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


class OnDevice:
    """The real CUDA module for tests that know nothing of devices: arguments go to the GPU and come back changed."""

    def __init__(self, module: ModuleType) -> None:
        self._module = module

    def set_order(self, seed: int) -> None:
        """A GPU has its own order."""

    def __getattr__(self, name: str) -> Any:
        function = getattr(self._module, name)
        if not callable(function):
            return function

        def call(*args: Any) -> Any:
            flat, spec = tree_flatten(args)
            there = [t.cuda() if isinstance(t, torch.Tensor) and not read_by_host(name, i, t) else t
                     for i, t in enumerate(flat)]
            out = function(*tree_unflatten(there, spec))
            for mine, theirs in zip(flat, there, strict=True):
                if isinstance(mine, torch.Tensor) and mine is not theirs:
                    mine.copy_(theirs)
            return out

        return call


@pytest.fixture(scope="session")
def module() -> ModuleType | OnDevice:
    """The drivers as a Python module that runs on the processor, or on the GPU (RECON_TEST_DEVICE=cuda)."""
    if os.environ.get("RECON_TEST_DEVICE") == "cuda":
        problem, found = cuda.problem(), cuda.module()
        if problem is not None or found is None:
            pytest.skip(f"no GPU: {problem}")
        return OnDevice(found)
    build = _load(EXECUTOR / "build.py", "recon_executor_build")
    if build.compiler() is None:
        pytest.skip("no C++ compiler to build the executor with")
    folder = build.build(sanitize=bool(os.environ.get("RECON_EXECUTOR_ASAN")))
    return _load(next(folder.glob(f"{build.MODULE}.*.so")), build.MODULE)


@pytest.fixture
def executor(module: ModuleType) -> Iterator[ModuleType]:
    """The same; threads run in their natural order again afterwards."""
    yield module
    module.set_order(0)


@pytest.fixture
def gpu(executor: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Ops on pretended tensors run on the executor; enter ``pretended_gpu()`` to make such tensors.

    Nothing may be added up on them in an order that a GPU does not keep.
    """
    monkeypatch.setattr(cuda, "kernels_for", lambda t: InsideOut(executor) if isinstance(t, Pretended) else None)
    monkeypatch.setattr(cuda, "stream", lambda device: 0)
    monkeypatch.setenv("RECON_CUDA_BACKEND", "recon")  # no other takes its place
    monkeypatch.setattr(cuda, "to_host", arrived)
    monkeypatch.setattr(mcmc, "normals", lambda shape, seed, device: torch.randn(
        shape, generator=torch.Generator().manual_seed(seed)).to(device, non_blocking=True))
    cuda.none.cache_clear()
    UNORDERED.clear()
    yield
    assert UNORDERED == []
