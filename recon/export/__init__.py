"""Files for other programs: one module per format, reading and writing side by side.

A module of this package named like a suffix (``ply``, ``splat``, ``spz``, ...) is that format. It offers
``read_splats(path) -> SplatFile`` and/or ``write_splats(path, gaussians, *, comments=()) -> tuple[str, ...]``, and for
meshes ``read_mesh(path) -> Mesh`` and/or ``write_mesh(path, mesh) -> tuple[str, ...]``; there is no list to add it to.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recon.errors import InputError
from recon.export.splat_file import SplatFile
from recon.types import Gaussians, Mesh

DECLARE_UP = (".glb", ".usdz")  # formats of splats that say which way is up; others are in the frame of the source

__all__ = [
    "DECLARE_UP", "SplatFile", "mesh_suffixes", "read_mesh", "read_splats", "splat_suffixes", "write_mesh",
    "write_splats",
]  # fmt: skip


def read_splats(path: str | Path) -> SplatFile:
    """Reads a file of Gaussian splats; its suffix names the format.

    Rows that are not finite are dropped and counted, quaternions come normalised. Raises ``InputError`` for every
    fault of the file, before allocating more than the file's own size warrants.
    """
    path = Path(path)
    with np.errstate(all="ignore"):  # odd numbers of a damaged file (even signalling NaN) are checked, not warned about
        return _function(path, "read_splats", "read")(path)


def write_splats(
    path: str | Path, gaussians: Gaussians, *, comments: Sequence[str] = (), **options: Any
) -> tuple[str, ...]:
    """Writes Gaussians to a file whose suffix names the format, all at once or not at all.

    ``comments`` are kept where the format has room for them (PLY); ``options`` go to the format (spz: ``version=3``).
    Missing folders are made. Returns one sentence for each thing the file cannot hold or that was left out.
    Raises ``InputError`` for an unknown suffix, a full disk or a read-only folder, and then leaves no partial file.
    """
    path = Path(path)
    return _function(path, "write_splats", "written")(path, gaussians, comments=tuple(comments), **options)


def read_mesh(path: str | Path) -> Mesh:
    """Reads a triangle mesh in the file's own frame; its suffix names the format. Raises ``InputError``."""
    path = Path(path)
    with np.errstate(all="ignore"):
        return _function(path, "read_mesh", "read")(path)


def write_mesh(path: str | Path, mesh: Mesh) -> tuple[str, ...]:
    """Writes a mesh as it is to a file whose suffix names the format, all at once or not at all.

    The caller has turned it to the frame that the format declares (glb: y up). Missing folders are made. Returns one
    sentence for each thing the file cannot hold. Raises ``InputError`` for an unknown suffix, an empty mesh, a full
    disk or a read-only folder, and then leaves no partial file.
    """
    path = Path(path)
    return _function(path, "write_mesh", "written")(path, mesh)


def splat_suffixes(action: str = "read") -> tuple[str, ...]:
    """The suffixes of splat files, with their dot, that can be "read" or "written"."""
    return _suffixes("read_splats" if action == "read" else "write_splats")


def mesh_suffixes(action: str = "read") -> tuple[str, ...]:
    """The suffixes of mesh files, with their dot, that can be "read" or "written"."""
    return _suffixes("read_mesh" if action == "read" else "write_mesh")


def _suffixes(function: str) -> tuple[str, ...]:
    names = (module.name for module in pkgutil.iter_modules(__path__))
    return tuple(sorted(f".{name}" for name in names if _offers(name, function)))


def _offers(name: str, function: str) -> bool:
    """Whether the module *defines* the function; importing a helper of the same name does not make it a format."""
    try:
        found = getattr(importlib.import_module(f"{__name__}.{name}"), function, None)
    except ImportError:  # an exporter whose optional package is missing
        return False
    return found is not None and found.__module__ == f"{__name__}.{name}"


def _function(path: Path, function: str, action: str) -> Callable[..., Any]:
    name = path.suffix[1:].lower()
    if re.fullmatch(r"[a-z][a-z0-9]*", name) and importlib.util.find_spec(f"{__name__}.{name}") is not None:
        module = importlib.import_module(f"{__name__}.{name}")
        found = getattr(module, function, None)
        if found is not None and found.__module__ == module.__name__:
            return found
    known = ", ".join(_suffixes(function))
    kind = function.split("_")[1].rstrip("s")
    what = f'"{path.suffix}" is no {kind} format that can be {action}' if name else "the name has no suffix"
    raise InputError(what, file=path, fix=f"Use one of {known}.")
