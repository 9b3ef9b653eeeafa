"""The CUDA drivers on the executor: compiled once, run on the processor."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

EXECUTOR = Path(__file__).resolve().parents[1] / "executor"


def _load(path: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def module() -> ModuleType:
    """The drivers as a Python module that runs on the processor."""
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
