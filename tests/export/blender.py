"""Blender's own module (`pip install bpy`), here or in the Python that RECON_BLENDER_PYTHON names, as a subprocess."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache

import pytest

PYTHON = os.environ.get("RECON_BLENDER_PYTHON", sys.executable)
IMPORT = """
import json, sys
import bpy
bpy.ops.wm.read_factory_settings(use_empty=True)
path = sys.argv[1]
if path.endswith(".glb"):
    bpy.ops.import_scene.gltf(filepath=path)
elif path.endswith(".obj"):
    bpy.ops.wm.obj_import(filepath=path)
else:
    bpy.ops.wm.usd_import(filepath=path)
meshes = [o for o in bpy.data.objects if o.type == "MESH"]
"""


@cache
def _has_blender() -> bool:
    return subprocess.run([PYTHON, "-c", "import bpy"], capture_output=True, timeout=120).returncode == 0


def skip_without_blender() -> None:
    if not _has_blender():
        pytest.skip("Blender's module bpy is not installed: pip install '.[blender]', or see RECON_BLENDER_PYTHON")


def in_blender(script: str, *words: str, timeout: float = 120) -> str:
    """What ``script`` prints after "RESULT" on a line, with ``words`` as its arguments; skips without Blender."""
    skip_without_blender()
    done = subprocess.run([PYTHON, "-c", script, *words], capture_output=True, text=True, timeout=timeout)
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT")]
    assert lines, done.stdout + done.stderr
    return lines[0][len("RESULT"):]
