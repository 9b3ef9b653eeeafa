"""A fit killed without warning (kill -9) and resumed ends in the same bits as one that was left alone."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from recon.fit import checkpoint

STEPS = 400
SCRIPT = """
import sys
from dataclasses import replace
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from tiny_capture import tiny_capture
from recon.configs import gaussians
from recon.fit.loop import Fit
from recon.fit.plan import with_steps
from recon.ops.native import native
native.set_threads(int(sys.argv[2]))
system = with_steps(gaussians.PRESETS["fast"], {steps})
fit = Fit(tiny_capture(), system, seed=3, folder=Path(sys.argv[1]), resume=True, checkpoint_every_s=0.05,
          evaluate_every_s=1e9)
for event in fit.events():
    pass
"""


def _start(folder: Path, threads: int, helper: Path) -> subprocess.Popen[bytes]:
    code = SCRIPT.replace("{steps}", str(STEPS))
    return subprocess.Popen([sys.executable, "-P", "-c", code, str(folder), str(threads), str(helper)],
                            env=os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)})


def _finish(folder: Path, threads: int, helper: Path) -> bytes:
    assert _start(folder, threads, helper).wait(timeout=120) == 0
    return (folder / "checkpoint" / f"step_{STEPS:07d}.pt").read_bytes()


@pytest.mark.slow
def test_killed_and_resumed_is_the_same(tmp_path: Path) -> None:
    helper = Path(__file__).parents[1]
    whole = _finish(tmp_path / "whole", 1, helper)
    folder, kills = tmp_path / "killed", 0
    for _ in range(6):
        process = _start(folder, 2, helper)
        saved = set((folder / "checkpoint").glob("*.pt")) if folder.exists() else set()
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:  # until it has made some way of its own
            if folder.exists() and set((folder / "checkpoint").glob("step_*.pt")) - saved:
                break
            time.sleep(0.002)
        if process.poll() is not None:
            break
        process.kill()
        process.wait()
        kills += 1
        assert checkpoint.load_latest(folder / "checkpoint")[0] is not None
    assert kills >= 1
    assert _finish(folder, 2, helper) == whole
