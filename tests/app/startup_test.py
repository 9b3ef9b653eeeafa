"""`recon --help` is instant: nothing heavy is imported before a command is chosen."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from tiny_scene import command

HEAVY = ("torch", "numpy", "PIL", "rich.progress", "av", "pycolmap", "recon.types", "recon.data")


def test_help_takes_less_than_400_ms(tmp_path: Path) -> None:
    times = []
    for _ in range(4):
        start = time.perf_counter()
        subprocess.run(command("--help"), cwd=tmp_path, check=True, capture_output=True)
        times.append(time.perf_counter() - start)
    assert min(times) < 0.4


def test_help_imports_nothing_heavy(tmp_path: Path) -> None:
    for words in (["--help"], ["--version"], ["fit", "--help"], ["methods"]):
        code = f"""
import sys
from recon.app.main import main
main({words!r})
loaded = [m for m in {HEAVY!r} if m in sys.modules]
sys.exit(f"{words} imported {{loaded}}" if loaded else 0)
"""
        done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
