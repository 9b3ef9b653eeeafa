"""The executor itself: it must notice the mistakes that it is there for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

pytestmark = pytest.mark.skipif(os.environ.get("RECON_TEST_DEVICE") == "cuda", reason="about the executor only")


@pytest.mark.parametrize(("name", "message"), [
    ("leaves_early", "other threads have left the kernel"),
    ("one_sided_barrier", "different barriers"),
    ("shuffle_from_outside", "lane outside the mask"),
    ("lane_is_gone", "a lane that has left"),
    ("mixed_operations", "different operations"),
])
def test_undefined_behaviour_is_an_error(executor: ModuleType, name: str, message: str) -> None:
    with pytest.raises(RuntimeError, match=message):
        executor.fault(name)


def test_a_missing_barrier_shows_in_another_order(executor: ModuleType) -> None:
    results = []
    for order in (0, 1, 5):
        executor.set_order(order)
        results.append((executor.fault("race"), executor.fault("no_race")))
    assert len({r[0] for r in results}) > 1
    assert len({r[1] for r in results}) == 1


def test_operations_give_what_cuda_gives(executor: ModuleType) -> None:
    expected = 0
    for t in range(96):
        warp = range(t // 32 * 32, t // 32 * 32 + 32)
        value = (t + 1) % 96 + sum(u % 3 == 0 for u in warp) + (t - 1 if t % 32 else t) + sum(warp) + 10
        expected += (t + 1) * value
    assert executor.fault("no_race") == expected


@pytest.mark.skipif(not os.environ.get("RECON_EXECUTOR_ASAN"), reason="run by `make executor-asan`")
@pytest.mark.parametrize("name", ["past_the_end", "past_shared"])
def test_the_sanitizer_sees_both_kinds_of_memory(executor: ModuleType, name: str) -> None:
    code = f"import sys; sys.path.insert(0, sys.argv[1]); import {executor.__name__} as m; m.fault({name!r})"
    ran = subprocess.run([sys.executable, "-c", code, str(Path(str(executor.__file__)).parent)], capture_output=True,
                         text=True, check=False)
    assert ran.returncode != 0
    assert "heap-buffer-overflow" in ran.stderr
